internal import FederationModel
internal import FoundationEssentials
internal import LocalProcess

/// What a running `fubini up` was asked for, kept beside its pid: a second `up` can then say what it would not change.
struct UpOptions: Codable, Hashable, Sendable {
  var agents: [AgentSpecification] = [AgentSpecification(name: "local-1")]
  var httpPort = 0
  var agentHost = "127.0.0.1"
  var advertised: [String] = []
  var isSlurm = false

  static func load(from path: String) -> UpOptions? {
    FileManager.default.contents(atPath: path).flatMap { try? JSONDecoder().decode(UpOptions.self, from: $0) }
  }

  func save(to path: String) throws {
    try PrivateFile.write(String(decoding: JSONEncoder().encode(self), as: UTF8.self), to: path)
  }

  /// What is asked for here and is not so in `running`, for people. What is left at its default asks for nothing.
  ///
  /// - Parameter port: The HTTP port that the running one was given or has drawn.
  func differences(from running: UpOptions, port: Int) -> [String] {
    let defaults = UpOptions()
    var found: [String] = []
    if agents != defaults.agents, agents != running.agents {
      let (asked, there) = (agents.map(\.name), running.agents.map(\.name))
      func list(_ names: [String]) -> String { names.isEmpty ? "none" : names.joined(separator: ", ") }
      found.append(
        asked == there
          ? "an agent's labels, slots, transfer limit or price" : "its agents are \(list(there)), not \(list(asked))")
    }
    if httpPort != 0, httpPort != port { found.append("its HTTP port is \(port), not \(httpPort)") }
    if agentHost != defaults.agentHost, agentHost != running.agentHost {
      found.append("its agents' port listens at \(running.agentHost), not \(agentHost)")
    }
    if !advertised.isEmpty, advertised != running.advertised {
      let there = running.advertised.isEmpty ? "nothing more" : running.advertised.joined(separator: ", ")
      found.append("it advertises \(there), not \(advertised.joined(separator: ", "))")
    }
    if isSlurm, !running.isSlurm { found.append("it has no Slurm cluster") }
    return found
  }
}
