#!/bin/sh
# Makes the images of the agent and the control plane from programs that are built already, or builds these first.
#
#   scripts/build-images.sh [agent] [controlplane]      (both, where none is named)
#
# Variables: ENGINE (podman, or docker), TAG (the product's version), AGENT_BASE and CONTROLPLANE_BASE (images; see the Containerfiles),
# AGENT and CONTROLPLANE and CLI (files in place of what would be built), OPTIONS (for the engine, such as "--runtime runc").
set -eu
cd "$(dirname "$0")/.."
engine=${ENGINE:-podman}
version=$(sed -n 's/.*static let current = "\(.*\)"/\1/p' Sources/FederationModel/ProductVersion.swift)
tag=${TAG:-$version}
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT

image() { # NAME CONTAINERFILE BASE
  # shellcheck disable=SC2086
  "$engine" ${OPTIONS:-} build --file "$2" --tag "$1:$tag" ${3:+--build-arg "BASE=$3"} "$context"
  echo "$1:$tag"
}

agent() {
  if [ -z "${AGENT:-}" ]; then
    scripts/build-agent.sh
    AGENT=.build/fubini-agent
  fi
  cp "$AGENT" "$context/fubini-agent"
  image fubini-agent agent/deploy/Containerfile "${AGENT_BASE:-}"
}

controlplane() {
  if [ -z "${CONTROLPLANE:-}" ]; then
    scratch=${FUBINI_IMAGE_SCRATCH:-.build/image}
    for product in fubini-controlplane fubini; do
      swift build -c release --scratch-path "$scratch" --static-swift-stdlib --product "$product"
    done
    CONTROLPLANE=$scratch/release/fubini-controlplane
    CLI=$scratch/release/fubini
  fi
  cp "$CONTROLPLANE" "$context/fubini-controlplane"
  cp "$CLI" "$context/fubini"
  image fubini-controlplane controlplane/deploy/Containerfile "${CONTROLPLANE_BASE:-}"
}

[ $# -gt 0 ] || set -- agent controlplane
for part in "$@"; do
  case $part in
  agent) agent ;;
  controlplane) controlplane ;;
  *)
    echo "usage: $0 [agent] [controlplane]" >&2
    exit 2
    ;;
  esac
done
