import FederationModel

extension DocumentReader {
  mutating func readArguments(_ node: DocumentNode) -> WorkflowArguments {
    var arguments = WorkflowArguments()
    fields(of: node, FieldTables.arguments) { reader, key, value in
      if key == "parameters" {
        arguments.parameters = reader.readParameters(value)
      } else {
        arguments.artifacts = reader.readArtifacts(value)
      }
    }
    return arguments
  }

  mutating func readInputs(_ node: DocumentNode) -> TemplateInputs {
    let arguments = readArguments(node)
    return TemplateInputs(parameters: arguments.parameters, artifacts: arguments.artifacts)
  }

  mutating func readOutputs(_ node: DocumentNode) -> TemplateOutputs {
    var outputs = TemplateOutputs()
    fields(of: node, FieldTables.outputs) { reader, key, value in
      if key == "parameters" {
        outputs.parameters = reader.readParameters(value)
      } else {
        outputs.artifacts = reader.readArtifacts(value, mayHaveTags: true)
      }
    }
    return outputs
  }

  mutating func readParameters(_ node: DocumentNode) -> [WorkflowParameter] {
    var names: Set<String> = []
    return list(node) { reader, item in
      let parameter = reader.readParameter(item)
      reader.checkName(parameter.name, of: "parameter", pattern: .parameter, seen: &names, at: item)
      return parameter
    }
  }

  private mutating func readParameter(_ node: DocumentNode) -> WorkflowParameter {
    var parameter = WorkflowParameter(name: "")
    let countBefore = problemCount
    fields(of: node, FieldTables.parameter) { reader, key, value in
      switch key {
      case "name": parameter.name = reader.text(value) ?? ""
      case "value": parameter.value = reader.text(value)
      case "default": parameter.defaultValue = reader.text(value)
      case "enum":
        parameter.allowedValues = reader.texts(value)
        if parameter.allowedValues?.isEmpty == true { reader.report("must list at least one value", at: value.mark) }
      case "globalName": parameter.globalName = reader.text(value)
      case "description": parameter.about = reader.text(value)
      default: parameter.valueFrom = reader.readValueFrom(value)
      }
    }
    if let allowed = parameter.allowedValues, let value = parameter.value, !value.contains("{{"),
      !allowed.contains(value)
    {
      report("the value \"\(value)\" is not one of the enum: \(allowed.joined(separator: ", "))", at: node.mark)
    }
    // What is wrong with it is said; that it now has no value would be said a second time.
    if problemCount > countBefore, parameter.value == nil { parameter.defaultValue = parameter.defaultValue ?? "" }
    return parameter
  }

  private mutating func readValueFrom(_ node: DocumentNode) -> ValueFrom {
    var valueFrom = ValueFrom(source: nil)
    var sourceCount = 0
    fields(of: node, FieldTables.valueFrom) { reader, key, value in
      if key == "default" {
        valueFrom.defaultValue = reader.text(value)
        return
      }
      sourceCount += 1
      switch key {
      case "path": valueFrom.source = reader.absolutePath(value).map { .path($0) }
      case "parameter": valueFrom.source = reader.text(value).map { .parameter($0) }
      case "expression": valueFrom.source = reader.text(value).map { .expression($0) }
      case "jsonPath": valueFrom.source = reader.kubectlPath(value).map { .jsonPath($0) }
      case "configMapKeyRef":
        // The value takes its place when the workflow is submitted (`withConfigMaps`).
        reader.readConfigMapKey(value)
        valueFrom.source = .supplied
      default: valueFrom.source = .supplied
      }
    }
    if sourceCount > 1 { report("takes one source, not \(sourceCount)", at: node.mark) }
    return valueFrom
  }

  /// A value of a config map. It is looked up when a workflow is submitted, so that its name can hold the workflow's parameters alone.
  mutating func readConfigMapKey(_ node: DocumentNode) {
    var given: Set<String> = []
    fields(of: node, FieldTables.configMapKey) { reader, key, value in
      given.insert(key)
      guard key != "optional" else { return _ = reader.bool(value) }
      let tags = DocumentTag.scan(reader.text(value) ?? "").tags
      if tags.contains(where: { !$0.isExpression && !$0.text.hasPrefix("workflow.parameters.") }) {
        reader.report(
          "is looked up when the workflow is submitted, and can hold tags of workflow.parameters alone", at: value.mark)
      }
    }
    if !given.isSuperset(of: ["name", "key"]) {
      report("needs the name of a config map and a key in it", at: node.mark)
    }
  }

