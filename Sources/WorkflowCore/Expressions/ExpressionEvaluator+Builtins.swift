import FederationModel

/// The functions of expr-lang, and those that Argo adds: `asInt`, `asFloat`, `jsonpath`, `toJson`.
///
/// - Source: expr-lang v1.17 `builtin`; Argo v3.7 `util/expr/env`.
extension ExpressionEvaluator {
  mutating func builtin(_ name: String, _ a: ExpressionArguments) throws -> ExprValue {
    if let value = try conversion(name, a) { return value }
    if let value = try numeric(name, a) { return value }
    if let value = try textual(name, a) { return value }
    if let value = try collection(name, a) { return value }
    if let value = try temporal(name, a) { return value }
    throw ExpressionProblem("there is no function '\(name.prefix(100))'")
  }

  // MARK: Kinds and codings

  private mutating func conversion(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    switch name {
    case "int", "asInt":
      try a.expect(1...1)
      return .integer(try Self.integer(try a.value(0), name))
    case "float", "asFloat":
      try a.expect(1...1)
      if case .string(let text) = try a.value(0) {
        guard let number = Double(text) else {
          throw ExpressionProblem("invalid operation: float(\(text.prefix(100)))")
        }
        return .number(number)
      }
      guard let number = try a.value(0).doubleValue else {
        throw ExpressionProblem("invalid operation: float(\(try a.value(0).goType))")
      }
      return .number(number)
    case "string":
      try a.expect(1...1)
      try spend(bytes: try a.value(0).weight(upTo: Self.sizeLimit) * 2)
      return .string(try a.value(0).goText)
    case "type":
      try a.expect(1...1)
      return .string(try a.value(0).typeName)
    case "toJson", "toJSON":
      try a.expect(1...1)
      return .string(try json(of: try a.value(0), isPretty: name == "toJSON"))
    case "fromJson", "fromJSON":
      try a.expect(1...1)
      return try decoded(try a.string(0))
    case "toBase64":
      try spend(bytes: try a.string(0).utf8.count * 4 / 3)
      return .string(ExpressionText.base64(try a.string(0)))
    case "fromBase64":
      guard let text = ExpressionText.decodeBase64(try a.string(0)) else { throw a.failure("illegal base64 data") }
      return .string(text)
    case "jsonpath":
      try a.expect(2...2)
      let document = try a.string(0)
      var path = try JSONPath(try a.string(1))
      return try path.query(try decoded(document))
    default: return nil
    }
  }

  /// - Source: Go `strconv.Atoi`; floating point is cut.
  static func integer(_ value: ExprValue, _ name: String) throws -> Int64 {
    if let number = value.integerValue { return number }
    if case .string(let text) = value, let number = Int64(text) { return number }
    throw ExpressionProblem("invalid operation: \(name)(\(value.stringValue?.prefix(100).description ?? value.goType))")
  }

  private static func parse(_ text: String) throws -> JSONValue {
    do { return try JSONText.parse(text) } catch let error as FederationError {
      throw ExpressionProblem(error.publicMessage)
    }
  }

  mutating func decoded(_ text: String) throws -> ExprValue {
    try spend(text.utf8.count / 16)
    return ExprValue(decoding: try Self.parse(text))
  }

  /// expr-lang's `toJSON` breaks lines as `json.MarshalIndent` does; Argo's `toJson` does not.
  mutating func json(of value: ExprValue, isPretty: Bool) throws -> String {
    let weight = value.weight(upTo: Self.sizeLimit)
    try spend(bytes: weight > Self.sizeLimit / 2 ? .max / 2 : weight * 2)
    guard isPretty else { return ExpressionJSON.text(value) }
    var text = ""
    ExpressionJSON.write(value, to: &text, indent: 0)
    try spend(bytes: text.utf8.count)
    return text
  }

  // MARK: Numbers

