import FederationModel
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Testing

@testable import ControlPlaneServer

@Suite(.serialized) struct QuotaAPITests {
  @Test(
    "Limits are set by administrators of the organisation alone, read by members, and hide clusters that are not allowed"
  )
  func quota() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        for name in ["one", "two"] {
          let made = try await client.send(
            .post, "/v1/clusters", token: fixture.admin, body: #"{"name":"\#(name)","kind":"process"}"#)
          #expect(made.status == .created)
        }
        let path = "/v1/projects/a/quota"
        let body =
          #"{"overall":{"cpuMillicores":16000,"runs":5},"clusters":{"two":{"gpus":1}},"allowedClusters":["two"],"allowedClasses":["idle"]}"#
        #expect(try await client.send(.put, path, token: fixture.userA, body: body).status == .forbidden)
        let set = try await client.send(.put, path, token: fixture.admin, body: body)
        #expect(set.status == .ok, "\(String(buffer: set.body))")
        let read = try await client.send(.get, path, token: fixture.userA)
        #expect(try read.json == set.json)
        #expect(try read.json["limits"] == JSONDecoder().decode(JSONValue.self, from: Data(body.utf8)))
        #expect(try read.json["used"]?["runs"] == 0 && read.json["storageBytes"] == 0)
        let clusters = try await client.send(.get, "/v1/clusters", token: fixture.userA)
        #expect(try clusters.json["items"]?.arrayValue?.compactMap { $0["name"] } == ["two"])
        #expect(try await client.send(.get, "/v1/clusters/one", token: fixture.userA).status == .notFound)
        for wrong in [#"{"overall":{"runs":-1}}"#, #"{"allowedClasses":["urgent"]}"#, #"{"allowedClusters":["A B"]}"#] {
          #expect(
            try await client.send(.put, path, token: fixture.admin, body: wrong).status == .badRequest, "\(wrong)")
        }
        _ = try await client.send(.post, "/v1/projects/a/workflows", token: fixture.userA, body: Documents.task("t"))
        let why = try await client.send(.get, "/v1/projects/a/workflows/t/explain?node=t", token: fixture.userA)
        let text = String(buffer: why.body)
        #expect(text.contains("ClusterNotAllowed") && text.contains("ClassNotAllowed"), "\(text)")
        #expect(
          try await client.send(.put, "/v1/projects/none/quota", token: fixture.admin, body: "{}").status == .notFound)
        let audit = String(buffer: try await client.send(.get, "/v1/audit", token: fixture.admin).body)
        #expect(audit.contains("quota.set") && audit.contains("cpuMillicores 16000"))
      }
    }
  }
}
