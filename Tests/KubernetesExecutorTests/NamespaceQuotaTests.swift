internal import FederationModel
internal import Testing

@testable internal import KubernetesExecutor

/// What ResourceQuotas leave to runs.
@Suite struct NamespaceQuotaTests {
  private static let mark = ObjectNameTests.mark

  private static func pod(_ cpu: String, ours: Bool = true, phase: String = "Running") -> JSONValue {
    [
      "metadata": ["labels": [ObjectName.markLabel: .string(ours ? mark : "ffffffff")]],
      "status": ["phase": .string(phase)],
      "spec": [
        "containers": [
          ["resources": ["requests": ["cpu": .string(cpu), "memory": "1Gi", "nvidia.com/gpu": "1"]]],
          ["name": "sidecar"],
        ]
      ],
    ]
  }

  private static func quota(
    _ hard: [String: JSONValue], _ used: [String: JSONValue] = [:], spec: JSONValue = [:]
  ) -> JSONValue {
    ["spec": spec, "status": ["hard": .object(hard), "used": .object(used)]]
  }

  @Test("What is left is the quota without what others have; ours is counted elsewhere")
  func room() {
    var quota = NamespaceQuota()
    for pod in [Self.pod("2"), Self.pod("500m"), Self.pod("8", ours: false), Self.pod("8", phase: "Succeeded")] {
      quota.add(pod: pod, mark: Self.mark)
    }
    quota.add(
      quota: Self.quota(
        [
          "requests.cpu": "10", "requests.memory": "8Gi", "requests.nvidia.com/gpu": "4", "pods": "20",
          "count/jobs.batch": "9", "limits.cpu": "1", "persistentvolumeclaims": "0",
        ],
        [
          "requests.cpu": "6500m", "requests.memory": "5Gi", "requests.nvidia.com/gpu": "2", "pods": "5",
          "count/jobs.batch": "5",
        ]), jobs: 3)
    #expect(
      quota.room
        == ResourceQuota(cpuMillicores: 6000, gpus: 4, memoryBytes: 5 << 30, runs: 7), "\(quota.room)")
  }

  @Test("Of several quotas the tightest counts; one of some pods alone does not; one that is full leaves what is ours")
  func several() {
    var quota = NamespaceQuota()
    quota.add(quota: Self.quota(["cpu": "4"], ["cpu": "1"]), jobs: 0)
    quota.add(quota: Self.quota(["requests.cpu": "2"]), jobs: 0)
    quota.add(quota: Self.quota(["cpu": "1"], spec: ["scopes": ["BestEffort"]]), jobs: 0)
    quota.add(
      quota: Self.quota(["pods": "0"], spec: ["scopeSelector": ["matchExpressions": []]]), jobs: 0)
    #expect(quota.room == ResourceQuota(cpuMillicores: 2000))
    quota.add(quota: Self.quota(["pods": "3"], ["pods": "9"]), jobs: 0)
    #expect(quota.room.runs == 0)
  }

  @Test("A namespace without quotas limits nothing")
  func none() {
    var quota = NamespaceQuota()
    quota.add(pod: Self.pod("2"), mark: Self.mark)
    #expect(quota.room.isEmpty)
  }
}
