import FederationModel

/// The items of a loop. A sequence is not written out: a million numbers are two.
enum LoopItems: Hashable, Sendable {
  case list([JSONValue])
  /// From `start` to `end` inclusive, downwards when `end` is less; `format` as in printf, empty for the plain number.
  case numbers(start: Int64, end: Int64, format: String)

  var count: Int {
    switch self {
    case .list(let items): items.count
    case .numbers(let start, let end, _): Int(abs(end - start)) + 1
    }
  }

  /// - Throws: `FederationError` (`invalidArgument`) when the format makes no sense.
  func item(at index: Int) throws -> JSONValue {
    switch self {
    case .list(let items): return items[index]
    case .numbers(let start, let end, let format):
      let value = start <= end ? start + Int64(index) : start - Int64(index)
      return .string(format.isEmpty ? String(value) : try GoFormat.format(format, value))
    }
  }

  /// As `NodeExpansion.items` has it.
  var text: String {
    switch self {
    case .list(let items): JSONValue.array(items).description
    case .numbers(let start, let end, let format):
      JSONValue.object(["start": .integer(start), "end": .integer(end), "format": .string(format)]).description
    }
  }

  /// - Throws: `FederationError` (`internal`) when the text is not one that `text` made.
  init(text: String) throws {
    let value = try? JSONText.parse(text)
    if case .array(let items)? = value {
      self = .list(items)
    } else if let value, let start = value["start"]?.integerValue, let end = value["end"]?.integerValue {
      self = .numbers(start: start, end: end, format: value["format"]?.stringValue ?? "")
    } else {
      throw FederationError(
        .internal, "the stored items of a loop cannot be read back", internalContext: String(text.prefix(200)))
    }
  }
}

/// A loop between two slices of its expansion. Follows from the group's record and its members'.
struct OpenLoop: Sendable {
  var items: LoopItems
  /// Items whose nodes were there when it was opened.
  var existing: Set<Int32>
  /// The first item that was not looked at.
  var next = 0
  /// Values of tags that cannot change any more, so that an aggregate of many results is made once and not once a slice.
  var values: [String: TagValue] = [:]

  init(items: LoopItems, existing: Set<Int32>) {
    self.items = items
    self.existing = existing
  }

  mutating func keepValues(of cache: TagCache) {
    values = cache.values.filter { name, _ in
      name.hasPrefix("steps.") || name.hasPrefix("tasks.") || name.hasPrefix("inputs.")
    }
  }
}
