#!/bin/sh
# Builds, starts (or finds) an embedded federation of three clusters, runs a map-reduce over real files, and shows where each
# task ran and why. The federation stays up for the next run; `scripts/demo.sh --remove` ends it and removes its data.
set -eu
cd "$(dirname "$0")/.."
data=${FUBINI_DEMO_DIR:-/tmp/fubini-demo-$(id -u)}
flags="--explicit-target-dependency-import-check error"

if [ "${1:-}" = --remove ]; then
  [ -d "$data" ] || exit 0
  # Only what `fubini up` made is removed.
  [ -f "$data/controlplane.yaml" ] || { echo "$data is no data directory of fubini: not removed." >&2; exit 1; }
  fubini=.build/debug/fubini
  [ -x "$fubini" ] || swift build --product fubini
  "$fubini" down --data-dir "$data"
  rm -rf "$data"
  exit 0
fi

scripts/install-prerequisites.sh

bin=.build/debug
stamp=.build/demo.built
# Even a build that has nothing to do plans for seconds: it is left out when no source is newer than the last one.
if [ ! -e "$stamp" ] || [ ! -x "$bin/fubini" ] || [ ! -x "$bin/fubini-controlplane" ] || [ ! -x "$bin/fubini-agent" ] \
  || [ -n "$(find Package.swift Sources controlplane agent migrations -newer "$stamp" -print -quit)" ]; then
  echo "Building (the first time 10 to 15 minutes on two cores; later ones take seconds) ..."
  touch "$stamp.started" 2>/dev/null || { mkdir -p .build && touch "$stamp.started"; }
  # The flags hold no blanks of their own, so word splitting is what is wanted.
  step=0
  for product in fubini fubini-controlplane fubini-agent; do
    step=$((step + 1))
    echo "$product ($step of 3)"
    # shellcheck disable=SC2086
    swift build $flags --product "$product"
  done
  mv "$stamp.started" "$stamp"
fi

echo
echo "Starting PostgreSQL, the control plane and three agents in $data ..."
"$bin/fubini" up --data-dir "$data" --detach --slurm --agents-file examples/demo-agents.yaml
. "$data/client.env"
echo
name=$("$bin/fubini" submit -f examples/word-frequencies/workflow.yaml --name-only)
"$bin/fubini" watch "$name"
echo
echo "The most frequent words of /usr/share/common-licenses:"
"$bin/fubini" logs "$name/reduce"
echo
"$bin/fubini" get "$name" --placement
echo
echo "The three clusters:"
"$bin/fubini" cluster list -o wide
echo
echo "The federation stays up. Try:"
echo "  . $data/client.env"
echo "  $bin/fubini explain $name/reduce"
echo "  $bin/fubini down --data-dir $data"
