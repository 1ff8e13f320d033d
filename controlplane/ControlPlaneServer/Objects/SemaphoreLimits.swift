import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import Logging
import ServiceLifecycle

/// Brings the core to the limits of semaphores that config maps say, on the replica that leads.
///
/// Who changes a config map writes its limits with it and tells the core (`ObjectDesk`). This looks at what is stored, whoever did or did
/// not tell: a process that died in between, a leader that was deposed. It holds no state that matters.
actor SemaphoreLimits: Service {
  private struct Place: Hashable {
    var project: ProjectName
    var name: String
  }

  private let store: ControlPlaneStore
  private let commands: any CommandPort
  private let logger: Logger
  /// What the core was told by this, while this replica leads.
  private var told: [Place: ConfigMapLimits] = [:]
  private var mark: String?

  static let interval = Duration.seconds(1)
  private static let author = Principal(user: "semaphores")

  init(store: ControlPlaneStore, commands: any CommandPort, logger: Logger) {
    self.store = store
    self.commands = commands
    self.logger = logger
  }

  nonisolated func run() async throws {
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        do { try await self.look() } catch is CancellationError {} catch {
          self.logger.warning(
            "the limits of semaphores could not be looked at; it is tried again", metadata: ["error": "\(error)"])
        }
        try? await Task.sleep(for: Self.interval)
      }
    }
  }

  /// Tells the core what it has not been told.
  func look() async throws {
    guard await commands.leadership.isLeader else {
      (told, mark) = ([:], nil)
      return
    }
    let mark = try await store.mark(of: .configMap)
    guard mark != self.mark else { return }
    let current = Dictionary(
      uniqueKeysWithValues: try await store.configMapLimits().map { (Place(project: $0.project, name: $0.name), $0) })
    for (place, limits) in current where told[place] != limits {
      try await tell(place, limits.limits, ObjectDesk.change(limits.revision))
      told[place] = limits
    }
    for (place, limits) in told where current[place] == nil {
      // Removed, or changed to one without limits: whatever was told of it since is newer.
      let now = try await store.object(.configMap, place.name, in: place.project)
      try await tell(place, [:], now.map { ObjectDesk.change($0.revision) } ?? ObjectDesk.change(limits.revision) + 1)
      told[place] = nil
    }
    self.mark = mark
  }

  private func tell(_ place: Place, _ limits: [String: Int], _ change: Int64) async throws {
    _ = try await commands.perform(
      .project(place.project, .setSemaphores(configMap: place.name, limits: limits, change: change)),
      as: Self.author, idempotency: nil)
  }
}
