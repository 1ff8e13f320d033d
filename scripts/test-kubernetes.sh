#!/bin/sh
# Runs the suites on Kubernetes: on API servers of their own, which scripts/build-kubernetes.sh builds once; or, with
# FUBINI_TEST_KUBECONFIG, on that cluster, in namespaces of their own: those of the client; and those of runs, where there are
#   FUBINI_TEST_AGENT_IMAGE  the agent's image (scripts/build-images.sh agent), which the cluster's nodes have or can pull
#   FUBINI_TEST_HOST         this machine's address as pods reach it
#   FUBINI_TEST_IMAGE        an image with a shell (debian:12)
# What only a server that may be killed can show is skipped there, and says so. `make test` runs none of them.
set -eu
cd "$(dirname "$0")/.."
if [ -n "${FUBINI_TEST_KUBECONFIG:-}" ]; then
  echo "On the cluster of $FUBINI_TEST_KUBECONFIG"
else
  scripts/build-kubernetes.sh
  # 1.20 is older than what the executor takes in production.
  FUBINI_KUBERNETES_MINIMUM=${FUBINI_KUBERNETES_MINIMUM:-1.20}
  export FUBINI_KUBERNETES_MINIMUM
fi
tests="$(${SWIFT:-swift} build --show-bin-path "$@")/fubiniPackageTests.xctest"
# The suites that ask for a cluster; a suite is named as its file is.
suites=$(grep -rlE 'LocalKubernetes\.(isAvailable|isLocal|runsPods)' Tests --include='*Tests.swift' |
  sed 's|.*/||; s|\.swift$||' | paste -sd '|')
# One at a time: a cluster is three servers.
FUBINI_TEST_KUBERNETES=1 exec "$tests" --testing-library swift-testing --no-parallel \
  --filter "${FILTER:-[./]($suites)/}"
