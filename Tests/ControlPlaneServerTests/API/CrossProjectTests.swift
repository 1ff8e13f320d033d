import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import TestSupport
import Testing

@testable import ControlPlaneServer

/// Whoever has a project of their own tries to find out about another's.
@Suite(.serialized, .timeLimit(.minutes(5))) struct CrossProjectTests {
  /// The answer without what every answer has of its own.
  private static func content(_ answer: TestResponse, _ names: String...) -> String {
    var text = String(buffer: answer.body)
    if let range = text.firstRange(of: /"requestID":"[^"]*"/) { text.removeSubrange(range) }
    for name in names { text = text.replacing(name, with: "NAME") }
    return "\(answer.status.code) \(text)"
  }

  @Test("Ids, uids, runs, transfers and names of another project answer as ones that were never given")
  func guesses() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = try await fixture.token(.projectAdmin, in: "a")
        let made = try await client.send(
          .post, "/v1/projects/b/workflows", token: fixture.userB, body: Documents.suspended("hidden"))
        let uid = try #require(try made.json["uid"]?.stringValue)
        let never = UUID().uuidString.lowercased()
        for path in ["", "/nodes", "/explain", "/events", "/logs?node=hidden", "/cost", "/nodes/hidden/artifacts/x"] {
          for (known, unknown) in [(uid, never), ("hidden", "nothere")] {
            let there = try await client.send(.get, "/v1/projects/a/workflows/\(known)\(path)", token: token)
            let nowhere = try await client.send(.get, "/v1/projects/a/workflows/\(unknown)\(path)", token: token)
            #expect(there.status == .notFound, "\(path)")
            #expect(Self.content(there, known) == Self.content(nowhere, unknown), "\(path)")
          }
        }
        for (method, path) in [(HTTPRequest.Method.get, ""), (.delete, ""), (.get, "/log")] {
          let there = try await client.send(method, "/api/v1/workflows/a/\(uid)\(path)", token: token)
          let nowhere = try await client.send(method, "/api/v1/workflows/a/\(never)\(path)", token: token)
          #expect(Self.content(there, uid) == Self.content(nowhere, never), "\(path)")
        }
        #expect(try await client.send(.get, "/v1/projects/b/workflows/hidden", token: fixture.userB).status == .ok)
        // The same name in one's own project is one's own.
        let own = try await client.send(
          .post, "/v1/projects/a/workflows", token: token, body: Documents.suspended("hidden"))
        #expect(own.status == .created)
        #expect(try own.json["uid"]?.stringValue != uid)
        let list = try await client.send(.get, "/v1/workflows", token: token)
        #expect(try list.json["items"]?.arrayValue?.map { $0["project"] } == ["a"])
      }
    }
  }

  @Test("Data sets, their objects, secrets and artifacts of another project are not there")
  func data() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = try await fixture.token(.projectAdmin, in: "a")
        let bytes = "hidden bytes"
        let key = "/v1/projects/b/artifacts/dir/file"
        #expect(try await client.send(.put, key, token: fixture.userB, body: bytes).status == .created)
        #expect(
          try await client.send(.post, "/v1/projects/b/datasets", token: fixture.userB, body: #"{"name":"d"}"#).status
            == .created)
        let secret = #"{"values":{"k":"hidden-value"}}"#
        #expect(
          try await client.send(.put, "/v1/projects/b/secrets/s", token: fixture.userB, body: secret).status == .ok)
        for path in ["datasets", "secrets", "transfers"] {
          let list = try await client.send(.get, "/v1/projects/a/\(path)", token: token)
          #expect(try list.json["items"] == [], "\(path)")
        }
        for path in ["datasets/d", "datasets/d/versions", "datasets/d/usage", "datasets/d/versions/1"] {
          let there = try await client.send(.get, "/v1/projects/a/\(path)", token: token)
          let never = try await client.send(
            .get, "/v1/projects/a/\(path.replacing("/d", with: "/q"))", token: token)
          #expect(Self.content(there, " d ", "set d") == Self.content(never, " q ", "set q"), "\(path)")
        }
        // A copy reads its source's project: the same question as for that.
        _ = try await client.send(.post, "/v1/projects/a/datasets", token: token, body: #"{"name":"mine"}"#)
        for owner in ["b", "q"] {
          let copy = try await client.send(
            .post, "/v1/projects/a/datasets/mine/versions", token: token,
            body: #"{"copyOf":{"project":"\#(owner)","dataset":"d","version":1}}"#)
          #expect(try copy.json["message"]?.stringValue == "there is no project \(owner) that you may use")
        }
        let denied = try await client.send(.delete, "/v1/projects/a/secrets/s", token: token)
        let never = try await client.send(.delete, "/v1/projects/a/secrets/t", token: token)
        #expect(Self.content(denied, "secret s") == Self.content(never, "secret t"))
        let all = try await client.send(.get, "/v1/projects/b/secrets", token: fixture.userB)
        #expect(!String(buffer: all.body).contains("hidden-value"))
      }
    }
  }

  @Test(
    "A cluster of another project is not in lists, prices and links, has no page of its own, and names its project nowhere"
  )
  func clusters() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        for (name, project) in [("open", ""), ("theirs", #","project":"b""#)] {
          let body =
            #"{"name":"\#(name)","kind":"process"\#(project),"prices":{"currency":"CNY","coreHour":1,"gibibyteHour":0,"gpuHour":0,"egressGibibyte":0}}"#
          let made = try await client.send(.post, "/v1/clusters", token: fixture.admin, body: body)
          #expect(made.status == .created, "\(String(buffer: made.body))")
        }
        let token = try await fixture.token(.submitter, in: "a")
        func names(_ path: String, _ token: String, _ member: String) async throws -> Set<String> {
          let items = try await client.send(.get, path, token: token).json["items"]?.arrayValue ?? []
          return Set(items.compactMap { $0[member]?.stringValue })
        }
        #expect(try await names("/v1/clusters", token, "name") == ["open"])
        #expect(try await names("/v1/clusters", fixture.userB, "name") == ["open", "theirs"])
        #expect(try await names("/v1/clusters", fixture.admin, "name") == ["open", "theirs"])
        #expect(try await names("/v1/prices", token, "cluster") == ["open"])
        for path in ["", "/prices"] {
          let there = try await client.send(.get, "/v1/clusters/theirs\(path)", token: token)
          let never = try await client.send(.get, "/v1/clusters/never\(path)", token: token)
          #expect(there.status == .notFound)
          #expect(Self.content(there, "theirs") == Self.content(never, "never"))
        }
        _ = try await client.send(.post, "/v1/projects/a/workflows", token: token, body: Documents.task("t"))
        let why = try await client.send(.get, "/v1/projects/a/workflows/t/explain?node=t", token: token)
        #expect(String(buffer: why.body).contains("another project") && !String(buffer: why.body).contains("project b"))
        let plan = try await client.send(.post, "/v1/projects/a/plan", token: token, body: Documents.task("t"))
        #expect(plan.status == .ok && !String(buffer: plan.body).contains("project b"))
      }
    }
  }

  @Test("An idempotency key is its user's alone, and the same request to another project is another request")
  func idempotency() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let headers: HTTPFields = [.idempotencyKey: "k1"]
        let body = Documents.suspended("w")
        let first = try await client.send(
          .post, "/v1/workflows?project=b", token: fixture.admin, body: body, headers: headers)
        #expect(first.status == .created)
        // Another user's key of the same name is another key.
        let other = try await client.send(.post, "/v1/workflows", token: fixture.userA, body: body, headers: headers)
        #expect(try other.status == .created && other.json["project"] == "a" && other.json["uid"] != first.json["uid"])
        let second = try await client.send(
          .post, "/v1/workflows?project=a", token: fixture.admin, body: Documents.suspended("v"), headers: headers)
        #expect(second.status == .badRequest, "the key was used for another request")
      }
    }
  }
}
