import FederationModel

extension WorkflowDefinition {
  /// The same workflow with values for its arguments: `submit -p name=value`.
  ///
  /// - Throws: `DocumentErrors` for each name that `spec.arguments.parameters` does not have and each value outside
  ///   an enum.
  public func withArguments(_ parameters: [String: String]) throws(DocumentErrors) -> WorkflowDefinition {
    if parameters.isEmpty { return self }
    try checkArguments(parameters)
    var root = try JSONDocumentParser.parse(Array(canonicalJSON.utf8), limits: .stored)
    root.update(["spec", "arguments", "parameters"]) { list in
      guard case .sequence(var items) = list.value else { return }
      for index in items.indices {
        guard let name = items[index]["name"]?.scalarText, let value = parameters[name] else { continue }
        items[index].set("value", to: DocumentNode(.string(value)))
        items[index].remove("valueFrom")
      }
      list.value = .sequence(items)
    }
    return try WorkflowDefinition(json: root.canonicalJSON)
  }

  /// The same workflow begun at another template.
  ///
  /// - Throws: `DocumentErrors` when there is no such template.
  public func withEntrypoint(_ name: String) throws(DocumentErrors) -> WorkflowDefinition {
    guard let template = template(named: name), !template.isInline else {
      let names = spec.templates.filter { !$0.isInline }.map(\.name)
      throw DocumentErrors(problems: [
        DocumentProblem(
          path: "spec.entrypoint", message: "there is no template \"\(name)\"; there are \(Self.listing(names))",
          suggestion: NearestName.find(name, among: names))
      ])
    }
    var root = try JSONDocumentParser.parse(Array(canonicalJSON.utf8), limits: .stored)
    root.update(["spec"]) { $0.set("entrypoint", to: DocumentNode(.string(name))) }
    return try WorkflowDefinition(json: root.canonicalJSON)
  }

  private func checkArguments(_ parameters: [String: String]) throws(DocumentErrors) {
    var problems: [DocumentProblem] = []
    let known = spec.arguments.parameters
    for (name, value) in parameters.sorted(by: { $0.key < $1.key }) {
      guard let position = known.firstIndex(where: { $0.name == name }) else {
        let names = known.map(\.name)
        let listing = names.isEmpty ? "the workflow has none" : "there are \(Self.listing(names))"
        problems.append(
          DocumentProblem(
            path: "spec.arguments.parameters", message: "there is no parameter \"\(name)\"; \(listing)",
            suggestion: NearestName.find(name, among: names)))
        continue
      }
      if value.utf8.contains(0) {
        problems.append(
          DocumentProblem(
            path: "spec.arguments.parameters[\(position)].value", message: "a text must not hold the character NUL"))
      }
      if let allowed = known[position].allowedValues, !allowed.contains(value) {
        problems.append(
          DocumentProblem(
            path: "spec.arguments.parameters[\(position)].value",
            message: "the value \"\(value)\" of \(name) is not one of the enum: \(Self.listing(allowed))"))
      }
    }
    if !problems.isEmpty { throw DocumentErrors(problems: problems) }
  }

  private static func listing(_ names: [String]) -> String {
    names.prefix(20).joined(separator: ", ") + (names.count > 20 ? " and \(names.count - 20) more" : "")
  }
}

extension DocumentNode {
  var canonicalJSON: String {
    var text = ""
    writeCanonicalJSON(to: &text)
    return text
  }

  /// Changes the value at `keys` in place; does nothing when it does not exist.
  mutating func update(_ keys: ArraySlice<String>, _ change: (inout DocumentNode) -> Void) {
    guard let key = keys.first else { return change(&self) }
    guard case .mapping(var members) = value, let position = members.firstIndex(where: { $0.key == key }) else {
      return
    }
    members[position].value.update(keys.dropFirst(), change)
    value = .mapping(members)
  }

  mutating func set(_ key: String, to node: DocumentNode) {
    guard case .mapping(var members) = value else { return }
    if let position = members.firstIndex(where: { $0.key == key }) {
      members[position].value = node
    } else {
      members.append(Member(key: key, keyMark: .none, value: node))
    }
    value = .mapping(members)
  }

  mutating func remove(_ key: String) {
    guard case .mapping(let members) = value else { return }
    value = .mapping(members.filter { $0.key != key })
  }
}
