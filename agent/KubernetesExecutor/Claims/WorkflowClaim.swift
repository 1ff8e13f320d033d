internal import FederationModel

/// The volume claim that one of a workflow's `volumeClaimTemplates` becomes. Pure.
///
/// Its name follows from the workflow and the template: creating it twice is a conflict with itself.
struct WorkflowClaim: Hashable, Sendable {
  static let workflowAnnotation = "fubini.dev/workflow"
  static let claimAnnotation = "fubini.dev/claim"
  /// Whether it goes with a workflow that failed.
  static let failureAnnotation = "fubini.dev/goes-with-failure"

  var name: String
  var object: JSONValue

  /// - Throws: `.invalidArgument`, `.unplaceable` for one that this cluster never gives.
  init(
    _ claim: ClaimVolume, _ owner: ClaimVolume.Owner, of project: ProjectName, in namespace: String, mark: String,
    _ settings: KubernetesExecutorConfiguration.WorkflowClaims
  ) throws(FederationError) {
    name = Self.name(owner.uid, claim.name, mark: mark)
    guard case .object(var specification)? = claim.specification else {
      throw FederationError(
        .invalidArgument, "the volume claim template \(claim.name) has no spec: Kubernetes must know its size")
    }
    if specification["storageClassName"] == nil, let storageClass = settings.storageClass {
      specification["storageClassName"] = .string(storageClass)
    }
    if specification["accessModes"] == nil { specification["accessModes"] = ["ReadWriteOnce"] }
    let size: Int64? =
      switch specification["resources"]?["requests"]?["storage"] {
      case .string(let text)?: Quantity.parse(text)
      case .integer(let bytes)?: bytes
      default: nil
      }
    guard let size, size > 0 else {
      throw FederationError(
        .invalidArgument, "the volume claim template \(claim.name) asks for no size (`resources.requests.storage`)")
    }
    if let most = settings.sizeMax, size > most.bytes {
      throw FederationError(
        .unplaceable,
        "the volume claim template \(claim.name) asks for \(ByteCount(size)), and this cluster gives at most \(most) "
          + "(`kubernetes.workflowClaims.maxSize`)")
    }
    object = [
      "apiVersion": "v1", "kind": "PersistentVolumeClaim",
      "metadata": [
        "name": .string(name), "namespace": .string(namespace),
        "labels": [ObjectName.markLabel: .string(mark), ObjectName.projectLabel: .string(project.text)],
        "annotations": [
          Self.workflowAnnotation: .string(owner.uid), Self.claimAnnotation: .string(claim.name),
          Self.failureAnnotation: .string(owner.goesWithFailure ? "true" : "false"),
        ],
      ], "spec": .object(specification),
    ]
  }

  static func name(_ workflow: String, _ claim: String, mark: String) -> String {
    "fubini-\(mark)-\(FNV.text("\(workflow)/\(claim)"))"
  }
}

/// What counts of such a claim.
struct ClaimFacts: Hashable, Sendable {
  var name: String
  var namespace: String
  var uid: String
  var workflow: String
  var claim: String
  var goesWithFailure: Bool
  var isDeleting: Bool

  /// nil for one that is not ours: name, mark and what it says of itself must agree (I7).
  init?(_ object: JSONValue, mark: String) {
    guard let metadata = object["metadata"], metadata["labels"]?[ObjectName.markLabel]?.stringValue == mark,
      let name = metadata["name"]?.stringValue, let uid = metadata["uid"]?.stringValue,
      let workflow = metadata["annotations"]?[WorkflowClaim.workflowAnnotation]?.stringValue,
      let claim = metadata["annotations"]?[WorkflowClaim.claimAnnotation]?.stringValue,
      name == WorkflowClaim.name(workflow, claim, mark: mark)
    else { return nil }
    self.name = name
    self.uid = uid
    self.workflow = workflow
    self.claim = claim
    namespace = metadata["namespace"]?.stringValue ?? ""
    goesWithFailure = metadata["annotations"]?[WorkflowClaim.failureAnnotation]?.stringValue == "true"
    isDeleting = metadata["deletionTimestamp"]?.stringValue != nil
  }
}

/// FNV-1a of 64 bits, for names that follow from what they are for. What they name carries that whole besides.
enum FNV {
  static func text(_ text: String) -> String {
    var sum: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in text.utf8 { sum = (sum ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    let digits = String(sum, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