  private mutating func numeric(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    switch name {
    case "abs", "ceil", "floor", "round":
      try a.expect(1...1)
      let value = try a.value(0)
      if name == "abs", case .integer(let number) = value { return .integer(number < 0 ? 0 &- number : number) }
      guard let number = value.doubleValue else { throw a.failure("invalid argument (type \(value.goType))") }
      let rules: [String: FloatingPointRoundingRule] = ["ceil": .up, "floor": .down, "round": .toNearestOrAwayFromZero]
      return .number(rules[name].map { number.rounded($0) } ?? number.magnitude)
    case "max", "min":
      if a.count == 1, a.values[0].doubleValue == nil, a.values[0].listValue == nil { return a.values[0] }
      let numbers = try flattenedNumbers(a)
      return numbers.dropFirst().reduce(numbers.first ?? .null) { best, number in
        let isLess = ExprValue.isLess(number, best) ?? false
        let isMore = ExprValue.isLess(best, number) ?? false
        return (name == "min" ? isLess : isMore) ? number : best
      }
    case "mean":
      let numbers = try flattenedNumbers(a).compactMap(\.doubleValue)
      return .number(numbers.isEmpty ? 0 : numbers.reduce(0, +) / Double(numbers.count))
    case "median":
      let numbers = try flattenedNumbers(a).compactMap(\.doubleValue).sorted()
      guard !numbers.isEmpty else { return .number(0) }
      let middle = numbers.count / 2
      return .number(numbers.count % 2 == 1 ? numbers[middle] : (numbers[middle - 1] + numbers[middle]) / 2)
    default: return try bitwise(name, a)
    }
  }

  private mutating func flattenedNumbers(_ a: ExpressionArguments) throws -> [ExprValue] {
    var numbers: [ExprValue] = []
    var open = Array(a.values.reversed())
    while let value = open.popLast() {
      try spend()
      if let elements = value.listValue {
        open.append(contentsOf: elements.reversed())
      } else {
        guard value.doubleValue != nil else { throw a.failure("invalid argument (type \(value.goType))") }
        numbers.append(value)
      }
    }
    return numbers
  }

  private func bitwise(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    guard name.hasPrefix("bit") else { return nil }
    func number(_ index: Int) throws -> Int64 {
      guard case .integer(let number) = try a.value(index) else { throw a.failure("needs whole numbers") }
      return number
    }
    let x = try number(0)
    if name == "bitnot" { return .integer(~x) }
    let y = try number(1)
    switch name {
    case "bitand": return .integer(x & y)
    case "bitor": return .integer(x | y)
    case "bitxor": return .integer(x ^ y)
    case "bitnand": return .integer(x & ~y)
    case "bitshl", "bitshr", "bitushr":
      guard y >= 0 else { throw a.failure("negative shift count \(y)") }
      let count = Int(min(y, 64))
      return .integer(
        name == "bitshl"
          ? x << count : name == "bitshr" ? x >> count : Int64(bitPattern: UInt64(bitPattern: x) >> UInt64(count)))
    default: return nil
    }
  }

  // MARK: Texts

  private mutating func textual(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    switch name {
    case "trim":
      try a.expect(1...2)
      guard a.count == 2 else { return .string(ExpressionText.trim(try a.string(0))) }
      let cut = Set(try a.string(1).unicodeScalars)
      return .string(ExpressionText.trim(try a.string(0)) { cut.contains($0) })
    case "trimPrefix", "trimSuffix":
      try a.expect(1...2)
      let part = a.count == 2 ? try a.string(1) : " "
      return .string(
        name == "trimPrefix"
          ? ExpressionText.removingPrefix(part, from: try a.string(0))
          : ExpressionText.removingSuffix(part, from: try a.string(0)))
    case "upper": return .string(ExpressionText.upper(try a.string(0)))
    case "lower": return .string(ExpressionText.lower(try a.string(0)))
    case "split", "splitAfter":
      try a.expect(2...3)
      let text = try a.string(0)
      try spend(text.utf8.count / 8)
      let limit = a.count == 3 ? try a.integer(2) : -1
      let pieces = ExpressionText.split(text, try a.string(1), limit: limit, keepsSeparator: name == "splitAfter")
      try spend(pieces.count)
      return .list(pieces.map { .string($0) })
    case "replace":
      try a.expect(3...4)
      return .string(
        try replaced(try a.string(0), try a.string(1), try a.string(2), limit: a.count == 4 ? try a.integer(3) : -1))
    case "repeat":
      try a.expect(2...2)
      return .string(try repeated(try a.string(0), try a.integer(1)))
    case "indexOf": return .integer(Int64(ExpressionText.index(of: try a.string(1), in: try a.string(0)) ?? -1))
    case "lastIndexOf":
      let (text, part) = (try a.string(0), try a.string(1))
      try spend(min(text.utf8.count, 1 << 20) * min(part.utf8.count, 64) / 64)
      return .integer(Int64(ExpressionText.lastIndex(of: part, in: text) ?? -1))
    case "hasPrefix": return .bool(ExpressionText.hasPrefix(try a.string(0), try a.string(1)))
    case "hasSuffix": return .bool(ExpressionText.hasSuffix(try a.string(0), try a.string(1)))
    case "join":
      try a.expect(1...2)
      return .string(try joined(try a.list(0), a.count == 2 ? try a.string(1) : ""))
    default: return nil
    }
  }

