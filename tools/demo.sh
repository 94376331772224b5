#!/bin/sh
# The demo of `make demo`: the main job on this machine, with counts at the end. `tools/demo.sh --help` lists
# its settings; `tools/demo.sh stop` ends one that was kept up. It needs only python3 and what `make` built.
exec python3 -u "$(dirname "$0")/demo_run.py" "$@"
