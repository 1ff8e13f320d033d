#!/bin/sh
# What Argo's documents cost: validation of 5,000 templates, the workflow machine's transitions a second in memory, and a fan-out
# of 10,000 items with its reducer, in memory and (with --live) through a control plane and agents. Arguments go to the benchmark.
set -eu
cd "$(dirname "$0")/.."
. scripts/bench-build.sh
exec "$bin/fubini-bench" workflows --live "$@"
