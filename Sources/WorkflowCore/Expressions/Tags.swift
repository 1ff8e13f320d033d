import FederationModel

/// `{{tag}}` and `{{=expression}}` in texts.
///
/// One pass, linear in the text and the values put in: what a tag is replaced by is never scanned again, so a task's output
/// cannot smuggle in a tag. In a tag may stand others, which are replaced first: `{{inputs.parameters.{{item}}}}`.
/// - Source: Argo Workflows v4.1, `util/template`.
enum Tags {
  /// A text never grows beyond this by substitution, in bytes.
  static let outputLimit = 16 << 20
  /// Tags within tags; braces deeper down are text.
  static let depthLimit = 8

  static func mayContainTag(_ text: String) -> Bool {
    var previous: UInt8 = 0
    for byte in text.utf8 {
      if byte == 0x7b, previous == 0x7b { return true }
      previous = byte
    }
    return false
  }

  /// Replaces every tag by its value. An unclosed `{{` stays as it is, and so does a tag that another tool wants.
  ///
  /// - Parameter keepsUnknown: an expression that is a name which nothing is known of stays as it is.
  /// - Throws: `FederationError` (`invalidArgument`) for an unknown name or an expression that fails.
  static func substitute(
    _ text: String, values: [String: ExprValue] = [:], at moment: ExpressionMoment = ExpressionMoment(),
    keepsUnknown: Bool = false, _ lookup: (String) -> TagValue
  ) throws -> String {
    // `output[0]` is the text, `output[n]` what stands in the innermost of n open tags.
    var output: [[UInt8]] = [[]]
    var size = 0
    func put(_ bytes: some Collection<UInt8>) throws {
      size += bytes.count
      guard size <= outputLimit else {
        throw FederationError(
          .invalidArgument, "a text grows beyond \(outputLimit >> 20) MiB when its tags are replaced")
      }
      output[output.count - 1].append(contentsOf: bytes)
    }
    for piece in pieces(of: text) {
      switch piece {
      case .text(let slice): try put(slice)
      case .expression(let content):
        let value = try ExprLang.evaluate(String(decoding: content, as: UTF8.self), values: values, at: moment) {
          lookup($0).string
        }
        if keepsUnknown, value.isUnknownName {
          try put(braced([0x3d] + content))
        } else {
          try put(value.text().utf8)
        }
      case .open: output.append([])
      case .close:
        let content = output.removeLast()
        size -= content.count
        if let value = try value(ofTag: content, lookup) { try put(value.utf8) } else { try put(braced(content)) }
      }
    }
    return String(decoding: output[0], as: UTF8.self)
  }

  /// What a simple tag is replaced by; nil: it stays as it is.
  private static func value(ofTag content: [UInt8], _ lookup: (String) -> TagValue) throws -> String? {
    let name = trimmed(content[...])
    switch lookup(name) {
    case .text(let value): return value
    case .absent: return nil
    case .skipped:
      throw FederationError(
        .invalidArgument,
        "unable to substitute {{\(name)}}: output is an absent optional (skipped/omitted node with no default)")
    case .unknown:
      guard isOurs(name) else { return nil }
      throw FederationError(.invalidArgument, "failed to resolve {{\(name)}}")
    }
  }

  /// Whether a name begins as those do that workflows know; every other one is somebody else's (`{{.State}}`).
  static func isOurs(_ name: String) -> Bool { roots.contains(String(name.prefix { $0 != "." })) }

  private static let roots: Set<String> = [
    "inputs", "item", "lastRetry", "node", "outputs", "pod", "retries", "steps", "tasks", "workflow",
  ]

  private static func braced(_ content: [UInt8]) -> [UInt8] { [0x7b, 0x7b] + content + [0x7d, 0x7d] }

