import FederationModel
import Testing

@testable import WorkflowCore

@Suite("GoRegex")
struct GoRegexTests {
  @Test(
    "Patterns mean what they mean in RE2",
    arguments: [
      ("^a.c$", "abc", true), ("^a.c$", "a\nc", false), ("(?s)^a.c$", "a\nc", true), ("(?i)HELLO", "hello", true),
      ("a{2,3}$", "aaaa", true),
      ("^a{2,3}$", "aaaa", false), ("^a{2}$", "aa", true), ("a{,2}", "a{,2}", true), ("\\bcat\\b", "a cat.", true),
      ("\\bcat\\b", "concat", false),
      ("^\\d+\\.\\d+$", "3.14", true), ("[[:alpha:]]+[[:^digit:]]", "ab", true), ("^[^\\d\\s]+$", "ab1", false),
      ("\\p{Lu}", "aÉ", true), ("\\pN", "a", false),
      ("(?m)^b$", "a\nb\nc", true), ("^(foo|bar)?$", "", true), ("\\x41\\x{42}", "AB", true),
      ("\\Qa.b\\E", "a.b", true), ("\\Qa.b\\E", "axb", false),
      ("^(?:a|b)+$", "abab", true), ("[]a]", "]", true), ("[a\\-z]", "-", true), ("^\\S+@\\S+$", "a@b", true),
      ("", "", true), ("a|", "b", true),
      ("[é-ü]", "ö", true), ("^.$", "é", true), ("\\Aab\\z", "ab", true), ("x*", "", true),
    ])
  func matches(pattern: String, text: String, expected: Bool) throws {
    #expect(try GoRegex(pattern).matches(text) == expected)
  }

  @Test(
    "The leftmost match is found, of those the preferred one",
    arguments: [
      ("a|ab", "ab", "[a]"), ("ab|a", "ab", "[ab]"), ("a+?", "aaa", "[a a a]"), ("a+", "aaa", "[aaa]"),
      ("(a*)(b*)", "aabb", "[aabb]"), ("a*", "baab", "[ aa ]"),
      ("(?U)a+", "aa", "[a a]"), ("\\d+", "a1b22", "[1 22]"),
    ])
  func finds(pattern: String, text: String, expected: String) throws {
    #expect(try ExprLangTests.text("string(sprig.regexFindAll(`\(pattern)`, '\(text)', -1))") == expected)
  }

  @Test(
    "Groups are put into a replacement",
    arguments: [
      ("(\\w+)@(\\w+)", "me@home", "$2.$1", "home.me"), ("(\\w+)@(\\w+)", "me@home", "${2}.${1}", "home.me"),
      ("(?P<who>\\w+)@", "me@home", "${who}!", "me!home"),
      ("a", "aaa", "$$", "$$$"), ("(a)|b", "ab", "<$1>", "<a><>"), ("x*", "ab", "-", "-a-b-"), ("a", "ba", "$x", "b"),
      ("a", "ba", "$", "b$"),
    ])
  func replaces(pattern: String, text: String, template: String, expected: String) throws {
    var budget = GoRegex.visitLimit
    let result = try GoRegex(pattern).replacingAll(
      in: text, with: template, isLiteral: false, limit: 1 << 20, budget: &budget)
    #expect(result == expected)
  }

  @Test(
    "A malformed pattern is refused",
    arguments: [
      "(", ")", "a**", "[", "[z-a]", "\\", "*a", "(?<x", "(?x)", "a{1001}", "a{3,2}", "\\8", "(?P<a>x)(?P<a>y)",
      "[[:nope:]]", "\\p{Nope}", "\\x{110000}", "(a{1000}){1000}",
    ])
  func malformed(pattern: String) {
    #expect(throws: FederationError.self) { try GoRegex(pattern) }
  }

  @Test("Time is linear in the text, and bounded")
  func linear() throws {
    let text = String(repeating: "a", count: 20_000) + "b"
    #expect(try GoRegex("^(a+)+$").matches(text) == false)
    #expect(try GoRegex("(x+x+)+y|a[^c]$").matches(text))
    #expect(throws: FederationError.self) { try GoRegex("(a?){500}b").matches(String(repeating: "a", count: 20_000)) }
  }
}

@Suite("JSONPath")
struct JSONPathTests {
  private static let store = """
    {"store": {"book": [{"title": "A", "price": 8.95, "tags": ["x", "y"]}, {"title": "B", "price": 12.5, "isbn": "1"}, {"title": "C", "price": 22}],
     "bicycle": {"color": "red", "price": 19.95}}, "limit": 10, "a.b": 1, "it's": 2}
    """

