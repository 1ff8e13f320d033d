import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import FederationPKI
import Logging
import ServiceLifecycle
import Synchronization

/// Writes denials to the audit log, behind the answers and within the bounds of `DenialBook`.
final class DenialLog: Service {
  /// A request that was refused for who made it.
  struct Refused: Sendable {
    /// Empty: nobody knows.
    var actor: String
    var address: String
    /// The route.
    var action: String
    /// The path.
    var object: String
    var reason: String
  }
  private let store: ControlPlaneStore
  private let logger: Logger
  private let book = Mutex(DenialBook())
  private let rows: AsyncStream<[AuditRow]>
  private let writer: AsyncStream<[AuditRow]>.Continuation

  init(store: ControlPlaneStore, logger: Logger) {
    self.store = store
    self.logger = logger
    (rows, writer) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(64))
  }

  func note(_ refused: Refused, at now: Timestamp) {
    let kind = DenialBook.Kind(
      actor: refused.actor, address: refused.address, action: refused.action, reason: refused.reason)
    let rows = book.withLock { $0.note(kind, object: refused.object, at: now) }
    if !rows.isEmpty { writer.yield(rows) }
  }

  /// A peer that was refused on the agent port.
  func note(_ peer: RefusedPeer) {
    let actor = peer.agent.map { "agent:\($0.cluster)" } ?? ""
    logger.warning(
      "an agent was refused",
      metadata: ["agent": "\(actor)", "remote": "\(peer.remote)", "why": "\(peer.refusal.rawValue)"])
    note(
      Refused(
        actor: actor, address: Self.host(of: peer.remote), action: "agent.refused",
        object: peer.agent?.cluster.text ?? "", reason: "\(peer.method): \(peer.refusal.rawValue)"), at: peer.at)
  }

  /// `ipv4:192.0.2.1:50123`, `ipv6:[2001:db8::1]:50123` without the port, which each connection has of its own.
  static func host(of peer: String) -> String {
    guard let colon = peer.lastIndex(of: ":"), peer[peer.index(after: colon)...].allSatisfy(\.isNumber) else {
      return peer
    }
    return String(peer[..<colon].trimmingPrefix("ipv4:").trimmingPrefix("ipv6:"))
  }

  /// Until the process ends: lines as they come, and numbers when a minute is over.
  func run() async throws {
    await cancelWhenGracefulShutdown {
      await withTaskGroup(of: Void.self) { group in
        group.addTask { for await rows in self.rows { await self.write(rows) } }
        group.addTask {
          while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(5))
            let rows = self.book.withLock { $0.close(at: .wallClock) }
            if !rows.isEmpty { self.writer.yield(rows) }
          }
        }
      }
    }
    let rest = book.withLock { $0.close(at: .wallClock, isFinal: true) }
    await Task { await write(rest) }.value
  }

  private func write(_ rows: [AuditRow]) async {
    for row in rows {
      do { try await store.appendAudit(row) } catch {
        logger.warning("a denial could not be noted in the audit log", metadata: ["error": "\(error)"])
      }
    }
  }
}
