import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import Logging
import ServiceLifecycle
import WorkflowCore

/// Starts workflows by the clock, on the replica that leads.
///
/// It holds no state that matters: what it has in memory says when to look next, and a successor begins anew. A time that nobody
/// watched is made up for as Argo does, within `startingDeadlineSeconds`.
actor CronRunner: Service {
  private struct Watched {
    var object: StoredObject
    var handledThrough: Timestamp
    /// When it is looked at again; nil: only when something of it has changed.
    var wakeAt: Timestamp?
    var active: [String] = []
  }

  private let store: ControlPlaneStore
  private let commands: any CommandPort
  private let logger: Logger
  private var watched: [String: Watched] = [:]
  private var mark = ""
  /// Since when this replica leads without a break; nil: it does not.
  private var leadingSince: Timestamp?

  /// The longest and the shortest pause between two looks: a look without anything due is two small questions to the database.
  static let pauseMax = Duration.seconds(1)
  static let pauseMin = Duration.milliseconds(20)
  private static let repeatAfter = Duration.seconds(5)

  init(store: ControlPlaneStore, commands: any CommandPort, logger: Logger) {
    self.store = store
    self.commands = commands
    self.logger = logger
  }

  nonisolated func run() async throws {
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        let pause: Duration
        do { pause = try await self.look(at: .wallClock) } catch is CancellationError { break } catch {
          self.logger.warning(
            "cron workflows could not be looked at; it is tried again", metadata: ["error": "\(error)"])
          pause = Self.repeatAfter
        }
        try? await Task.sleep(for: pause)
      }
    }
  }

  /// Does what is due. - Returns: how long nothing will be.
  func look(at now: Timestamp) async throws -> Duration {
    guard await commands.leadership.isLeader else {
      leadingSince = nil
      watched = [:]
      mark = ""
      return Self.pauseMax
    }
    let since = leadingSince ?? now
    leadingSince = since
    try await refresh(since, now: now)
    let ended = try await store.ended(of: watched.values.flatMap(\.active))
    for (uid, entry) in watched.sorted(by: { ($0.value.wakeAt ?? now, $0.key) < ($1.value.wakeAt ?? now, $1.key) })
    where entry.wakeAt.map({ $0 <= now }) == true || entry.active.contains(where: ended.contains) {
      try Task.checkCancellation()
      await step(uid, entry, now: now)
    }
    let next = watched.values.compactMap(\.wakeAt).min()
    return min(max(next.map { $0 - now } ?? Self.pauseMax, Self.pauseMin), Self.pauseMax)
  }

  /// Learns of cron workflows that were made, changed or removed.
  private func refresh(_ since: Timestamp, now: Timestamp) async throws {
    let mark = try await store.mark(of: .cronWorkflow)
    guard mark != self.mark else { return }
    var fresh: [String: Watched] = [:]
    for object in try await store.cronWorkflows() {
      if let old = watched[object.uid], old.object.revision == object.revision {
        fresh[object.uid] = old
      } else {
        // Of a new one nothing before its making is due; a changed one is looked at anew.
        let handled = watched[object.uid]?.handledThrough ?? max(since, object.createdAt)
        fresh[object.uid] = Watched(object: object, handledThrough: handled, wakeAt: now)
      }
    }
    watched = fresh
    self.mark = mark
  }

  private func step(_ uid: String, _ entry: Watched, now: Timestamp) async {
    var entry = entry
    do {
      let step = try CronStep(
        entry.object, watchedSince: entry.handledThrough, now: now, store: store, commands: commands)
      let result = try await step.run()
      entry.handledThrough = result.handledThrough
      entry.active = result.state.active.map(\.uid)
      entry.wakeAt = result.mustRepeat ? now + Self.repeatAfter : result.wakeAt
    } catch {
      logger.warning(
        "a cron workflow could not be run; it is tried again",
        metadata: ["cron": "\(entry.object.project)/\(entry.object.name)", "error": "\(error)"])
      entry.wakeAt = now + Self.repeatAfter
    }
    if watched[uid] != nil { watched[uid] = entry }
  }
}
