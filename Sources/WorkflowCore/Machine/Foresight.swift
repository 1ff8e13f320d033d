public import FederationModel

/// How a machine goes on where it would need a value that only a run can give: for plans of workflows that nobody has run.
///
/// Runs that are only imagined hand on `unknown`, and whatever is made of it holds it. A loop over it gets `fanOut` items, a condition on
/// it holds unless its step would call a template from within itself, and an expression that fails for it is unknown again.
public struct Foresight: Hashable, Sendable {
  /// No document means this text.
  public static let unknown = "\u{27E8}not known yet\u{27E9}"
  /// At most so many assumptions are told of.
  public static let assumptionsMax = 100

  /// Items that a list is taken to have of which only a run says how long it is.
  public var fanOut: Int
  /// In the order in which they were made, each once.
  public internal(set) var assumptions: [Assumption] = []

  /// What was taken for true without knowing it. `step`: the step or task as its template names it.
  public enum Assumption: Hashable, Sendable {
    case items(template: String, step: String, count: Int)
    case holds(template: String, step: String, condition: String)
    case endsRecursion(template: String, step: String)
  }

  public init(fanOut: Int) { self.fanOut = fanOut }

  static func isUnknown(_ text: String) -> Bool { text.contains(unknown) }

  mutating func assume(_ assumption: Assumption) {
    guard assumptions.count < Self.assumptionsMax, !assumptions.contains(assumption) else { return }
    assumptions.append(assumption)
  }
}

extension WorkflowMachine {
  /// What an imagined run of a leaf hands on: defaults and unknown values, and artifacts of expected sizes.
  ///
  /// - Parameters:
  ///   - spec: the leaf's own.
  ///   - size: of an artifact, by its name; nil where nobody knows.
  public func foreseenOutputs(
    of node: NodeID, _ spec: TaskSpec, on cluster: ClusterName, size: (String) -> ByteCount?
  ) -> TaskOutputs {
    var outputs = TaskOutputs(result: spec.capturesResult ? Foresight.unknown : nil)
    for parameter in spec.outputParameters {
      outputs.parameters[parameter.name] = parameter.defaultValue ?? Foresight.unknown
    }
    for (index, artifact) in spec.outputArtifacts.enumerated() {
      // No two outputs have the same name, and none that of real bytes.
      let name = "\(node.ordinal)-\(index)"
      outputs.artifacts[artifact.name] = StoredArtifact(
        key: artifact.key ?? name, size: size(artifact.name) ?? .zero, sha256: "planned-" + name,
        archive: artifact.archive, producedOn: cluster)
    }
    return outputs
  }

  /// Whether a step runs whose condition depends on what is not known; see `Foresight`.
  mutating func assumeCondition(of call: StepCall, _ text: String) -> Bool {
    let template = nodes[Int(call.boundary)].templateName
    var current: Int32? = call.boundary
    while let node = current {
      if nodes[Int(node)].templateName == call.step.template {
        foresight?.assume(.endsRecursion(template: template, step: call.step.name))
        return false
      }
      current = nodes[Int(node)].boundary?.ordinal
    }
    foresight?.assume(.holds(template: template, step: call.step.name, condition: call.step.when ?? text))
    return true
  }
}
