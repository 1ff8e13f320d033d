import Foundation
import Testing
import WorkflowCore

/// The YAML that users are shown: everything in `examples/`, and every YAML block of the how-to.
private enum Documented {
  static let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()

  /// Whole documents by where they stand. A block that is a list holds the templates of a workflow whose entry point is `main`.
  static func blocks(of path: String) throws -> [(place: String, text: String)] {
    let text = try String(contentsOf: repository.appending(path: path), encoding: .utf8)
    var blocks: [(String, String)] = []
    var open: (line: Int, text: String)?
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      if let block = open {
        if line == "```" {
          let isList = block.text.hasPrefix("- ")
          blocks.append(("\(path):\(block.line)", isList ? workflow(block.text) : block.text))
          open = nil
        } else {
          open!.text += line + "\n"
        }
      } else if line == "```yaml" {
        open = (index + 2, "")
      }
    }
    #expect(open == nil, "a block of \(path) does not end")
    return blocks
  }

  static func examples() throws -> [String] {
    let folder = repository.appending(path: "examples")
    let names = FileManager.default.enumerator(atPath: folder.path)?.compactMap { $0 as? String } ?? []
    return try names.filter { $0.hasSuffix(".yaml") }.sorted().filter {
      try String(contentsOf: folder.appending(path: $0), encoding: .utf8).contains("kind: Workflow")
    }
  }
}

@Suite("Documented examples")
struct DocumentedExamplesTests {
  @Test("every workflow of the how-to is accepted as it stands")
  func howTo() throws {
    let joining = try Documented.blocks(of: "docs/how-to/join-a-slurm-cluster.md").filter {
      $0.text.contains("kind: Workflow")
    }
    let data = try Documented.blocks(of: "docs/how-to/bring-your-data.md")
    let blocks = try Documented.blocks(of: "docs/how-to/write-a-workflow.md") + joining + data
    #expect(blocks.count >= 16 && joining.count == 1 && data.count == 2)
    for block in blocks {
      let found = problems(of: block.text)
      #expect(found.isEmpty, "\(block.place): \(found)")
    }
  }

  @Test("every file in examples/ is accepted as it stands")
  func examples() throws {
    let names = try Documented.examples()
    #expect(names.count >= 8)
    for name in names {
      let text = try String(contentsOf: Documented.repository.appending(path: "examples/\(name)"), encoding: .utf8)
      let found = problems(of: text)
      #expect(found.isEmpty, "\(name): \(found)")
    }
  }
}
