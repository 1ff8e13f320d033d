import FederationAPI
import FederationModel
import Foundation
import NIOHTTP1
import Testing

@testable import fubini

@Suite struct APIClientTests {
  private static let accepted = #"{"name":"wf"}"#

  private func fail(_ answer: FakeServer.Answer, method: HTTPMethod = .GET) async throws -> CommandFailure? {
    try await FakeServer.with({ _, _ in answer }) { _, url in
      try await withClient(url) { client in
        do {
          let _: AcceptedDocument = try await client.decode(.init(method: method, path: ["v1", "x"], file: "a.yaml"))
          return nil
        } catch let failure as CommandFailure { return failure }
      }
    }
  }

  @Test(
    "a write that is refused for now is sent again under the same idempotency key", arguments: [429, 502, 503, 504])
  func retriesWrites(status: Int) async throws {
    try await FakeServer.with({ _, place in
      place < 3 ? .json("{}", status: status, headers: [("Retry-After", "0")]) : .json(Self.accepted)
    }) { server, url in
      try await withClient(url) { client in
        let answer: AcceptedDocument = try await client.post(["v1", "x"], body: WorkflowActionRequest(message: "why"))
        #expect(answer.name == "wf")
        let keys = server.requests.map { $0.headers["idempotency-key"] }
        #expect(keys.count == 4 && Set(keys).count == 1 && keys[0] != nil)
        // The body as well: a repetition with another body is another request.
        #expect(Set(server.requests.map(\.body)).count == 1)
        let _: AcceptedDocument = try await client.post(["v1", "x"], body: WorkflowActionRequest())
        #expect(server.requests[4].headers["idempotency-key"] != keys[0])
      }
    }
  }

  @Test("a write whose answer was cut off is sent again under the same idempotency key")
  func retriesCutAnswers() async throws {
    try await FakeServer.with({ _, place in
      place == 0 ? FakeServer.Answer(status: 503, body: [0x7b], ending: .cut) : .json(Self.accepted)
    }) { server, url in
      try await withClient(url) { client in
        let _: AcceptedDocument = try await client.decode(.init(method: .DELETE, path: ["v1", "x"]))
        #expect(Set(server.requests.map { $0.headers["idempotency-key"] }).count == 1)
        #expect(server.requests.count == 2)
      }
    }
  }

  @Test("a read carries the token and no idempotency key")
  func reads() async throws {
    try await FakeServer.with({ _, _ in .json(Self.accepted) }) { server, url in
      try await withClient(url) { client in
        let _: AcceptedDocument = try await client.get(["v1", "a/b ü"], [("q", "x&y=1")])
        let request = try #require(server.requests.first)
        #expect(request.headers["authorization"] == "Bearer secret" && request.headers["idempotency-key"] == nil)
        #expect(request.uri == "/v1/a%2Fb%20%C3%BC?q=x%26y%3D1")
      }
    }
  }

  @Test("a server that asks for a longer wait than a person has is not waited for")
  func longRetryAfter() async throws {
    let failure = try await fail(.json("{}", status: 503, headers: [("Retry-After", "3600")]))
    #expect(failure?.code == .unreachable)
  }

  @Test("a server that stays unavailable ends with 5 after a bounded number of attempts")
  func givesUp() async throws {
    try await FakeServer.with({ _, _ in .json("{}", status: 503, headers: [("Retry-After", "0")]) }) { server, url in
      try await withClient(url) { client in
        var quick = client
        quick.retry.attemptsMax = 3
        await #expect(throws: CommandFailure.self) { let _: AcceptedDocument = try await quick.get(["v1", "x"]) }
        #expect(server.requests.count == 3)
      }
    }
  }

  @Test(
    "refusals are told in the server's words and with the code of their kind, and are not repeated",
    arguments: [
      (ErrorCode.unauthenticated, CommandFailure.ExitCode.error, "FUBINI_TOKEN"), (.notFound, .error, "the message"),
      (.invalidArgument, .usage, "the message"), (.unplaceable, .unplaceable, "the message"),
      (.budgetDenied, .budgetDenied, "the message"), (.internal, .error, "Request r-1"),
    ])
  func refusals(code: ErrorCode, exit: CommandFailure.ExitCode, says: String) async throws {
    let document = ErrorDocument(reason: code, message: "the message", requestID: "r-1")
    try await FakeServer.with({ _, _ in .json(Documents.json(document), status: code.httpStatus) }) { server, url in
      try await withClient(url) { client in
        do {
          let _: AcceptedDocument = try await client.get(["v1", "x"])
          Issue.record("it was accepted")
        } catch let failure as CommandFailure {
          #expect(failure.code == exit)
          #expect(failure.message.contains("the message") && failure.message.contains(says))
        }
        #expect(server.requests.count == 1)
      }
    }
  }

  @Test("what is no control plane is named as such")
  func foreignServer() async throws {
    let notFound = try await fail(.init(status: 404, body: Array("<html>".utf8)))
    #expect(notFound?.code == .error && notFound?.message.contains("404") == true)
    let garbage = try await fail(.init(status: 200, body: Array("<html>".utf8)))
    #expect(garbage?.code == .error && garbage?.message.contains("fubini version") == true)
  }

  @Test("nobody listening ends with 5 and names the address")
  func unreachable() async throws {
    // Port 1 of the loopback address: nothing listens there.
    try await withClient("http://127.0.0.1:1") { client in
      var quick = client
      quick.retry.attemptsMax = 2
      do {
        let _: AcceptedDocument = try await quick.get(["v1", "x"])
        Issue.record("something listens on port 1")
      } catch let failure as CommandFailure {
        #expect(failure.code == .unreachable && failure.message.contains("127.0.0.1:1"))
      }
    }
  }

  @Test(
    "pages are read until the limit, or all of them",
    arguments: [(1, 1, true), (600, 600, true), (Int.max, 1200, false)])
  func pages(limit: Int, count: Int, isCut: Bool) async throws {
    try await FakeServer.with({ request, _ in
      let size = Int(request.query("limit") ?? "") ?? 0
      let start = Int(request.query("continue") ?? "0") ?? 0
      let end = min(1200, start + min(size, 500))
      let items = (start..<end).map {
        AuditDocument(id: Int64($0), at: Documents.moment(0), actor: "a", action: "b", object: "c", detail: "")
      }
      return .json(Documents.json(AuditList(items: items, next: end < 1200 ? String(end) : nil)))
    }) { _, url in
      try await withClient(url) { client in
        let found = try await client.pages(limit: limit) { query in
          let page: AuditList = try await client.get(["v1", "audit"], query)
          return (page.items, page.next)
        }
        #expect(found.items.map(\.id) == (0..<Int64(count)).map { $0 } && found.isCut == isCut)
      }
    }
  }

  @Test("a workflow whose nodes do not fit one answer is read whole")
  func manyNodes() async throws {
    try await FakeServer.with({ request, _ in
      guard request.path.hasSuffix("/nodes") else {
        return .json(Documents.json(Documents.detail(.running, [], truncated: true)))
      }
      let start = Int32(request.query("continue") ?? "0") ?? 0
      let nodes = (start..<min(start + 500, 700)).map { Documents.node($0, "n\($0)", .running) }
      return .json(Documents.json(NodeList(items: nodes, next: start == 0 ? "500" : nil)))
    }) { server, url in
      try await withClient(url) { client in
        let detail = try await client.detail("@latest")
        #expect(detail.nodes.map(\.id) == Array(0..<700) && !detail.nodesTruncated)
        #expect(server.requests[1].path == "/v1/projects/default/workflows/u-1/nodes")
      }
    }
  }
}
