/// Names immutable bytes: what a replica is a replica of, and what one transfer at a time moves (invariant I5).
///
/// Forms: `sha256:<64 hexadecimal digits>` for one object by its content (a stored artifact); `dataset:<project>/<name>@<version>`
/// for a version of a data set; `source:<64 hexadecimal digits>` for an object of somebody else's, by the SHA-256 of its URI and
/// its validator (ETag, or modification time and size).
public struct DataKey: NameValue {
  public let text: String
  public init(_ text: String) { self.text = text }

  /// One object by its content.
  ///
  /// - Parameter sha256: 64 lower-case hexadecimal digits.
  public init(sha256: String) { self.init("sha256:" + sha256) }

  public init(project: ProjectName, dataset: String, version: Int32) {
    self.init("dataset:\(project)/\(dataset)@\(version)")
  }

  /// The checksum of an object that is named by its content; nil for any other.
  public var sha256: String? { text.hasPrefix("sha256:") ? String(text.dropFirst(7)) : nil }
}
