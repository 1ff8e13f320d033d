/// How a run ended, as the cluster reports it.
public struct TaskOutcome: Hashable, Sendable, Codable {
  /// Always terminal.
  public var phase: RunPhase
  /// Of the user's program; nil when it never ran or was ended by a signal before it could say.
  public var exitCode: Int32?
  /// Why, for people. Empty on success.
  public var message: String
  public var outputs: TaskOutputs

  public init(phase: RunPhase, exitCode: Int32? = nil, message: String = "", outputs: TaskOutputs = TaskOutputs()) {
    self.phase = phase
    self.exitCode = exitCode
    self.message = message
    self.outputs = outputs
  }
}

/// What a task hands on.
public struct TaskOutputs: Hashable, Sendable, Codable {
  /// The last 256 KiB of standard output with one trailing newline dropped; nil when it was not asked for.
  public var result: String?
  public var parameters: [String: String]
  public var artifacts: [String: StoredArtifact]
  /// How the containers of a set have ended, by their names; nil for every other run.
  public var exitCodes: [String: Int32]?
  public init(result: String? = nil, parameters: [String: String] = [:], artifacts: [String: StoredArtifact] = [:]) {
    self.result = result
    self.parameters = parameters
    self.artifacts = artifacts
  }
  public var isEmpty: Bool { result == nil && parameters.isEmpty && artifacts.isEmpty && exitCodes == nil }
}
