internal import Execution
internal import FederationModel
internal import Testing

@testable internal import KubernetesExecutor

/// Volume claims of workflows.
@Suite struct WorkflowClaimTests {
  private static let owner = ClaimVolume.Owner(uid: "6f1c", goesWithFailure: false)

  private static func volume(_ specification: JSONValue?, owner: ClaimVolume.Owner? = owner) -> ClaimVolume {
    ClaimVolume(
      name: "work", workflow: owner, mounts: [.init(path: "/work"), .init(path: "/again", isReadOnly: true)],
      specification: specification)
  }
  private static let small: JSONValue = [
    "accessModes": ["ReadWriteMany"], "resources": ["requests": ["storage": "1Gi"]],
  ]

  private static func manifest(
    _ volume: ClaimVolume, id: RunID = ObjectNameTests.run,
    _ claims: KubernetesExecutorConfiguration.WorkflowClaims? = .init()
  ) throws -> JobManifest {
    try JobManifestTests.manifest(
      JobManifestTests.request {
        $0.id = id
        $0.spec.claims = [volume]
      }, JobManifestTests.configuration { $0.workflowClaims = claims })
  }

  @Test("Runs of one workflow mount one claim, which says whose it is; another workflow has another")
  func names() throws {
    let first = try Self.manifest(Self.volume(Self.small))
    let second = try Self.manifest(Self.volume(Self.small), id: RunID(incarnation: 9, counter: 9))
    #expect(first.claims == second.claims)
    let other = try Self.manifest(Self.volume(Self.small, owner: .init(uid: "7a", goesWithFailure: false)))
    let claim = try #require(first.claims.first)
    #expect(claim.name != other.claims.first?.name)
    #expect(
      JobManifestTests.pod(first)["volumes"]?.arrayValue?.last
        == ["name": "claim-0", "persistentVolumeClaim": ["claimName": .string(claim.name)]])
    let mounts = JobManifestTests.main(first)["volumeMounts"]?.arrayValue ?? []
    #expect(mounts.contains(["name": "claim-0", "mountPath": "/work"]))
    #expect(mounts.contains(["name": "claim-0", "mountPath": "/again", "readOnly": true]))
    var made = claim.object
    #expect(made["spec"] == Self.small)
    // As the API server answers.
    if case .object(var fields) = made, case .object(var metadata)? = fields["metadata"] {
      metadata["uid"] = "u"
      fields["metadata"] = .object(metadata)
      made = .object(fields)
    }
    let facts = try #require(ClaimFacts(made, mark: ObjectNameTests.mark))
    #expect(facts.workflow == "6f1c" && facts.claim == "work" && !facts.goesWithFailure && facts.namespace == "runs")
    // I7: with another mark, or under another name, it is somebody else's.
    #expect(ClaimFacts(made, mark: "ffffffff") == nil)
  }

  @Test("What an author leaves open the operator decides; what he asks too much for is refused with the reason")
  func settings() throws {
    let open = try Self.manifest(
      Self.volume(["resources": ["requests": ["storage": "1Gi"]]]), .init(storageClass: "fast", sizeMax: .gibibytes(1)))
    #expect(open.claims.first?.object["spec"]?["storageClassName"] == "fast")
    #expect(open.claims.first?.object["spec"]?["accessModes"] == ["ReadWriteOnce"])
    let own = try Self.manifest(
      Self.volume(["storageClassName": "slow", "resources": ["requests": ["storage": "1Gi"]]]),
      .init(storageClass: "fast"))
    #expect(own.claims.first?.object["spec"]?["storageClassName"] == "slow")
    func refusal(
      _ specification: JSONValue?, _ claims: KubernetesExecutorConfiguration.WorkflowClaims?
    ) -> String {
      do {
        _ = try Self.manifest(Self.volume(specification), claims)
        return ""
      } catch { return (error as? FederationError)?.publicMessage ?? "\(error)" }
    }
    #expect(refusal(Self.small, .init(sizeMax: .mebibytes(512))).contains("at most"))
    #expect(refusal(["accessModes": ["ReadWriteOnce"]], .init()).contains("asks for no size"))
    #expect(refusal(nil, .init()).contains("has no spec"))
    #expect(refusal(Self.small, nil).contains("kubernetes.workflowClaims"))
  }
}
