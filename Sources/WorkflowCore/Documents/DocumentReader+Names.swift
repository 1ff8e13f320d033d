/// The shapes of names that Argo and Kubernetes take.
enum NamePattern {
  /// Templates, steps and tasks: letters, digits and `-`, beginning with a letter or digit; at most 128 characters.
  case field
  /// Parameters and artifacts: letters, digits, `_` and `-`.
  case parameter
  /// RFC 1123 subdomain of at most 253 characters.
  case subdomain
  /// Of the same characters, but it may end in `-`, because characters are appended to it.
  case generatePrefix

  var rule: String {
    switch self {
    case .field: "letters, digits and \"-\", beginning with a letter or digit, at most 128 characters"
    case .parameter: "letters, digits, \"_\" and \"-\", at most 128 characters"
    case .subdomain:
      "lower-case letters, digits, \"-\" and \".\", beginning and ending with a letter or digit (RFC 1123)"
    case .generatePrefix: "lower-case letters, digits, \"-\" and \".\", beginning with a letter or digit (RFC 1123)"
    }
  }

  func matches(_ name: String) -> Bool {
    let bytes = Array(name.utf8)
    guard let first = bytes.first, let last = bytes.last else { return false }
    let isUpperAllowed = self == .field || self == .parameter
    func isAlphanumeric(_ byte: UInt8) -> Bool {
      (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte) || (isUpperAllowed && (0x41...0x5a).contains(byte))
    }
    let dash = UInt8(ascii: "-")
    switch self {
    case .field:
      return bytes.count <= 128 && isAlphanumeric(first) && bytes.allSatisfy { isAlphanumeric($0) || $0 == dash }
    case .parameter:
      return bytes.count <= 128 && bytes.allSatisfy { isAlphanumeric($0) || $0 == dash || $0 == UInt8(ascii: "_") }
    case .subdomain, .generatePrefix:
      guard bytes.count <= (self == .subdomain ? 253 : 248), isAlphanumeric(first) else { return false }
      guard self == .generatePrefix || isAlphanumeric(last) else { return false }
      return bytes.allSatisfy { isAlphanumeric($0) || $0 == dash || $0 == UInt8(ascii: ".") }
    }
  }
}

extension DocumentReader {
  /// Reports a missing, misshapen or repeated name of `node`, and remembers it in `seen`.
  mutating func checkName(
    _ name: String, of kind: String, pattern: NamePattern, seen: inout Set<String>, at node: DocumentNode
  ) {
    let place = node["name"]?.mark ?? node.mark
    if name.isEmpty {
      report("the \(kind) has no name", at: place)
      return
    }
    at("name") { reader in
      if !pattern.matches(name) {
        reader.report("the \(kind) name \"\(name)\" must consist of \(pattern.rule)", at: place)
      }
      if !seen.insert(name).inserted { reader.report("the \(kind) name \"\(name)\" is given twice", at: place) }
    }
  }
}
