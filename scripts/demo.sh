#!/bin/sh
# Builds, starts (or finds) an embedded federation of three clusters, runs a map-reduce over real files, and shows where each
# task ran and why. The set-up stays up for the next run; `fubini down --data-dir ...` ends it.
set -eu
cd "$(dirname "$0")/.."
data=${FUBINI_DEMO_DIR:-/tmp/fubini-demo-$(id -u)}
echo "Building (the first time takes minutes, later ones seconds) ..."
for product in fubini fubini-controlplane fubini-agent; do swift build --explicit-target-dependency-import-check error --product "$product"; done
bin=$(swift build --show-bin-path)
"$bin/fubini" up --data-dir "$data" --detach --agents-file examples/demo-agents.yaml
. "$data/client.env"
name=$("$bin/fubini" submit -f examples/word-frequencies/workflow.yaml --name-only)
"$bin/fubini" watch "$name"
echo
echo "The most frequent words of /usr/share/common-licenses:"
"$bin/fubini" logs "$name/reduce"
echo
"$bin/fubini" get "$name" --placement
echo
echo "The federation stays up. Try: . $data/client.env; $bin/fubini cluster list -o wide"
echo "End it with: $bin/fubini down --data-dir $data"
