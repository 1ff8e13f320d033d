internal import Execution
internal import FederationAPI
internal import FederationModel
internal import KubernetesExecutor
internal import Logging
internal import ProcessExecutor
internal import SwiftProtobuf

/// Knows what workflows have on this cluster beyond their runs, and deletes what is not wanted any more.
protocol WorkflowKeeping: Sendable {
  /// nil: there is nothing to tell of.
  ///
  /// - Parameter kept: workflows with runs here, whatever the control plane says.
  func told(keeping kept: Set<String>) async -> Wire.ClaimReport?
  func drop(_ uids: Set<String>, keeping kept: Set<String>) async
}

/// Directories that workflows have on this cluster: tells whose they are, and deletes those that are not wanted any more.
struct ClaimKeeper: Sendable {
  static let ownersMax = 1000

  let claims: ClaimDirectories
  let logger: Logger

  /// Whose directories there are and carry our mark (I7), by workflow.
  func owners() -> [(path: String, uid: String, goesWithFailure: Bool)] {
    guard let directory = claims.directory else { return [] }
    var owners: [(path: String, uid: String, goesWithFailure: Bool)] = []
    for project in HostFiles.list(directory) ?? [] where project.kind == .directory {
      for workflow in HostFiles.list("\(directory)/\(project.name)") ?? [] where workflow.kind == .directory {
        let path = ClaimDirectories.workflowDirectory(workflow.name, of: ProjectName(project.name), in: directory)
        guard let bytes = HostFiles.read(path + "/" + ClaimDirectories.markName, limit: 4096) else { continue }
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
        guard lines.count == 2, lines[0] == claims.mark else { continue }
        owners.append((path, workflow.name, lines[1] == "always"))
        if owners.count == Self.ownersMax { return owners }
      }
    }
    return owners
  }

  /// - Parameter kept: workflows with runs here, whatever the control plane says.
  func report(keeping kept: Set<String>) -> Wire.ClaimReport? {
    let told = owners().filter { !kept.contains($0.uid) }
    guard !told.isEmpty else { return nil }
    return .with {
      $0.owners = told.map { owner in
        .with { ($0.workflowUid, $0.goesWithFailure) = (owner.uid, owner.goesWithFailure) }
      }
    }
  }

  func remove(_ uids: Set<String>, keeping kept: Set<String>) {
    for owner in owners() where uids.contains(owner.uid) && !kept.contains(owner.uid) {
      // The mark goes last: what is left of a deletion that was cut is found again.
      for entry in HostFiles.list(owner.path) ?? [] where entry.name != ClaimDirectories.markName {
        HostFiles.remove(owner.path + "/" + entry.name)
      }
      HostFiles.remove(owner.path)
      logger.info("the volumes of a workflow that is over were deleted", metadata: ["workflow": "\(owner.uid)"])
    }
  }
}

extension ClaimKeeper: WorkflowKeeping {
  func told(keeping kept: Set<String>) async -> Wire.ClaimReport? {
    try? await BlockingWork.run { report(keeping: kept) }
  }

  func drop(_ uids: Set<String>, keeping kept: Set<String>) async {
    try? await BlockingWork.run { remove(uids, keeping: kept) }
  }
}

/// What workflows have in a Kubernetes cluster: volume claims, which go with their end, and what stands for them as the owner of objects
/// that these have made, which goes when they are deleted. An order to let go names the workflow alone: of one that has both, only the
/// claims are told of until they are gone.
struct OwnerKeeper: WorkflowKeeping {
  let executor: KubernetesExecutor

  func told(keeping kept: Set<String>) async -> Wire.ClaimReport? {
    let claims = await executor.claimOwners()
    let withClaims = await executor.workflowsWithClaims
    let uids = executor.workflows().filter { !kept.contains($0) && !withClaims.contains($0) }
    let owners: [Fubini_Agent_V1_ClaimOwner] =
      claims.filter { !kept.contains($0.workflow) }.map { owner in
        .with { ($0.workflowUid, $0.goesWithFailure) = (owner.workflow, owner.goesWithFailure) }
      } + uids.map { uid in .with { ($0.workflowUid, $0.goesWithDeletion) = (uid, true) } }
    guard !owners.isEmpty else { return nil }
    return .with { $0.owners = Array(owners.prefix(ClaimKeeper.ownersMax)) }
  }

  func drop(_ uids: Set<String>, keeping kept: Set<String>) async {
    let withClaims = await executor.workflowsWithClaims
    await executor.removeClaims(of: uids.subtracting(kept))
    await executor.removeWorkflows(uids.subtracting(kept).subtracting(withClaims).sorted())
  }
}
