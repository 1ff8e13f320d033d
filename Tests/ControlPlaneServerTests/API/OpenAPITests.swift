import FederationModel
import Foundation
import HTTPTypes
import HummingbirdTesting
import Subprocess
import Testing

@testable import ControlPlaneServer

@Suite struct OpenAPITests {
  private static let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().appending(path: "docs/reference/openapi.json")

  @Test("What is served is what is checked in; FUBINI_WRITE_OPENAPI=1 writes it anew")
  func checkedIn() async throws {
    try await APIFixture.use { fixture in
      let served = try await fixture.application.test(.router) { client in
        try await client.send(.get, "/openapi.json", token: nil).json
      }
      if ProcessInfo.processInfo.environment["FUBINI_WRITE_OPENAPI"] == "1" {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try (try encoder.encode(served) + Data("\n".utf8)).write(to: Self.file)
      }
      let stored = try JSONDecoder().decode(JSONValue.self, from: Data(contentsOf: Self.file))
      #expect(stored == served, "docs/reference/openapi.json is not what the server says: write it anew")
      for route in fixture.server.routes {
        #expect(
          OpenAPI.operations["\(route.method.rawValue) \(route.path)"] != nil,
          "\(route.method) \(route.path) is not described")
      }
      #expect(OpenAPI.operations.count == fixture.server.routes.count)
    }
  }

  @Test("The document is valid OpenAPI 3.1")
  func valid() async throws {
    let probe = try await run(.name("python3"), arguments: ["-c", "import openapi_spec_validator"], output: .discarded)
    guard probe.terminationStatus.isSuccess else {
      print("skipped: the Python module openapi-spec-validator is not installed")
      return
    }
    let script = "import json,sys,openapi_spec_validator as v; v.validate(json.load(open(sys.argv[1])))"
    let result = try await run(
      .name("python3"), arguments: ["-c", script, Self.file.path], output: .discarded, error: .string(limit: 1 << 16))
    #expect(result.terminationStatus.isSuccess, "\(result.standardError)")
  }
}
