#!/bin/sh
# Runs the suites on Kubernetes: on API servers of their own, which scripts/build-kubernetes.sh builds once; or, with
# FUBINI_TEST_KUBECONFIG, those of the client on that cluster, in namespaces of their own.
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
# One at a time: a cluster is three servers.
FUBINI_TEST_KUBERNETES=1 exec "$tests" --testing-library swift-testing --no-parallel \
  --filter "${FILTER:-Kubernetes.*(Cluster|Run)Tests/|[./](AgentManifestCluster|ThreeWorlds)Tests/}"
