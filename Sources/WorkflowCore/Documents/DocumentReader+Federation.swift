import FederationModel

extension DocumentReader {
  /// The annotation whose JSON text stands for a `federation:` block.
  static let federationAnnotation = "fubini.dev/federation"

  mutating func readFederation(_ node: DocumentNode) -> FederationBlock {
    var block = FederationBlock()
    fields(of: node, FieldTables.federation) { reader, key, value in
      switch key {
      case "clusters": reader.readClusters(value, into: &block)
      case "walltime":
        guard let text = reader.durationText(value) else { return }
        block.walltime = GoDuration.parse(text)
        if block.walltime == .zero || text.contains("{{") {
          reader.report("must be a duration above zero, without tags", at: value.mark)
        }
      case "priorityClass": block.priorityClass = reader.choice(value)
      case "onDisconnect": block.onDisconnect = reader.choice(value)
      default:
        guard let text = reader.text(value) else { return }
        block.maxPrice = Money(text)
        if block.maxPrice == nil {
          reader.report("must be an amount like \"12.50 CNY\", not \"\(text)\"", at: value.mark)
        }
      }
    }
    return block
  }

  private mutating func readClusters(_ node: DocumentNode, into block: inout FederationBlock) {
    var result = block
    fields(of: node, FieldTables.clusters) { reader, key, value in
      switch key {
      case "kinds": result.kinds = reader.list(value) { reader, item -> ClusterKind? in reader.choice(item) }
      case "labels": result.labels = reader.textMap(value)
      default: result.exclude = reader.texts(value).map { ClusterName($0) }
      }
    }
    block = result
  }

  /// The block that an annotation holds as JSON, for clients that drop fields they do not know; nil when there is none.
  mutating func readFederationAnnotation(_ annotations: [String: String], at mark: SourceMark) -> FederationBlock? {
    guard let text = annotations[Self.federationAnnotation] else { return nil }
    return at("annotations") { reader in
      reader.at(Self.federationAnnotation) { reader in
        do throws(DocumentErrors) {
          let node = try JSONDocumentParser.parse(Array(text.utf8), limits: .standard)
          return reader.readFederation(node.marked(mark))
        } catch {
          reader.report(error.problems.first?.message ?? "not readable as JSON", at: mark)
          return nil
        }
      }
    }
  }
}

extension DocumentNode {
  /// The same tree, every part of it standing at `mark`: JSON inside a text has no lines of its own.
  func marked(_ mark: SourceMark) -> DocumentNode {
    switch value {
    case .sequence(let items): DocumentNode(.sequence(items.map { $0.marked(mark) }), mark: mark)
    case .mapping(let members):
      DocumentNode(
        .mapping(members.map { Member(key: $0.key, keyMark: mark, value: $0.value.marked(mark)) }), mark: mark)
    default: DocumentNode(value, mark: mark)
    }
  }
}
