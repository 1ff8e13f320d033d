import FederationModel

/// `data` of a template: the names of what is in a bucket, and what expressions make of them.
extension DocumentReader {
  mutating func readData(_ node: DocumentNode, into template: inout WorkflowTemplate) {
    var expressions: [String] = []
    fields(of: node, FieldTables.data) { reader, key, value in
      switch key {
      // Its place is read with the inputs, among which it is put (`placeDataSource`).
      case "source": break
      default:
        expressions = reader.list(value) { reader, item in
          var expression: String?
          reader.fields(of: item, FieldTables.transformation) { reader, _, value in expression = reader.text(value) }
          if expression?.isEmpty ?? true { reader.report("needs an expression", at: item.mark) }
          return expression
        }
      }
    }
    template.transformations = expressions.isEmpty ? [Self.identity] : expressions
  }

  /// What leaves the names as they are.
  private static let identity = "data"

  /// What is listed is an input of the template's own: it is found out where it is as with every other input.
  mutating func placeDataSource(in template: inout WorkflowTemplate, _ node: DocumentNode) {
    var source: WorkflowArtifact?
    at("data") { reader in
      guard let data = node["data"], let place = data["source"] else {
        return reader.report("needs a source", at: node["data"]?.mark ?? node.mark)
      }
      reader.at("source") { reader in
        reader.fields(of: place, FieldTables.dataSource) { reader, _, value in
          reader.takesWholeBuckets = true
          source = reader.readArtifact(value)
          reader.takesWholeBuckets = false
        }
      }
    }
    guard var source else { return }
    if source.name.isEmpty { source.name = Self.identity }
    let isListable = source.key != nil || source.foreign?.bucketKey != nil || source.optional
    if !isListable { report("a data template lists what is in a bucket: artifactPaths needs s3", at: node.mark) }
    if template.inputs.artifacts.contains(where: { $0.name == source.name }) {
      report("the artifact of artifactPaths and an input are both named \"\(source.name)\"", at: node.mark)
    }
    source.optional = false
    source.path = nil
    template.inputs.artifacts.append(source)
  }
}
