import Foundation
import Glibc
public import LocalSlurm
import Synchronization

/// Real Slurm clusters for one test, side by side; they end with the test, however that ends.
///
/// A small shell beside them holds the reading end of a pipe whose writing end only the test process has; when that closes,
/// it kills everything that has one of these clusters in its environment, and removes the directory.
public final class SlurmFixture: Sendable {
  public let clusters: [LocalSlurmCluster]
  /// Theirs, and below it `shared`, which every job can read and write: the shared file system.
  public let directory: String
  public var shared: String { directory + "/shared" }
  private let lifeline: Int32

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
    lifeline = try Self.watch(base)
  }

  private func stop() async {
    for cluster in clusters { await cluster.stop() }
    // The shell now finds nothing to kill, and removes the directory.
    close(lifeline)
  }

  private static func watch(_ directory: String) throws -> Int32 {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw SlurmFixtureError(description: "no pipe: \(errno)") }
    // No child but the watchdog may hold an end, or the pipe would never close.
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    // The directory is passed as an argument and never becomes part of the script.
    let script = """
      trap '' INT TERM HUP; cat >/dev/null; d=$1; cd /
      for round in 1 2 3; do for p in /proc/[0-9]*; do
        tr '\\0' '\\n' <"$p/environ" 2>/dev/null | grep -qF -- "SLURM_CONF=$d/" && kill -9 "${p#/proc/}"
      done; done
      rm -rf "$d"
      """
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
    for output: Int32 in [1, 2] { posix_spawn_file_actions_addopen(&actions, output, "/dev/null", O_WRONLY, 0) }
    let texts: [String] = ["/bin/sh", "-c", script, "sh", directory]
    let words = texts.map { strdup($0) } + [nil]
    let variables = [strdup("PATH=/usr/bin:/bin"), nil]
    defer { for text in words + variables { free(text) } }
    var child: pid_t = 0
    let code = posix_spawn(&child, "/bin/sh", &actions, nil, words, variables)
    close(ends[0])
    guard code == 0 else { throw SlurmFixtureError(description: "no watchdog: \(code)") }
    return ends[1]
  }
}

public struct SlurmFixtureError: Error, CustomStringConvertible {
  public var description: String
  public init(description: String) { self.description = description }
}
