#!/bin/sh
# Installs what the benchmarks compare with, beside what tools/setup.sh installs; with "json" only what
# the JSON benchmark needs: its peers, g++ to build them; with "inputs" only what those of the inputs
# need: for HTTP nginx (what a server at most reads from the same client), for TCP rsyslog. Debian starts
# services of them; the benchmarks run their own, so those that were not there before are switched off.
set -eu

JSON="g++ libsimdjson-dev rapidjson-dev" SERVICES="nginx-light rsyslog"
case ${1:-} in
json) PACKAGES=$JSON ;;
inputs) PACKAGES="$SERVICES openssl wrk" ;;
*) PACKAGES="$JSON $SERVICES openssl wrk" ;;
esac

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
[ -d /run/systemd/system ] || exit 0
for p in $missing; do
    case $p in
    nginx-light) as_root systemctl disable --now nginx ;;
    rsyslog) as_root systemctl disable --now rsyslog ;;
    esac
done
