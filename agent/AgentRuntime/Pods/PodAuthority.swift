internal import Crypto
internal import FederationModel
internal import FederationPKI
internal import FoundationEssentials
internal import NIOSSL
internal import Synchronization

/// Whom pods trust, and what they show: an authority of the agent's own for its server's certificate, and a key that tokens come from.
/// Both are made at the first start and kept in the state directory.
final class PodAuthority: Sendable {
  private let authority: CertificateAuthority
  private let key: SymmetricKey
  private let host: String
  let certificatePEM: String
  private let context = Mutex<(context: NIOSSLContext, madeAt: Timestamp)?>(nil)
  /// The certificate is made anew long before it ends.
  private static let renewal = Duration.seconds(86400)
  static let tokenPrefix = "fpt1_"

  /// - Parameter host: the name or address by which pods reach the server.
  init(directory: String, host: String) throws {
    let directory = try SecretDirectory(path: directory)
    var random = SystemRandomNumberGenerator()
    authority = try CertificateAuthority.loadOrMake(
      in: directory, trustDomain: try TrustDomain("pods.fubini"), at: SystemClock.now, using: &random)
    certificatePEM = try authority.certificatePEM()
    self.host = host
    if let text = try directory.read(Self.keyFile), let bytes = Data(base64Encoded: text), bytes.count == 32 {
      key = SymmetricKey(data: bytes)
    } else {
      key = SymmetricKey(size: .bits256)
      try directory.write(key.withUnsafeBytes { Data($0) }.base64EncodedString(), to: Self.keyFile)
    }
  }

  private static let keyFile = "token.key"

  private static func message(_ run: RunID) -> [UInt8] { Array("fubini pod files \(run.hexadecimal)".utf8) }

  func token(for run: RunID) -> String {
    Self.tokenPrefix
      + ArtifactPacking.hexadecimal(HMAC<SHA256>.authenticationCode(for: Self.message(run), using: key))
  }

  /// Takes as long for a token that is nearly right as for one that is not.
  func accepts(_ token: String, for run: RunID) -> Bool {
    guard token.hasPrefix(Self.tokenPrefix), let code = Self.bytes(token.utf8.dropFirst(Self.tokenPrefix.utf8.count))
    else { return false }
    return HMAC<SHA256>.isValidAuthenticationCode(code, authenticating: Self.message(run), using: key)
  }

  private static func bytes(_ digits: Substring.UTF8View) -> [UInt8]? {
    guard digits.count == 2 * SHA256.byteCount else { return nil }
    var bytes: [UInt8] = []
    var high: UInt8?
    for digit in digits {
      guard let value = Character(UnicodeScalar(digit)).hexDigitValue.map({ UInt8($0) }) else { return nil }
      if let first = high {
        bytes.append(first << 4 | value)
        high = nil
      } else {
        high = value
      }
    }
    return bytes
  }

  /// For a connection that comes in now.
  func serverContext() throws -> NIOSSLContext {
    let now = SystemClock.now
    if let held = context.withLock({ $0 }), now < held.madeAt + Self.renewal, held.madeAt <= now { return held.context }
    var random = SystemRandomNumberGenerator()
    let key = AgentKey(using: &random)
    let issued = try authority.issueServerCertificate(
      for: key.privateKey.publicKey, addresses: [host], at: now, using: &random)
    var configuration = TLSConfiguration.makeServerConfiguration(
      certificateChain: try NIOSSLCertificate.fromPEMBytes(Array(issued.pem.utf8)).map { .certificate($0) },
      privateKey: .privateKey(try NIOSSLPrivateKey(bytes: Array(key.pem.utf8), format: .pem)))
    configuration.minimumTLSVersion = .tlsv13
    let made = try NIOSSLContext(configuration: configuration)
    context.withLock { $0 = (made, now) }
    return made
  }
}
