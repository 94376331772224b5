#!/bin/sh
# Builds every commit since BASE, oldest first, in a temporary work tree; stops at the first that fails.
set -eu
base=${1:?usage: tools/range.sh BASE}
cd "$(dirname "$0")/.."

commits=$(git rev-list --reverse "$base..HEAD")
tree=$(mktemp -d)
finish() {
    git worktree remove --force "$tree/work" 2>/dev/null || true
    rm -rf "$tree"
    git worktree prune
}
trap finish EXIT
trap 'exit 130' INT TERM

built=0
git worktree add -q --detach "$tree/work" "$base"
for commit in $commits; do
    git -C "$tree/work" checkout -q --detach "$commit"
    if ! make -C "$tree/work" --no-print-directory -j2 all >"$tree/log" 2>&1; then
        tail -n 30 "$tree/log"
        echo "range: does not build: $(git log -1 --format='%h %s' "$commit")"
        exit 1
    fi
    built=$((built + 1))
    echo "range: builds: $(git log -1 --format='%h %s' "$commit")"
done
echo "range: $built commits build"