  mutating func replaced(_ text: String, _ old: String, _ new: String, limit: Int) throws -> String {
    try spend(bytes: min(ExpressionText.replacedSize(text, old, new), .max / 2))
    return ExpressionText.replace(text, old, new, limit: limit)
  }

  mutating func repeated(_ text: String, _ count: Int) throws -> String {
    guard count >= 0 else { throw ExpressionProblem("repeat: negative count \(count)") }
    let (size, overflow) = text.utf8.count.multipliedReportingOverflow(by: count)
    try spend(bytes: overflow ? .max / 2 : size)
    return size == 0 ? "" : String(repeating: text, count: count)
  }

  mutating func joined(_ list: [ExprValue], _ glue: String) throws -> String {
    var (parts, size): ([String], Int) = ([], 0)
    for element in list {
      let part = element.stringValue ?? element.goText
      parts.append(part)
      size += part.utf8.count + glue.utf8.count
      guard size <= Self.sizeLimit else { break }
    }
    try spend(bytes: size)
    return parts.joined(separator: glue)
  }

  // MARK: Lists and maps

  private mutating func collection(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    switch name {
    case "len": return .integer(Int64(try length(a)))
    case "first": return a.count == 1 ? try a.list(0).first ?? .null : nil
    case "last": return a.count == 1 ? try a.list(0).last ?? .null : nil
    case "get":
      try a.expect(2...2)
      if a.values[0].isNull { return .null }
      return (try? Self.fetch(a.values[0], a.values[1], false)) ?? .null
    case "take": return .list(Array(try a.list(0).prefix(max(0, try a.integer(1)))))
    case "keys": return .list(try sortedKeys(a).map { .string($0) })
    case "values":
      let members = try a.map(0)
      return .list(try sortedKeys(a).map { members[$0]! })
    case "toPairs":
      let members = try a.map(0)
      return .list(try sortedKeys(a).map { .list([.string($0), members[$0]!]) })
    case "fromPairs":
      var members: [String: ExprValue] = [:]
      for pair in try a.list(0) {
        guard case .list(let pair) = pair, pair.count == 2 else { throw a.failure("invalid pair") }
        members[pair[0].goText] = pair[1]
      }
      return .map(members)
    case "reverse": return .list(try a.list(0).reversed())
    case "sort":
      try a.expect(1...2)
      let list = try a.list(0)
      return .list(try sorted(list, by: list, a.count == 2 ? a.values[1] : .string("asc")))
    case "concat":
      let lists = try a.values.indices.map { try a.list($0) }
      try spend(lists.reduce(0) { $0 + $1.count })
      return .list(Array(lists.joined()))
    case "flatten": return .list(try flattened(try a.list(0)))
    case "uniq": return .list(try distinct(try a.list(0)))
    default: return nil
    }
  }

  private func length(_ a: ExpressionArguments) throws -> Int {
    try a.expect(1...1)
    switch a.values[0] {
    case .list(let elements): return elements.count
    case .map(let members): return members.count
    case .string(let text): return text.unicodeScalars.count
    default: throw a.failure("invalid argument (type \(a.values[0].goType))")
    }
  }

  /// Maps have no order in Go; here it is that of their keys.
  private func sortedKeys(_ a: ExpressionArguments) throws -> [String] {
    try a.expect(1...1)
    return try a.map(0).keys.sorted(by: ExpressionText.isBefore)
  }

  private mutating func flattened(_ list: [ExprValue]) throws -> [ExprValue] {
    var flat: [ExprValue] = []
    var open = Array(list.reversed())
    while let value = open.popLast() {
      try spend()
      if let elements = value.listValue { open.append(contentsOf: elements.reversed()) } else { flat.append(value) }
    }
    return flat
  }

