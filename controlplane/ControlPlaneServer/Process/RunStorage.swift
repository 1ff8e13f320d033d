import AsyncHTTPClient
import FederationModel
import Logging
import Rclone
import ServiceLifecycle

/// Where artifacts and logs are kept, as configured, and the daemons that this needs.
struct RunStorage {
  let artifacts: any ArtifactStore
  let logs: any LogStore
  /// To be run for as long as the stores are used.
  let daemons: [any Service]
  private let client: HTTPClient?

  init(_ configuration: ServerConfiguration, logger: Logger) async throws {
    var daemons: [(BucketConfiguration, RcloneDaemon)] = []
    let needsClient = [configuration.artifacts, configuration.logs].contains {
      if case .bucket = $0 { true } else { false }
    }
    let client = needsClient ? ObjectBucket.makeClient() : nil
    self.client = client
    func bucket(_ bucket: BucketConfiguration) -> ObjectBucket {
      // Artifacts and logs in one bucket share a daemon.
      let daemon = daemons.first { $0.0 == bucket }?.1 ?? RcloneDaemon(bucket.rcloneSettings, logger: logger)
      if !daemons.contains(where: { $0.1 === daemon }) { daemons.append((bucket, daemon)) }
      return ObjectBucket(bucket, daemon: daemon, client: client!)
    }
    let sweep: @Sendable (Duration) async throws -> Int
    switch configuration.artifacts {
    case .directory(let path):
      let store = try await DirectoryArtifactStore(directory: path ?? configuration.dataDirectory + "/artifacts")
      artifacts = store
      sweep = { try await store.sweep(olderThan: $0) }
    case .bucket(let configuration):
      let store = BucketArtifactStore(bucket(configuration))
      artifacts = store
      sweep = { try await store.sweep(olderThan: $0) }
    }
    switch configuration.logs {
    case .directory(let path):
      logs = EmptyLogs(beside: try await DirectoryLogStore(directory: path ?? configuration.dataDirectory + "/logs"))
    case .bucket(let configuration): logs = EmptyLogs(beside: BucketLogStore(bucket(configuration)))
    }
    self.daemons = daemons.map(\.1) + [ArtifactSweep(sweep: sweep, logger: logger)]
  }

  func close() async throws { try await client?.shutdown() }
}
