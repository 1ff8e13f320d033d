#!/bin/sh
# What a decision costs, against C that does the same arithmetic in the same run, and what the leader's loop pays for a pass.
# Arguments go to the first.
set -eu
cd "$(dirname "$0")/.."
products=scheduler-bench
. scripts/bench-build.sh
"$bin/scheduler-bench" placement "$@"
exec "$bin/scheduler-bench" snapshot
