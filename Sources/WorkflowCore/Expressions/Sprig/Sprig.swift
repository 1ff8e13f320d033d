import FederationModel

/// The functions `sprig.*` that Argo offers: all of sprig's but those that read the environment.
///
/// Left out with a reason: what asks the network, and what makes keys and secrets, because all that a workflow computes here is
/// computed again when its machine is rebuilt, and stays readable. Functions that draw at random draw from the seed of the
/// expression's place instead.
/// - Source: Masterminds/sprig v3.3.0, `functions.go`; Argo v3.7 `util/expr/env/env.go`.
extension ExpressionEvaluator {
  mutating func sprig(_ name: String, _ a: ExpressionArguments) throws -> ExprValue {
    if let value = try sprigText(name, a) { return value }
    if let value = try sprigWords(name, a) { return value }
    if let value = try sprigNumber(name, a) { return value }
    if let value = try sprigList(name, a) { return value }
    if let value = try sprigDictionary(name, a) { return value }
    if let value = try sprigDefault(name, a) { return value }
    if let value = try sprigDate(name, a) { return value }
    if let value = try sprigCoding(name, a) { return value }
    if let value = try sprigRegex(name, a) { return value }
    if let value = try sprigPath(name, a) { return value }
    if let value = try sprigRandom(name, a) { return value }
    if Self.sprigRefused.contains(name) {
      throw ExpressionProblem(
        "sprig.\(name) is not offered: an expression gives the same again whenever it is evaluated, and keeps no secret"
      )
    }
    throw ExpressionProblem("there is no function 'sprig.\(name.prefix(100))'")
  }

  static let sprigRefused: Set<String> = [
    "bcrypt", "htpasswd", "genPrivateKey", "derivePassword", "buildCustomCert", "genCA", "genCAWithKey",
    "genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert", "genSignedCertWithKey", "encryptAES",
    "decryptAES", "getHostByName", "env", "expandenv",
  ]

  /// sprig's `strval`.
  static func sprigText(of value: ExprValue) -> String { value.goText }

  /// - Source: spf13/cast `ToInt64`: what is no number is 0.
  static func sprigInteger(_ value: ExprValue) -> Int64 {
    switch value {
    case .bool(let value): return value ? 1 : 0
    case .string(let text):
      let whole = text.split(separator: ".", omittingEmptySubsequences: false)
      if whole.count == 2, whole[1].allSatisfy({ $0 == "0" }) { return Int64(whole[0]) ?? 0 }
      return Int64(text) ?? 0
    case .duration(let nanoseconds): return nanoseconds
    default: return value.integerValue ?? 0
    }
  }

  /// - Source: spf13/cast `ToFloat64`.
  static func sprigDouble(_ value: ExprValue) -> Double {
    switch value {
    case .bool(let value): value ? 1 : 0
    case .string(let text): Double(text) ?? 0
    case .duration(let nanoseconds): Double(nanoseconds)
    default: value.doubleValue ?? 0
    }
  }

  /// sprig's `empty`.
  static func sprigIsEmpty(_ value: ExprValue) -> Bool {
    switch value {
    case .null: true
    case .bool(let value): !value
    case .integer(let value): value == 0
    case .number(let value): value == 0
    case .duration(let value): value == 0
    case .string(let text): text.isEmpty
    case .list(let elements): elements.isEmpty
    case .map(let members): members.isEmpty
    case .time, .zone: false
    }
  }

  private func sprigDefault(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    switch name {
    case "default":
      guard a.count > 1, !Self.sprigIsEmpty(a.values[1]) else { return try a.value(0) }
      return a.values[1]
    case "empty": return .bool(Self.sprigIsEmpty(try a.value(0)))
    case "coalesce": return a.values.first { !Self.sprigIsEmpty($0) } ?? .null
    case "all": return .bool(!a.values.contains { Self.sprigIsEmpty($0) })
    case "any": return .bool(a.values.contains { !Self.sprigIsEmpty($0) })
    case "ternary": return try truth(try a.value(2)) ? try a.value(0) : try a.value(1)
    case "deepCopy", "mustDeepCopy": return try a.value(0)
    case "deepEqual": return .bool(ExprValue.areEqual(try a.value(0), try a.value(1)))
    case "fail": throw ExpressionProblem(try a.string(0))
    case "hello": return .string("Hello!")
    case "typeOf": return .string(try a.value(0).goType)
    case "typeIs", "typeIsLike":
      let type = try a.value(1).goType
      let wanted = try a.string(0)
      return .bool(wanted == type || (name == "typeIsLike" && wanted == "*" + type))
    case "kindOf": return .string(try a.value(0).goKind)
    case "kindIs": return .bool(try a.value(1).goKind == (try a.string(0)))
    default: return nil
    }
  }

