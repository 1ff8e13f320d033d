import FederationModel
import Testing

@testable import WorkflowCore

@Suite("Expressions")
struct ExpressionTests {
  private let variables = [
    "inputs.parameters.n": "3", "steps.a-b.outputs.result": #"{"x":[1,2]}"#, "workflow.name": "wf", "a": "workflow",
    "key": "name", "list": "[1,2,3]",
  ]

  @Test(
    "Tags are replaced in one pass",
    arguments: [
      ("{{workflow.name}}", "wf"), ("a {{ workflow.name }} b", "a wf b"), ("{{=workflow.name + '}}'}}", "wf}}"),
      ("{{=asInt(inputs.parameters.n) + 1}}", "4"), ("{ {x}", "{ {x}"), ("{{open", "{{open"), ("", ""),
      ("{{workflow.{{= 'NAME' | lower() }} }}", "wf"), ("{{workflow.{{key}}}} {{workflow.{{ key }}}}", "wf wf"),
      ("{{{{a}}.{{key}}}}", "wf"), ("{{ secret \"{{workflow.name}}\" }}", "{{ secret \"wf\" }}"),
      ("{{- with {{ secret \"{{key}}\" -}}\n {{ .Data }} end", "{{- with {{ secret \"name\" -}}\n {{ .Data }} end"),
      ("{{custom.variable}} }} {{.State}}", "{{custom.variable}} }} {{.State}}"),
      (#"{"a":{"b":{{inputs.parameters.n}}}}"#, #"{"a":{"b":3}}"#),
      ("{{{{{{{{{{{{{{{{{{{{a}}", "{{{{{{{{{{{{{{{{{{{{a}}"),
      ("{{= {'k': 1}.k }}", "1"), ("{{={'k': {'l': 2}}}}", #"{"k":{"l":2}}"#),
    ])
  func tags(text: String, expected: String) throws {
    #expect(try Tags.substitute(text) { variables[$0].map { .text($0) } ?? .unknown } == expected)
  }

  @Test("An unknown tag is an error that names it")
  func unknownTag() {
    let error = #expect(throws: FederationError.self) { try Tags.substitute("{{steps.nope}}") { _ in .unknown } }
    #expect(error?.publicMessage == "failed to resolve {{steps.nope}}")
    let nested = #expect(throws: FederationError.self) {
      try Tags.substitute("{{steps.{{a}}}}") { $0 == "a" ? .text("b") : .unknown }
    }
    #expect(nested?.publicMessage == "failed to resolve {{steps.b}}")
  }

  @Test("What a tag within a tag is replaced by is a part of a name, and nothing else")
  func nestedValues() throws {
    let values = ["a": "x}} {{workflow.name", "inputs.x}} {{workflow.name": "no name"]
    #expect(try Tags.substitute("{{inputs.{{a}}}}") { values[$0].map { .text($0) } ?? .unknown } == "no name")
    #expect(DocumentTag.scan("{{inputs.{{item}}}} {{= 1 }} {{a").tags.map(\.text) == ["item", "1"])
    #expect(DocumentTag.scan("{{inputs.{{item}}}} {{= 1 }} {{a").unclosed == "a")
  }

  @Test(
    "`when` compares bare words, texts and numbers",
    arguments: [
      ("heads == heads", true), ("heads == tails", false), ("5 > 3 && !(a == b)", true), ("\"a b\" != 'a b'", false),
      ("'2' == 2", false), ("1.5 >= 1.5", true), ("abc =~ '^a.c$'", true), ("abc !~ b", false),
      ("x in ('x', 'y')", true),
      ("true", true), ("false || true", true), ("my-branch == my-branch", true), ("4 % 2 == 0", true), ("-1 < 0", true),
      ("(1 + 2) * 3 == 9", true),
    ])
  func when(text: String, expected: Bool) throws {
    #expect(try WhenExpression.evaluate(text) == expected)
  }

  @Test("A malformed `when` is an error", arguments: ["", "==", "a ==", "(a == b", "5", "a == b c", "'open", "a @ b"])
  func malformedWhen(text: String) {
    #expect(throws: FederationError.self) { try WhenExpression.evaluate(text) }
  }

  @Test(
    "expr-lang evaluates",
    arguments: [
      ("1 + 2 * 3", "7"), ("7 / 2", "3.5"), ("2 ** 3", "8"), ("'a' + 'b'", "ab"), ("nil ?? 'd'", "d"),
      ("missing ?? 'd'", "d"),
      ("1 < 2 ? 'y' : 'n'", "y"), ("2 in [1, 2]", "true"), ("3 not in [1, 2]", "true"), ("{'a': 1}['a']", "1"),
      ("[1, 2, 3][-1]", "3"),
      ("[1, 2, 3][1:]", "[2,3]"), ("filter([1, 2, 3], {# > 1})", "[2,3]"), ("map([1, 2], # * 2)", "[2,4]"),
      ("any([1, 2], {# == 2})", "true"), ("all([{'v': 1}], {.v == 1})", "true"), ("len('abc')", "3"),
      ("toJson({'a': [1]})", #"{"a":[1]}"#),
      ("fromJson('[1]')[0]", "1"), ("jsonpath(steps['a-b'].outputs.result, '$.x[1]')", "2"),
      ("asFloat('1.5') + 1", "2.5"),
      ("sprig.trim('  x ')", "x"), ("sprig.replace('a', 'b', 'aba')", "bbb"), ("sprig.default('d', '')", "d"),
      ("'a,b' | split(',') | join('-')", "a-b"), ("upper('x') == 'X' and not false", "true"),
      ("'abc' matches '^a'", "true"),
      ("'abc' contains 'b'", "true"), ("string(inputs.parameters.n)", "3"), ("1..3", "[1,2,3]"), ("list[1]", "2"),
      ("sprig.b64enc('héllo!')", "aMOpbGxvIQ=="), ("sprig.b64dec('aMOpbGxvIQ==')", "héllo!"),
      ("sprig.b64dec('YQ==')", "a"),
    ])
  func exprLang(text: String, expected: String) throws {
    #expect(try ExprLang.evaluate(text) { variables[$0] }.value().tagText == expected)
  }

  @Test(
    "expr-lang refuses what makes no sense",
    arguments: ["1 +", "missing", "nosuch(1)", "1 % 0", "'a' - 1", "[1", "# + 1", "a.", "1 | 2"])
  func exprLangErrors(text: String) {
    #expect(throws: FederationError.self) { try ExprLang.evaluate(text) { variables[$0] }.value() }
  }

  @Test(
    "`depends` follows its grammar",
    arguments: [
      ("a", [("a", DependsResult.succeeded)], true), ("a", [("a", .skipped)], true), ("a", [("a", .failed)], false),
      ("a.Failed || b", [("a", .failed), ("b", .failed)], true), ("!a.Failed", [("a", .failed)], false),
      ("(a || b) && !c.Errored", [("b", .succeeded), ("c", .failed)], true),
      ("a && b && c", [("a", .succeeded), ("b", .succeeded)], false),
    ])
  func depends(text: String, results: [(String, DependsResult)], expected: Bool) throws {
    let condition = try DependsExpression(parsing: text)
    #expect(condition.evaluate { name, result in results.contains { $0 == (name, result) } } == expected)
  }

  @Test("A malformed `depends` is an error", arguments: ["", "&&", "a &&", "a b", "(a", "a)", "a.Nope", "a & b", "!"])
  func malformedDepends(text: String) {
    #expect(throws: FederationError.self) { try DependsExpression(parsing: text) }
  }

  @Test("Nesting beyond the limit is an error, not a crash")
  func deepNesting() {
    let deep = String(repeating: "(", count: 30_000) + "1"
    #expect(throws: FederationError.self) { try WhenExpression.evaluate(deep) }
    #expect(throws: FederationError.self) { try ExprLang.evaluate(String(repeating: "!", count: 30_000)) { _ in nil } }
    #expect(throws: FederationError.self) { try JSONText.parse(String(repeating: "[", count: 100_000)) }
    #expect(throws: FederationError.self) { try GoRegex(String(repeating: "(", count: 1000)) }
  }

  @Test("A regular expression takes linear time")
  func linearRegex() throws {
    let text = String(repeating: "a", count: 20_000) + "b"
    #expect(try GoRegex("^(a+)+$").matches(text) == false)
    #expect(try GoRegex("(x+x+)+y|a[^c]$").matches(text))
  }

  @Test("Random texts neither crash nor hang any parser", arguments: 0..<20 as Range<UInt64>)
  func fuzz(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let pieces = [
      "{{", "}}", "{{=", "a", "==", "&&", "||", "!", "(", ")", "'", "\"", "1", "9e9", ".", "[", "]", "{", "}", "#", "|",
      "in", "?", ":",
      "??", ",", "\\", "é", "\u{0}", "-", "*", "..", "filter", "map(", "sprig.", "item", "=~", "^", "$", "a.Failed",
    ]
    for _ in 0..<FuzzRounds.perSeed(400, seeds: 20) {
      let text = (0..<Int.random(in: 0..<30, using: &random)).map { _ in pieces.randomElement(using: &random)! }
        .joined(separator: Bool.random(using: &random) ? " " : "")
      _ = try? Tags.substitute(text) { _ in .text("x") }
      _ = try? WhenExpression.evaluate(text)
      _ = try? ExprLang.evaluate(text) { _ in "[1,2]" }.value()
      _ = try? DependsExpression(parsing: text)
      _ = try? JSONText.parse(text)
      _ = try? GoRegex(text).matches(text)
    }
  }
}
