#!/bin/sh
# What an idle agent costs, and how soon a new one is ready. Arguments go to the benchmark.
set -eu
cd "$(dirname "$0")/.."
. scripts/bench-build.sh
exec "$bin/fubini-bench" agent "$@"
