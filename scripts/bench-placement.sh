#!/bin/sh
# What a decision of the co-scheduler costs, against C that does the same arithmetic in the same run. Arguments go to the benchmark.
set -eu
cd "$(dirname "$0")/.."
products=scheduler-bench
. scripts/bench-build.sh
exec "$bin/scheduler-bench" placement "$@"
