import FederationModel

/// The functions of expr-lang, and those of sprig that Argo's users use most (`sprig.trim(x)`).
enum ExpressionFunctions {
  static func call(_ name: String, _ a: [JSONValue], _ evaluator: ExpressionEvaluator) throws -> JSONValue {
    func text(_ index: Int) throws -> String {
      guard a.indices.contains(index) else { throw evaluator.failure("\(name) needs \(index + 1) arguments") }
      return a[index].tagText
    }
    func value(_ index: Int) throws -> JSONValue {
      guard a.indices.contains(index) else { throw evaluator.failure("\(name) needs \(index + 1) arguments") }
      return a[index]
    }
    if name.hasPrefix("sprig.") { return try sprig(String(name.dropFirst(6)), a, text, value, evaluator) }
    switch name {
    case "asInt", "int": return try integer(try value(0), evaluator)
    case "asFloat", "float":
      guard let number = try value(0).doubleValue ?? Double(try text(0)) else {
        throw evaluator.failure("'\(try text(0))' is no number")
      }
      return .number(number)
    case "string": return .string(try text(0))
    case "len":
      switch try value(0) {
      case .array(let elements): return .integer(Int64(elements.count))
      case .object(let members): return .integer(Int64(members.count))
      default: return .integer(Int64(try text(0).count))
      }
    case "toJson", "toJSON": return .string(try value(0).description)
    case "fromJson", "fromJSON": return try JSONText.parse(try text(0))
    case "jsonpath": return try jsonpath(try text(0), try text(1), evaluator)
    case "trim": return .string(ExpressionText.trim(try text(0)))
    case "upper": return .string(try text(0).uppercased())
    case "lower": return .string(try text(0).lowercased())
    case "split": return .array(ExpressionText.split(try text(0), try text(1)).map { .string($0) })
    case "join":
      return .string(try list(try value(0), evaluator).map(\.tagText).joined(separator: a.count > 1 ? try text(1) : ""))
    case "replace": return .string(ExpressionText.split(try text(0), try text(1)).joined(separator: try text(2)))
    case "keys", "values":
      guard case .object(let members) = try value(0) else { throw evaluator.failure("\(name) needs a map") }
      let keys = members.keys.sorted()
      return .array(name == "keys" ? keys.map { .string($0) } : keys.map { members[$0]! })
    case "first": return try list(try value(0), evaluator).first ?? .null
    case "last": return try list(try value(0), evaluator).last ?? .null
    default: throw evaluator.failure("there is no function '\(name)'")
    }
  }

  private static func sprig(
    _ name: String, _ a: [JSONValue], _ text: (Int) throws -> String, _ value: (Int) throws -> JSONValue,
    _ evaluator: ExpressionEvaluator
  ) throws -> JSONValue {
    switch name {
    case "trim": return .string(ExpressionText.trim(try text(0)))
    case "upper": return .string(try text(0).uppercased())
    case "lower": return .string(try text(0).lowercased())
    case "replace": return .string(ExpressionText.split(try text(2), try text(0)).joined(separator: try text(1)))
    case "default":
      let given = try value(1)
      return given == .null || given == "" || given == false || given == 0 ? try value(0) : given
    case "join": return .string(try list(try value(1), evaluator).map(\.tagText).joined(separator: try text(0)))
    case "splitList": return .array(ExpressionText.split(try text(1), try text(0)).map { .string($0) })
    case "contains": return .bool(ExpressionText.contains(try text(1), try text(0)))
    case "hasPrefix": return .bool(try text(1).hasPrefix(try text(0)))
    case "hasSuffix": return .bool(try text(1).hasSuffix(try text(0)))
    case "trimPrefix":
      return .string(
        try text(1).hasPrefix(try text(0)) ? String(try text(1).dropFirst(try text(0).count)) : try text(1))
    case "trimSuffix":
      return .string(try text(1).hasSuffix(try text(0)) ? String(try text(1).dropLast(try text(0).count)) : try text(1))
    case "quote":
      var quoted = ""
      JSONValue.quote(try text(0), into: &quoted)
      return .string(quoted)
    case "int", "int64", "atoi": return try integer(try value(0), evaluator)
    case "toString": return .string(try text(0))
    case "toJson": return .string(try value(0).description)
    case "fromJson": return try JSONText.parse(try text(0))
    case "list": return .array(a)
    case "b64enc": return .string(ExpressionText.base64(try text(0)))
    case "b64dec":
      guard let decoded = ExpressionText.decodeBase64(try text(0)) else {
        throw evaluator.failure("b64dec needs base64")
      }
      return .string(decoded)
    case "first": return try list(try value(0), evaluator).first ?? .null
    case "last": return try list(try value(0), evaluator).last ?? .null
    case "ternary": return try evaluator.truth(try value(2)) ? try value(0) : try value(1)
    case "min", "max":
      let numbers = try a.map { try integer($0, evaluator).integerValue ?? 0 }
      guard let least = numbers.min(), let most = numbers.max() else {
        throw evaluator.failure("sprig.\(name) needs numbers")
      }
      return .integer(name == "min" ? least : most)
    case "add", "mul", "sub":
      let numbers = try a.map { try integer($0, evaluator).integerValue ?? 0 }
      guard let first = numbers.first else { throw evaluator.failure("sprig.\(name) needs numbers") }
      return .integer(
        numbers.dropFirst().reduce(first) { name == "add" ? $0 &+ $1 : name == "mul" ? $0 &* $1 : $0 &- $1 })
    default: throw evaluator.failure("there is no function 'sprig.\(name)'")
    }
  }

