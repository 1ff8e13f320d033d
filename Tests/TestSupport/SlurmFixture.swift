import Foundation
import Glibc
public import LocalSlurm
import Synchronization

/// Real Slurm clusters for one test, side by side; they end with the test, however that ends (``Watchdog``).
public final class SlurmFixture: Sendable {
  public let clusters: [LocalSlurmCluster]
  /// Theirs, and below it `shared`, which every job can read and write: the shared file system.
  public let directory: String
  public var shared: String { directory + "/shared" }
  private let watchdog: Mutex<Watchdog?>

  /// Whether tests on a real Slurm can run here: `.enabled(if: SlurmFixture.isAvailable, "Slurm is not installed")`.
  public static var isAvailable: Bool { SlurmPrograms.missing == nil }

  /// Whether such a cluster can keep accounts: `.enabled(if: SlurmFixture.hasAccounting, "slurmdbd is not installed")`.
  public static var hasAccounting: Bool { isAvailable && SlurmPrograms.missingAccounting == nil }

  /// Whether slurmrestd can be started: `.enabled(if: SlurmFixture.hasRest, "slurmrestd is not installed")`.
  public static var hasRest: Bool { isAvailable && SlurmPrograms.find("slurmrestd") != nil }

  /// Starts one cluster for each name, runs `body`, and ends them. An error that `body` throws is told with all logs.
  public static func with<Value: Sendable>(
    _ names: String..., configure: (inout LocalSlurmCluster.Configuration) -> Void = { _ in },
    _ body: (SlurmFixture) async throws -> Value
  ) async throws -> Value {
    let fixture = try SlurmFixture(names, configure)
    do {
      for cluster in fixture.clusters { try await cluster.start(timeout: .seconds(60)) }
      let value = try await body(fixture)
      await fixture.stop()
      return value
    } catch {
      let logs = fixture.clusters.map { "cluster \($0.configuration.name)\n\($0.logs)" }.joined(separator: "\n")
      await fixture.stop()
      throw SlurmFixtureError(description: "\(error)\n\(logs)")
    }
  }

  private init(_ names: [String], _ configure: (inout LocalSlurmCluster.Configuration) -> Void) throws {
    let base = "/tmp/fsl-\(getpid())-\(String(UInt32.random(in: 0 ... .max), radix: 36))"
    directory = base
    // Jobs may be another user's.
    try FileManager.default.createDirectory(
      atPath: base, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
    try FileManager.default.createDirectory(
      atPath: base + "/shared", withIntermediateDirectories: false, attributes: [.posixPermissions: 0o777])
    // Other tests of this process may have set its umask.
    chmod(base, 0o755)
    chmod(base + "/shared", 0o777)
    clusters = try names.map { name in
      var configuration = LocalSlurmCluster.Configuration(
        directory: "\(base)/\(name)", name: name, nodes: 2, cpusPerNode: 32, memoryMiBPerNode: 32_000)
      configure(&configuration)
      return try LocalSlurmCluster(configuration)
    }
    watchdog = Mutex(try Watchdog(base, ending: .environment("SLURM_CONF=\(base)/")))
  }

  private func stop() async {
    for cluster in clusters { await cluster.stop() }
    watchdog.withLock { $0 = nil }
  }
}

public struct SlurmFixtureError: Error, CustomStringConvertible {
  public var description: String
  public init(description: String) { self.description = description }
}
