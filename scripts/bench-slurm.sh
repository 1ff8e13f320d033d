#!/bin/sh
# A workflow through the released agent (scripts/build-agent.sh) on a real Slurm cluster of two nodes against plain sbatch in the
# same run; and what the agent and the commands that it runs cost while 2,000 jobs run and wait. Arguments go to the benchmark.
set -eu
cd "$(dirname "$0")/.."
products="fubini-controlplane fubini-bench"
. scripts/bench-build.sh
scripts/build-agent.sh
# The benchmark takes its programs from one directory.
together=$(mktemp -d)
trap 'rm -rf "$together"' EXIT
ln -s "$(realpath "$bin/fubini-controlplane")" "$(realpath "$bin/fubini-bench")" "$(realpath .build/fubini-agent)" "$together"
"$bin/fubini-bench" slurm --binaries "$together" "$@"
