internal import Crypto
public import FederationModel

extension CertificateAuthority {
  /// CA certificates and then the private key, in one file: replacing it replaces both or neither.
  static let authorityFile = "authority.pem"
  static let identityFile = "federation"
  /// The CA that will sign next, in the same form. Its certificate is trusted as long as the file is there.
  static let stagedFile = "next.pem"
  private static let keyHeader = "-----BEGIN PRIVATE KEY-----"

  /// Loads the CA from `directory`, or makes it there at the first start. A CA that is staged there is trusted already.
  ///
  /// The authority is written last: a directory without one has never issued anything, so a start that was cut short begins anew.
  /// - Parameter trustDomain: used at the first start; later it must be what the directory says.
  /// - Throws: `.failedPrecondition` when the directory is another federation's, is not whole or open to others.
  public static func loadOrMake(
    in directory: SecretDirectory, trustDomain: TrustDomain, at now: Timestamp,
    using random: inout some RandomNumberGenerator
  ) throws(FederationError) -> CertificateAuthority {
    if let present = try load(in: directory, trustDomain: trustDomain, at: now) { return present }
    let authority = try make(
      federationID: hexadecimal(random.bytes(8)), trustDomain: trustDomain, at: now, using: &random)
    try authority.save(in: directory)
    return authority
  }

  /// What the directory holds; nil before the first start.
  ///
  /// - Throws: as `loadOrMake`.
  public static func load(
    in directory: SecretDirectory, trustDomain: TrustDomain, at now: Timestamp
  ) throws(FederationError) -> CertificateAuthority? {
    guard let (certificates, key) = try read(authorityFile, in: directory) else { return nil }
    guard let identity = try directory.read(identityFile) else { throw notWhole(directory) }
    let staged = try read(stagedFile, in: directory)?.certificates ?? ""
    return try CertificateAuthority(
      federationID: federationID(in: identity, trustDomain: trustDomain, path: directory.path),
      trustDomain: trustDomain, certificatePEM: certificates + staged, keyPEM: key, at: now)
  }

  /// Loads an operator's own CA. The key file must be readable by its owner alone.
  ///
  /// - Parameters:
  ///   - bundleFile: further CAs to trust, while one replaces the other; nil for none.
  ///   - directory: keeps the federation's id, which is drawn at the first start.
  /// - Throws: naming the file that is wrong, and what is wrong with it.
  public static func load(
    certificateFile: String, keyFile: String, bundleFile: String?, in directory: SecretDirectory,
    trustDomain: TrustDomain, at now: Timestamp, using random: inout some RandomNumberGenerator
  ) throws(FederationError) -> CertificateAuthority {
    let keyPEM = try SecretDirectory.readSecret(keyFile)
    var certificatePEM = try SecretDirectory.readPublic(certificateFile) + "\n"
    if let bundleFile { certificatePEM += try SecretDirectory.readPublic(bundleFile) }
    let id: String
    if let identity = try directory.read(identityFile) {
      id = try federationID(in: identity, trustDomain: trustDomain, path: directory.path)
    } else {
      id = hexadecimal(random.bytes(8))
      try directory.write("\(id) \(trustDomain)\n", to: identityFile)
    }
    do {
      return try CertificateAuthority(
        federationID: id, trustDomain: trustDomain, certificatePEM: certificatePEM, keyPEM: keyPEM, at: now)
    } catch {
      throw FederationError(error.code, "\(certificateFile) and \(keyFile): \(error.publicMessage)", cause: error)
    }
  }

  /// Certificates and key of one file; nil when there is none.
  static func read(_ file: String, in directory: SecretDirectory) throws(FederationError)
    -> (certificates: String, key: String)?
  {
    guard let text = try directory.read(file) else { return nil }
    guard let keyStart = text.firstRange(of: keyHeader)?.lowerBound else { throw notWhole(directory) }
    return (String(text[..<keyStart]), String(text[keyStart...]))
  }

  private static func notWhole(_ directory: SecretDirectory) -> FederationError {
    FederationError(
      .failedPrecondition, "\(directory.path) does not hold a whole CA. Restore the directory from a backup.")
  }

  /// Replaces what the directory holds, for instance after a rollover.
  public func save(in directory: SecretDirectory) throws(FederationError) {
    try directory.write("\(federationID) \(trustDomain)\n", to: Self.identityFile)
    try directory.write(text(), to: Self.authorityFile)
  }

  /// Certificates and key as one file holds them.
  func text() throws(FederationError) -> String { try bundle.pem() + key.pemRepresentation + "\n" }

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
