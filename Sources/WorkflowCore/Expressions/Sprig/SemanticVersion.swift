/// A version as Semantic Versioning 2.0 has it, also with fewer than three numbers or a leading `v`.
///
/// - Source: Masterminds/semver v3.
struct SemanticVersion {
  /// Major, minor, patch.
  var numbers: [Int64]
  var prerelease: String
  var metadata: String
  /// How many numbers were written; the others are 0.
  var given: Int

  init?(_ text: String) {
    guard text.utf8.count <= 256 else { return nil }
    var rest = Substring(text)
    if rest.hasPrefix("v") { rest = rest.dropFirst() }
    var metadata = ""
    if let plus = rest.firstIndex(of: "+") {
      metadata = String(rest[rest.index(after: plus)...])
      rest = rest[..<plus]
    }
    var prerelease = ""
    if let dash = rest.firstIndex(of: "-") {
      prerelease = String(rest[rest.index(after: dash)...])
      rest = rest[..<dash]
      guard !prerelease.isEmpty,
        prerelease.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == ".") })
      else { return nil }
    }
    let parts = rest.split(separator: ".", omittingEmptySubsequences: false)
    let numbers = parts.compactMap { part in part.utf8.allSatisfy { (0x30...0x39).contains($0) } ? Int64(part) : nil }
    guard (1...3).contains(parts.count), numbers.count == parts.count else { return nil }
    (self.numbers, given) = (numbers + [Int64](repeating: 0, count: 3 - numbers.count), parts.count)
    (self.prerelease, self.metadata) = (prerelease, metadata)
  }

  var text: String {
    numbers.map(String.init).joined(separator: ".") + (prerelease.isEmpty ? "" : "-" + prerelease)
      + (metadata.isEmpty ? "" : "+" + metadata)
  }

  /// -1, 0 or 1.
  static func order(_ a: SemanticVersion, _ b: SemanticVersion) -> Int {
    for (x, y) in zip(a.numbers, b.numbers) where x != y { return x < y ? -1 : 1 }
    if a.prerelease == b.prerelease { return 0 }
    if a.prerelease.isEmpty || b.prerelease.isEmpty { return a.prerelease.isEmpty ? 1 : -1 }
    let (left, right) = (a.prerelease.split(separator: "."), b.prerelease.split(separator: "."))
    for (x, y) in zip(left, right) where x != y {
      switch (Int64(x), Int64(y)) {
      case (let m?, let n?): return m < n ? -1 : 1
      case (nil, nil): return ExpressionText.isBefore(String(x), String(y)) ? -1 : 1
      case (let m, _): return m != nil ? -1 : 1
      }
    }
    return left.count < right.count ? -1 : left.count > right.count ? 1 : 0
  }

  /// `>=1.2 <2 || ~3.1`, `^1.2.x`, `1.2 - 1.4`.
  struct Constraint {
    private struct Test {
      var sign: String
      var version: SemanticVersion
      /// Numbers that count; those after them are wild.
      var width: Int
    }
    private var alternatives: [[Test]] = []

    init?(_ text: String) {
      guard text.utf8.count <= 1024 else { return nil }
      for alternative in ExpressionText.split(text, "||") {
        guard let tests = Self.tests(alternative), !tests.isEmpty else { return nil }
        alternatives.append(tests)
      }
    }

    private static func tests(_ text: String) -> [Test]? {
      var tests: [Test] = []
      var words = ExpressionText.fields(text.split(separator: ",").joined(separator: " "))
      // A sign may stand apart from its version; a hyphen alone joins a range.
      while !words.isEmpty {
        var word = words.removeFirst()
        if word.allSatisfy({ "<>=!~^".contains($0) }), !words.isEmpty { word += words.removeFirst() }
        if words.first == "-", words.count > 1 {
          guard let low = test(">=" + word), let high = test("<=" + words[1]) else { return nil }
          tests += [low, high]
          words.removeFirst(2)
          continue
        }
        guard let test = test(word) else { return nil }
        tests.append(test)
      }
      return tests
    }

    private static func test(_ word: String) -> Test? {
      let sign = String(word.prefix { "<>=!~^".contains($0) })
      let rest = word.dropFirst(sign.count)
      guard ["", "=", "!=", ">", "<", ">=", "=>", "<=", "=<", "~", "~>", "^"].contains(sign) else { return nil }
      if ["*", "x", "X", ""].contains(rest) {
        return rest.isEmpty ? nil : SemanticVersion("0").map { Test(sign: sign, version: $0, width: 0) }
      }
      var numbers = rest.split(separator: ".", omittingEmptySubsequences: false)
      while let last = numbers.last, ["x", "X", "*"].contains(last) { numbers.removeLast() }
      guard let version = SemanticVersion(numbers.joined(separator: ".")) else { return nil }
      return Test(sign: sign, version: version, width: version.given)
    }

    func holds(for version: SemanticVersion) -> Bool {
      alternatives.contains { tests in
        // A prerelease is meant only where a prerelease is named.
        (version.prerelease.isEmpty || tests.contains { !$0.version.prerelease.isEmpty })
          && tests.allSatisfy { Self.holds($0, version) }
      }
    }

    private static func holds(_ test: Test, _ version: SemanticVersion) -> Bool {
      let order = SemanticVersion.order(version, test.version)
      let isWithin = version.numbers.prefix(test.width).elementsEqual(test.version.numbers.prefix(test.width))
      let isWild = test.width < 3 && test.version.prerelease.isEmpty
      switch test.sign {
      case "", "=": return isWild ? isWithin : order == 0
      case "!=": return !(isWild ? isWithin : order == 0)
      case ">": return order > 0 && !(isWild && isWithin)
      case "<": return order < 0
      case ">=", "=>": return order >= 0 || (isWild && isWithin)
      case "<=", "=<": return order <= 0 || (isWild && isWithin)
      case "^":
        guard order >= 0 else { return false }
        let fixed = test.version.numbers.firstIndex { $0 != 0 } ?? Swift.max(0, test.width - 1)
        let count = Swift.min(fixed + 1, Swift.max(test.width, 1))
        return test.width == 0 || version.numbers.prefix(count).elementsEqual(test.version.numbers.prefix(count))
      default:
        let count = Swift.min(Swift.max(test.width, 1), 2)
        return test.width == 0
          || (order >= 0 && version.numbers.prefix(count).elementsEqual(test.version.numbers.prefix(count)))
      }
    }
  }
}
