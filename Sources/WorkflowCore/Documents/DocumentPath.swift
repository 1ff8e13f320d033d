/// A place in a document: `spec.templates[2].dag.tasks[0].depends`.
struct DocumentPath: Hashable, Sendable, CustomStringConvertible {
  enum Component: Hashable, Sendable {
    case key(String)
    case index(Int)
  }

  var components: [Component] = []

  static func / (path: Self, key: String) -> Self { DocumentPath(components: path.components + [.key(key)]) }
  static func / (path: Self, index: Int) -> Self { DocumentPath(components: path.components + [.index(index)]) }

  var description: String {
    var text = ""
    for component in components {
      switch component {
      case .index(let index): text += "[\(index)]"
      case .key(let key) where key.utf8.contains(where: { $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "[") }):
        text += "[\"\(key)\"]"
      case .key(let key): text += text.isEmpty ? key : "." + key
      }
    }
    return text
  }

  /// Where the value stands in `root`; where its nearest surviving ancestor stands when the document does not have it.
  func mark(in root: DocumentNode) -> SourceMark {
    var node = root
    for component in components {
      switch (component, node.value) {
      case (.key(let key), .mapping(let members)):
        guard let member = members.first(where: { $0.key == key }) else { return node.mark }
        node = member.value
      case (.index(let index), .sequence(let items)) where items.indices.contains(index): node = items[index]
      default: return node.mark
      }
    }
    return node.mark
  }
}
