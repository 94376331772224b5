#!/bin/sh
# clang-format over every C file that git tracks: in place, or --check, which prints those that differ.
set -eu
cd "$(dirname "$0")/.."

command -v clang-format >/dev/null || { echo "format: clang-format is missing: run make setup" >&2; exit 1; }

# each COMMAND: runs it for every file, as $1, on all processors. Deleted files are tracked until committed.
each() {
    git ls-files -z '*.c' '*.h' | xargs -0 -r -n 1 -P "$(nproc)" sh -c "[ ! -f \"\$1\" ] || $1" _
}

case "${1-}" in
--check)
    differ=$(each 'clang-format --style=file --dry-run -Werror "$1" 2>/dev/null || echo "$1"' | sort)
    [ -z "$differ" ] && exit 0
    echo "$differ" | sed 's/$/: not formatted: run make format/'
    exit 1
    ;;
"")
    each 'clang-format --style=file -i "$1"'
    ;;
*)
    echo "usage: tools/format.sh [--check]" >&2
    exit 2
    ;;
esac
