internal import FederationModel
internal import FoundationEssentials
internal import LocalSlurm

/// The real Slurm cluster of an embedded set-up, which one of its agents feeds.
extension LocalSetup {
  var slurmDirectory: String { path("slurm") }
  /// What the nodes and the agent both see.
  var slurmShared: String { path("slurm-shared") }

  var slurmConfigurationFile: String { get throws { try slurm().configurationFile } }

  func slurm() throws -> LocalSlurmCluster {
    try LocalSlurmCluster(
      LocalSlurmCluster.Configuration(directory: slurmDirectory, name: "hpc", nodes: 2, cpusPerNode: 32))
  }

  /// Starts the cluster, or what is missing of it.
  ///
  /// - Returns: the agent that becomes its member: the one whose label `kind` or name is `hpc`, else the last. nil where
  ///   no Slurm can be had, which is told; the agents are then all process clusters.
  func startSlurm(for specifications: [AgentSpecification]) async throws -> String? {
    guard
      let member = specifications.last(where: { $0.name == "hpc" || $0.labels["kind"] == "hpc" }) ?? specifications.last
    else { return nil }
    if let missing = SlurmPrograms.missing {
      Terminal.note("\(missing.publicMessage) Agent \(member.name) runs plain processes instead.")
      return nil
    }
    Terminal.note("Starting a Slurm cluster for agent \(member.name) ...")
    try FileManager.default.createDirectory(atPath: slurmShared, withIntermediateDirectories: true)
    try await slurm().start(timeout: .seconds(60))
    return member.name
  }
}
