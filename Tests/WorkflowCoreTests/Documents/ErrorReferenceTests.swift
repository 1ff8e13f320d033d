import FederationModel
import Foundation
import Testing

@Suite("The reference of errors")
struct ErrorReferenceTests {
  @Test("names every code with its HTTP status and exit code", arguments: ErrorCode.allCases)
  func isCurrent(code: ErrorCode) throws {
    let document = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().appending(path: "docs/reference/errors.md")
    let text = try String(contentsOf: document, encoding: .utf8)
    #expect(text.contains("\n| `\(code.rawValue)` | \(code.httpStatus) | \(code.exitCode) | "))
  }
}
