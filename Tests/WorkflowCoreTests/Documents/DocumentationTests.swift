import Foundation
import Testing

/// What the documents say about the repository is there.
@Suite("Documentation")
struct DocumentationTests {
  private static let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()

  /// Every document, by its path in the repository.
  private static func documents() throws -> [String] {
    var paths = ["README.md", "examples/README.md", "controlplane/deploy/README.md", "agent/deploy/README.md"]
    let names = FileManager.default.enumerator(atPath: repository.appending(path: "docs").path)
    paths += (names?.compactMap { $0 as? String } ?? []).filter { $0.hasSuffix(".md") }.sorted().map { "docs/\($0)" }
    return paths
  }

  private static func text(of path: String) throws -> String {
    try String(contentsOf: repository.appending(path: path), encoding: .utf8)
  }

  /// Targets of links inside the repository, without fragments.
  private static func links(in text: Substring) -> [String] {
    text.split(separator: "](").dropFirst().compactMap { $0.split(separator: ")", maxSplits: 1).first }
      .map { String($0.prefix { $0 != "#" }) }.filter { !$0.isEmpty && !$0.hasPrefix("http") }
  }

  @Test("every link between the repository's files leads somewhere")
  func links() throws {
    let documents = try Self.documents()
    #expect(documents.count >= 15)
    for document in documents {
      let folder = Self.repository.appending(path: document).deletingLastPathComponent()
      for link in Self.links(in: try Self.text(of: document)[...]) {
        let target = folder.appending(path: link).standardized.path
        #expect(FileManager.default.fileExists(atPath: target), "\(document): \(link)")
      }
    }
  }

  @Test("every invariant has its row, and every test linked there names it", arguments: 1...10)
  func invariants(number: Int) throws {
    let rows = try Self.text(of: "docs/ARCHITECTURE.md").split(separator: "\n").filter {
      $0.hasPrefix("| I\(number) |")
    }
    #expect(rows.count == 1)
    let row = try #require(rows.first)
    let tests = Self.links(in: row)
    #expect(!tests.isEmpty || row.contains("planned"), "I\(number) is neither tested nor promised")
    for test in tests {
      let path = "docs/" + test
      let source = try String(
        contentsOf: Self.repository.appending(path: path).standardized, encoding: .utf8)
      // "I1" is not named by "I10".
      let isNamed = source.split(separator: "I\(number)", omittingEmptySubsequences: false).dropFirst().contains {
        $0.first.map { !$0.isNumber && !$0.isLetter } ?? false
      }
      #expect(isNamed, "\(test) does not name I\(number)")
    }
  }

  @Test("every test that the table of Argo's semantics names is there, and every line has one")
  func argoTests() throws {
    var sources: [String: String] = [:]
    let tests = Self.repository.appending(path: "Tests")
    for case let path as String in FileManager.default.enumerator(atPath: tests.path) ?? .init()
    where path.hasSuffix(".swift") {
      sources[path.split(separator: "/").last!.dropLast(6).description, default: ""] += try Self.text(
        of: "Tests/\(path)")
    }
    let text = try Self.text(of: "docs/reference/argo-compatibility.md")
    let begin = try #require(text.range(of: "<!-- tests: begin -->"))
    let end = try #require(text.range(of: "<!-- tests: end -->"))
    let rows = text[begin.upperBound..<end.lowerBound].split(separator: "\n").filter {
      $0.hasPrefix("| ") && $0 != "| | |"
    }
    #expect(rows.count >= 45)
    for row in rows {
      let cells = row.components(separatedBy: " | ")
      #expect(cells.count == 2, "\(row)")
      for entry in cells.last!.dropLast(2).components(separatedBy: "<br>") {
        let parts = entry.components(separatedBy: "`: ")
        let (file, name) = (String(parts[0].dropFirst()), parts.dropFirst().joined(separator: "`: "))
        let source = try #require(sources[file], "\(row)")
        #expect(source.contains("\"\(name)\""), "\(file) has no test \(name)")
      }
    }
  }
}
