#!/bin/sh
# Runs the benchmarks: perf/run.sh [NAME]..., NAME being http, latency, durable, tcp, udp, packets, json,
# hostile, crc, dedupe or slow; all of them when none is given; instructions only when it is. One JSON object
# a line on standard output, what is going on on standard error. perf/README.md explains method and settings.
set -eu
cd "$(dirname "$0")/.."
BUILD=${BUILD:-build}
export BUILD
make -s -f perf/Makefile BUILD="$BUILD" >&2
exec python3 perf/bench.py "$@"
