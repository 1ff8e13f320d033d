internal import Execution
internal import FederationModel
internal import KubernetesAPI
internal import Logging
internal import ProcessExecutor

/// What stands for a workflow in the cluster: an empty Secret in its project's namespace, which owns the objects that its `resource` templates
/// make with `setOwnerReference`. It is deleted when the workflow is, and Kubernetes then deletes what it owns.
///
/// Which of them there are is a file for each, because the agent may not list Secrets.
extension KubernetesExecutor {
  static let workflowLabel = "fubini.dev/workflow"

  private nonisolated var workflowDirectory: String { configuration.stateDirectory + "/workflows" }

  private nonisolated func anchorName(_ uid: String) -> String { "fubini-\(mark)-workflow-\(uid)" }

  /// Makes it where it is not there.
  ///
  /// - Throws: `.invalidArgument` for a UID that can be in no name; `.failedPrecondition` when the name is somebody else's; what the API
  ///   server says.
  func owner(of request: RunRequest) async throws(FederationError) -> ResourceOwner? {
    guard let workflow = request.spec.resource?.workflow else { return nil }
    let isName = workflow.utf8.count <= 64 && workflow.utf8.allSatisfy(Self.isNameByte)
    guard isName, workflow.utf8.last != UInt8(ascii: "-"), !workflow.isEmpty else {
      throw FederationError(.invalidArgument, "the workflow's UID \(workflow) can be in no name of an object")
    }
    let namespace = try configuration.namespace(of: request.project)
    let name = anchorName(workflow)
    // First the note: what is made is found again.
    try HostFiles.makeDirectory(workflowDirectory)
    try HostFiles.write("\(workflowDirectory)/\(workflow)", namespace.utf8, mode: 0o600)
    let labels: JSONValue = [
      ObjectName.markLabel: .string(mark), Self.workflowLabel: .string(workflow),
      ObjectName.projectLabel: .string(request.project.text),
    ]
    var made: JSONValue
    do throws(FederationError) {
      made = try await client.create(
        KubernetesPath.collection("v1", "secrets", namespace: namespace),
        [
          "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
          "metadata": ["name": .string(name), "namespace": .string(namespace), "labels": labels],
        ])
    } catch {
      guard error.code == .alreadyExists else { throw error }
      made = try await client.get(KubernetesPath.object("v1", "secrets", namespace: namespace, name: name))
    }
    guard let uid = anchorUID(made, of: workflow) else {
      throw FederationError(
        .failedPrecondition, "there is a Secret \(name) in namespace \(namespace) that is somebody else's")
    }
    return ResourceOwner(namespace: namespace, name: name, uid: uid)
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
      || byte == UInt8(ascii: "-")
  }

  /// nil: it is not ours (I7).
  private func anchorUID(_ secret: JSONValue, of workflow: String) -> String? {
    let labels = secret["metadata"]?["labels"]
    guard labels?[ObjectName.markLabel]?.stringValue == mark,
      labels?[Self.workflowLabel]?.stringValue == workflow
    else { return nil }
    return secret["metadata"]?["uid"]?.stringValue
  }

  /// UIDs of the workflows that something stands for here. At most 1,000.
  public nonisolated func workflows() -> [String] {
    (HostFiles.list(workflowDirectory) ?? []).map(\.name).sorted().prefix(1000).map { $0 }
  }

  /// Of workflows that are deleted. What cannot be done now is found again.
  public func removeWorkflows(_ uids: [String]) async {
    for uid in uids where uid.utf8.allSatisfy(Self.isNameByte) {
      let file = "\(workflowDirectory)/\(uid)"
      guard let bytes = HostFiles.read(file, limit: 300) else { continue }
      let path = KubernetesPath.object(
        "v1", "secrets", namespace: String(decoding: bytes, as: UTF8.self), name: anchorName(uid))
      do throws(FederationError) {
        if let secret = try await existing(path), let own = anchorUID(secret, of: uid) {
          _ = try await client.delete(path, options: Self.precondition(own))
        }
        HostFiles.remove(file)
        logger.info("a workflow that is deleted has nothing left here", metadata: ["workflow": "\(uid)"])
      } catch {
        logger.warning(
          "what stands for a workflow could not be deleted; it is tried again",
          metadata: ["workflow": "\(uid)", "error": "\(error.publicMessage)"])
      }
    }
  }

  private func existing(_ path: String) async throws(FederationError) -> JSONValue? {
    do throws(FederationError) { return try await client.get(path) } catch {
      guard error.code == .notFound else { throw error }
      return nil
    }
  }
}
