internal import Crypto
public import FederationModel

extension CertificateAuthority {
  /// CA certificates and then the private key, in one file: replacing it replaces both or neither.
  static let authorityFile = "authority.pem"
  static let identityFile = "federation"
  private static let keyHeader = "-----BEGIN PRIVATE KEY-----"

  /// Loads the CA from `directory`, or makes it there at the first start.
  ///
  /// The authority is written last: a directory without one has never issued anything, so a start that was cut short begins anew.
  /// - Parameter trustDomain: used at the first start; later it must be what the directory says.
  /// - Throws: `.failedPrecondition` when the directory is another federation's, is not whole or open to others.
  public static func loadOrMake(
    in directory: SecretDirectory, trustDomain: TrustDomain, at now: Timestamp,
    using random: inout some RandomNumberGenerator
  ) throws(FederationError) -> CertificateAuthority {
    if let text = try directory.read(authorityFile) {
      guard let keyStart = text.firstRange(of: keyHeader)?.lowerBound, let identity = try directory.read(identityFile)
      else {
        throw FederationError(
          .failedPrecondition, "\(directory.path) does not hold a whole CA. Restore the directory from a backup.")
      }
      return try CertificateAuthority(
        federationID: federationID(in: identity, trustDomain: trustDomain, path: directory.path),
        trustDomain: trustDomain,
        certificatePEM: String(text[..<keyStart]), keyPEM: String(text[keyStart...]), at: now)
    }
    let authority = try make(
      federationID: hexadecimal(random.bytes(8)), trustDomain: trustDomain, at: now, using: &random)
    try authority.save(in: directory)
    return authority
  }

  /// Loads an operator's own CA. The key file must be readable by its owner alone.
  public static func load(
    certificateFile: String, keyFile: String, federationID: String, trustDomain: TrustDomain, at now: Timestamp
  ) throws(FederationError) -> CertificateAuthority {
    let keyPEM = try SecretDirectory.readSecret(keyFile)
    let certificatePEM = try SecretDirectory.readPublic(certificateFile)
    return try CertificateAuthority(
      federationID: federationID, trustDomain: trustDomain, certificatePEM: certificatePEM, keyPEM: keyPEM, at: now)
  }

  /// Replaces what the directory holds, for instance after a rollover.
  public func save(in directory: SecretDirectory) throws(FederationError) {
    try directory.write("\(federationID) \(trustDomain)\n", to: Self.identityFile)
    try directory.write(bundle.pem() + key.pemRepresentation + "\n", to: Self.authorityFile)
  }

  private static func federationID(
    in identity: String, trustDomain: TrustDomain, path: String
  ) throws(FederationError) -> String {
    let words = identity.split(whereSeparator: \.isWhitespace)
    guard words.count == 2 else {
      throw FederationError(
        .failedPrecondition, "\(path)/\(identityFile) is damaged. Restore the directory from a backup.")
    }
    guard words[1] == trustDomain.text[...] else {
      throw FederationError(
        .failedPrecondition,
        "The CA in \(path) is for the trust domain \(words[1]), and \(trustDomain) is configured. Change one of them.")
    }
    return String(words[0])
  }
}
