#!/bin/sh
# A data set of 100,000 small files and one of 2 GiB from end to end: put, staged on two clusters, mounted in a run, fetched back, verified,
# with bounds on memory and turns. Needs 12 GiB of disk and some minutes. Arguments go to the program.
set -eu
cd "$(dirname "$0")/.."
products="fubini fubini-controlplane fubini-agent fubini-bench"
. scripts/bench-build.sh
"$bin/fubini-bench" check-data "$@"
