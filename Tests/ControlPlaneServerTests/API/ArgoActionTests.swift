import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Testing
import WorkflowCore

@testable import ControlPlaneServer

/// What Argo's clients ask of workflows: nodes that wait are set, stopped and resumed; what failed is retried and resubmitted.
@Suite(.serialized) struct ArgoActionTests {
  private static let root = "/api/v1/workflows/a"

  /// Two gates side by side, which take a value each, and one after them.
  private static func gates(_ name: String) -> String {
    """
    {"workflow":{"metadata":{"name":"\(name)"},"spec":{"entrypoint":"m","arguments":{"parameters":[{"name":"n","value":"1"}]},\
    "templates":[{"name":"m","steps":[[{"name":"one","template":"gate"},{"name":"two","template":"gate"}],\
    [{"name":"last","template":"hold","arguments":{"parameters":[{"name":"v","value":"{{workflow.parameters.n}}"}]}}]]},\
    {"name":"gate","suspend":{},"outputs":{"parameters":[{"name":"who","valueFrom":{"supplied":{}}}]}},\
    {"name":"hold","suspend":{},"inputs":{"parameters":[{"name":"v"}]}}]}}}
    """
  }

  private struct Nodes {
    let object: JSONValue
    init(_ response: TestResponse) throws { object = try response.json }
    subscript(_ name: String) -> JSONValue? {
      object["status"]?["nodes"]?.objectValue?.values.first { $0["displayName"]?.stringValue == name }
    }
    func phase(_ name: String) -> String? { self[name]?["phase"]?.stringValue }
    func output(_ name: String) -> String? { self[name]?["outputs"]?["parameters"]?[0]?["value"]?.stringValue }
    var phase: String? { object["status"]?["phase"]?.stringValue }
  }

  private static func put(
    _ client: any TestClientProtocol, _ path: String, _ token: String, _ body: String
  ) async throws -> TestResponse {
    try await client.send(.put, "\(root)/\(path)", token: token, body: body)
  }

  @Test("set gives a node outputs without an end, which it keeps until it is resumed; stop with a selector ends it")
  func set() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        let made = try await client.send(.post, Self.root, token: token, body: Self.gates("w"))
        #expect(made.status == .ok, "\(String(buffer: made.body))")
        let body = #"{"nodeFieldSelector":"displayName=one","outputParameters":"{\"who\":\"ann\"}","message":"asked"}"#
        let set = try await Self.put(client, "w/set", token, body)
        #expect(set.status == .ok, "\(String(buffer: set.body))")
        var nodes = try Nodes(set)
        #expect(nodes.phase("one") == "Running" && nodes.output("one") == "ann")
        #expect(nodes["one"]?["message"] == "asked" && nodes.output("two") == nil)

