import FederationModel

/// Arguments with every tag replaced.
struct ResolvedArguments: Sendable {
  var parameters: [String: String] = [:]
  var artifacts: [String: InputArtifact.Source] = [:]
  /// Parameters that are nothing but the output of a node that never ran: the reader's own default takes their place.
  var skipped: Set<String> = []
}

/// Arguments into inputs, children's outputs into outputs.
extension WorkflowMachine {
  // MARK: Inputs

  func resolve(_ arguments: WorkflowArguments, in context: TagContext) throws -> ResolvedArguments {
    var resolved = ResolvedArguments()
    for parameter in arguments.parameters {
      if let text = parameter.value, text.hasPrefix("{{"), let name = Tags.onlyName(in: text),
        lookup(name, in: context) == .skipped
      {
        resolved.skipped.insert(parameter.name)
      } else if let value = try value(of: parameter, in: context) {
        resolved.parameters[parameter.name] = value
      }
    }
    for artifact in arguments.artifacts {
      if let source = try source(of: artifact, in: context) { resolved.artifacts[artifact.name] = source }
    }
    return resolved
  }

  /// What a parameter is worth; nil when nobody gives it a value.
  private func value(of parameter: WorkflowParameter, in context: TagContext) throws -> String? {
    if let value = parameter.value { return try substitute(value, in: context) }
    if let valueFrom = parameter.valueFrom {
      let fallback = valueFrom.defaultValue ?? parameter.defaultValue
      switch valueFrom.source {
      case .parameter(let text):
        let found = try reference(text, in: context)
        if case .text(let value) = found { return value }
        guard let fallback else {
          guard found == .skipped else { throw Self.unresolved(text) }
          throw FederationError(
            .invalidArgument,
            "parameter \"\(parameter.name)\": \"\(text)\" is an absent optional (skipped/omitted node output with no default)"
          )
        }
        return try substitute(fallback, in: context)
      case .expression(let text):
        do { return try evaluate(text, in: context).text() } catch {
          if foresight != nil { return Foresight.unknown }
          guard let fallback else { throw error }
          return try substitute(fallback, in: context)
        }
      case .path, .jsonPath, .supplied, nil: return try fallback.map { try substitute($0, in: context) }
      }
    }
    return try parameter.defaultValue.map { try substitute($0, in: context) }
  }

  /// The value of the one tag that `text` is, with or without its braces.
  private func reference(_ text: String, in context: TagContext) throws -> TagValue {
    if let name = Tags.onlyName(in: text) { return lookup(name, in: context) }
    return Tags.mayContainTag(text) ? .text(try substitute(text, in: context)) : lookup(text, in: context)
  }

  static func unresolved(_ tag: String) -> FederationError {
    FederationError(.invalidArgument, "failed to resolve \(tag)")
  }

  /// Where an artifact's bytes are, or those of the part of it that is meant; nil when the document does not say.
  ///
  /// - Source: Argo Workflows v3.7, `workflow/controller/scope.go`, `resolveArtifact`: `subPath` is a part of another artifact. Beside a
  ///   place of its own it means nothing; pydflow writes both, with the part in the key already.
  func source(of artifact: WorkflowArtifact, in context: TagContext) throws -> InputArtifact.Source? {
    guard let source = try wholeSource(of: artifact, in: context) else { return nil }
    guard let part = artifact.subPath, artifact.from != nil || artifact.fromExpression != nil else { return source }
    let path = try substitute(part, in: context).split(separator: "/").filter { $0 != "." }
    guard !path.isEmpty else { return source }
    guard !path.contains("..") else {
      throw FederationError(.invalidArgument, "artifact \(artifact.name): subPath cannot have `..`")
    }
    return try source.part(path.joined(separator: "/"), of: artifact.name)
  }

  private func wholeSource(of artifact: WorkflowArtifact, in context: TagContext) throws -> InputArtifact.Source? {
    if let raw = artifact.raw { return .raw(try substitute(raw, in: context)) }
    if let foreign = artifact.foreign {
      let origin: DataOrigin
      do { origin = try foreign.origin { try substitute($0, in: context) } } catch var error as FederationError {
        error.publicMessage = "artifact \(artifact.name): \(error.publicMessage)"
        throw error
      }
      let path = origin.uri.prefix { $0 != "?" }
      let isTar = path.hasSuffix(".tgz") || path.hasSuffix(".tar.gz")
      if origin.isGit { return .foreign(ForeignArtifact(origin: origin, archive: .tar)) }
      return .foreign(ForeignArtifact(origin: origin, archive: artifact.archive ?? (isTar ? .tar : .none)))
    }
    if let key = artifact.key {
      let key = try substitute(key, in: context)
      let archive: ArchiveFormat =
        key.hasSuffix(".tgz") || key.hasSuffix(".tar.gz") ? .tar : key.hasSuffix(".zip") ? .zip : .none
      return .stored(StoredArtifact(key: key, size: .zero, sha256: "", archive: artifact.archive ?? archive))
    }
    var name: String?
    if let from = artifact.from {
      name = Tags.onlyName(in: from) ?? from
    } else if let expression = artifact.fromExpression {
      name = try evaluate(expression, in: context).reference
    } else {
      return nil
    }
    if let name, let found = artifactSource(named: name, in: context) {
      // An optional input that nobody gave is handed on as such; who needs it says so.
      if found != .absent || artifact.optional || name.hasPrefix("inputs.") { return found }
    } else if artifact.optional || name.map({ isLeftOut($0, in: context) }) == true {
      return .absent
    }
    throw Self.unresolved("artifact \(artifact.from ?? artifact.fromExpression ?? artifact.name)")
  }

