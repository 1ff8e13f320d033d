#!/bin/sh
# Put and staging of a data set of 100,000 small files by real processes, against cp -r. Arguments go to the benchmark.
set -eu
cd "$(dirname "$0")/.."
products="fubini fubini-controlplane fubini-agent fubini-bench"
. scripts/bench-build.sh
"$bin/fubini-bench" data "$@"