  /// - Parameter mayHaveTags: of outputs, whose names are known when their run is.
  mutating func readArtifacts(_ node: DocumentNode, mayHaveTags: Bool = false) -> [WorkflowArtifact] {
    var names: Set<String> = []
    return list(node) { reader, item in
      let artifact = reader.readArtifact(item)
      if mayHaveTags, artifact.name.contains("{{") {
        // When it goes is asked by its name.
        if artifact.collection != nil {
          reader.report("an output whose name has tags goes when the workflow's own artifactGC says", at: item.mark)
        }
        return artifact
      }
      reader.checkName(artifact.name, of: "artifact", pattern: .parameter, seen: &names, at: item)
      return artifact
    }
  }

  mutating func readArtifact(_ node: DocumentNode) -> WorkflowArtifact {
    var artifact = WorkflowArtifact(name: "")
    let countBefore = problemCount
    fields(of: node, FieldTables.artifact) { reader, key, value in
      switch key {
      case "name": artifact.name = reader.text(value) ?? ""
      case "path": artifact.path = reader.absolutePath(value)
      case "mode": artifact.mode = reader.integer(value, in: 0...0o7777).map { Int32($0) }
      case "from": artifact.from = reader.text(value)
      case "fromExpression": artifact.fromExpression = reader.text(value)
      case "optional": artifact.optional = reader.bool(value) ?? false
      case "archive": artifact.archive = reader.readArchive(value)
      case "globalName": artifact.globalName = reader.text(value)
      case "artifactGC": artifact.collection = reader.readCollection(value, FieldTables.artifactGC)
      case "raw":
        reader.fields(of: value, FieldTables.raw) { reader, _, data in artifact.raw = reader.text(data) ?? "" }
      case "http": reader.readHTTP(value, into: &artifact)
      case "git": reader.readGit(value, into: &artifact)
      case "recurseMode": artifact.isModeRecursive = reader.bool(value) ?? false
      case "subPath":
        artifact.subPath = reader.readSubPath(value)
      default: reader.readS3(value, into: &artifact)
      }
    }
    // As in Argo, an address of nothing is no place: an input that may be missing is.
    if let http = node["http"], !http.isNull, http["url"]?.scalarText == "", !artifact.optional {
      report("needs a url", at: http.mark)
    }
    artifact.compressionLevel = node["archive"].flatMap { readCompressionLevel($0) }
    let sources = ["from", "fromExpression", "git", "raw", "s3", "http"].filter { node[$0] != nil }.count
    if sources > 1 { report("takes one of from, fromExpression, raw, s3, http and git, not \(sources)", at: node.mark) }
    // As with parameters: a source that is refused must not be missed as well.
    if problemCount > countBefore { artifact.optional = true }
    return artifact
  }

  /// `artifactGC` of a workflow or of an artifact; an empty strategy is none, as in Argo.
  mutating func readCollection(_ node: DocumentNode, _ table: FieldTable) -> ArtifactGCStrategy? {
    var strategy: ArtifactGCStrategy?
    fields(of: node, table) { reader, _, value in
      if value.scalarText != "" { strategy = reader.choice(value) }
    }
    return strategy
  }

  /// A key is a relative path inside the repository; nothing may climb out of it.
  mutating func readKey(_ node: DocumentNode) -> String? {
    guard let key = text(node) else { return nil }
    if key.hasPrefix("/") || key.utf8.contains(0) || key.split(separator: "/").contains("..") {
      report("must be a key inside the repository: not absolute, without \"..\"", at: node.mark)
    }
    return key
  }

  /// Empty: all of it, as in Argo.
  private mutating func readSubPath(_ node: DocumentNode) -> String? {
    guard let path = text(node), !path.isEmpty else { return nil }
    if path.split(separator: "/").contains("..") || path.utf8.contains(0) {
      report("must be a path below the artifact, without \"..\"", at: node.mark)
    }
    return path
  }

  /// - Source: Go's `compress/gzip`: -1 is the default, 0 (none) becomes the least that gzip knows.
  private mutating func readCompressionLevel(_ archive: DocumentNode) -> Int32? {
    guard let node = archive["tar"]?["compressionLevel"], !node.isNull else { return nil }
    return integer(node, in: -2...9).flatMap { $0 < 0 ? nil : Int32(max(1, $0)) }
  }

  private mutating func readArchive(_ node: DocumentNode) -> ArchiveFormat? {
    var archive: ArchiveFormat?
    fields(of: node, FieldTables.archive) { reader, key, value in
      if archive != nil { reader.report("an artifact has one archive format", at: value.mark) }
      reader.fields(of: value, key == "tar" ? FieldTables.tar : FieldTables.nothing) { _, _, _ in }
      archive = ArchiveFormat(rawValue: key)
    }
    return archive
  }
}
