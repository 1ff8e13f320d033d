import ControlPlaneStore
import FederationModel
import Logging
import ServiceLifecycle

/// Projects whose data sets are to be swept soon, because something was removed there. Bounded: the regular sweep comes by anyway.
struct SweepRequests: Sendable {
  let projects: AsyncStream<ProjectName>
  private let continuation: AsyncStream<ProjectName>.Continuation

  init() { (projects, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(256)) }

  func add(_ project: ProjectName) { continuation.yield(project) }
}

/// Deletes the objects of data sets that no version needs any more: those of deleted and expired versions, and those of uploads that
/// nobody finished. Several replicas may do so at once.
struct DatasetSweep: Service {
  /// An upload asks for its packs first and names them in a version last; between the two they are nobody's, for as long as the
  /// whole upload takes. The command line gives up after the same time.
  static let packAge = Duration.seconds(30 * 86_400)
  /// A manifest is registered in the request that makes its version.
  static let manifestAge = Duration.seconds(600)
  static let interval = Duration.seconds(1800)

  let repository: DatasetRepository
  let requests: SweepRequests
  let logger: Logger

  func run() async throws {
    await cancelWhenGracefulShutdown {
      await withTaskGroup(of: Void.self) { group in
        group.addTask { await sweepRegularly() }
        group.addTask {
          for await project in requests.projects { await attempt { try await sweep(project) } }
        }
        await group.waitForAll()
      }
    }
  }

  private func sweepRegularly() async {
    while !Task.isCancelled {
      await attempt {
        for project in try await repository.store.projectsWithDatasetObjects() {
          try Task.checkCancellation()
          // What is wrong with one project's objects keeps nobody else's.
          await attempt { try await sweep(project) }
        }
      }
      try? await Task.sleep(for: Self.interval * Double.random(in: 0.8...1.2))
    }
  }

  private func attempt(_ body: () async throws -> Void) async {
    do { try await body() } catch is CancellationError {} catch {
      logger.warning("the repository's data sets could not be swept", metadata: ["error": "\(error)"])
    }
  }

  private func sweep(_ project: ProjectName) async throws {
    let count: Int
    do {
      count = try await repository.sweep(
        project, packAge: Self.packAge, manifestAge: Self.manifestAge, at: .wallClock)
    } catch let error as FederationError {
      throw FederationError(error.code, "project \(project): \(error.publicMessage)", cause: error)
    }
    guard count > 0 else { return }
    logger.info(
      "deleted objects of data sets that nobody needs", metadata: ["count": "\(count)", "project": "\(project)"])
  }
}

extension DatasetRepository {
  /// Objects that are marked, deleted and forgotten together: few, so that a mark never stands for long.
  private static let releasedAtOnce = 32
  /// A deletion that takes longer is given up; the next sweep repeats it.
  private static let deletionLimit = Duration.seconds(20)
  /// Whoever set an older mark has died: all of its deletions would have been given up before.
  static let markAge = Duration.seconds(120)

  /// Deletes what no version of a project needs.
  ///
  /// - Parameters:
  ///   - packAge: what was uploaded or asked for later than so long ago stays: its version may be about to be made.
  ///   - manifestAge: the same for manifests.
  /// - Returns: how many objects went.
  func sweep(
    _ project: ProjectName, packAge: Duration, manifestAge: Duration, at now: Timestamp
  ) async throws -> Int {
    for (path, needsPacks) in try await store.unregisteredManifests(of: project) {
      let key = try ArtifactKey(project: project, path: path)
      // One that is damaged or lost needs nothing. Any other failure says nothing of its packs, and the next round asks again.
      var header: DatasetManifest.Header?
      do {
        if needsPacks { header = try await read(key) { _ in } }
      } catch let error as FederationError where error.code == .notFound || error.code == .invalidArgument {}
      try await register(try await artifacts.stat(key), at: path, header?.packs ?? [], of: project, at: now)
    }
    try await store.releaseArchived(of: project)
    let count = try await sweepManifests(of: project, seenBefore: now + (.zero - manifestAge))
    return try await count + sweepPacks(of: project, seenBefore: now + (.zero - packAge), at: now)
  }

  /// Manifests that agents wrote have keys of their own, which nothing else ever gets: the object goes first. An uploaded one is an
  /// object like packs, and goes with them.
  private func sweepManifests(of project: ProjectName, seenBefore moment: Timestamp) async throws -> Int {
    let unneeded = try await store.unneededManifests(of: project, seenBefore: moment)
    let written = unneeded.filter { !DatasetManifest.isObject($0) }
    for path in written { try await artifacts.delete(try ArtifactKey(project: project, path: path)) }
    try await store.forgetManifests(unneeded, of: project, seenBefore: moment)
    return written.count
  }

  private func sweepPacks(of project: ProjectName, seenBefore moment: Timestamp, at now: Timestamp) async throws -> Int
  {
    var count = 0
    while true {
      try Task.checkCancellation()
      // Read anew each time: what counts is how long ago this mark was set.
      let mark = max(now, .wallClock)
      let marked = try await store.markPacks(
        of: project, seenBefore: moment, at: mark, stale: mark + (.zero - Self.markAge), limit: Self.releasedAtOnce)
      guard !marked.isEmpty else { return count }
      _ = try await marked.concurrentMap(limit: Self.parallel) { sha256 in
        let key = try Self.key(sha256, of: project)
        try await Deadline.run(Self.deletionLimit, "deleting \(key) takes too long") {
          try await artifacts.delete(key)
        }
      }
      try await store.forgetPacks(marked, of: project, markedAt: mark)
      count += marked.count
    }
  }
}
