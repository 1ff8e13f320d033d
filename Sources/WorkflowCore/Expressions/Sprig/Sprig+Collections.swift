import FederationModel

/// Lists and dictionaries. Nothing is changed in place: what sprig changes comes back changed.
extension ExpressionEvaluator {
  mutating func sprigList(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    switch name {
    case "list", "tuple": return .list(a.values)
    case "append", "push", "mustAppend", "mustPush": return .list(try a.list(0) + [try a.value(1)])
    case "prepend", "mustPrepend": return .list([try a.value(1)] + (try a.list(0)))
    case "first", "mustFirst": return try a.list(0).first ?? .null
    case "last", "mustLast": return try a.list(0).last ?? .null
    case "rest", "mustRest": return .list(Array(try a.list(0).dropFirst()))
    case "initial", "mustInitial": return .list(Array(try a.list(0).dropLast()))
    case "reverse", "mustReverse": return .list(try a.list(0).reversed())
    case "uniq", "mustUniq": return .list(try distinct(try a.list(0)))
    case "compact", "mustCompact": return .list(try a.list(0).filter { !Self.sprigIsEmpty($0) })
    case "without", "mustWithout":
      let list = try a.list(0)
      try spend(list.count * a.count)
      let omitted = a.values.dropFirst()
      return .list(list.filter { element in !omitted.contains { ExprValue.areEqual($0, element) } })
    case "has", "mustHas":
      if try a.value(1).isNull { return .bool(false) }
      let needle = try a.value(0)
      return .bool(try a.list(1).contains { ExprValue.areEqual($0, needle) })
    case "slice", "mustSlice":
      let list = try a.list(0)
      if list.isEmpty { return .null }
      let start = a.count > 1 ? Int(Self.sprigInteger(a.values[1])) : 0
      let end = a.count > 2 ? Int(Self.sprigInteger(a.values[2])) : list.count
      guard start >= 0, start <= end, end <= list.count else { throw a.failure("slice bounds out of range") }
      return .list(Array(list[start..<end]))
    case "concat":
      let lists = try a.values.indices.map { try a.list($0) }
      try spend(lists.reduce(0) { $0 + $1.count })
      return .list(Array(lists.joined()))
    case "chunk", "mustChunk":
      let (size, list) = (try a.integer(0), try a.list(1))
      guard size > 0 else { throw a.failure("needs a size above 0") }
      return .list(
        stride(from: 0, to: list.count, by: size).map {
          .list(Array(list[$0..<Swift.min($0 + Swift.min(size, list.count), list.count)]))
        })
    case "sortAlpha":
      let texts = Self.texts(try a.value(0))
      try spend(texts.count * 4)
      return .list(texts.sorted(by: ExpressionText.isBefore).map { .string($0) })
    default: return nil
    }
  }

  mutating func sprigDictionary(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    switch name {
    case "dict":
      var members: [String: ExprValue] = [:]
      for index in stride(from: 0, to: a.count, by: 2) {
        members[a.values[index].goText] = index + 1 < a.count ? a.values[index + 1] : .string("")
      }
      return .map(members)
    case "get": return try a.map(0)[try a.string(1)] ?? .string("")
    case "set", "unset":
      var members = try a.map(0)
      members[try a.string(1)] = name == "set" ? try a.value(2) : nil
      return .map(members)
    case "hasKey": return .bool(try a.map(0)[try a.string(1)] != nil)
    case "pluck":
      let key = try a.string(0)
      return .list(try a.values.indices.dropFirst().compactMap { try a.map($0)[key] })
    case "keys":
      let keys = try a.values.indices.map { try a.map($0).keys.sorted(by: ExpressionText.isBefore) }
      return .list(keys.joined().map { .string($0) })
    case "values":
      let members = try a.map(0)
      return .list(members.keys.sorted(by: ExpressionText.isBefore).map { members[$0]! })
    case "pick", "omit":
      let named = Set(try a.values.indices.dropFirst().map { try a.string($0) })
      return .map(try a.map(0).filter { named.contains($0.key) == (name == "pick") })
    case "merge", "mustMerge", "mergeOverwrite", "mustMergeOverwrite":
      let isOver = name.hasSuffix("Overwrite")
      var result = try a.map(0)
      for index in a.values.indices.dropFirst() { try merge(try a.map(index), into: &result, isOver) }
      return .map(result)
    case "dig":
      guard a.count >= 3 else { throw a.failure("needs at least three arguments") }
      var value = a.values[a.count - 1]
      for index in 0..<(a.count - 2) {
        guard case .map(let members) = value else { throw a.failure("digs in something that is no map") }
        guard let next = members[try a.string(index)] else { return a.values[a.count - 2] }
        value = next
      }
      return value
    default: return nil
    }
  }

  /// - Source: mergo: what is empty in the first is taken from the second, with `isOver` also what is not empty in the second.
  private mutating func merge(_ source: [String: ExprValue], into target: inout [String: ExprValue], _ isOver: Bool)
    throws
  {
    for (key, value) in source {
      try spend()
      if case .map(let inner) = value, case .map(var existing)? = target[key] {
        try merge(inner, into: &existing, isOver)
        target[key] = .map(existing)
      } else if target[key].map(Self.sprigIsEmpty) ?? true || (isOver && !Self.sprigIsEmpty(value)) {
        target[key] = value
      }
    }
  }
}
