internal import FederationModel

/// One line of a watch.
///
/// - Source: Kubernetes API reference, `WatchEvent`; Kubernetes documentation, "Efficient detection of changes".
enum WatchEvent: Equatable {
  case changed(JSONValue)
  case deleted(JSONValue)
  /// Nothing happened up to this version.
  case bookmark(String)
  case failed(KubernetesStatus)
  /// Why it cannot be read.
  case unreadable(String)

  init(line: [UInt8]) {
    let document: JSONValue
    do { document = try JSONReader.value(line) } catch {
      self = .unreadable("a line that is no JSON")
      return
    }
    guard let object = document["object"] else {
      self = .unreadable("a line without an object")
      return
    }
    switch document["type"]?.stringValue {
    case "ADDED", "MODIFIED": self = .changed(object)
    case "DELETED": self = .deleted(object)
    case "BOOKMARK":
      self = Self.version(of: object).map { .bookmark($0) } ?? .unreadable("a bookmark without a version")
    case "ERROR": self = .failed(KubernetesStatus(event: object))
    default: self = .unreadable("a kind of event that is not known: \(document["type"]?.description.prefix(50) ?? "")")
    }
  }

  static func version(of object: JSONValue) -> String? {
    object["metadata"]?["resourceVersion"]?.stringValue.flatMap { $0.isEmpty ? nil : $0 }
  }
}
