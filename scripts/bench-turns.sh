#!/bin/sh
# How long the leader's turns are while workflows fan out. Real PostgreSQL, real control plane, real agents with the null executor.
# Arguments go to the benchmark.
set -eu
cd "$(dirname "$0")/.."
. scripts/bench-build.sh
exec "$bin/fubini-bench" turns "$@"