  /// Whether a name stands for an output that its maker was free to leave out, and has: who needs it says so.
  private func isLeftOut(_ name: String, in context: TagContext) -> Bool {
    let parts = name.split(separator: ".", maxSplits: 4)
    guard parts.count == 5, parts[0] == "steps" || parts[0] == "tasks", parts[2] == "outputs", parts[3] == "artifacts",
      context.owner >= 0, let found = members(ofStep: String(parts[1]), in: context.owner), found.nodes.count == 1
    else { return false }
    let maker = found.nodes[0]
    return nodes[Int(maker)].phase == .succeeded
      && plan(of: maker)?.template.outputs.artifacts.first { $0.name == parts[4] }?.optional == true
  }

  /// The artifact that a name such as `steps.a.outputs.artifacts.b` stands for.
  private func artifactSource(named name: String, in context: TagContext) -> InputArtifact.Source? {
    let prefixes = ["inputs.artifacts.", "workflow.outputs.artifacts."]
    if name.hasPrefix(prefixes[0]), context.owner >= 0 {
      return nodes[Int(context.owner)].inputs.artifact(String(name.dropFirst(prefixes[0].count)))
    }
    if name.hasPrefix(prefixes[1]) {
      return status.outputs.artifacts[String(name.dropFirst(prefixes[1].count))].map(\.source)
    }
    let parts = name.split(separator: ".", maxSplits: 4)
    guard parts.count == 5, parts[0] == "steps" || parts[0] == "tasks", parts[2] == "outputs", parts[3] == "artifacts",
      context.owner >= 0
    else { return nil }
    if let hooked = context.hooked, let own = step(of: hooked), own.name == parts[1] {
      return nodes[Int(hooked)].outputs.artifacts[String(parts[4])].map(\.source)
    }
    guard let found = members(ofStep: String(parts[1]), in: context.owner), found.nodes.count == 1 else { return nil }
    return nodes[Int(found.nodes[0])].outputs.artifacts[String(parts[4])].map(\.source)
  }

  /// Gives a template what it asks for: the caller's values, else its own, else its defaults.
  ///
  /// - Throws: `FederationError` (`invalidArgument`) naming the input that nobody supplied.
  func bind(_ arguments: ResolvedArguments, to template: WorkflowTemplate) throws -> NodeInputs {
    var inputs = NodeInputs()
    for parameter in template.inputs.parameters {
      if let value = try arguments.parameters[parameter.name] ?? value(of: parameter, in: .workflow) {
        inputs.parameters.append(NodeParameter(name: parameter.name, value: value))
      } else if arguments.skipped.contains(parameter.name) {
        throw FederationError(
          .invalidArgument,
          "inputs.parameters.\(parameter.name): argument references an absent optional (skipped/omitted node output with no "
            + "default)")
      } else {
        throw FederationError(.invalidArgument, "inputs.parameters.\(parameter.name) was not supplied")
      }
    }
    var context = TagContext.workflow
    context.boundParameters = inputs.parameters
    for artifact in template.inputs.artifacts {
      var source = arguments.artifacts[artifact.name]
      if source == nil || source == .absent { source = try self.source(of: artifact, in: context) }
      if source == nil || source == .absent {
        guard artifact.optional else {
          throw FederationError(.invalidArgument, "inputs.artifacts.\(artifact.name) was not supplied")
        }
        source = .absent
      }
      inputs.artifacts.append(NodeArtifact(name: artifact.name, source: source ?? .absent))
    }
    return inputs
  }