  @Test(
    "A path selects a place, or a list of places",
    arguments: [
      ("$.store.bicycle.color", "red"), ("$['store']['bicycle'].color", "red"), ("$.store.book[0].title", "A"),
      ("$.store.book[-1].title", "C"),
      ("$.store.book[*].title", #"["A","B","C"]"#), ("$.store.book[0,2].title", #"["A","C"]"#),
      ("$.store.book[1:].title", #"["B","C"]"#),
      ("$.store.book[:2].price", "[8.95,12.5]"), ("$.store.book[0:3:2].title", #"["A","C"]"#),
      ("$.store.book[::-1].title", #"["C","B","A"]"#),
      ("$..price", "[19.95,8.95,12.5,22]"), ("$.store.book[?(@.price > 10)].title", #"["B","C"]"#),
      ("$.store.book[?(@.isbn)].title", #"["B"]"#),
      ("$.store.book[?(@.price < $.limit && @.title == 'A')].title", #"["A"]"#),
      ("$.store.book[(@.length-1)].title", "C"), ("$.store.book.length", "3"),
      ("$['a.b']", "1"), ("$['it\\'s']", "2"), ("$.store.bicycle['color','price']", #"["red",19.95]"#),
      ("$.store.book[?('x' in (@.tags ?? []))].title", #"["A"]"#),
      ("$.limit", "10"), ("limit", "10"), ("$..nothing", "[]"),
    ])
  func selects(path: String, expected: String) throws {
    let result = try ExprLang.evaluate("jsonpath(doc, path)") { ["doc": Self.store, "path": path][$0] }.text()
    #expect(result == expected)
  }

  @Test(
    "A path that leads nowhere, or is none, is refused",
    arguments: [
      "$.nope", "$.store.book[7]", "$.store[0]", "$.", "$..", "$[", "$['a", "$[?(]", "$[a]", "$[1:2:0]", "$.limit.x",
      "$a$b[", "$[?(@.x ==)]",
    ])
  func refuses(path: String) {
    #expect(throws: FederationError.self) {
      try ExprLang.evaluate("jsonpath(doc, path)") { ["doc": Self.store, "path": path][$0] }.text()
    }
  }

  @Test("A query that looks at too many places is refused")
  func bounded() {
    let deep = String(repeating: "[", count: 100) + String(repeating: "]", count: 100)
    #expect(throws: FederationError.self) {
      try ExprLang.evaluate("jsonpath(doc, path)") {
        ["doc": deep, "path": "$" + String(repeating: "..*", count: 12)][$0]
      }.text()
    }
  }
}

@Suite("when")
struct WhenExpressionTests {
  @Test(
    "Conditions are read as govaluate reads them",
    arguments: [
      ("heads == heads", true), ("heads != tails", true), ("'2' == 2", false), ("2 == 2.0", true), ("a < b", true),
      ("10 < 9", false), ("'10' < '9'", true),
      ("true && !false", true), ("false || 1 < 2", true), ("1 + 2 * 3 == 7", true), ("2 ** 3 == 8", true),
      ("7 % 4 == 3", true), ("8 / 2 / 2 == 2", true),
      ("10 - 2 - 3 == 5", true), ("-3 < 0", true), ("6 & 3 == 2", true), ("1 | 4 == 5", true), ("6 ^ 3 == 5", true),
      ("1 << 3 == 8", true), ("~0 == -1", true),
      ("a in (a, b)", true), ("c in (a, b)", false), ("2 in (1, 2)", true), ("a in (a)", true), ("abc =~ '^a'", true),
      ("abc !~ '^b'", true), ("'a b' == \"a b\"", true),
      ("1 < 2 ? true : false", true), ("false ? true : 1 == 1", true), ("('x' + 1) == x1", true),
      ("'2026-01-02' < '2026-01-03'", true),
      ("'2026-01-02T00:00:00Z' == '2026-01-02'", true), ("my-branch == my-branch", true), ("v1.2.3 == v1.2.3", true),
      ("refs_heads == refs_heads", true), ("[a b] == 'a b'", true),
      ("a\\-b == 'a-b'", true), ("0x10 == 16", true), (".5 < 1", true), ("false && (1 < a)", false),
      ("true || (1 < a)", true), ("((1 == 1))", true), ("true", true),
      ("'' == ''", true), ("é == é", true), ("3rd == 3rd", true), ("!(a == b) && (1 == 1 || x)", true),
    ])
  func holds(text: String, expected: Bool) throws {
    #expect(try WhenExpression.evaluate(text) == expected, "\(text)")
  }

  @Test(
    "What is no condition is refused, with a hint",
    arguments: [
      ("", "ends too early"), ("==", "lacks a value"), ("a ==", "ends too early"), ("(a == b", "unbalanced"),
      ("5", "Expected boolean"), ("a == b c", "unexpected"), ("'open", "Unclosed string"),
      ("a @ b", "Invalid token: '@'"), ("1 < a", "it is not a number"), ("a && b", "it is not a bool"),
      ("!5", "it is not a bool"), ("-a == 1", "it is not a number"), ("1 =~ a", "it is not a text"),
      ("a =~ '('", "regular expression"), ("a - 1 == 2", "it is not a number"), ("1 == 1)", "unexpected"),
      ("5 ? true : false", "it is not a bool"),
    ])
  func refuses(text: String, message: String) {
    let error = #expect(throws: FederationError.self) { try WhenExpression.evaluate(text) }
    #expect(error?.publicMessage.contains(message) == true, "\(error?.publicMessage ?? "")")
  }

  @Test("Nesting and length are bounded", arguments: ["(", "!", "-", "a ? ", "1 + ("])
  func bounded(piece: String) {
    #expect(throws: FederationError.self) { try WhenExpression.evaluate(String(repeating: piece, count: 5000) + "1") }
  }
}
