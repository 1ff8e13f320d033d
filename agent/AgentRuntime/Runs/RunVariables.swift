internal import FederationModel

/// A container's environment with the references in it replaced.
///
/// - Source: Kubernetes, pkg/kubelet/kubelet_pods.go, `makeEnvironmentVariables`: a variable may refer to those before it, and to those of
///   whole objects. What one takes from an object by name counts as before those that are written out.
struct RunVariables {
  /// What is written out, replaced, and then what comes from objects. Of two of one name the later counts.
  private(set) var all: [EnvironmentVariable] = []
  /// What a run must be given beside what its template says: values of objects, and variables that refer to others.
  private(set) var added: [EnvironmentVariable] = []
  private var values: [String: String] = [:]
  /// Those whose values are a secret's, or hold one.
  private var secret: Set<String> = []

  /// - Parameter values: what `sources` are worth.
  init(
    _ written: [EnvironmentVariable], _ sources: [EnvironmentSource], values taken: [EnvironmentVariable],
    _ found: [ProjectObject: [String: String]]
  ) throws {
    for source in sources where source.object.kind == .secret {
      switch source {
      case .value(let variable, _, _, _): secret.insert(variable)
      case .all(let object, let prefix, _): secret.formUnion((found[object] ?? [:]).keys.map { prefix + $0 })
      }
    }
    secret.formIntersection(taken.map(\.name))
    for variable in taken { values[variable.name] = variable.value }
    added = taken
    for variable in written {
      var holdsSecret = false
      let value = VariableReferences.expand(variable.value) { name in
        if secret.contains(name) { holdsSecret = true }
        return values[name]
      }
      if value != variable.value { added.append(EnvironmentVariable(name: variable.name, value: value)) }
      if holdsSecret { secret.insert(variable.name) }
      values[variable.name] = value
      all.append(EnvironmentVariable(name: variable.name, value: value))
    }
    all += taken
  }

  /// A command line with its references replaced.
  ///
  /// - Throws: `.failedPrecondition` for one to a secret: a command line is there for everybody to read (I9).
  func expand(_ arguments: [String]) throws -> [String] {
    try arguments.map { argument in
      try VariableReferences.expand(argument) { name throws(FederationError) in
        guard !secret.contains(name) else { throw VariableReferences.secretInArguments(name) }
        return values[name]
      }
    }
  }

  static func areMentioned(in spec: TaskSpec) -> Bool {
    (spec.command + spec.arguments + spec.environment.map(\.value)).contains(where: VariableReferences.mayBeIn)
  }
}
