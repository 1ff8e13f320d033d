import ControlPlaneStore
import FederationModel
import Logging
import ServiceLifecycle

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
  let logger: Logger

  func run() async throws {
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        do {
          var count = 0
          for project in try await repository.store.projectsWithDatasetObjects() {
            try Task.checkCancellation()
            count += try await repository.sweep(
              project, packAge: Self.packAge, manifestAge: Self.manifestAge, at: .wallClock)
          }
          if count > 0 {
            logger.info("deleted objects of data sets that nobody needs", metadata: ["count": "\(count)"])
          }
        } catch is CancellationError {
          return
        } catch {
          logger.warning("the repository's data sets could not be swept", metadata: ["error": "\(error)"])
        }
        try? await Task.sleep(for: Self.interval * Double.random(in: 0.8...1.2))
      }
    }
  }
}

extension DatasetRepository {
  /// Deletes what no version of a project needs.
  ///
  /// - Parameters:
  ///   - packAge: what was uploaded or asked for later than so long ago stays: its version may be about to be made.
  ///   - manifestAge: the same for manifests.
  /// - Returns: how many objects went.
  func sweep(
    _ project: ProjectName, packAge: Duration, manifestAge: Duration, at now: Timestamp
  ) async throws -> Int {
    for path in try await store.unregisteredManifests(of: project) {
      let key = try ArtifactKey(project: project, path: path)
      // One that is damaged or lost needs nothing. Any other failure says nothing of its packs, and the next round asks again.
      var header: DatasetManifest.Header?
      do {
        header = try await read(key) { _ in }
      } catch let error as FederationError where error.code == .notFound || error.code == .invalidArgument {}
      try await register(try await artifacts.stat(key), at: path, header?.packs ?? [], of: project, at: now)
    }
    var count = 0
    for path in try await store.releaseManifests(of: project, seenBefore: now + (.zero - manifestAge)) {
      // An uploaded one goes with the packs below, unless it was asked for just now.
      guard !path.hasPrefix(Self.path("")) else { continue }
      try await artifacts.delete(try ArtifactKey(project: project, path: path))
      count += 1
    }
    while true {
      try Task.checkCancellation()
      let released = try await store.releasePacks(of: project, seenBefore: now + (.zero - packAge))
      for sha256 in released { try await artifacts.delete(try Self.key(sha256, of: project)) }
      count += released.count
      if released.isEmpty { return count }
    }
  }
}
