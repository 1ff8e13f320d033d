import FederationAPI
import FederationHarness
import Foundation
import LocalSlurm
import TestSupport

/// Clusters of a test's federation that are real Slurm clusters.
enum SlurmMember {
  /// An agent as an ordinary user has it on a login node: without root, its runs in sandboxes.
  ///
  /// - Parameters:
  ///   - block: keys of the block `slurm` with their YAML, beside those that name the cluster.
  static func agent(
    _ name: String, of cluster: LocalSlurmCluster, _ slurm: SlurmFixture, labels: [String: String] = [:],
    coreHour: Double? = nil, block: [String: String] = [:], keys: [String: String] = [:]
  ) -> FederationOptions.Agent {
    var agent = FederationOptions.Agent(name, executor: "slurm", labels: labels, coreHour: coreHour)
    let own = [
      "sharedDirectory": "\(slurm.shared)/\(name)", "slurmConf": cluster.configurationFile, "pollInterval": "500ms",
    ]
    let members = own.merging(block) { $1 }.sorted { $0.key < $1.key }
    agent.keys = keys
    agent.keys["slurm"] = "\n" + members.map { "  \($0.key): \($0.value)" }.joined(separator: "\n")
    agent.user = "nobody"
    return agent
  }
}

extension Federation {
  /// Waits until a cluster's agent is connected.
  func connected(_ name: String, timeout: Duration = .seconds(60)) async throws {
    try await poll("\(name) is connected", timeout: timeout) {
      (try? await client().cluster(name))?.live?.isConnected == true
    }
  }
}
