import FederationModel
import FederationPKI
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

@Suite(.serialized) struct CacheExportTests {
  private static let password = ["user": "fubini", "password": "a-long-password"]

  /// One cluster that exports what it has, and one that fetches.
  private func withExport(_ body: (TemporaryDirectory, _ url: String, TrustBundle) async throws -> Void) async throws {
    guard (try? StepRunner.execute(["which", "rclone"]))?.status == 0 else { return print("skipped: no rclone here") }
    let directory = try TemporaryDirectory()
    let authority = try FakeControlPlane().authority
    var random = SystemRandomNumberGenerator()
    let key = AgentKey(using: &random)
    let issued = try authority.issueAgentCertificate(
      requestDER: Array(try key.request()), cluster: "edge-1", at: SystemClock.now, using: &random)
    var configuration = CacheConfiguration.Export()
    let port = try FreePort.next()
    configuration.listen = "127.0.0.1:\(port)"
    configuration.url = "https://127.0.0.1:\(port)"
    let export = try CacheExport(
      configuration: configuration, program: "rclone", directory: directory.path + "/export",
      layout: CacheLayout(directory: directory.path + "/theirs"), cluster: "edge-1",
      secrets: StoreFixture.Secrets(known: ["export:edge-1": Self.password]),
      certificate: { .init(chain: issued.pem, key: key.pem) }, logger: silentLogger())
    try CacheLayout(directory: directory.path + "/theirs").make()
    let work = Task { await export.run() }
    defer { work.cancel() }
    try await waitUntil { FreePort.answers(port) }
    try await body(directory, configuration.url, authority.bundle)
  }

  private func fetcher(
    _ directory: TemporaryDirectory, _ trust: TrustBundle, _ repository: MemoryRepository,
    password: [String: String] = Self.password, of cluster: String = "edge-1"
  ) throws -> ReplicaFetcher {
    let secrets = StoreFixture.Secrets(known: ["export:" + cluster: password])
    let sources = SourceAccess(
      cluster: "edge-2", secrets: secrets,
      mover: try RcloneMover(program: "rclone", directory: directory.path + "/rclone", logger: silentLogger()),
      allowedOrigins: [], exports: ExportAccess(secrets: secrets) { trust })
    return try StoreFixture.fetcher(repository, directory, sources: sources)
  }

  @Test("another cluster's data set and artifact come from its export, over TLS and verified", .timeLimit(.minutes(1)))
  func fetched() async throws {
    try await withExport { directory, url, trust in
      let repository = MemoryRepository()
      let theirs = CacheLayout(directory: directory.path + "/theirs")
      let ours = CacheLayout(directory: directory.path + "/ours")
      try ours.make()
      var wanted = try SampleDataset.small.packed(in: repository)
      try await StoreFixture.fetcher(repository, directory)
        .fetch(wanted, for: nil, into: theirs, TransferGauge())
      repository.state.withLock { $0.requests = [] }
      wanted.sources = [.export("edge-1", url: url)]
      let fetcher = try fetcher(directory, trust, repository)
      try await fetcher.fetch(wanted, for: nil, into: ours, TransferGauge())
      try SampleDataset.small.expectEqual(ours.mountSource(wanted.key))
      #expect(repository.state.withLock { $0.requests.map(\.key) } == ["manifest"])

      let bytes = [UInt8](repeating: 5, count: 300_000)
      let sha256 = SampleDataset.sha256(bytes)
      try directory.write(bytes, to: "theirs/objects/" + sha256)
      var one = WantedReplica(
        StoredArtifact(
          key: "k", size: ByteCount(300_000), sha256: sha256, archive: .none, sources: [.export("edge-1", url: url)]),
        of: "p")
      // What came before a cut is not fetched again.
      try directory.write(Array(bytes.prefix(100_000)), to: "ours/partial/" + sha256)
      let gauge = TransferGauge()
      try await fetcher.fetch(one, for: nil, into: ours, gauge)
      #expect(gauge.reading.bytesMoved == 200_000)
      #expect(gauge.reading.bytesFromClusters.values.reduce(0, +) == 200_000)
      one.key = DataKey(sha256: SampleDataset.sha256([1]))
      await #expect(throws: FederationError.self) {
        try await fetcher.fetch(one, for: nil, into: ours, TransferGauge())
      }
    }
  }

  @Test("an export that cannot start says why in the cluster's notices", .timeLimit(.minutes(1)))
  func cannotStart() async throws {
    let directory = try TemporaryDirectory()
    try directory.write("#!/bin/sh\necho first >&2\necho 'bind: address already in use' >&2\nexit 1\n", to: "rclone")
    chmod(directory.path + "/rclone", 0o755)
    var configuration = CacheConfiguration.Export()
    configuration.listen = "127.0.0.1:1"
    configuration.url = "https://127.0.0.1:1"
    let export = try CacheExport(
      configuration: configuration, program: directory.path + "/rclone", directory: directory.path + "/export",
      layout: CacheLayout(directory: directory.path + "/theirs"), cluster: "edge-1",
      secrets: StoreFixture.Secrets(known: ["export:edge-1": Self.password]),
      certificate: { .init(chain: "chain", key: "key") }, logger: silentLogger())
    #expect(export.problem == nil)
    let work = Task { await export.run() }
    defer { work.cancel() }
    try await waitUntil(timeout: .seconds(50)) { export.problem != nil }
    #expect(export.problem?.contains("first; bind: address already in use") == true, "\(export.problem ?? "")")
  }

  @Test("the export's program reckons the hours of its limit in the agent's time zone")
  func zone() {
    let found = CacheExport.environment("u", "p", of: ["TZ": "Asia/Shanghai", "PATH": "/bin", "AWS_PROFILE": "x"])
    #expect(found == ["RCLONE_USER": "u", "RCLONE_PASS": "p", "TZ": "Asia/Shanghai", "PATH": "/bin"])
  }

  @Test("who has no password, or is not the cluster that was meant, gives and gets nothing", .timeLimit(.minutes(1)))
  func refused() async throws {
    try await withExport { directory, url, trust in
      let repository = MemoryRepository()
      let ours = CacheLayout(directory: directory.path + "/ours")
      try ours.make()
      let sha256 = SampleDataset.sha256([1])
      try directory.write([UInt8(1)], to: "theirs/objects/" + sha256)
      let wrong = try fetcher(directory, trust, repository, password: ["user": "fubini", "password": "guess"])
      let impostor = try fetcher(directory, trust, repository, of: "edge-7")
      for (fetcher, cluster) in [(wrong, "edge-1"), (impostor, "edge-7")] {
        let one = WantedReplica(
          StoredArtifact(
            key: "k", size: ByteCount(1), sha256: sha256, archive: .none,
            sources: [.export(ClusterName(cluster), url: url)]),
          of: "p")
        await #expect(throws: FederationError.self, "\(cluster)") {
          try await fetcher.fetch(one, for: nil, into: ours, TransferGauge())
        }
      }
      // The password is in no argument.
      let processes = try StepRunner.execute(["ps", "axww", "-o", "args"])
      #expect(!processes.output.contains(Self.password["password"]!))
    }
  }
}
