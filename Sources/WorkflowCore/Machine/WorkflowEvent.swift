public import FederationModel

/// What can happen to a workflow.
public enum WorkflowEvent: Hashable, Sendable, Codable {
  /// Once, when its turn has come.
  case start
  /// What earlier events left undone goes on.
  case proceed
  case taskStarted(NodeID, cluster: ClusterName, runsAs: String)
  /// The outcome's phase is one of the terminal ones of `RunPhase`.
  case taskEnded(NodeID, TaskOutcome)
  /// The moment that `nextWake` named has come.
  case timeReached
  /// Of the whole workflow.
  case suspend
  case resume
  /// Ends the suspend nodes that `selector` finds; `parameters` become their `supplied` outputs.
  case resumeNodes(selector: NodeSelector, parameters: [String: String])
  /// Gives the suspend nodes that `selector` finds outputs, a message (may be empty) or, with a terminal phase, their end.
  case setNodes(selector: NodeSelector, phase: NodePhase?, message: String, parameters: [String: String])
  /// `message` says why, for people; may be empty.
  case stop(message: String)
  case terminate
  /// The locks that a node, or (nil) the workflow, asked for are its own now.
  case locksAcquired(NodeID?)
  /// It waits for them; `message` says for which, for people.
  case locksAwaited(NodeID?, message: String)
  /// It can never have them.
  case locksRefused(NodeID?, message: String)
  /// What a memoized node's cache has for it; nil for nothing.
  case recalled(NodeID, outputs: TaskOutputs?)
  /// Of a workflow that ended Failed or Error: what failed runs again, and with `restartSuccessful` what `selector` finds, too.
  case retry(restartSuccessful: Bool, selector: NodeSelector?)
}

/// Which nodes a command is about.
public indirect enum NodeSelector: Hashable, Sendable, Codable {
  /// All of these hold.
  case every([NodeSelector])
  case phase(NodePhase)
  /// A template of another document; nil for any of it.
  case templateRef(name: String?, template: String?)
  /// An input parameter with this value.
  case input(name: String, value: String)
  case all
  /// The node's full name or Argo's id of it.
  case name(String)
  case displayName(String)
  case templateName(String)
}

extension NodeSelector {
  /// Argo's `--node-field-selector`: `displayName=a,phase=Failed`; every condition must hold.
  ///
  /// - Throws: `.invalidArgument` for a field that there is not.
  /// - Source: Argo Workflows v3.7, `workflow/util/util.go`, `SelectorMatchesNode`.
  public init(fields text: String) throws {
    let selectors = try text.split(separator: ",").map { try Self.field(String($0)) }
    guard let first = selectors.first else { throw Self.unknown(text) }
    self = selectors.count == 1 ? first : .every(selectors)
  }

  private static func field(_ text: String) throws -> NodeSelector {
    guard let equals = text.firstIndex(of: "=") else { throw unknown(text) }
    let field = text[..<equals].trimmingBlanks
    let value = text[text.index(after: equals)...].drop { $0 == "=" }.trimmingBlanks
    switch field {
    case "name", "id": return .name(value)
    case "displayName": return .displayName(value)
    case "templateName": return .templateName(value)
    case "phase":
      guard let phase = NodePhase(rawValue: value) else { throw unknown(text) }
      return .phase(phase)
    case "templateRef.name": return .templateRef(name: value, template: nil)
    case "templateRef.template": return .templateRef(name: nil, template: value)
    default:
      let parts = field.split(separator: ".", maxSplits: 2)
      guard parts.count == 3, parts[0] == "inputs", parts[1] == "parameters", parts[2].hasSuffix(".value") else {
        throw unknown(text)
      }
      return .input(name: String(parts[2].dropLast(".value".count)), value: value)
    }
  }

  private static func unknown(_ text: String) -> FederationError {
    FederationError(
      .invalidArgument,
      "a node selector is name=, id=, displayName=, templateName=, phase=, templateRef.name=, templateRef.template= or "
        + "inputs.parameters.NAME.value=, joined by commas, not \"\(text.prefix(80))\"")
  }
}

extension Substring {
  fileprivate var trimmingBlanks: String {
    String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
  }
}

/// What is to be done, in order.
public enum WorkflowAction: Hashable, Sendable {
  /// A task that needs a run. From now until `.taskEnded` the control plane owns it.
  case launch(NodeID)
  /// Its run is no longer wanted; the answer is `.taskEnded` with `.cancelled`, or another end that came first.
  case cancel(NodeID, reason: String)
  /// A node, or (nil) the workflow, waits for the locks in its record; one of the events `locks...` answers.
  case acquire(NodeID?)
  /// It holds them no longer, or does not wait any more.
  case release(NodeID?)
  /// A memoized node wants what its cache has, if that is not older (nil: of any age); `recalled` answers.
  case recall(NodeID, maxAge: Duration?)
  /// A memoized node's outputs are to be kept.
  case remember(NodeID)
  /// `status.phase` is terminal. Always the last action.
  case finished
}

/// What has to be persisted.
public struct WorkflowChanges: Hashable, Sendable {
  /// Created or changed, each once, in ordinal order.
  public var nodes: [NodeID]
  /// Whether `WorkflowMachine.status` changed.
  public var status: Bool
  public init(nodes: [NodeID] = [], status: Bool = false) {
    self.nodes = nodes
    self.status = status
  }
  public var isEmpty: Bool { nodes.isEmpty && !status }
}