  private mutating func sprigRandom(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    let digits = Array("0123456789".utf8)
    let letters = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
    func count() throws -> Int {
      let count = try a.integer(0)
      guard (0...65_536).contains(count) else { throw a.failure("draws 0 to 65536 characters") }
      return count
    }
    switch name {
    case "uuidv4": return .string(random.uuid())
    case "randAlphaNum": return .string(random.text(try count(), of: letters + digits))
    case "randAlpha": return .string(random.text(try count(), of: letters))
    case "randNumeric": return .string(random.text(try count(), of: digits))
    case "randAscii": return .string(random.text(try count(), of: Array(32...126)))
    case "randBytes":
      let bytes = (0..<(try count())).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      return .string(ExpressionText.base64(bytes))
    case "randInt":
      let (low, high) = (try a.integer(0), try a.integer(1))
      guard low < high, high.subtractingReportingOverflow(low).overflow == false else {
        throw a.failure("needs a range")
      }
      return .integer(Int64(low) + Int64(random.next() % UInt64(high - low)))
    case "shuffle":
      var scalars = Array(try a.string(0).unicodeScalars)
      for index in scalars.indices.reversed() { scalars.swapAt(index, Int(random.next() % UInt64(index + 1))) }
      return .string(String(String.UnicodeScalarView(scalars)))
    default: return nil
    }
  }

  private mutating func sprigRegex(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    let plain = name.hasPrefix("mustRegex") ? "regex" + name.dropFirst("mustRegex".count) : name
    guard plain.hasPrefix("regex") else { return nil }
    if plain == "regexQuoteMeta" {
      let special = Set("\\.+*?()|[]{}^$".unicodeScalars)
      var quoted = String.UnicodeScalarView()
      for scalar in try a.string(0).unicodeScalars {
        if special.contains(scalar) { quoted.append("\\") }
        quoted.append(scalar)
      }
      return .string(String(quoted))
    }
    let (pattern, text) = (try a.string(0), try a.string(1))
    switch plain {
    case "regexMatch": return .bool(try search(pattern, in: text) { try $0.matches($1, budget: &$2) })
    case "regexFind": return .string(try found(pattern, text, limit: 1).first ?? "")
    case "regexFindAll": return .list(try found(pattern, text, limit: try a.integer(2)).map { .string($0) })
    case "regexReplaceAll", "regexReplaceAllLiteral":
      let template = try a.string(2)
      let result = try search(pattern, in: text) {
        try $0.replacingAll(
          in: $1, with: template, isLiteral: plain.hasSuffix("Literal"), limit: Self.sizeLimit, budget: &$2)
      }
      try spend(bytes: result.utf8.count)
      return .string(result)
    case "regexSplit": return .list(try split(pattern, text, limit: try a.integer(2)).map { .string($0) })
    default: return nil
    }
  }

  private mutating func found(_ pattern: String, _ text: String, limit: Int) throws -> [String] {
    try search(pattern, in: text) { regex, text, budget in
      let scalars = try GoRegex.scalars(of: text)
      return try regex.matches(in: scalars, limit: limit < 0 ? .max : limit, budget: &budget).compactMap { match in
        match[0].map { String(String.UnicodeScalarView(scalars[$0])) }
      }
    }
  }

  /// - Source: Go `Regexp.Split`.
  private mutating func split(_ pattern: String, _ text: String, limit: Int) throws -> [String] {
    if limit == 0 { return [] }
    return try search(pattern, in: text) { regex, text, budget in
      if !pattern.isEmpty, text.isEmpty { return [""] }
      let scalars = try GoRegex.scalars(of: text)
      var (pieces, start, end): ([String], Int, Int) = ([], 0, 0)
      func piece(_ range: Range<Int>) -> String { String(String.UnicodeScalarView(scalars[range])) }
      for match in try regex.matches(in: scalars, limit: limit < 0 ? .max : limit, budget: &budget) {
        if limit > 0, pieces.count == limit - 1 { break }
        guard let whole = match[0] else { continue }
        end = whole.lowerBound
        if whole.upperBound != 0 { pieces.append(piece(start..<end)) }
        start = whole.upperBound
      }
      return end != scalars.count ? pieces + [piece(start..<scalars.count)] : pieces
    }
  }
}

extension ExprValue {
  /// The name of Go's `reflect.Kind`.
  var goKind: String {
    switch self {
    case .null: "invalid"
    case .number: "float64"
    case .list: "slice"
    case .map: "map"
    case .time: "struct"
    case .duration: "int64"
    case .zone: "ptr"
    default: goType
    }
  }
}