  private static func integer(_ value: JSONValue, _ evaluator: ExpressionEvaluator) throws -> JSONValue {
    if let whole = value.integerValue { return .integer(whole) }
    let text = ExpressionText.trim(value.tagText)
    if let whole = Int64(text) { return .integer(whole) }
    guard let number = Double(text), abs(number) < 9e15 else {
      throw evaluator.failure("'\(text.prefix(100))' is no number")
    }
    return .integer(Int64(number))
  }

  private static func list(_ value: JSONValue, _ evaluator: ExpressionEvaluator) throws -> [JSONValue] {
    if case .array(let elements) = value { return elements }
    if case .string(let text) = value, case .array(let elements)? = try? JSONText.parse(text) { return elements }
    throw evaluator.failure("\(value.description.prefix(100)) is no list")
  }

  /// `$.a.b[0]`, `$[*].a`: names, positions and `*`; the part of JSONPath that selects one place or all elements of a list.
  private static func jsonpath(_ document: String, _ path: String, _ evaluator: ExpressionEvaluator) throws -> JSONValue
  {
    var values = [try JSONText.parse(document)]
    var isMany = false
    var rest = Substring(path)
    if rest.first == "$" { rest = rest.dropFirst() }
    while let first = rest.first {
      var key: Substring
      if first == "[" {
        guard let close = rest.firstIndex(of: "]") else {
          throw evaluator.failure("jsonpath '\(path.prefix(100))' lacks a ]")
        }
        key = rest[rest.index(after: rest.startIndex)..<close]
        rest = rest[rest.index(after: close)...]
        if let quote = key.first, quote == "'" || quote == "\"" { key = key.dropFirst().dropLast() }
      } else {
        if first == "." { rest = rest.dropFirst() }
        key = rest.prefix { $0 != "." && $0 != "[" }
        guard !key.isEmpty else { throw evaluator.failure("jsonpath '\(path.prefix(100))' has an empty name") }
        rest = rest.dropFirst(key.count)
      }
      if key == "*" {
        isMany = true
        values = values.flatMap { value in
          value.arrayValue ?? value.objectValue.map { o in o.keys.sorted().map { o[$0]! } } ?? []
        }
      } else {
        values = values.compactMap { value in Int(key).flatMap { value[$0] } ?? value[String(key)] }
      }
    }
    return isMany ? .array(values) : values.first ?? .null
  }
}

/// Text work without Foundation.
enum ExpressionText {
  static func trim(_ text: String) -> String {
    var text = Substring(text)
    while let first = text.first, first.isWhitespace { text.removeFirst() }
    while let last = text.last, last.isWhitespace { text.removeLast() }
    return String(text)
  }

  static func contains(_ text: String, _ part: String) -> Bool { part.isEmpty || split(text, part).count > 1 }

  /// The pieces between occurrences of `separator`; single characters when it is empty.
  static func split(_ text: String, _ separator: String) -> [String] {
    guard !separator.isEmpty else { return text.map(String.init) }
    let (bytes, needle) = (Array(text.utf8), Array(separator.utf8))
    var pieces: [String] = []
    var start = 0
    var index = 0
    while index + needle.count <= bytes.count {
      if bytes[index] == needle[0], bytes[index..<(index + needle.count)].elementsEqual(needle) {
        pieces.append(String(decoding: bytes[start..<index], as: UTF8.self))
        index += needle.count
        start = index
      } else {
        index += 1
      }
    }
    return pieces + [String(decoding: bytes[start...], as: UTF8.self)]
  }

  /// Whole exponents by squaring; others are not a number, as there is no mathematics library here.
  static func power(_ base: Double, _ exponent: Double) -> Double {
    guard exponent == exponent.rounded(), abs(exponent) <= 1e6 else { return .nan }
    var (result, factor, rest) = (1.0, base, Int(abs(exponent)))
    while rest > 0 {
      if rest & 1 == 1 { result *= factor }
      factor *= factor
      rest >>= 1
    }
    return exponent < 0 ? 1 / result : result
  }

  private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

  /// RFC 4648, with padding.
  static func base64(_ text: String) -> String {
    let bytes = Array(text.utf8)
    var output: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      var bits: UInt32 = 0
      for index in 0..<3 { bits = bits << 8 | (index < group.count ? UInt32(group[start + index]) : 0) }
      for index in 0..<4 {
        output.append(index <= group.count ? alphabet[Int(bits >> (18 - 6 * UInt32(index)) & 63)] : UInt8(ascii: "="))
      }
    }
    return String(decoding: output, as: UTF8.self)
  }

  /// nil when the text is not base64. Line breaks are passed over.
  static func decodeBase64(_ text: String) -> String? {
    var output: [UInt8] = []
    var (bits, count): (UInt32, Int) = (0, 0)
    for byte in text.utf8 where byte != UInt8(ascii: "=") && byte != 0x0a && byte != 0x0d {
      guard let value = alphabet.firstIndex(of: byte) else { return nil }
      bits = (bits << 6 | UInt32(value)) & 0xff_ffff
      count += 6
      if count >= 8 {
        count -= 8
        output.append(UInt8(bits >> UInt32(count) & 0xff))
      }
    }
    return String(decoding: output, as: UTF8.self)
  }
}
