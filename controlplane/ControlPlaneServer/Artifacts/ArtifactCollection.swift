import ControlPlaneStore
import FederationModel
import Logging
import ServiceLifecycle

/// Deletes objects of the repository that no workflow needs any more: those of workflows that were deleted, those that go with the end of
/// their workflow (`artifactGC`), and, where the operator says how long artifacts are kept, those that are older. Deletes the logs of
/// deleted workflows as well. Several replicas may do so at once: deleting what is not there is success.
struct ArtifactCollection: Service {
  /// What is given up is deleted so much later: a copy that was under way at that moment has ended.
  static let grace = Duration.seconds(600)
  static let interval = Duration.seconds(300)
  /// Objects at once.
  static let parallel = 8
  static let batch = 256
  /// A deletion that takes longer is given up; the next round repeats it.
  private static let deletionLimit = Duration.seconds(20)

  let store: ControlPlaneStore
  let artifacts: any ArtifactStore
  let logs: any LogStore
  /// How long artifacts are kept; nil: as long as their workflows.
  let age: Duration?
  let logger: Logger

  func run() async throws {
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        do {
          let count = try await collect(at: .wallClock)
          if count > 0 { logger.info("deleted artifacts that nobody needs", metadata: ["count": "\(count)"]) }
          let logs = try await collectLogs(at: .wallClock)
          if logs > 0 { logger.info("deleted logs of deleted workflows", metadata: ["count": "\(logs)"]) }
        } catch is CancellationError {} catch {
          logger.warning("what nobody needs could not be deleted; it is tried again", metadata: ["error": "\(error)"])
        }
        try? await Task.sleep(for: Self.interval * Double.random(in: 0.8...1.2))
      }
    }
  }

  /// - Returns: how many objects went.
  func collect(at now: Timestamp) async throws -> Int {
    if let age {
      while try await store.giveUpArtifacts(madeBefore: now + (.zero - age), at: now, limit: Self.batch) > 0 {
        try Task.checkCancellation()
      }
    }
    var count = 0
    while true {
      try Task.checkCancellation()
      // The core takes no entry that is older (`CoreConfiguration.memoAge`); one that it took a moment ago counts.
      let taken = age.map { now + (.zero - $0 - Self.grace) }
      let garbage = try await store.artifactGarbage(
        since: now + (.zero - Self.grace), taken: taken, limit: Self.batch)
      guard !garbage.isEmpty else { return count }
      _ = try await garbage.concurrentMap(limit: Self.parallel) { [artifacts] item in
        let key = try ArtifactKey(project: item.project, path: item.key)
        try await Deadline.run(Self.deletionLimit, "deleting \(key) takes too long") { try await artifacts.delete(key) }
      }
      try await store.forgetGarbage(garbage)
      count += garbage.count
    }
  }

  /// An agent may still send the last of a log while its workflow is deleted: they go later.
  ///
  /// - Returns: how many logs went.
  func collectLogs(at now: Timestamp) async throws -> Int {
    var count = 0
    while true {
      try Task.checkCancellation()
      let runs = try await store.logGarbage(since: now + (.zero - Self.grace), limit: Self.batch)
      guard !runs.isEmpty else { return count }
      _ = try await runs.concurrentMap(limit: Self.parallel) { [logs] run in
        try await Deadline.run(Self.deletionLimit, "deleting the log of run \(run.hexadecimal) takes too long") {
          try await logs.delete(run)
        }
      }
      try await store.forgetLogs(runs)
      count += runs.count
    }
  }
}