  mutating func distinct(_ list: [ExprValue]) throws -> [ExprValue] {
    var kept: [ExprValue] = []
    for value in list {
      try spend(kept.count + 1)
      if !kept.contains(where: { ExprValue.areEqual($0, value) }) { kept.append(value) }
    }
    return kept
  }

  // MARK: Moments

  private mutating func temporal(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    switch name {
    case "now":
      try a.expect(0...1)
      let now = GoTime(scope.now)
      guard a.count == 1 else { return .time(now) }
      guard case .zone(_, let rules) = a.values[0] else { throw a.failure("needs a time zone") }
      return .time(now.shown(in: rules))
    case "duration":
      try a.expect(1...1)
      guard let duration = GoDurationText.parse(try a.string(0)) else {
        throw a.failure("invalid duration \"\(try a.string(0).prefix(100))\"")
      }
      return .duration(duration)
    case "timezone":
      try a.expect(1...1)
      return .zone(try a.string(0), try Self.zone(try a.string(0)))
    case "date": return .time(try date(a))
    default: return nil
    }
  }

  /// What a zone's rules are may change with the machine, and a workflow's values may not: they are those of `ZoneTable`.
  static func zone(_ name: String) throws -> TimeZoneRules {
    if ["", "UTC", "Local", "GMT", "Etc/UTC", "Etc/GMT", "Z"].contains(name) { return .utc }
    // `Etc/GMT-2` is two hours east.
    if let sign = name.dropFirst("Etc/GMT".count).first, name.hasPrefix("Etc/GMT"), sign == "+" || sign == "-",
      let hours = Int64(name.dropFirst("Etc/GMT+".count)), (0...14).contains(hours)
    {
      let offset = (sign == "-" ? hours : -hours) * 3600
      return TimeZoneRules(
        offset: offset, abbreviation: "\(offset < 0 ? "-" : "+")\(hours < 10 ? "0" : "")\(hours)")
    }
    if let rules = ZoneTable.rules(name) { return rules }
    throw ExpressionProblem("unknown time zone \(name.prefix(100))")
  }

  private static let layouts = [
    "2006-01-02", "15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04:05Z07:00", "02 Jan 06 15:04 MST",
    "Monday, 02-Jan-06 15:04:05 MST", "Mon, 02 Jan 2006 15:04:05 MST",
  ]

  private func date(_ a: ExpressionArguments) throws -> GoTime {
    var values = a.values
    var zone = TimeZoneRules.utc
    if case .zone(_, let rules)? = values.first {
      zone = rules
      values.removeFirst()
    }
    let rest = ExpressionArguments(name: a.name, values: values)
    try rest.expect(1...3)
    let text = try rest.string(0)
    if rest.count == 3 { zone = try Self.zone(try rest.string(2)) }
    let layouts = rest.count >= 2 ? [try rest.string(1)] : Self.layouts
    for layout in layouts {
      if let time = GoTimeLayout.parse(text, layout, in: zone) { return time }
    }
    throw a.failure("invalid date \(text.prefix(100))")
  }
}

/// JSON as Go writes it: keys in order, floating-point numbers in its way.
enum ExpressionJSON {
  static func text(_ value: ExprValue) -> String {
    var text = ""
    write(value, to: &text, indent: nil)
    return text
  }

  /// - Parameter indent: how deep the value stands; nil for no line breaks.
  static func write(_ value: ExprValue, to text: inout String, indent: Int?) {
    func line(_ depth: Int) { if let indent { text += "\n" + String(repeating: "  ", count: indent + depth) } }
    switch value {
    case .number(let number): text += GoFloat.json(number)
    case .list(let elements) where !elements.isEmpty:
      text += "["
      for (index, element) in elements.enumerated() {
        if index > 0 { text += "," }
        line(1)
        write(element, to: &text, indent: indent.map { $0 + 1 })
      }
      line(0)
      text += "]"
    case .map(let members) where !members.isEmpty:
      text += "{"
      for (index, key) in members.keys.sorted(by: ExpressionText.isBefore).enumerated() {
        if index > 0 { text += "," }
        line(1)
        JSONValue.quote(key, into: &text)
        text += indent == nil ? ":" : ": "
        write(members[key]!, to: &text, indent: indent.map { $0 + 1 })
      }
      line(0)
      text += "}"
    default: value.json.write(to: &text)
    }
  }
}
