import FederationModel

extension WorkflowDefinition {
  /// The same workflow with values for its arguments: `submit -p name=value`.
  ///
  /// - Throws: `DocumentErrors` for each name that `spec.arguments.parameters` does not have and each value outside
  ///   an enum.
  public func withArguments(_ parameters: [String: String]) throws(DocumentErrors) -> WorkflowDefinition {
    if parameters.isEmpty { return self }
    try checkArguments(parameters)
    var root = try editable()
    root.update(["spec"]) { Self.set(parameters, in: &$0) }
    return try WorkflowDefinition(trusted: root)
  }

  /// Parameters of the template that the workflow takes whole.
  private static func append(_ parameters: [String: String], to spec: inout DocumentNode) {
    var arguments = spec["arguments"].flatMap { $0.isNull ? nil : $0 } ?? DocumentNode(.mapping([]))
    var items: [DocumentNode] = []
    if case .sequence(let written)? = arguments["parameters"]?.value { items = written }
    for (name, value) in parameters.sorted(by: { $0.key < $1.key }) {
      items.append(DocumentNode(.mapping([.init("name", .string(name)), .init("value", .string(value))])))
    }
    arguments.set("parameters", to: DocumentNode(.sequence(items)))
    spec.set("arguments", to: arguments)
  }

  /// The tree of the document, with its lines where they are still needed.
  func editable() throws(DocumentErrors) -> DocumentNode {
    if let tree { return tree }
    let root = try JSONDocumentParser.parse(Array(canonicalJSON.utf8), limits: .stored)
    // What was made of two documents would have to be made again.
    guard root["status"] == nil else {
      throw DocumentErrors.syntax("a workflow is changed before the templates of other documents are put into it")
    }
    return root
  }

  /// Whether the spec is to be taken from another document, which is not here yet.
  var isOpen: Bool { references.contains { $0.template == nil } }

  /// The same workflow begun at another template.
  ///
  /// - Throws: `DocumentErrors` when there is no such template.
  public func withEntrypoint(_ name: String) throws(DocumentErrors) -> WorkflowDefinition {
    let template = template(named: name)
    guard isOpen || template.map({ !$0.isInline && TemplateScope.split($0.name).scope == .local }) == true else {
      let names = spec.templates.filter { !$0.isInline && TemplateScope.split($0.name).scope == .local }.map(\.name)
      throw DocumentErrors(problems: [
        DocumentProblem(
          path: "spec.entrypoint", message: "there is no template \"\(name)\"; there are \(Self.listing(names))",
          suggestion: NearestName.find(name, among: names))
      ])
    }
    var root = try editable()
    root.update(["spec"]) { $0.set("entrypoint", to: DocumentNode(.string(name))) }
    return try WorkflowDefinition(trusted: root)
  }

  /// The same workflow with more labels; of one key the value given here holds.
  ///
  /// - Throws: `DocumentErrors` for what Kubernetes would not take as a label.
  /// - Source: Kubernetes documentation, "Labels and Selectors", syntax and character set.
  public func withLabels(_ labels: [String: String]) throws(DocumentErrors) -> WorkflowDefinition {
    if labels.isEmpty { return self }
    var problems: [DocumentProblem] = []
    for (key, value) in labels.sorted(by: { $0.key < $1.key }) where !Self.isLabel(key, value) {
      problems.append(
        DocumentProblem(
          path: "metadata.labels",
          message:
            "\"\(key.prefix(80))=\(value.prefix(80))\" is no label: key and value have at most 63 letters, digits, "
            + "dashes, underscores and dots, and begin and end with a letter or digit; a key may have a prefix and a slash"
        ))
    }
    guard problems.isEmpty else { throw DocumentErrors(problems: problems) }
    var root = try editable()
    let members = metadata.labels.merging(labels) { $1 }.sorted { $0.key < $1.key }.map {
      DocumentNode.Member(key: $0.key, keyMark: .none, value: DocumentNode(.string($0.value)))
    }
    if root["metadata"] == nil { root.set("metadata", to: DocumentNode(.mapping([]))) }
    root.update(["metadata"]) { $0.set("labels", to: DocumentNode(.mapping(members))) }
    return try WorkflowDefinition(trusted: root)
  }