  /// The name when the text is exactly one simple tag without others in it, blanks around it allowed; else nil.
  static func onlyName(in text: String) -> String? {
    var name: String?
    var isOpen = false
    for piece in pieces(of: text) {
      switch piece {
      case .open:
        guard name == nil, !isOpen else { return nil }
        isOpen = true
      case .text(let slice):
        if isOpen {
          name = (name ?? "") + String(decoding: slice, as: UTF8.self)
        } else if slice.contains(where: {
          !isBlank($0)
        }) {
          return nil
        }
      case .close: isOpen = false
      case .expression: return nil
      }
    }
    return name.map { trimmed(Array($0.utf8)[...]) }
  }

  /// Whether a document looks at any node's `outputs.result`.
  static func mentionsResult(_ document: String) -> Bool {
    let bytes = Array(document.utf8)
    let needle = Array("result".utf8)
    guard bytes.count > needle.count else { return false }
    var index = 1
    while index + needle.count <= bytes.count {
      // `.result` in a tag, `['result']` in an expression.
      if bytes[index] == needle[0], [0x2e, 0x27, 0x22].contains(bytes[index - 1]),
        bytes[index..<(index + needle.count)].elementsEqual(needle)
      {
        return true
      }
      index += 1
    }
    return false
  }

  private enum Piece {
    case text(ArraySlice<UInt8>)
    /// Between `{{=` and `}}`.
    case expression(ArraySlice<UInt8>)
    /// `{{` of a tag that is closed, and its `}}`; what stands between is text, and further tags.
    case open
    case close
  }

  private static func pieces(of text: String) -> [Piece] {
    let bytes = Array(text.utf8)
    var pieces: [Piece] = []
    // Where the tags that are open stand among the pieces, and in the text.
    var open: [(piece: Int, byte: Int)] = []
    var start = 0
    var index = 0
    func flush(_ end: Int) {
      if start < end { pieces.append(.text(bytes[start..<end])) }
    }
    while index + 1 < bytes.count {
      if bytes[index] == 0x7b, bytes[index + 1] == 0x7b, open.count < depthLimit {
        if index + 2 < bytes.count, bytes[index + 2] == UInt8(ascii: "=") {
          guard let end = closing(bytes, from: index + 2) else { break }
          flush(index)
          pieces.append(.expression(bytes[(index + 3)..<end]))
          index = end + 2
        } else {
          flush(index)
          open.append((pieces.count, index))
          pieces.append(.open)
          index += 2
        }
        start = index
      } else if bytes[index] == 0x7d, bytes[index + 1] == 0x7d, !open.isEmpty {
        flush(index)
        open.removeLast()
        pieces.append(.close)
        index += 2
        start = index
      } else {
        index += 1
      }
    }
    flush(bytes.count)
    for tag in open { pieces[tag.piece] = .text(bytes[tag.byte..<(tag.byte + 2)]) }
    return pieces
  }

  /// Where `}}` closes a tag. In an expression, braces inside quotes do not count.
  private static func closing(_ bytes: [UInt8], from start: Int) -> Int? {
    let isExpression = start < bytes.count && bytes[start] == UInt8(ascii: "=")
    var quote: UInt8?
    var index = start
    while index + 1 < bytes.count {
      let byte = bytes[index]
      if isExpression, let open = quote {
        if byte == UInt8(ascii: "\\") { index += 1 } else if byte == open { quote = nil }
      } else if isExpression, byte == 0x22 || byte == 0x27 {
        quote = byte
      } else if byte == 0x7d, bytes[index + 1] == 0x7d {
        // Of a longer run of braces, the last two close an expression: `{{={'k': 1}}}`.
        var last = index
        while isExpression, last + 2 < bytes.count, bytes[last + 2] == 0x7d { last += 1 }
        return last
      }
      index += 1
    }
    return nil
  }

  private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }

  private static func trimmed(_ bytes: ArraySlice<UInt8>) -> String {
    var bytes = bytes
    while let first = bytes.first, isBlank(first) { bytes.removeFirst() }
    while let last = bytes.last, isBlank(last) { bytes.removeLast() }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension TagValue {
  /// nil where there is no value, which is what expressions see.
  var string: String? { if case .text(let text) = self { text } else { nil } }
}
