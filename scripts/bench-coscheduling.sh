#!/bin/sh
# The co-scheduler against other policies in virtual time, over generated workflows and, where they are, the WfFormat instances
# beside the repository (or in $FUBINI_WFINSTANCES). Arguments go to the benchmark.
set -eu
cd "$(dirname "$0")/.."
products=scheduler-bench
. scripts/bench-build.sh
instances=${FUBINI_WFINSTANCES:-../shared/data/wfinstances}
if [ -d "$instances" ]; then set -- --instances "$instances" "$@"; else echo "no instances in $instances: generated ones alone"; fi
exec "$bin/scheduler-bench" coscheduling "$@"
