internal import Testing

@testable internal import AgentRuntime

@Suite("outputs.result")
struct OutputResultTests {
  @Test("one trailing newline does not count, and of what is left the last 256 KiB are the result, to the byte")
  func result() {
    func result(_ text: String) -> String { OutputCollection.result(of: Array(text.utf8)) }
    #expect(result("") == "" && result("\n") == "" && result("a") == "a" && result("a\n") == "a")
    #expect(result("a\n\n") == "a\n" && result("a\r\n") == "a\r")
    let most = String(repeating: "x", count: (256 << 10) - 1)
    #expect(result("a" + most) == "a" + most)
    #expect(result("a" + most + "\n") == "a" + most, "the newline takes no room")
    #expect(result("ba" + most) == "a" + most)
    #expect(result("ba" + most.dropLast() + "\n\n") == "a" + most.dropLast() + "\n")
  }
}
