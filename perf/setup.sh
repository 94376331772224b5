#!/bin/sh
# Installs what the benchmarks compare with, beside what tools/setup.sh installs; with "json" only what
# the JSON benchmark needs: its peers, g++ to build them. For HTTP it is nginx: what a server at
# most reads from the same client. Debian starts a service of it; the benchmarks run their own, so that one is
# switched off.
set -eu

PACKAGES="g++ libsimdjson-dev rapidjson-dev"
[ "${1:-}" = json ] || PACKAGES="$PACKAGES nginx-light"

missing=""
for p in $PACKAGES; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

echo "perf setup: installing$missing"
export DEBIAN_FRONTEND=noninteractive
as_root apt-get -qq update
# shellcheck disable=SC2086
as_root apt-get -qq install -y --no-install-recommends $missing >/dev/null
if [ -d /run/systemd/system ] && [ "${1:-}" != json ]; then
    as_root systemctl disable --now nginx
fi
