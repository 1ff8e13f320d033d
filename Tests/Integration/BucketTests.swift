import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import TestSupport
import Testing

extension Integration {
  @Suite("End to end: artifacts and logs in a bucket", .timeLimit(.minutes(5)))
  struct BucketTests {
    @Test("I2: artifacts pass between clusters through the bucket, and another control plane reads them and the logs")
    func bucket() async throws {
      try await S3Service.with { url in
        var options = FederationOptions()
        options.controlPlanes = 2
        options.agents = [.init("east", labels: ["side": "east"]), .init("west", labels: ["side": "west"])]
        options.s3Endpoint = url
        try await Federation.with(options) { federation in
          let leader = try #require(try await federation.leader())
          let client = try federation.client(leader)
          let name = try await client.submit(EndToEndTests.fanOut).name
          let detail = try await client.finished(name)
          let message = detail.nodes.map { "\($0.displayName): \($0.phase.rawValue) \($0.message)" }
          try #require(detail.summary.phase == .succeeded, "\(message)")
          for directory in ["artifacts", "logs"] {
            #expect(!FileManager.default.fileExists(atPath: federation.path("state/" + directory)), "\(directory)")
          }
          try await federation.controlPlane(leader).kill()
          let other = try federation.client(1 - leader)
          let maker = try #require(detail.nodes.first { $0.templateName == "make" && $0.type == "Pod" })
          let made = try await other.log(name, node: maker.name)
          #expect(made.count > 64)
          for reader in detail.nodes where reader.templateName == "read" && reader.type == "Pod" {
            // What an agent had not handed over yet when the leader ended, it hands over to the next one.
            var said = ""
            try await poll("the log of \(reader.displayName) is '\(made)'; it is '\(said)'", timeout: .seconds(30)) {
              said = try await other.log(name, node: reader.name)
              return said == made
            }
          }
        }
      }
    }
  }
}
