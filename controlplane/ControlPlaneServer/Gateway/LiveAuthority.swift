import FederationModel
import FederationPKI
import Synchronization

/// The federation's CA as its files say now. It may be replaced while agents are connected, by this or another process.
final class LiveAuthority: Sendable {
  private let state: Mutex<CertificateAuthority>
  private let load: @Sendable () throws -> CertificateAuthority

  /// - Parameter load: reads the files anew.
  init(_ load: @escaping @Sendable () throws -> CertificateAuthority) throws {
    self.load = load
    state = Mutex(try load())
  }

  var current: CertificateAuthority { state.withLock { $0 } }

  /// Reads the files again. What cannot be read, or does not fit together, leaves the CA as it was: an operator who
  /// replaces a certificate and then its key is met in between.
  ///
  /// - Returns: whether the CA that signs, or those that are trusted, have changed.
  func reload() throws -> Bool {
    let next = try load()
    return try state.withLock { state in
      guard next.federationID == state.federationID else {
        throw FederationError(.failedPrecondition, "the CA is now that of another federation; restart on purpose")
      }
      guard next.bundle != state.bundle else { return false }
      state = next
      return true
    }
  }
}
