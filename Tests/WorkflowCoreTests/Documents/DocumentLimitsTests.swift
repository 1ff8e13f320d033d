import Testing
import WorkflowCore

@Suite("Limits of documents")
struct DocumentLimitsTests {
  private static let deepYAML = String(repeating: "[", count: 100_000)
  private static let deepBlock = (0..<500).map { String(repeating: " ", count: $0) + "a:" }.joined(separator: "\n")

  /// Nine levels of nine aliases each: 387 million values if it were expanded.
  private static let aliasBomb =
    "a0: &a0 [x]\n"
    + (1...9).map { "a\($0): &a\($0) [" + Array(repeating: "*a\($0 - 1)", count: 9).joined(separator: ",") + "]\n" }
    .joined()

  /// One long text, mentioned ten thousand times.
  private static let textBomb =
    "a: &a " + String(repeating: "x", count: 100_000) + "\nb: ["
    + Array(repeating: "*a", count: 10_000).joined(separator: ",") + "]\n"

  static let hostile: [(name: String, text: String, message: String)] = [
    ("too large", String(repeating: "#", count: (2 << 20) + 1), "larger than 2097152 bytes"),
    ("a deep flow list", deepYAML, "nested deeper than 64"),
    ("a deep block map", deepBlock, "nested deeper than 64"),
    ("a deep JSON list", "{\"a\":" + deepYAML, "nested deeper than 64"),
    ("an alias bomb", aliasBomb, "more than 500000 values"),
    ("an alias bomb of text", textBomb, "bytes of text"),
    ("very many values", "[" + String(repeating: "0,", count: 600_000) + "0]", "more than 500000 values"),
    ("an anchor that contains itself", "a: &a [*a]", "names no anchor before it"),
    ("empty", "", "the document is empty"),
    ("only comments", "# nothing\n---\n", "the document is empty"),
    ("a text", "hello", "the document is a text, not a map"),
    (
      "two documents", "kind: Workflow\n---\nkind: CronWorkflow\nmetadata: {name: nightly}\n",
      "found 2 documents: Workflow, CronWorkflow nightly"
    ),
    ("another kind", "kind: Workflwo", "only documents of kind Workflow"),
    ("a list as a key", "? [a]\n: b", "a list or a map cannot be a key"),
    ("a key given twice", "kind: Workflow\nkind: Workflow", "the key \"kind\" is given twice"),
    ("a tab as indentation", "a:\n\tb: c", "not readable as YAML"),
    ("broken JSON", "{\"kind\": \"Workflow\" \"spec\": 1}", "not readable as"),
    ("a key given twice in JSON", "{\"kind\": 1, \"kind\": 2}", "given twice"),
  ]

  @Test("a hostile or useless document is refused with one clear problem, at once", arguments: hostile.map(\.name))
  func refused(name: String) throws {
    let document = try #require(Self.hostile.first { $0.name == name })
    let clock = ContinuousClock()
    var found: [DocumentProblem] = []
    let duration = clock.measure { found = problems(of: document.text) }
    #expect(found.count == 1)
    #expect(found.first?.message.contains(document.message) == true, "\(found)")
    // Milliseconds in an optimised build on an idle machine; what has no bound would take hours.
    #expect(duration < .seconds(20), "\(duration)")
  }

  @Test("bytes that are no UTF-8 are refused with their place")
  func notUTF8() {
    let errors = #expect(throws: DocumentErrors.self) {
      try WorkflowDefinition.decode([0x61, 0x3a, 0x20, 0xff, 0xfe] as [UInt8])
    }
    #expect(
      errors?.problems.map(\.message) == ["the document is not UTF-8 text: byte 4 does not belong to a character"])
  }

  @Test("more problems than anybody reads are counted, not listed")
  func manyProblems() {
    let text = workflow((0..<500).map { "- {name: \"bad name \($0)\", container: {image: x}}" }.joined(separator: "\n"))
    let errors = #expect(throws: DocumentErrors.self) { try decode(text) }
    #expect(errors?.problems.count == DocumentErrors.limit)
    #expect((errors?.omittedCount ?? 0) >= 300)
  }

  @Test("merge keys cannot be used to grow a document without bound")
  func mergeBomb() {
    let base = "b: &b {" + (0..<1000).map { "k\($0): 1" }.joined(separator: ", ") + "}\n"
    let text = base + "c:\n" + (0..<2000).map { _ in "- {<<: [*b, *b]}\n" }.joined()
    #expect(problems(of: text).first?.message.contains("more than 500000 values") == true)
  }
}
