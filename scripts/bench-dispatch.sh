#!/bin/sh
# Durable no-op tasks a second, end to end: real PostgreSQL (fsync on), real control plane, real agents with the null executor
# over real mTLS. Beside it, in the same run, what the same PostgreSQL does for plain batches. Arguments go to the benchmark.
set -eu
cd "$(dirname "$0")/.."
. scripts/bench-build.sh
exec "$bin/fubini-bench" dispatch "$@"
