import ControlPlaneCore
import FederationModel
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Testing
import WorkflowCore

@testable import ControlPlaneServer

/// Lists of workflows as Argo's clients ask for them, of those that run and of the archive.
@Suite(.serialized) struct ArgoListTests {
  @Test("A list is narrowed by name, phase, labels and time, each also in the negative, and cut to pages and fields")
  func lists() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        for (name, labels) in [("alpha", "team: x"), ("beta", "team: y"), ("alphabet", "team: x")] {
          let made = try await client.send(
            .post, "/v1/projects/a/workflows", token: token, body: Documents.suspended(name, labels: labels))
          #expect(made.status == .created, "\(String(buffer: made.body))")
        }
        for (name, verb) in [("beta", "resume"), ("alphabet", "terminate")] {
          _ = try await client.send(.put, "/api/v1/workflows/a/\(name)/\(verb)", token: token, body: "{}")
        }
        func names(_ query: String, archive: Bool = false) async throws -> [String] {
          let root = archive ? "/api/v1/archived-workflows?namespace=a&" : "/api/v1/workflows/a?"
          let answer = try await client.send(.get, root + query, token: token)
          #expect(answer.status == .ok, "\(query): \(String(buffer: answer.body))")
          return try answer.json["items"]?.arrayValue?.compactMap { $0["metadata"]?["name"]?.stringValue } ?? []
        }
        let field = "listOptions.fieldSelector="
        for (query, expected) in [
          ("", ["alphabet", "beta", "alpha"]), ("\(field)metadata.name%3Dbeta", ["beta"]),
          ("\(field)metadata.name!%3Dbeta", ["alphabet", "alpha"]), ("\(field)status.phase%3DRunning", ["alpha"]),
          ("\(field)status.phase!%3DRunning", ["alphabet", "beta"]),
          ("\(field)status.phase%3DFailed&listOptions.labelSelector=team%3Dx", ["alphabet"]),
          // As Python writes blanks, and what means a plus.
          ("listOptions.labelSelector=team+in+%28x%2C+z%29", ["alphabet", "alpha"]),
          ("listOptions.labelSelector=team%3Dx%2By", []),
          ("\(field)metadata.name%3Dalpha&nameFilter=Prefix", ["alphabet", "alpha"]),
          ("\(field)metadata.name%3Dbet&nameFilter=Contains", ["alphabet", "beta"]),
          ("createdAfter=2001-01-01T00:00:00Z", ["alphabet", "beta", "alpha"]),
          ("createdAfter=2999-01-01T00:00:00Z", []), ("finishedBefore=2999-01-01T00:00:00Z", ["alphabet", "beta"]),
          ("finishedBefore=2001-01-01T00:00:00Z", []), ("\(field)metadata.namespace%3Db", []),
          ("\(field)spec.startedAt%3C2001-01-01T00:00:00Z", []),
        ] as [(String, [String])] { #expect(try await names(query) == expected, "\(query)") }
        #expect(try await names("", archive: true) == ["alphabet", "beta"])
        #expect(try await names("\(field)status.phase%3DRunning", archive: true) == [])
        #expect(try await names("namePrefix=be", archive: true) == ["beta"])
        #expect(
          try await names("\(field)metadata.name%3Dalphabet,spec.startedAt%3E2001-01-01T00:00:00Z", archive: true)
            == ["alphabet"])

        let page = try await client.send(
          .get, "/api/v1/workflows/a?listOptions.limit=2&fields=items.metadata.name,metadata", token: token
        ).json
        #expect(page["items"]?.arrayValue?.count == 2 && page["items"]?[0] == ["metadata": ["name": "alphabet"]])
        let next = try #require(page["metadata"]?["continue"]?.stringValue)
        #expect(try await names("listOptions.limit=2&listOptions.continue=\(next)") == ["alpha"])
        for wrong in [
          "createdAfter=soon", "\(field)spec.entrypoint%3Dx", "nameFilter=Like&\(field)metadata.name%3Dx",
          "listOptions.limit=-1", "listOptions.continue=x",
        ] {
          let refused = try await client.send(.get, "/api/v1/workflows/a?\(wrong)", token: token)
          #expect(refused.status == .badRequest, "\(wrong)")
          #expect(try refused.json["code"] == 3, "\(wrong)")
        }
        // What only workflows have cannot be asked of templates.
        let templates = "/api/v1/workflow-templates/a?\(field)status.phase%3DRunning"
        #expect(try await client.send(.get, templates, token: token).status == .badRequest)
      }
    }
  }
}
