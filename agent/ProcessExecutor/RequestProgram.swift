internal import Supervisor

/// The mode of the agent's program that makes a run's request over HTTP, inside the run's sandbox.
public enum RequestProgram {
  /// The argument that chooses it.
  public static let command = "request"
  /// Where it finds what to ask for, and what that is called among the run's private files: JSON of a `RunHTTP`.
  public static let path = "/.fubini/request"
  public static let fileName = "request"
  static var arguments: [String] { [ContainerPlan.program, command] }
}
