#!/bin/sh
# What an idle agent costs, and how soon a new one is ready: the released agent (scripts/build-agent.sh) against a control plane
# that was built for release. Arguments go to the benchmark.
set -eu
cd "$(dirname "$0")/.."
products="fubini-controlplane fubini-bench"
. scripts/bench-build.sh
scripts/build-agent.sh
# The benchmark takes its programs from one directory.
together=$(mktemp -d)
trap 'rm -rf "$together"' EXIT
ln -s "$(realpath "$bin/fubini-controlplane")" "$(realpath "$bin/fubini-bench")" "$(realpath .build/fubini-agent)" "$together"
"$bin/fubini-bench" agent --binaries "$together" "$@"
