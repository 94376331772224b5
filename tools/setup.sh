#!/bin/sh
# Installs every Debian package that building, the demo and the tests need; with "demo", only what
# the demo needs. Does nothing when all are there. The README says why each one is needed.
set -eu

BUILD="gcc make pkg-config git ca-certificates python3 curl iproute2
libdpdk-dev liburing-dev libjemalloc-dev libcurl4-openssl-dev libssl-dev libyaml-dev libmicrohttpd-dev
libsqlite3-dev libjansson-dev zlib1g-dev libzstd-dev"
TESTS="libcmocka-dev clang libclang-rt-14-dev clang-format nodejs npm openssl wrk
chromium-headless-shell"

case "${1:-all}" in
demo) PACKAGES="$BUILD" ;;
all) PACKAGES="$BUILD $TESTS" ;;
*)
    echo "usage: tools/setup.sh [demo]" >&2
    exit 2
    ;;
esac

missing=""
for p in $PACKAGES; do
    case "$p" in
    nodejs | npm) # also taken from elsewhere
        command -v "$(echo "$p" | sed 's/nodejs/node/')" >/dev/null 2>&1 && continue
        ;;
    esac
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        echo "setup: these packages are missing:$missing" >&2
        echo "setup: run as root, or install sudo" >&2
        exit 1
    fi
}

echo "setup: installing$missing"
export DEBIAN_FRONTEND=noninteractive
as_root apt-get -qq update
# shellcheck disable=SC2086
as_root apt-get -qq install -y --no-install-recommends $missing >/dev/null
