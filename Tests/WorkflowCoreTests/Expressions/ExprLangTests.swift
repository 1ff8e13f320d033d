import FederationModel
import Testing

@testable import WorkflowCore

/// expr-lang as Argo has it: what an expression comes to when it is put into a text.
@Suite("expr-lang")
struct ExprLangTests {
  static let variables = [
    "inputs.parameters.n": "3", "inputs.parameters.flag": "true", "steps.a-b.outputs.result": #"{"x":[1,2]}"#,
    "workflow.name": "wf", "list": "[1,2,3]", "inputs.parameters": #"[{"name":"n","value":"3"}]"#,
    "workflow.labels": #"{"team":"a"}"#, "workflow.labels.team": "a",
  ]

  static func text(_ expression: String) throws -> String {
    // 2026-11-22T08:00:00Z
    let moment = ExpressionMoment(now: Timestamp(milliseconds: 1_795_334_400_000), seed: 7)
    return try ExprLang.evaluate(expression, at: moment) { variables[$0] }.text()
  }

  private func check(_ rows: [(String, String)]) {
    for (expression, expected) in rows {
      do {
        let result = try Self.text(expression)
        #expect(result == expected, "\(expression)")
      } catch {
        Issue.record("\(expression): \(error)")
      }
    }
  }

  @Test("Literals")
  func literals() {
    check([
      ("42", "42"), ("0x2A", "42"), ("0b101", "5"), ("0o17", "15"), ("1_000", "1000"), ("1.5e3", "1500"), (".5", "0.5"),
      ("'a\\nb'", "a\nb"), ("\"\\u00e9\\x41\\101\"", "éAA"), ("`raw\\n`", "raw\\n"), ("true", "true"),
      ("[1, 'a', nil,]", #"[1,"a",null]"#),
      ("{a: 1, 'b c': 2, 3: 4, ('d' + 'e'): 5}", #"{"3":4,"a":1,"b c":2,"de":5}"#),
      ("1 /* one */ + 2 // three", "3"), ("1.0", "1"), ("1e21", "1e+21"), ("1e20", "100000000000000000000"),
      ("0.000001", "0.000001"), ("0.0000001", "1e-7"),
    ])
  }

  @Test("Operators bind as in expr-lang")
  func precedence() {
    check([
      ("1 + 2 * 3", "7"), ("(1 + 2) * 3", "9"), ("2 ** 3 ** 2", "512"), ("-2 ** 2", "-4"), ("2 * 3 % 4", "2"),
      ("7 / 2", "3.5"), ("6 / 2", "3"), ("7 % 3", "1"), ("-7 % 3", "-1"), ("1 < 2 && 2 < 3 || false", "true"),
      ("1 < 2 < 3", "true"), ("1 < 3 < 2", "false"), ("not true || true", "true"), ("!(1 == 1)", "false"),
      ("1..3 == [1, 2, 3]", "true"), ("3 in 1..5", "true"), ("'a' not in ['b']", "true"),
      ("not ('a' in ['b'])", "true"),
      ("1 == 1.0", "true"), ("'1' == 1", "false"), ("9223372036854775807 + 1", "-9223372036854775808"),
      ("true ? 1 : 2", "1"), ("false ?: 2", "2"), ("nil ?? 'd'", "d"), ("(nil ?? 1) + 1", "2"),
      ("if 1 > 2 { 'a' } else if 2 > 1 { 'b' } else { 'c' }", "b"), ("let x = 2; let y = x * 2; x + y", "6"),
      ("'ab' contains 'b'", "true"), ("'ab' not startsWith 'b'", "true"), ("'ab' endsWith 'b'", "true"),
      ("'a1' matches '^[a-z]\\\\d$'", "true"), ("nil matches 'x'", "false"), ("'a' + 'b'", "ab"), ("1; 2", "2"),
      ("0.1 + 0.2", "0.30000000000000004"), ("10 - 2 - 3", "5"), ("2 ^ 3", "8"), ("+5", "5"), ("1 != 2", "true"),
    ])
  }

  @Test("Members, positions and slices")
  func members() {
    check([
      ("{a: {b: 1}}.a.b", "1"), ("{a: 1}['a']", "1"), ("[1, 2, 3][-1]", "3"), ("[1, 2, 3][1:]", "[2,3]"),
      ("[1, 2, 3][:-1]", "[1,2]"), ("[1, 2, 3][5:]", "[]"), ("'hello'[1:3]", "el"), ("'abc'[0]", "97"),
      ("{a: 1}?.b?.c ?? 'none'", "none"), ("{a: [1]}?.a?.[0]", "1"), ("{'in': 1}.in", "1"),
      ("steps['a-b'].outputs.result", #"{"x":[1,2]}"#), ("list[1]", "2"), ("missing.name ?? 'd'", "d"),
      ("inputs.parameters['n']", "3"), ("'n' in inputs.parameters", "true"), ("len(inputs.parameters)", "1"),
      ("toJson(workflow.labels)", #"{"team":"a"}"#), ("get({a: 1}, 'b') ?? 0", "0"), ("get([1], 5) ?? 0", "0"),
    ])
  }

  @Test("Closures over lists")
  func closures() {
    check([
      ("all([1, 2], # > 0)", "true"), ("any([1, 2], {# == 2})", "true"), ("one([1, 2], # == 2)", "true"),
      ("none([1, 2], # > 2)", "true"), ("filter([1, 2, 3], # > 1)", "[2,3]"), ("map(1..3, # * 2)", "[2,4,6]"),
      ("map([{v: 1}], .v)", "[1]"), ("map(['a', 'b'], #index)", "[0,1]"), ("count([1, 2, 3], # > 1)", "2"),
      ("count([true, false, true])", "2"), ("find([1, 2, 3], # > 1)", "2"), ("findIndex([1, 2], # == 3)", "-1"),
      ("findLast([1, 2, 3], # < 3)", "2"), ("findLastIndex([1, 2, 3], # < 3)", "1"), ("sum([1, 2, 3])", "6"),
      ("sum([{n: 1}, {n: 2.5}], .n)", "3.5"), ("reduce([1, 2, 3], #acc + #)", "6"),
      ("reduce([1, 2], #acc * #, 10)", "20"),
      ("groupBy([1, 2, 3], # % 2 == 0 ? 'even' : 'odd')", #"{"even":[2],"odd":[1,3]}"#),
      ("sortBy([{n: 2}, {n: 1}], .n) | map(.n)", "[1,2]"), ("sortBy([1, 3, 2], #, 'desc')", "[3,2,1]"),
      ("map([1, 2], { let y = # * 2; y + 1 })", "[3,5]"), ("map([[1, 2], [3]], sum(#))", "[3,3]"),
      ("map(filter(1..4, # % 2 == 0), string(#)) | join('-')", "2-4"), ("filter(list, # > 2)", "[3]"),
    ])
  }

  @Test("Functions on numbers")
  func numbers() {
    check([
      ("abs(-1)", "1"), ("ceil(1.2)", "2"), ("floor(-1.2)", "-2"), ("round(2.5)", "3"), ("int('5') + 1", "6"),
      ("int(2.9)", "2"), ("float('1.5') * 2", "3"), ("asInt(inputs.parameters.n) + 1", "4"),
      ("asFloat('2') / 4", "0.5"),
      ("max([1, 5, 2])", "5"), ("min(3, 1, 2)", "1"), ("mean([1, 2, 3, 4])", "2.5"), ("median([3, 1, 2])", "2"),
      ("bitand(6, 3)", "2"), ("bitor(6, 3)", "7"), ("bitxor(6, 3)", "5"), ("bitnand(6, 3)", "4"), ("bitnot(0)", "-1"),
      ("bitshl(1, 4)", "16"), ("bitshr(-16, 2)", "-4"), ("bitushr(-1, 63)", "1"), ("mean([])", "0"),
    ])
  }

  @Test("Functions on texts, as Go prints them")
  func texts() {
    check([
      ("trim('  a ')", "a"), ("trim('__a_', '_')", "a"), ("trimPrefix('ab', 'a')", "b"), ("trimSuffix('ab', 'b')", "a"),
      ("upper('aé')", "AÉ"), ("lower('AB')", "ab"), ("split('a,b,c', ',', 2)", #"["a","b,c"]"#),
      ("splitAfter('a,b', ',')", #"["a,","b"]"#), ("replace('aaa', 'a', 'b', 2)", "bba"), ("repeat('ab', 3)", "ababab"),
      ("indexOf('abcb', 'b')", "1"), ("lastIndexOf('abcb', 'b')", "3"), ("indexOf('a', 'x')", "-1"),
      ("hasPrefix('ab', 'a')", "true"), ("hasSuffix('ab', 'b')", "true"), ("len('héllo')", "5"),
      ("string(1.0)", "1"), ("string(1234567.0)", "1.234567e+06"), ("string([1, 'a', nil])", "[1 a <nil>]"),
      ("string({b: 1, a: 2})", "map[a:2 b:1]"), ("string(nil)", "<nil>"), ("type(1)", "int"), ("type(1.5)", "float"),
      ("type('a')", "string"), ("type([])", "array"), ("type({})", "map"), ("type(nil)", "nil"),
      ("type(now())", "time.Time"),
      ("toBase64('héllo')", "aMOpbGxv"), ("fromBase64('aMOpbGxv')", "héllo"), ("'a,b' | split(',') | join('-')", "a-b"),
    ])
  }

  @Test("Functions on lists and maps")
  func collections() {
    check([
      ("first([1, 2])", "1"), ("last([1, 2])", "2"), ("first([]) ?? 'none'", "none"), ("take([1, 2, 3], 2)", "[1,2]"),
      ("keys({b: 1, a: 2})", #"["a","b"]"#), ("values({b: 1, a: 2})", "[2,1]"), ("toPairs({a: 1})", #"[["a",1]]"#),
      ("fromPairs([['a', 1]])", #"{"a":1}"#), ("reverse([1, 2])", "[2,1]"), ("sort([3, 1, 2])", "[1,2,3]"),
      ("sort(['b', 'a'], 'desc')", #"["b","a"]"#), ("concat([1], [2, 3])", "[1,2,3]"),
      ("flatten([1, [2, [3]]])", "[1,2,3]"),
      ("uniq([1, 2, 1])", "[1,2]"), ("len([1, 2])", "2"), ("fromJSON('{\"a\": 1}').a", "1"),
      ("fromJson('[1.0]')", "[1]"),
      ("toJson({a: [1, 1.5, 'x']})", #"{"a":[1,1.5,"x"]}"#), ("toJSON({a: 1})", "{\n  \"a\": 1\n}"),
    ])
  }

  @Test("Moments come from the event, durations from arithmetic")
  func moments() {
    check([
      ("now()", "2026-11-22T08:00:00Z"),
      ("now().Format('Jan 2, 2006 at 3:04pm (MST)')", "Nov 22, 2026 at 8:00am (UTC)"),
      ("now().Unix()", "1795334400"), ("date('2026-01-02') < now()", "true"), ("date('2026-01-02').Weekday()", "5"),
      ("date('02/01/2026', '02/01/2006').YearDay()", "2"), ("(now() - date('2026-11-22')).Hours()", "8"),
      ("string(now() - date('2026-11-21'))", "32h0m0s"), ("date('2026-11-22T08:00:00+02:00').Hour()", "8"),
      ("string(duration('1h') + duration('90s'))", "1h1m30s"), ("duration('1h') > duration('59m')", "true"),
      ("string(duration('1.5s') * 2)", "3s"), ("now().Add(duration('36h')).Day()", "23"),
      ("now().AddDate(0, 3, 10).Format('2006-01-02')", "2027-03-04"),
      ("string(date('2026-11-22'))", "2026-11-22 00:00:00 +0000 UTC"),
      ("now().In(timezone('Etc/GMT-2')).Hour()", "10"),
      ("date('2026-07-01 12:00:00', '2006-01-02 15:04:05', 'Europe/Berlin').UTC().Hour()", "10"),
      ("date('2026-01-01T12:00:00Z').In(timezone('Asia/Shanghai')).Format('15:04 MST')", "20:00 CST"),
      ("date('2026-07-01T12:00:00Z').In(timezone('America/New_York')).Format('15:04 -0700 MST')", "08:00 -0400 EDT"),
      ("date('2026-03-29T00:59:59Z').In(timezone('Europe/Berlin')).Format('15:04')", "01:59"),
      ("date('2026-03-29T01:00:00Z').In(timezone('Europe/Berlin')).Format('15:04')", "03:00"),
      ("duration('250ms').Milliseconds()", "250"),
      ("string(duration('-1m'))", "-1m0s"), ("now().Truncate(duration('24h')).Hour()", "0"),
    ])
  }

  @Test(
    "What makes no sense is refused, with its place",
    arguments: [
      ("1 +", "unexpected end of expression (1:4)"), ("missing", "failed to resolve {{=missing}}"),
      ("nosuch(1)", "there is no function 'nosuch' (1:1)"), ("1 % 0", "integer divide by zero (1:3)"),
      ("'a' - 1", "invalid operation: string - int"), ("[1", "unexpected token"), ("# + 1", "unexpected token #"),
      ("a.", "expected name"), ("1 | 2", "expected name"), ("1 ?? 2 + 3", "cannot be mixed"),
      ("[1][3]", "index out of range: 3"),
      ("nil", "comes to nil"), ("'x' in 5", "invalid operation"), ("5 && true", "no truth value"),
      ("@", "unrecognized character '@'"),
      ("'open", "literal not terminated"), ("repeat('a', -1)", "negative count"), ("len(5)", "invalid argument"),
      ("int('x')", "invalid operation: int(x)"), ("1.5 % 2", "float64 % int"),
      ("{a: 1}.a.b", "cannot fetch b from int"),
      ("timezone('Mars/Base')", "unknown time zone"), ("date('soon')", "invalid date"), ("fromJSON('{')", "JSON text"),
      ("\n\n 1 %% 2", "(3:5)"), ("reduce([], #acc)", "no initial value"), ("'\\q'", "unable to unescape"),
    ])
  func errors(expression: String, message: String) {
    let error = #expect(throws: FederationError.self) { try Self.text(expression) }
    #expect(error?.publicMessage.contains(message) == true, "\(expression): \(error?.publicMessage ?? "")")
  }

  @Test(
    "What would take too much is refused soon",
    arguments: [
      "repeat('abcdefgh', 100000000)", "1..100000000", "map(1..2000, map(1..2000, #))", "sprig.repeat(999999999, 'a')",
      "reduce(1..60, #acc + #acc, 'aaaaaaaa')", "sprig.until(100000000)", "sprig.indent(5, repeat('\\n', 9000000))",
      "map(1..5000, repeat('x', 100000))", "map(1..100000, 'aaaaaaaaaaaaaaaaaaaaaaaaaa' matches '(a*)*(a*)*(a*)*b')",
      "reduce(1..40, [#acc, #acc], [1]) | toJson()", "sprig.randAlpha(1000000)",
      "bitshl(1, 9223372036854775807) | repeat('a')",
      "replace(repeat('a', 1000000), '', repeat('b', 1000))",
    ])
  func limits(expression: String) {
    let start = ContinuousClock.now
    #expect(throws: FederationError.self) { try Self.text(expression) }
    #expect(ContinuousClock.now - start < .seconds(20))
  }

  @Test("Chains of operators are bounded, and the longest that is allowed does not overflow a small stack")
  func height() async throws {
    func chain(_ count: Int) -> String { (0..<count).map { _ in "1" }.joined(separator: " + ") }
    let result = try await Task.detached { try Self.text(chain(190)) }.value
    #expect(result == "190")
    #expect(throws: FederationError.self) { try Self.text(chain(30_000)) }
    #expect(throws: FederationError.self) { try Self.text(String(repeating: "[", count: 30_000)) }
    let nested = String(repeating: "(", count: 30) + "1" + String(repeating: ")", count: 30)
    #expect(try await Task.detached { try Self.text(nested) }.value == "1")
  }

  @Test("Random functions draw the same for the same seed, and differ for another")
  func random() throws {
    func draw(_ expression: String, _ seed: UInt64) throws -> String {
      try ExprLang.evaluate(expression, at: ExpressionMoment(seed: seed)) { _ in nil }.text()
    }
    for expression in [
      "sprig.uuidv4()", "sprig.randAlphaNum(12)", "string(sprig.randInt(0, 1000000000))", "sprig.randBytes(8)",
    ] {
      #expect(try draw(expression, 1) == draw(expression, 1))
      #expect(try draw(expression, 1) != draw(expression, 2))
    }
    #expect(
      try GoRegex("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$").matches(
        try draw("sprig.uuidv4()", 3)))
    #expect(try draw("sprig.uuidv4() == sprig.uuidv4()", 1) == "false")
  }
}
