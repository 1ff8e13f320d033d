#!/bin/sh
# Real processes a second through the whole system against bare bubblewrap, in the same run. Arguments go to the benchmark.
set -eu
cd "$(dirname "$0")/.."
. scripts/bench-build.sh
exec "$bin/fubini-bench" process "$@"
