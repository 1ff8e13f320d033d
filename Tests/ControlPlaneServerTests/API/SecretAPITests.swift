import ControlPlaneStore
import FederationModel
import FederationPKI
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Testing

@testable import ControlPlaneServer

@Suite(.serialized) struct SecretAPITests {
  private static let secrets = "/v1/projects/a/secrets"

  @Test("A secret's values go in and never come out: not in answers, audit or the database (invariant I9)")
  func sealed() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        let body = #"{"values":{"user":"ann","pass":"sehr-geheim"}}"#
        let set = try await client.send(.put, "\(Self.secrets)/lab", token: token, body: body)
        #expect(set.status == .ok)
        #expect(try set.json["fields"] == ["pass", "user"])
        let list = try await client.send(.get, Self.secrets, token: token)
        #expect(try list.json["items"]?.arrayValue?.count == 1)
        let audit = try await client.send(.get, "/v1/audit", token: fixture.admin)
        #expect(String(buffer: audit.body).contains("secret.set"))
        for answer in [set, list, audit] { #expect(!String(buffer: answer.body).contains("sehr-geheim")) }
        let row = try #require(try await fixture.store.secret("lab", of: "a"))
        #expect(!String(decoding: row.sealed, as: UTF8.self).contains("sehr-geheim"))
        #expect(
          try await fixture.server.services.secrets.values(of: "lab", in: "a") == [
            "user": "ann", "pass": "sehr-geheim",
          ])
        // A refusal does not quote what was sent.
        for wrong in [
          #"{"values":{"pass":{"sehr-geheim":1}}}"#, #"{"values":{"a b":"sehr-geheim"}}"#, #"{"value":"sehr-geheim"}"#,
          #"{"values":{}}"#, "sehr-geheim", #"{"values":{"x":"\#(String(repeating: "sehr-geheim", count: 2000))"}}"#,
        ] {
          let refused = try await client.send(.put, "\(Self.secrets)/lab", token: token, body: wrong)
          #expect(refused.status == .badRequest)
          #expect(!String(buffer: refused.body).contains("sehr-geheim"))
        }
        #expect(try await client.send(.put, "\(Self.secrets)/Lab", token: token, body: body).status == .badRequest)
        #expect(try await client.send(.delete, "\(Self.secrets)/lab", token: fixture.userB).status == .notFound)
        #expect(try await client.send(.delete, "\(Self.secrets)/lab", token: token).status == .ok)
        #expect(try await client.send(.delete, "\(Self.secrets)/lab", token: token).status == .notFound)
      }
    }
  }

  @Test("A secret that a data set is opened with cannot be removed")
  func used() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        _ = try await client.send(.put, "\(Self.secrets)/lab", token: token, body: #"{"values":{"user":"ann"}}"#)
        _ = try await client.send(
          .post, "/v1/projects/a/datasets", token: token,
          body: #"{"name":"water","origin":{"uri":"s3://b/x","secret":"lab"}}"#)
        let refused = try await client.send(.delete, "\(Self.secrets)/lab", token: token)
        #expect(refused.status == .conflict && String(buffer: refused.body).contains("water"))
      }
    }
  }

  @Test("A rotation seals everything anew while secrets are used, and a retired key opens nothing")
  func rotation() async throws {
    try await APIFixture.use { fixture in
      let vault = fixture.server.services.secrets
      for index in 0..<5 {
        _ = try await vault.set("s\(index)", of: "a", to: ["v": "\(index)"], by: "ann", at: .wallClock)
      }
      let old = try SecretKeyring(text: SecretDirectory.readSecret(vault.keyFile))
      await #expect(throws: Never.self) { _ = try await vault.retire() }
      #expect(try await vault.rotate() == 5)
      #expect(try await vault.reseal() == 0)
      #expect(try await vault.values(of: "s3", in: "a") == ["v": "3"])
      #expect(try await vault.retire() == 1)
      #expect(try await vault.values(of: "s3", in: "a") == ["v": "3"])
      let row = try #require(try await fixture.store.secret("s3", of: "a"))
      #expect(throws: FederationError.self) { try old.open(row.sealed, project: "a", name: "s3") }
      var status = stat()
      #expect(stat(vault.keyFile, &status) == 0 && status.st_mode & 0o777 == 0o600)
    }
  }

  @Test("Prices are set by administrators alone, for always or for a time, and listed with those in force")
  func prices() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let root = fixture.admin
        _ = try await client.send(.post, "/v1/clusters", token: root, body: #"{"name":"edge","kind":"process"}"#)
        let sheet = #""currency":"CNY","coreHour":10,"gibibyteHour":0,"gpuHour":0,"egressGibibyte":50"#
        func set(_ prices: String, _ more: String = "", token: String? = nil) async throws -> HTTPResponse.Status {
          try await client.send(
            .put, "/v1/clusters/edge/prices", token: token ?? root, body: "{\"prices\":{\(prices)}\(more)}"
          ).status
        }
        #expect(try await set(sheet, token: fixture.userA) == .forbidden)
        #expect(try await set(sheet) == .ok)
        #expect(
          try await set(
            sheet.replacing(":10", with: ":5") + #","classFactors":{"idle":0.5}"#, #","from":"2020-01-01T00:00:00Z""#)
            == .ok)
        #expect(try await set(sheet, #","from":"2998-01-01T00:00:00Z","until":"2999-01-01T00:00:00Z""#) == .ok)
        for (prices, more) in [
          (sheet.replacing("CNY", with: "yuan"), ""), (sheet.replacing(":10", with: ":-1"), ""),
          (sheet.replacing(":10", with: ":1e300"), ""), (sheet + #","classFactors":{"lazy":1}"#, ""),
          (sheet, #","from":"2999-01-01T00:00:00Z","until":"2998-01-01T00:00:00Z""#),
          (sheet + #","partitions":{"gpu":{"coreHour":-1,"gibibyteHour":0,"gpuHour":0}}"#, ""),
          (sheet, #","until":"2020-01-01T00:00:00Z""#), (sheet, #","from":"soon""#),
        ] { #expect(try await set(prices, more) == .badRequest, "\(prices) \(more)") }
        let list = try await client.send(.get, "/v1/prices", token: fixture.userA)
        let items = try #require(try list.json["items"]?.arrayValue)
        #expect(items.map { $0["isInForce"] } == [false, true, false])
        #expect(items[1]["prices"]?["classFactors"]?["idle"] == .number(0.5))
        let none = try await client.send(.get, "/v1/clusters/none/prices", token: fixture.userA)
        #expect(none.status == .notFound)
      }
    }
  }
}
