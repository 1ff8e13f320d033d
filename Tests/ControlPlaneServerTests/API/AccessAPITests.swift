import AsyncHTTPClient
import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NIOHTTP1
import Synchronization
import TestSupport
import Testing

@testable import ControlPlaneServer

@Suite(.serialized, .timeLimit(.minutes(5))) struct AccessAPITests {
  @Test("A token is made, shown once, listed without itself, used, and void at once when it is revoked")
  func tokens() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let admin = fixture.admin
        let made = try await client.send(
          .post, "/v1/tokens", token: admin, body: #"{"label":"laptop","scopes":["read"],"expiresInSeconds":3600}"#)
        #expect(made.status == .created && made.headers[.cacheControl] == "no-store")
        let token = try #require(try made.json["token"]?.stringValue)
        let id = try #require(try made.json["id"]?.stringValue)
        #expect(try await client.send(.get, "/v1/audit", token: token).status == .ok)
        #expect(
          try await client.send(.post, "/v1/projects", token: token, body: #"{"name":"x"}"#).status == .forbidden)
        let list = try await client.send(.get, "/v1/tokens", token: token)
        let row = try #require(try list.json["items"]?.arrayValue?.first { $0["id"]?.stringValue == id })
        #expect(row["label"] == "laptop" && row["scopes"] == ["read"] && row["lastUsedAt"] != nil)
        #expect(!String(buffer: list.body).contains(token))
        let who = try await client.send(.get, "/v1/userinfo", token: token)
        #expect(try who.json["token"]?.stringValue == id && who.json["scopes"] == ["read"])
        // A token makes none that may more or lasts longer, and this one none at all.
        #expect(try await client.send(.post, "/v1/tokens", token: token, body: "{}").status == .forbidden)
        #expect(try await client.send(.delete, "/v1/tokens/\(id)", token: admin).status == .ok)
        #expect(try await client.send(.get, "/v1/userinfo", token: token).status == .unauthorized)
        #expect(try await client.send(.delete, "/v1/tokens/\(id)", token: admin).status == .notFound)
        for wrong in [
          #"{"scopes":[]}"#, #"{"scopes":["write"]}"#, #"{"expiresInSeconds":1}"#, #"{"user":"a b"}"#,
          #"{"user":"a/B"}"#, #"{"label":"\#(String(repeating: "x", count: 201))"}"#,
        ] {
          #expect(
            try await client.send(.post, "/v1/tokens", token: admin, body: wrong).status == .badRequest, "\(wrong)")
        }
      }
    }
  }

  @Test("A disabled user's tokens are refused at once and taken again when enabled; the last administrator stays")
  func disabling() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let admin = fixture.admin
        func set(_ user: String, _ isDisabled: Bool, by token: String) async throws -> TestResponse {
          try await client.send(.put, "/v1/users/\(user)", token: token, body: #"{"disabled":\#(isDisabled)}"#)
        }
        func member(_ user: String, _ role: String) async throws -> String {
          _ = try await client.send(
            .post, "/v1/members", token: admin, body: #"{"user":"\#(user)","role":"\#(role)"}"#)
          let made = try await client.send(.post, "/v1/tokens", token: admin, body: #"{"user":"\#(user)"}"#)
          return try #require(try made.json["token"]?.stringValue)
        }
        let aldo = try await member("aldo", "auditor")
        #expect(try await client.send(.get, "/v1/audit", token: aldo).status == .ok)
        #expect(try await set("aldo", true, by: admin).status == .ok)
        #expect(try await client.send(.get, "/v1/audit", token: aldo).status == .unauthorized)
        let listed = try await client.send(.get, "/v1/users", token: admin)
        let row = try #require(try listed.json["items"]?.arrayValue?.first { $0["name"] == "aldo" })
        #expect(row["disabledAt"] != nil && row["tokens"] == 1)
        #expect(try await set("aldo", false, by: admin).status == .ok)
        #expect(try await client.send(.get, "/v1/audit", token: aldo).status == .ok)
        #expect(try await set("aldo", true, by: aldo).status == .forbidden)
        #expect(try await set("nobody-here", true, by: admin).status == .notFound)
        let log = String(buffer: try await client.send(.get, "/v1/audit", token: admin).body)
        #expect(log.contains("user.disable") && log.contains("user.enable"))

        // Two administrators: neither disables themselves, and one stays whatever happens.
        let ada = try await member("ada", "org-admin")
        #expect(try await set("ada", true, by: ada).status == .conflict)
        let who = try #require(try await client.send(.get, "/v1/userinfo", token: admin).json["user"]?.stringValue)
        #expect(try await set(who, true, by: ada).status == .ok)
        #expect(try await client.send(.get, "/v1/userinfo", token: admin).status == .unauthorized)
        let removal = try await client.send(.delete, "/v1/members?user=ada&role=org-admin", token: ada)
        #expect(removal.status == .conflict, "the other one is disabled")
        #expect(try await set(who, false, by: ada).status == .ok)
        #expect(try await client.send(.get, "/v1/userinfo", token: admin).status == .ok)
      }
    }
  }

  @Test("A token of a limited one is as limited: its project, its scopes and its end")
  func narrowing() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let bound = try await client.send(
          .post, "/v1/tokens", token: fixture.admin, body: #"{"project":"a","expiresInSeconds":600}"#)
        let token = try #require(try bound.json["token"]?.stringValue)
        #expect(try await client.send(.get, "/v1/projects/b", token: token).status == .notFound)
        #expect(try await client.send(.get, "/v1/audit", token: token).status == .forbidden)
        let child = try await client.send(.post, "/v1/tokens", token: token, body: "{}")
        #expect(child.status == .created)
        #expect(try child.json["expiresAt"] == bound.json["expiresAt"])
        let grandchild = try #require(try child.json["token"]?.stringValue)
        #expect(try await client.send(.get, "/v1/projects/b", token: grandchild).status == .notFound)
        for more in [#"{"project":"b"}"#, #"{"user":"eve"}"#] {
          #expect(try await client.send(.post, "/v1/tokens", token: token, body: more).status == .forbidden, "\(more)")
        }
        let longer = try await client.send(.post, "/v1/tokens", token: token, body: #"{"expiresInSeconds":6000}"#)
        #expect(longer.status == .badRequest)
      }
    }
  }

  @Test("A revocation on one replica is heard by another, which then refuses without having asked again")
  func otherReplica() async throws {
    try await APIFixture.use { fixture in
      var services = fixture.server.services
      let heard = ChangeNotifier(
        fixture.database, channel: ControlPlaneStore.accessChannel, logger: fixture.server.services.logger)
      services.access = heard
      let other = APIServer(services: services)
      let listening = Task { try? await heard.run() }
      defer { listening.cancel() }
      try await waitUntil("the other replica listens") { heard.isListening }
      let application = Application(router: other.router(), logger: services.logger)
      try await fixture.application.test(.router) { client in
        try await application.test(.router) { standby in
          let made = try await client.send(.post, "/v1/tokens", token: fixture.admin, body: "{}")
          let (token, id) = (try made.json["token"]?.stringValue ?? "", try made.json["id"]?.stringValue ?? "")
          #expect(try await standby.send(.get, "/v1/userinfo", token: token).status == .ok)
          let version = heard.version
          #expect(try await client.send(.delete, "/v1/tokens/\(id)", token: fixture.admin).status == .ok)
          try await waitUntil("the notification came") { heard.version > version }
          #expect(try await standby.send(.get, "/v1/userinfo", token: token).status == .unauthorized)
        }
      }
    }
  }

  @Test("Members come and go, and what they may changes with the next request; nobody gives more than they have")
  func members() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let path = "/v1/projects/a/members"
        let eve = try await fixture.token(.viewer, in: "b")
        #expect(try await client.send(.get, "/v1/projects/a", token: eve).status == .notFound)
        func add(_ user: String, _ role: String, _ token: String) async throws -> HTTPResponse.Status {
          try await client.send(.post, path, token: token, body: #"{"user":"\#(user)","role":"\#(role)"}"#).status
        }
        #expect(try await add("viewer-b", "viewer", fixture.userA) == .created)
        #expect(try await client.send(.get, "/v1/projects/a", token: eve).status == .ok)
        #expect(try await client.send(.put, "/v1/projects/a", token: eve, body: "{}").status == .forbidden)
        #expect(try await add("viewer-b", "project-admin", eve) == .forbidden)
        #expect(try await add("ann", "budget-admin", fixture.userA) == .forbidden)
        #expect(try await add("ann", "org-admin", fixture.userA) == .badRequest)
        #expect(try await add("b/ci", "viewer", fixture.userA) == .badRequest)
        #expect(try await add("carl", "budget-admin", fixture.admin) == .created)
        let list = try await client.send(.get, path, token: eve)
        #expect(
          try list.json["items"]?.arrayValue?.map { "\($0["user"]!) \($0["role"]!)" } == [
            #""ann" "project-admin""#, #""carl" "budget-admin""#, #""viewer-b" "viewer""#,
          ])
        // A project's administrator takes no role that it could not give.
        #expect(
          try await client.send(.delete, "\(path)?user=carl&role=budget-admin", token: fixture.userA).status
            == .forbidden)
        #expect(try await client.send(.delete, "\(path)?user=viewer-b", token: fixture.userA).status == .ok)
        #expect(try await client.send(.get, "/v1/projects/a", token: eve).status == .notFound)
        #expect(try await client.send(.delete, "/v1/members?user=root", token: fixture.admin).status == .conflict)
        let unknown = try await client.send(
          .post, "/v1/projects/none/members", token: fixture.admin, body: #"{"user":"x","role":"viewer"}"#)
        #expect(unknown.status == .notFound)
      }
    }
  }

  @Test("A service account is made with its role, its token is bound to its project, and no other project can make one")
  func serviceAccounts() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let create = #"{"user":"a/ci","label":"pipeline"}"#
        #expect(try await client.send(.post, "/v1/tokens", token: fixture.userA, body: create).status == .notFound)
        let member = #"{"user":"a/ci","role":"submitter"}"#
        #expect(
          try await client.send(.post, "/v1/projects/a/members", token: fixture.userA, body: member).status == .created)
        let made = try await client.send(.post, "/v1/tokens", token: fixture.userA, body: create)
        #expect(made.status == .created)
        let (token, id) = (try made.json["token"]?.stringValue ?? "", try made.json["id"]?.stringValue ?? "")
        let submitted = try await client.send(.post, "/v1/workflows", token: token, body: Documents.suspended("w"))
        #expect(submitted.status == .created)
        #expect(try submitted.json["project"] == "a")
        #expect(try await client.send(.put, "/v1/projects/a/secrets/s", token: token, body: "{}").status == .forbidden)
        let stranger = try await fixture.token(.projectAdmin, in: "b")
        #expect(try await client.send(.post, "/v1/tokens", token: stranger, body: create).status == .notFound)
        #expect(try await client.send(.delete, "/v1/tokens/\(id)", token: fixture.userB).status == .notFound)
        #expect(
          try await client.send(.get, "/v1/tokens?project=a", token: fixture.userB).status == .notFound)
        let list = try await client.send(.get, "/v1/tokens?project=a", token: fixture.userA)
        #expect(try list.json["items"]?.arrayValue?.map { $0["id"]?.stringValue } == [id])
        #expect(try await client.send(.get, "/v1/tokens?all=true", token: fixture.userA).status == .forbidden)
        #expect(try await client.send(.get, "/v1/tokens?user=root", token: fixture.userA).status == .forbidden)
        // A role that its project's administrator does not have puts its tokens beyond them, too.
        let more = #"{"user":"a/ci","role":"budget-admin"}"#
        #expect(
          try await client.send(.post, "/v1/projects/a/members", token: fixture.admin, body: more).status == .created)
        #expect(try await client.send(.post, "/v1/tokens", token: fixture.userA, body: create).status == .forbidden)
        #expect(try await client.send(.delete, "/v1/tokens/\(id)", token: fixture.userA).status == .ok)
        #expect(try await client.send(.get, "/v1/userinfo", token: token).status == .unauthorized)
      }
    }
  }

  @Test("A stream ends when its reader's token is revoked, before another word is told")
  func stream() async throws {
    try await APIFixture.use { fixture in
      // The reader has a connection of its own: what follows on the same one would wait for the stream.
      try await fixture.application.test(.live) { reader in
        try await fixture.application.test(.router) { client in
          _ = try await client.send(
            .post, "/v1/projects/a/workflows", token: fixture.userA, body: Documents.suspended("w"))
          let made = try await client.send(.post, "/v1/tokens", token: fixture.userA, body: "{}")
          let (token, id) = (try made.json["token"]?.stringValue ?? "", try made.json["id"]?.stringValue ?? "")
          var request = HTTPClientRequest(
            url: "http://localhost:\(try #require(reader.port))/v1/projects/a/workflows/w/events")
          request.headers.add(name: "authorization", value: "Bearer \(token)")
          request.headers.add(name: "accept", value: "text/event-stream")
          let response = try await HTTPClient.shared.execute(request, timeout: .seconds(60))
          // That its connection is cut is how it ends; what was told before counts.
          let told = Mutex("")
          let reading = Task {
            do { for try await part in response.body { told.withLock { $0 += String(buffer: part) } } } catch {}
          }
          try await waitUntil("it has been told how things are") { told.withLock { $0.contains("data:") } }
          try await waitUntil("it is watched") { fixture.server.services.changes.watcherCount == 1 }
          #expect(try await client.send(.delete, "/v1/tokens/\(id)", token: fixture.userA).status == .ok)
          _ = try await client.send(.post, "/v1/projects/a/workflows/w/resume", token: fixture.userA)
          try await waitUntil("nobody watches") { fixture.server.services.changes.watcherCount == 0 }
          await reading.value
          #expect(told.withLock { !$0.contains("Succeeded") }, "\(told.withLock { $0 })")
        }
      }
    }
  }

  @Test("What is denied is in the audit log, with who asked, and a token in a URL is refused wherever it stands")
  func denials() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        #expect(try await client.send(.get, "/v1/audit", token: fixture.userA).status == .forbidden)
        #expect(try await client.send(.get, "/v1/projects/b", token: fixture.userA).status == .notFound)
        for uri in ["/v1/userinfo?x=\(fixture.admin)", "/v1/projects/\(fixture.admin)"] {
          #expect(try await client.send(.get, uri, token: fixture.admin).status == .unauthorized)
        }
        func denied() async throws -> [JSONValue] {
          try await client.send(.get, "/v1/audit?denied=true", token: fixture.admin).json["items"]?.arrayValue ?? []
        }
        try await waitUntil("the denials are written") { try await denied().count == 4 }
        let lines = try await denied()
        #expect(lines.contains { $0["actor"] == "ann" && $0["action"] == "GET /v1/audit" && $0["isDenied"] == true })
        #expect(lines.contains { $0["actor"] == "ann" && $0["object"] == "/v1/projects/b" })
        let own = try await client.send(.get, "/v1/audit?actor=ann&since=2020-01-01T00:00:00Z", token: fixture.admin)
        #expect(try own.json["items"]?.arrayValue?.count == 2)
        let none = try await client.send(.get, "/v1/audit?since=2999-01-01T00:00:00Z", token: fixture.admin)
        #expect(try none.json["items"] == [])
        for wrong in ["since=soon", "denied=maybe"] {
          #expect(try await client.send(.get, "/v1/audit?\(wrong)", token: fixture.admin).status == .badRequest)
        }
      }
    }
  }
}