  /// The document of a workflow that has run, with other values for its arguments. Templates of other documents stay as they are in it.
  ///
  /// - Throws: as `withArguments`.
  public func withNewArguments(_ parameters: [String: String]) throws(DocumentErrors) -> WorkflowDefinition {
    if parameters.isEmpty { return self }
    try checkArguments(parameters)
    var root = try JSONDocumentParser.parse(Array(canonicalJSON.utf8), limits: .stored)
    let copy = ["status", "storedWorkflowTemplateSpec"]
    if root["status"]?["storedWorkflowTemplateSpec"] != nil {
      root.update(copy[...]) { Self.set(parameters, in: &$0) }
    }
    root.update(["spec"]) { Self.set(parameters, in: &$0) }
    return try WorkflowDefinition(trusted: root)
  }

  /// Sets values, of parameters that are written there and of others.
  private static func set(_ values: [String: String], in spec: inout DocumentNode) {
    var open = values
    spec.update(["arguments", "parameters"]) { list in
      guard case .sequence(var items) = list.value else { return }
      for index in items.indices {
        guard let name = items[index]["name"]?.scalarText, let value = open.removeValue(forKey: name) else { continue }
        items[index].set("value", to: DocumentNode(.string(value)))
        items[index].remove("valueFrom")
      }
      list.value = .sequence(items)
    }
    if !open.isEmpty { append(open, to: &spec) }
  }

  /// The author's document for a further run of the workflow called `name`, as Argo's `resubmit` makes it: under a generated name, with a
  /// label that says of which it is.
  ///
  /// - Parameter keepingTemplates: Templates of other documents stay as they are in it; else they are to be resolved anew.
  /// - Source: Argo Workflows v3.7, `workflow/util/util.go`, `FormulateResubmitWorkflow`.
  public func resubmitted(
    from name: String, keepingTemplates: Bool = false
  ) throws(DocumentErrors) -> WorkflowDefinition {
    var root = try JSONDocumentParser.parse(Array(canonicalJSON.utf8), limits: .stored)
    if !keepingTemplates { root.remove("status") }
    var written = root["metadata"] ?? DocumentNode(.mapping([]))
    if written["generateName"]?.scalarText?.isEmpty ?? true {
      written.set("generateName", to: DocumentNode(.string(name + "-")))
    }
    written.remove("name")
    var labels = written["labels"].flatMap { $0.isNull ? nil : $0 } ?? DocumentNode(.mapping([]))
    // A label's value has at most 63 characters.
    labels.set("workflows.argoproj.io/resubmitted-from-workflow", to: DocumentNode(.string(String(name.prefix(63)))))
    written.set("labels", to: labels)
    root.set("metadata", to: written)
    root.update(["spec"]) { $0.remove("shutdown") }
    return try WorkflowDefinition(trusted: root.marked(.none))
  }

  private static func isLabel(_ key: String, _ value: String) -> Bool {
    let parts = key.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count <= 2, let name = parts.last, isLabelText(name), value.isEmpty || isLabelText(value[...]) else {
      return false
    }
    return parts.count == 1
      || (1...253).contains(parts[0].utf8.count)
        && parts[0].split(separator: ".", omittingEmptySubsequences: false).allSatisfy(isLabelText)
  }

  private static func isLabelText(_ text: Substring) -> Bool {
    func isAlphanumeric(_ byte: UInt8) -> Bool {
      (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
    }
    guard (1...63).contains(text.utf8.count), let first = text.utf8.first, let last = text.utf8.last else {
      return false
    }
    return isAlphanumeric(first) && isAlphanumeric(last)
      && text.utf8.allSatisfy { isAlphanumeric($0) || $0 == 0x2d || $0 == 0x5f || $0 == 0x2e }
  }

  private func checkArguments(_ parameters: [String: String]) throws(DocumentErrors) {
    var problems: [DocumentProblem] = []
    let known = spec.arguments.parameters
    for (name, value) in parameters.sorted(by: { $0.key < $1.key }) {
      guard let position = known.firstIndex(where: { $0.name == name }) else {
        // It is the other document's to have; Argo takes it whether or not it does.
        if isOpen, NamePattern.parameter.matches(name), !value.utf8.contains(0) { continue }
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