  /// Whether the entrypoint can be given what it asks for.
  func checkArguments() throws {
    var problems: [DocumentProblem] = []
    let spec = definition.spec
    for (index, parameter) in spec.arguments.parameters.enumerated() {
      let path = "spec.arguments.parameters[\(index)]"
      guard let value = constants["workflow.parameters.\(parameter.name)"] else {
        problems.append(
          DocumentProblem(
            path: path, message: "parameter '\(parameter.name)' has no value; give one with -p \(parameter.name)=..."))
        continue
      }
      if let allowed = parameter.allowedValues, !allowed.contains(value) {
        problems.append(
          DocumentProblem(
            path: path,
            message: "parameter '\(parameter.name)' is '\(value)'; it must be one of \(allowed.joined(separator: ", "))"
          ))
      }
    }
    for key in spec.labelsFrom.keys.sorted() where constants["workflow.labels.\(key)"] == nil {
      problems.append(
        DocumentProblem(
          path: "spec.workflowMetadata.labelsFrom.\(key)",
          message: "the label cannot be made: its expression knows workflow.* and its parameters alone"))
    }
    if let plan = plan(named: spec.entrypoint) {
      do {
        if problems.isEmpty { _ = try bind(try resolve(spec.arguments, in: .workflow), to: plan.template) }
      } catch {
        problems.append(DocumentProblem(path: "spec.arguments", message: Self.message(of: error)))
      }
    } else {
      problems.append(DocumentProblem(path: "spec.entrypoint", message: "template '\(spec.entrypoint)' not found"))
    }
    guard problems.isEmpty else { throw DocumentErrors(problems: problems) }
  }

  // MARK: Outputs

  /// The outputs of a steps or dag template, made from its children's.
  func templateOutputs(of node: Int32) throws -> TaskOutputs {
    guard let template = plan(of: node)?.template else { return TaskOutputs() }
    var outputs = TaskOutputs()
    let context = TagContext.children(of: node)
    for parameter in template.outputs.parameters {
      guard let value = try value(of: parameter, in: context) else {
        throw FederationError(.invalidArgument, "outputs.parameters.\(parameter.name) has no value")
      }
      outputs.parameters[parameter.name] = value
    }
    for artifact in template.outputs.artifacts {
      let name = try outputName(of: artifact, in: context)
      switch try source(of: artifact, in: context) {
      case .stored(let stored): outputs.artifacts[name] = stored
      case .foreign(let foreign): outputs.artifacts[name] = StoredArtifact(foreign)
      case .absent where artifact.optional: break
      case .raw, .absent, nil:
        if artifact.optional { break }
        throw FederationError(.invalidArgument, "outputs.artifacts.\(name) names no stored artifact")
      }
    }
    return outputs
  }

  /// Makes outputs with a `globalName` the workflow's.
  mutating func publishOutputs(of node: Int32) {
    guard let template = plan(of: node)?.template, nodes[Int(node)].type != .taskGroup else { return }
    let outputs = template.outputs
    let context: TagContext = template.isTask ? .leaf(node) : .children(of: node)
    for parameter in outputs.parameters {
      guard let global = try? parameter.globalName.map({ try substitute($0, in: context) }),
        let value = nodes[Int(node)].outputs.parameters[parameter.name]
      else { continue }
      status.outputs.parameters[global] = value
      statusChanged = true
      setOffWorkflowHooks()
    }
    for artifact in outputs.artifacts {
      guard let global = try? artifact.globalName.map({ try substitute($0, in: context) }),
        let name = try? outputName(of: artifact, in: context),
        let value = nodes[Int(node)].outputs.artifacts[name]
      else { continue }
      status.outputs.artifacts[global] = value
      statusChanged = true
    }
  }
}

extension StoredArtifact {
  /// What is elsewhere, as an output.
  init(_ foreign: ForeignArtifact) {
    let path = foreign.origin.uri.prefix { $0 != "?" }
    let key = path.firstRange(of: "://").map { path[$0.upperBound...].drop { $0 != "/" }.dropFirst() } ?? path
    self.init(key: String(key), size: .zero, sha256: "", archive: foreign.archive, origin: foreign.origin)
    subPath = foreign.subPath
  }

  /// What is read where this output is taken.
  var source: InputArtifact.Source {
    guard let origin else { return .stored(self) }
    var foreign = ForeignArtifact(origin: origin, archive: archive)
    foreign.subPath = subPath
    return .foreign(foreign)
  }
}

extension InputArtifact.Source {
  /// A part of it: of what is packed, a part of what comes out; of a bucket's objects, another key.
  func part(_ path: String, of name: String) throws -> Self {
    func joined(_ outer: String?) -> String { outer.map { $0 + "/" + path } ?? path }
    switch self {
    case .raw: throw FederationError(.invalidArgument, "artifact \(name): a raw artifact has no subPath")
    case .absent: return .absent
    case .stored(var stored):
      stored.subPath = joined(stored.subPath)
      return .stored(stored)
    case .foreign(var foreign):
      foreign.object = nil
      if foreign.archive == .none {
        foreign.origin.uri = foreign.origin.appending(path)
      } else {
        foreign.subPath = joined(foreign.subPath)
      }
      return .foreign(foreign)
    }
  }
}
