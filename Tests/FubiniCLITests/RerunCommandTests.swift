import ArgumentParser
import FederationAPI
import Foundation
import Synchronization
import Testing

@testable import fubini

@Suite struct RerunCommandTests {
  @Test("Parameters of a file are texts, numbers as written, lists as JSON; those of the command line go before them")
  func parameters() throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent(
      "fubini-p-\(UInt64.random(in: 0 ... .max)).yaml")
    defer { try? FileManager.default.removeItem(at: file) }
    try Data("a: one\nb: 1.50\nc: [1, \"2\", x]\nd: {e: true}\nf: \"\"\n".utf8).write(to: file)
    let options = try ParameterOptions.parse(["-p", "a=two=2", "-p", "g=", "--parameter-file", file.path])
    #expect(
      try options.values() == [
        "a": "two=2", "b": "1.50", "c": #"[1,"2","x"]"#, "d": #"{"e":true}"#, "f": "", "g": "",
      ])
    for text in ["[a]", "a: b: c", "just a text", "? [x]\n: y"] {
      #expect(throws: CommandFailure.self, "\(text)") { try ParameterOptions.read(text, "f") }
    }
    #expect(throws: CommandFailure.self) { try ParameterOptions.parse(["-p", "a"]).values() }
    #expect(try Submit.parse(["a.yaml", "--parameter-file", file.path]).parameters.values()["a"] == "one")
  }

  @Test("What a retry, a stop and a resume ask for is what was said; half of a choice is refused")
  func requests() throws {
    let retry = try Retry.parse([
      "w", "-p", "n=2", "--restart-successful", "--node-field-selector", "displayName=a,phase!=Failed",
    ])
    #expect(
      try retry.request
        == WorkflowActionRequest(
          nodeFieldSelector: "displayName=a,phase!=Failed", parameters: ["n": "2"], restartSuccessful: true))
    #expect(try Retry.parse(["w"]).request == WorkflowActionRequest())
    for half in [["w", "--restart-successful"], ["w", "--node-field-selector", "name=a"]] {
      #expect(throws: (any Error).self, "\(half)") { try Retry.parse(half) }
    }
    let stop = try Stop.parse(["w", "--node-field-selector", "name=a", "--message", "no"])
    #expect(stop.request == WorkflowActionRequest(message: "no", nodeFieldSelector: "name=a"))
    #expect(stop.done == "nodes ended")
    #expect(try Stop.parse(["w"]).done != "nodes ended")
    let resume = try Resume.parse(["w", "--set", "a=b"])
    #expect(try resume.request == WorkflowActionRequest(parameters: ["a": "b"]))
    #expect(throws: (any Error).self) { try SetNodes.parse(["w", "--phase", "Failed"]) }
    #expect(throws: (any Error).self) { try LogFilterOptions.parse(["--tail", "-1"]) }
    #expect(throws: (any Error).self) { try LogFilterOptions.parse(["--since", "0"]) }
  }

  @Test("Filtered logs are asked for as Argo's clients do, and printed with their pods, or without for one node")
  func logs() async throws {
    let answer =
      #"data: {"result":{"content":"one","podName":"w-1"}}"# + "\n\n: still here\n\n"
      + #"data: {"result":{"content":"two","podName":"w-2"}}"# + "\n\n"
    try await FakeServer.with { _, _ in
      .events(answer)
    } _: { server, url in
      try await withClient(url) { client in
        let filter = try LogFilterOptions.parse([
          "--grep", "o", "--tail", "3", "-l", "team=x", "--previous", "--since", "60", "--timestamps",
        ])
        #expect(!filter.isEmpty)
        #expect(try LogFilterOptions.parse([]).isEmpty)
        let logs = FilteredLogs(client: client, filter: filter, isFollowing: true)
        let lines = Mutex<[String]>([])
        try await logs.print("w", node: nil) { line in lines.withLock { $0.append(line) } }
        try await logs.print("w", node: "a") { line in lines.withLock { $0.append(line) } }
        #expect(lines.withLock { $0 } == ["w-1: one", "w-2: two", "one", "two"])
        let first = try #require(server.requests.first)
        #expect(first.path == "/api/v1/workflows/default/w/log" && first.query("podName") == nil)
        for (name, value) in [
          ("grep", "o"), ("logOptions.tailLines", "3"), ("logOptions.previous", "true"), ("logOptions.follow", "true"),
          ("logOptions.sinceSeconds", "60"), ("logOptions.timestamps", "true"),
        ] { #expect(first.query(name) == value, "\(name)") }
        #expect(first.uri.contains("selector=team"))
        #expect(server.requests.last?.query("podName") == "a")
      }
    }
  }
}
