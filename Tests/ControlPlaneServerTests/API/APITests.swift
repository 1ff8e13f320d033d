import ControlPlaneCore
import FederationAPI
import FederationModel
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NIOCore
import TestSupport
import Testing

@testable import ControlPlaneServer

@Suite(.serialized) struct APITests {
  @Test("Every route but the open ones refuses no token and a wrong token")
  func authorisation() async throws {
    try await APIFixture.use { fixture in
      let wrong = String(fixture.admin.dropLast(4)) + "AAAA"
      try await fixture.application.test(.router) { client in
        for route in fixture.server.routes where route.access != .open {
          let uri = RouteWalkTests.uri(of: route, project: "a")
          let name = "\(route.method) \(uri)"
          #expect(try await client.send(route.method, uri, token: nil).status == .unauthorized, "\(name)")
          #expect(try await client.send(route.method, uri, token: wrong).status == .unauthorized, "\(name)")
        }
        for route in fixture.server.routes where route.access == .open {
          let status = try await client.send(
            route.method, RouteWalkTests.uri(of: route, project: "a"), token: nil
          ).status
          #expect(status != .unauthorized && status != .forbidden, "\(route.path)")
        }
      }
    }
  }

  @Test("A token in the URL is refused, also beside a valid one")
  func tokenInURL() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        for name in ["token", "access_token"] {
          let answer = try await client.send(.get, "/v1/userinfo?\(name)=\(fixture.admin)", token: fixture.admin)
          #expect(answer.status == .unauthorized)
        }
        #expect(try await client.send(.get, "/v1/userinfo", token: fixture.admin).status == .ok)
      }
    }
  }

  @Test("A query cannot lead out of the project that the path names")
  func projectOfQuery() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let accepted = try await client.send(
          .post, "/v1/projects/b/workflows", token: fixture.userB, body: Documents.suspended("secret"))
        #expect(accepted.status == .created)
        let own = try await client.send(.get, "/v1/projects/a/workflows?project=b", token: fixture.userA)
        #expect(own.status == .ok)
        #expect(try own.json["items"] == [])
        #expect(try await client.send(.get, "/v1/workflows", token: fixture.userA).json["items"] == [])
        #expect(try await client.send(.get, "/v1/workflows?project=b", token: fixture.userA).status == .notFound)
        #expect(try await client.send(.get, "/v1/workflows?project=", token: fixture.userA).status == .notFound)
      }
    }
  }

  @Test("Labels of a submission are added to the document's, and lists select by them, by phase and by moment")
  func labels() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        func submit(_ name: String, _ labels: String) async throws -> TestResponse {
          let document = Documents.suspended(name, labels: "team: x, tier: base").replacing("\n", with: "\\n")
            .replacing("\"", with: "\\\"")
          return try await client.send(
            .post, "/v1/projects/a/workflows", token: fixture.userA,
            body: "{\"document\":\"\(document)\",\"labels\":\(labels)}",
            headers: [.contentType: "application/vnd.fubini.submission+json"])
        }
        let made = try await submit("w1", #"{"tier":"gold","example.org/owner":"ann"}"#)
        #expect(made.status == .created, "\(String(buffer: made.body))")
        #expect(try await submit("w2", "{}").status == .created)
        let wrong = try await submit("w3", #"{"-bad":"x y"}"#)
        #expect(wrong.status == .badRequest && String(buffer: wrong.body).contains("metadata.labels"))
        func names(_ query: String) async throws -> [String] {
          let list = try await client.send(.get, "/v1/workflows?\(query)", token: fixture.userA)
          return try list.json["items"]?.arrayValue?.compactMap { $0["name"]?.stringValue } ?? []
        }
        #expect(try await names("labelSelector=tier%3Dgold,team%3Dx") == ["w1"])
        #expect(try await names("labelSelector=example.org%2Fowner%3Dann") == ["w1"])
        #expect(try await names("labelSelector=tier%3Dbase&phase=Running") == ["w2"])
        #expect(try await names("since=2020-01-01T00:00:00Z") == ["w2", "w1"])
        #expect(try await names("since=2999-01-01T00:00:00Z") == [])
        #expect(try await client.send(.get, "/v1/workflows?since=soon", token: fixture.userA).status == .badRequest)
      }
    }
  }

  @Test(
    "The same requests get the same answers from the router and from a live server",
    arguments: [TestingSetup.router, .live])
  func argoLife(setup: TestingSetup) async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(setup) { client in
        let token = fixture.userA
        let root = "/api/v1/workflows/a"
        let body = """
          {"workflow":{"metadata":{"name":"w1","labels":{"team":"x"}},"spec":{"entrypoint":"m","templates":[{"name":"m","suspend":{}}]}}}
          """
        let created = try await client.send(.post, root, token: token, body: body)
        #expect(created.status == .ok, "\(String(buffer: created.body))")
        #expect(try created.json["metadata"]?["namespace"] == "a")
        #expect(try created.json["status"]?["phase"] == "Running")
        let again = try await client.send(.post, root, token: token, body: body)
        #expect(again.status == .conflict)
        #expect(try again.json["code"] == 6)
        #expect(try again.json["message"]?.stringValue?.contains("w1") == true)

        let list = try await client.send(
          .get, "\(root)?listOptions.labelSelector=team%3Dx&fields=items.metadata.name", token: token)
        #expect(try list.json == ["items": [["metadata": ["name": "w1"]]]])
        let none = try await client.send(
          .get, "\(root)?listOptions.labelSelector=workflows.argoproj.io%2Fphase%3DFailed", token: token)
        #expect(try none.json["items"] == [])

        let suspended = try await client.send(.put, "\(root)/w1/suspend", token: token, body: "{}")
        #expect(try suspended.json["spec"]?["suspend"] == true)
        let resumed = try await client.send(
          .put, "\(root)/w1/resume", token: token, body: #"{"name":"w1","namespace":"a"}"#)
        #expect(try resumed.json["spec"]?["suspend"] == nil)
        #expect(try resumed.json["status"]?["phase"] == "Succeeded")

        let watch = try await client.send(
          .get, "/api/v1/workflow-events/a?listOptions.fieldSelector=metadata.name%3Dw1", token: token,
          headers: [.accept: "text/event-stream"])
        let text = String(buffer: watch.body)
        #expect(
          text.hasPrefix(#"data: {"result":{"object":{"#) && text.hasSuffix(#""type":"ADDED"}}"# + "\n\n"), "\(text)")

        // What the client has seen is not told again, and what it knows in another state has changed.
        func since(_ version: JSONValue?) async throws -> String {
          let watch = try await client.send(
            .get,
            "/api/v1/workflow-events/a?listOptions.fieldSelector=metadata.name%3Dw1&listOptions.resourceVersion="
              + (version?.stringValue ?? ""), token: token, headers: [.accept: "text/event-stream"])
          return String(buffer: watch.body)
        }
        let seen = try await client.send(.get, root, token: token).json["metadata"]?["resourceVersion"]
        #expect(try await since(seen).contains("data:") == false)
        let changed = try await since(try created.json["metadata"]?["resourceVersion"])
        #expect(changed.hasSuffix(#""type":"MODIFIED"}}"# + "\n\n"), "\(changed.suffix(200))")
        #expect(try await since("0").hasSuffix(#""type":"ADDED"}}"# + "\n\n"))
        #expect(
          try await client.send(
            .get, "/api/v1/workflow-events/a?listOptions.resourceVersion=x", token: token
          ).status == .badRequest)

        #expect(try await client.send(.delete, "\(root)/w1", token: token).json == [:])
        #expect(try await client.send(.get, "\(root)/w1", token: token).status == .notFound)
        for path in ["info", "version", "userinfo"] {
          #expect(try await client.send(.get, "/api/v1/\(path)", token: token).status == .ok)
        }
      }
    }
  }

  @Test("A dry run and a lint answer with the workflow and store nothing")
  func argoDryRun() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let spec = #""spec":{"entrypoint":"m","templates":[{"name":"m","suspend":{}}]}"#
        let dry = try await client.send(
          .post, "/api/v1/workflows/a", token: fixture.userA,
          body: #"{"serverDryRun":true,"workflow":{"metadata":{"generateName":"x-"},\#(spec)}}"#)
        #expect(dry.status == .ok)
        #expect(try dry.json["metadata"]?["name"]?.stringValue?.hasPrefix("x-") == true)
        let lint = try await client.send(
          .post, "/api/v1/workflows/a/lint", token: fixture.userA,
          body: #"{"workflow":{"metadata":{"name":"y"},\#(spec)}}"#)
        #expect(lint.status == .ok)
        let foreign = try await client.send(
          .post, "/api/v1/workflows/a", token: fixture.userA,
          body: #"{"workflow":{"metadata":{"name":"y","namespace":"b"},\#(spec)}}"#)
        #expect(foreign.status == .badRequest)
        #expect(try await client.send(.get, "/api/v1/workflows/a", token: fixture.userA).json["items"] == [])
      }
    }
  }

  @Test("A refused document lists its problems with path and line")
  func problems() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let document = Documents.task("w").replacing("container:", with: "contaner:").replacing(
          "entrypoint: main", with: "entrypoint: mian")
        let answer = try await client.send(.post, "/v1/projects/a/workflows", token: fixture.userA, body: document)
        #expect(answer.status == .badRequest)
        let problems = try answer.json["problems"]?.arrayValue ?? []
        #expect(problems.contains { $0["path"] == "spec.templates[0].contaner" && $0["line"] == 8 }, "\(problems)")
        #expect(problems.contains { $0["path"] == "spec.entrypoint" && $0["line"] == 5 }, "\(problems)")
      }
    }
  }

  @Test(
    "NUL in a request is refused with its path, wherever a text may stand; its escape as plain text is not",
    arguments: [
      ("/v1/projects/a/workflows/w/resume", #"{"parameters": {"who": "a\u0000b"}}"#, "parameters.who: "),
      ("/v1/projects/a/workflows/w/stop", #"{"message": "a\u0000b"}"#, "message: "),
      ("/v1/projects/a/workflows/w/retry", #"{"x": [1, {"y": ["\u0000"]}]}"#, "x[1].y[0]: "),
      ("/api/v1/workflows/a/w/resume", #"{"\u0000": 1}"#, "a key: "),
      ("/v1/projects/a/workflows/w%00x/stop", "{}", "%00"),
      ("/v1/projects/a/workflows/w/stop?x=%00", "{}", "%00"),
    ])
  func nul(uri: String, body: String, message: String) async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let created = try await client.send(
          .post, "/v1/projects/a/workflows", token: fixture.userA, body: Documents.suspended("w"))
        #expect(created.status == .created)
        for method in [HTTPRequest.Method.post, .put] {
          let answer = try await client.send(method, uri, token: fixture.userA, body: body)
          if answer.status == .notFound || answer.status == .methodNotAllowed { continue }
          #expect(answer.status == .badRequest, "\(method) \(uri): \(String(buffer: answer.body))")
          #expect(String(buffer: answer.body).contains(message), "\(String(buffer: answer.body))")
        }
        // The six characters of the escape, as a text says them.
        let named = try await client.send(
          .post, "/v1/projects/a/workflows/w/resume", token: fixture.userA,
          body: #"{"parameters": {"who": "a\\u0000b"}, "nodeFieldSelector": "displayName=\\u0000"}"#)
        #expect(!String(buffer: named.body).contains("NUL"), "\(String(buffer: named.body))")
      }
    }
  }

  @Test("What an agent tells has U+FFFD in place of NUL, in every text that is kept")
  func nulOfAgents() throws {
    var artifact = Fubini_Agent_V1_StoredArtifact()
    (artifact.key, artifact.sha256) = ("k\0", "s\0")
    var told = Fubini_Agent_V1_RunEvent()
    (told.runID, told.phase, told.message, told.runsAs) = (1, .failed, "m\0", "r\0")
    told.outcome.result = "a\0b"
    told.outcome.cause = "nodeFailure"
    told.outcome.parameters = ["p\0": "v\0"]
    told.outcome.artifacts = ["x\0": artifact]
    let event = try AgentEvent(told, from: "a")
    let outputs = try #require(event.outcome?.outputs)
    #expect(event.message == "m\u{fffd}" && event.runsAs == "r\u{fffd}" && outputs.result == "a\u{fffd}b")
    #expect(outputs.parameters == ["p\u{fffd}": "v\u{fffd}"] && event.cause == .nodeFailure)
    told.outcome.cause = "a word of a later release"
    #expect(try AgentEvent(told, from: "a").cause == nil)
    #expect(outputs.artifacts["x\u{fffd}"]?.key == "k\u{fffd}" && outputs.artifacts["x\u{fffd}"]?.sha256 == "s\u{fffd}")
    var hello = Fubini_Agent_V1_Hello()
    hello.journalID = "12345678\0"
    let refused = hello
    #expect(throws: FederationError.self) { _ = try AgentHello(refused, protocolVersion: 1) as AgentHello }
  }

  @Test("A body above 2 MiB is refused, whether it says its length or not", arguments: [TestingSetup.router, .live])
  func sizeLimit(setup: TestingSetup) async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(setup) { client in
        let body = String(repeating: "#", count: APIContext.sizeLimit + 1)
        let answer = try await client.send(.post, "/v1/projects/a/workflows", token: fixture.userA, body: body)
        #expect((400...413).contains(answer.status.code), "\(answer.status)")
        #expect(try await client.send(.get, "/v1/projects/a/workflows", token: fixture.userA).json["items"] == [])
      }
    }
  }

  @Test("A full queue answers 429 with Retry-After")
  func fullQueue() async throws {
    try await APIFixture.use(commands: { FullQueue(inner: $0) }) { fixture in
      try await fixture.application.test(.router) { client in
        let answer = try await client.send(
          .post, "/v1/projects/a/workflows", token: fixture.userA, body: Documents.suspended("w"))
        #expect(answer.status == .tooManyRequests)
        #expect(answer.headers[.retryAfter] == "3")
      }
    }
  }

  @Test("I2: a submission repeated with its Idempotency-Key gets the first answer and makes one workflow")
  func idempotent() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let document = Documents.suspended("x").replacing("name: x", with: "generateName: x-")
        var answers: [JSONValue] = []
        for _ in 0..<3 {
          let answer = try await client.send(
            .post, "/v1/projects/a/workflows", token: fixture.userA, body: document, headers: [.idempotencyKey: "k1"])
          #expect(answer.status == .created)
          answers.append(try answer.json)
        }
        #expect(Set(answers).count == 1)
        let list = try await client.send(.get, "/v1/projects/a/workflows", token: fixture.userA).json
        #expect(list["items"]?.arrayValue?.count == 1)
      }
    }
  }

  @Test("Pages cover a list once each, newest first")
  func paging() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let names = (0..<7).map { "w\($0)" }
        for name in names {
          _ = try await client.send(
            .post, "/v1/projects/a/workflows", token: fixture.userA, body: Documents.suspended(name))
        }
        var seen: [String] = []
        var next = ""
        repeat {
          let page = try await client.send(.get, "/v1/projects/a/workflows?limit=3\(next)", token: fixture.userA).json
          seen += page["items"]?.arrayValue?.compactMap { $0["name"]?.stringValue } ?? []
          next = page["next"]?.stringValue.map { "&continue=\($0)" } ?? ""
        } while !next.isEmpty && seen.count < 20
        #expect(seen == names.reversed())
      }
    }
  }

  @Test("Paths and queries made of odds and ends never crash the server and never answer 500")
  func fuzz() async throws {
    let seed = UInt64.random(in: 0 ... .max)
    var state = seed
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    let pieces = [
      "v1", "api", "workflows", "projects", "a", "%2e%2e", "%00", "%", "%ff%fe", "@latest", "nodes", "0", "-1",
      "99999999999999999999", "events",
      "logs", "explain", "artifacts", "clusters", "..", "", "workflow-events", "log", "x y", "é", "'--", "%7b%22",
    ]
    let keys = [
      "limit", "continue", "phase", "labelSelector", "project", "node", "run", "offset", "follow", "fields",
      "listOptions.limit",
      "listOptions.labelSelector", "listOptions.fieldSelector", "listOptions.continue", "logOptions.tailLines",
      "podName",
    ]
    var uris: [String] = []
    for _ in 0..<400 {
      let path = (0...random(6)).map { _ in pieces[random(pieces.count)] }.joined(separator: "/")
      let query = (0..<random(4)).map { _ in "\(keys[random(keys.count)])=\(pieces[random(pieces.count)])" }
      let prefixes = ["/", "/v1/projects/a/", "/api/v1/workflows/a/", "/v1/workflows/"]
      uris.append(prefixes[random(prefixes.count)] + path + "?" + query.joined(separator: "&"))
    }
    let all = uris
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        for uri in all {
          for method in [HTTPRequest.Method.get, .post] {
            let answer = try await client.send(method, uri, token: fixture.userA, body: method == .post ? "{" : nil)
            #expect(
              answer.status.code < 500 || answer.status.code == 503, "seed \(seed): \(method) \(uri): \(answer.status)")
          }
        }
      }
    }
  }
}

/// A leader whose queue is full.
private struct FullQueue: CommandPort {
  let inner: ControlPlane
  func perform(_ command: Command, as principal: Principal, idempotency: IdempotencyKey?) async throws -> Reply {
    throw FederationError(.resourceExhausted, "the queue is full", retryAfter: .seconds(3))
  }
  var leadership: LeadershipView { get async { await inner.leadership } }
  func clusterStatuses() async -> [ClusterName: ClusterStatus] { await inner.clusterStatuses() }
  func reasons(in workflow: WorkflowReference, of nodes: [NodeID]) async -> [NodeID: String] {
    await inner.reasons(in: workflow, of: nodes)
  }
}
