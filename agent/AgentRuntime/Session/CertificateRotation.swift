internal import FederationModel
internal import FederationPKI
internal import Logging
internal import Synchronization

/// Renews the agent's certificate at half-life, or when asked to, over a connection of its own: the session goes on.
final class CertificateRotation: Sendable {
  private let store: CertificateStore
  private let identity: Mutex<CertificateStore.Identity>
  private let addresses: [ControlPlaneAddress]
  private let credentials: AgentCredentials
  private let requests = Mailbox<Void>(capacity: 1)
  private let logger: Logger
  private let renewed = Mutex<(@Sendable () -> Void)?>(nil)

  init(
    store: CertificateStore, identity: CertificateStore.Identity, addresses: [ControlPlaneAddress],
    credentials: AgentCredentials, logger: Logger
  ) {
    self.store = store
    self.identity = Mutex(identity)
    self.addresses = addresses
    self.credentials = credentials
    self.logger = logger
  }

  /// - Parameter action: is called after each renewal; set before `run`.
  func onRenewed(_ action: @escaping @Sendable () -> Void) { renewed.withLock { $0 = action } }

  var notAfter: Timestamp { identity.withLock { $0.notAfter } }

  func request() { if requests.count == 0 { requests.sendAtOnce(()) } }

  func run() async {
    await withTaskCancellationHandler {
      await withTaskGroup(of: Void.self) { group in
        group.addTask { [self] in await keepSchedule() }
        while await requests.receive(limit: 8) != nil { await renew() }
        group.cancelAll()
      }
    } onCancel: {
      requests.close()
    }
  }

  /// Wakes at least once an hour, because the wall clock may be set meanwhile.
  private func keepSchedule() async {
    let jitter = Double.random(in: 0..<1)
    while !Task.isCancelled {
      let due = identity.withLock {
        RotationSchedule.renewal(notBefore: $0.notBefore, notAfter: $0.notAfter, jitter: jitter)
      }
      let wait = due - SystemClock.now
      if wait <= .zero { request() }
      guard (try? await Task.sleep(for: min(max(wait, .seconds(60)), .seconds(3600)))) != nil else { return }
    }
  }

  private func renew() async {
    var attempt = 0
    while !Task.isCancelled {
      do {
        let fresh = try await Enrollment.renew(addresses: addresses, credentials: credentials, store: store)
        identity.withLock { $0 = fresh }
        self.renewed.withLock { $0 }?()
        logger.info("certificate renewed", metadata: ["expires_at_ms": "\(fresh.notAfter.milliseconds)"])
        return
      } catch {
        let delay = RotationSchedule.retryDelay(attempt: attempt, jitter: .random(in: 0..<1))
        logger.warning(
          "the certificate could not be renewed; trying again in \(delay.milliseconds / 1000) s",
          metadata: ["error": "\((error as? FederationError)?.publicMessage ?? "\(error)")"])
        attempt += 1
        guard (try? await Task.sleep(for: delay)) != nil else { return }
      }
    }
  }
}