        for (wrong, status) in [
          (#"{"nodeFieldSelector":"displayName=one"}"#, 400), (#"{"phase":"Succeeded"}"#, 400),
          (#"{"nodeFieldSelector":"displayName=one","phase":"Skipped"}"#, 400),
          (#"{"nodeFieldSelector":"displayName=one","outputParameters":"{\"whom\":\"x\"}"}"#, 400),
          (#"{"nodeFieldSelector":"displayName=none","message":"x"}"#, 409),
          (#"{"nodeFieldSelector":"displayName=two","phase":"Succeeded"}"#, 400),
        ] {
          let refused = try await Self.put(client, "w/set", token, wrong)
          #expect(refused.status.code == status, "\(wrong): \(String(buffer: refused.body))")
          #expect(try refused.json["code"] == (status == 400 ? 3 : 9) && refused.json["message"] != nil, "\(wrong)")
        }
        #expect(
          try await Self.put(client, "w/resume", token, #"{"nodeFieldSelector":"displayName=one"}"#).status == .ok)
        let stopped = try await Self.put(
          client, "w/stop", token, #"{"nodeFieldSelector":"displayName!=one,templateName=gate","message":"no"}"#)
        nodes = try Nodes(stopped)
        #expect(nodes.phase("one") == "Succeeded" && nodes.output("one") == "ann")
        #expect(nodes.phase("two") == "Failed" && nodes["two"]?["message"] == "no" && nodes.phase == "Failed")
        let audit = String(buffer: try await client.send(.get, "/v1/audit", token: fixture.admin).body)
        #expect(audit.contains("workflow.set") && audit.contains("a/w"))
        let viewer = try await fixture.token(.viewer, in: "a")
        #expect(try await Self.put(client, "w/set", viewer, body).status == .forbidden)
      }
    }
  }

  /// `w` has failed: its first gate has its value, the second one was refused.
  private static func failed(_ client: any TestClientProtocol, _ token: String) async throws {
    let made = try await client.send(.post, root, token: token, body: gates("w"))
    #expect(made.status == .ok, "\(String(buffer: made.body))")
    for body in [
      #"{"nodeFieldSelector":"displayName=one","outputParameters":"{\"who\":\"ann\"}","phase":"Succeeded"}"#,
      #"{"nodeFieldSelector":"displayName=two","phase":"Failed","message":"no"}"#,
    ] { #expect(try await put(client, "w/set", token, body).status == .ok) }
  }

  @Test("A memoized resubmission has what succeeded under its own name, and waits for the rest")
  func memoized() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        try await Self.failed(client, token)
        let again = try await Self.put(client, "w/resubmit", token, #"{"memoized":true,"parameters":["n=7"]}"#)
        #expect(again.status == .ok, "\(String(buffer: again.body))")
        var nodes = try Nodes(again)
        let name = try #require(nodes.object["metadata"]?["name"]?.stringValue)
        #expect(name.hasPrefix("w-") && nodes.phase == "Running")
        #expect(nodes.object["metadata"]?["labels"]?["workflows.argoproj.io/resubmitted-from-workflow"] == "w")
        #expect(nodes.object["spec"]?["arguments"]?["parameters"]?[0]?["value"] == "7")
        #expect(nodes.phase("two") == "Running")
        // The first gate is of a group that is made anew, because the arguments are others.
        #expect(nodes.phase("one") == "Running")
        let plain = try await Self.put(client, "w/resubmit", token, #"{"memoized":true}"#)
        nodes = try Nodes(plain)
        #expect(nodes.phase("one") == "Succeeded" && nodes.output("one") == "ann" && nodes.phase("two") == "Running")
        let other = try #require(nodes.object["metadata"]?["name"]?.stringValue)
        #expect(try await Self.put(client, "\(other)/resubmit", token, #"{"memoized":true}"#).status == .conflict)
        // Its nodes are its own: they outlive the workflow that they came from.
        #expect(try await client.send(.delete, "\(Self.root)/w", token: token).status == .ok)
        #expect(try Nodes(try await client.send(.get, "\(Self.root)/\(other)", token: token)).output("one") == "ann")
        let native = try await client.send(
          .post, "/v1/projects/a/workflows/\(other)/resubmit", token: token, body: #"{"parameters":{"n":"3"}}"#)
        #expect(native.status == .created, "\(String(buffer: native.body))")
        #expect(try native.json["uid"]?.stringValue?.count == 36)
      }
    }
  }

  @Test("A retry takes new arguments, and with a selector what succeeded; without one, of what succeeded nothing")
  func retry() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        try await Self.failed(client, token)
        for wrong in [#"{"parameters":["m=1"]}"#, #"{"parameters":["n"]}"#, #"{"nodeFieldSelector":"colour=red"}"#] {
          #expect(try await Self.put(client, "w/retry", token, wrong).status == .badRequest, "\(wrong)")
        }
        let retried = try await Self.put(
          client, "w/retry", token,
          #"{"restartSuccessful":true,"nodeFieldSelector":"displayName=one","parameters":["n=5"]}"#)
        #expect(retried.status == .ok, "\(String(buffer: retried.body))")
        var nodes = try Nodes(retried)
        #expect(nodes.phase("one") == "Running" && nodes.phase("two") == "Running")
        let values =
          #"{"nodeFieldSelector":"templateName=gate","outputParameters":"{\"who\":\"bob\"}","phase":"Succeeded"}"#
        nodes = try Nodes(try await Self.put(client, "w/set", token, values))
        #expect(nodes["last"]?["inputs"]?["parameters"]?[0]?["value"] == "5")
        #expect(nodes.object["spec"]?["arguments"]?["parameters"]?[0]?["value"] == "5")
        nodes = try Nodes(try await Self.put(client, "w/resume", token, "{}"))
        #expect(nodes.phase == "Succeeded")
        #expect(try await Self.put(client, "w/retry", token, "{}").status == .conflict)
        let chosen = try await Self.put(
          client, "w/retry", token, #"{"restartSuccessful":true,"nodeFieldSelector":"displayName=last"}"#)
        nodes = try Nodes(chosen)
        #expect(nodes.phase("last") == "Running" && nodes.phase("one") == "Succeeded" && nodes.phase == "Running")
      }
    }
  }
}
