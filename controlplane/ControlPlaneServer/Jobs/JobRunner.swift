import ControlPlaneStore
import FederationModel
import Logging
import ServiceLifecycle

/// Submits jobs when nothing keeps them waiting any more, on the replica that leads. It remembers nothing: what waits is in the database.
actor JobRunner: Service {
  private let store: ControlPlaneStore
  private let commands: any CommandPort
  private let logger: Logger

  /// Between two looks. A look while nothing waits is one small question to the database.
  static let pause = Duration.milliseconds(500)
  private static let repeatAfter = Duration.seconds(5)
  /// Of one question.
  private static let portion = 500

  init(store: ControlPlaneStore, commands: any CommandPort, logger: Logger) {
    self.store = store
    self.commands = commands
    self.logger = logger
  }

  nonisolated func run() async throws {
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        var pause = Self.pause
        do { try await self.look() } catch is CancellationError { break } catch {
          self.logger.warning(
            "jobs that wait could not be looked at; it is tried again", metadata: ["error": "\(error)"])
          pause = Self.repeatAfter
        }
        try? await Task.sleep(for: pause)
      }
    }
  }

  /// Looks at every job that waits, the eldest first.
  func look() async throws {
    guard await commands.leadership.isLeader else { return }
    let desk = JobDesk(store: store, commands: commands)
    var last: Int64 = 0
    while true {
      let jobs = try await store.waitingJobs(after: last, limit: Self.portion)
      for job in jobs {
        try Task.checkCancellation()
        // One that cannot be had just now keeps the others from nothing.
        do { try await desk.advance(job, now: .wallClock) } catch let error as FederationError where error.isRetryable {
          logger.info("a job waits for the control plane", metadata: ["job": "\(job.number)", "error": "\(error)"])
        }
      }
      guard jobs.count == Self.portion, let next = jobs.last else { return }
      last = next.number
    }
  }
}
