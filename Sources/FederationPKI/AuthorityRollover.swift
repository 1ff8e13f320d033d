public import FederationModel
public import X509

/// The replacement of the CA in a directory of key material, in three steps that each leave every certificate valid.
///
/// `stage` makes the next CA trusted, `promote` lets it sign while the one before stays trusted, `retire` ends the trust in
/// that one. Between two steps the agents learn of the first by renewing; whether all have is the caller's to check.
/// Each step replaces one file, so a crash leaves the state before it or after it.
public struct AuthorityRollover: Sendable {
  private let directory: SecretDirectory
  private let trustDomain: TrustDomain

  public init(directory: SecretDirectory, trustDomain: TrustDomain) {
    self.directory = directory
    self.trustDomain = trustDomain
  }

  /// The CA that was staged and does not sign yet; nil when none is.
  public func staged() throws(FederationError) -> Certificate? {
    guard let text = try CertificateAuthority.read(CertificateAuthority.stagedFile, in: directory),
      let signing = try CertificateAuthority.read(CertificateAuthority.authorityFile, in: directory),
      let next = try Certificate.parsePEM(text.certificates, limit: 1).first
    else { return nil }
    // A crash between the two files of `promote` leaves the file of a CA that signs already.
    let first = try Certificate.parsePEM(signing.certificates, limit: TrustBundle.limit).first
    return next == first ? nil : next
  }

  /// Makes another CA trusted that will sign later.
  ///
  /// - Parameter given: certificate and key, PEM, of an operator's CA; nil makes one.
  /// - Throws: `.failedPrecondition` when one is staged already or too many are trusted; what is wrong with the one given.
  public func stage(
    _ given: (certificatePEM: String, keyPEM: String)? = nil, at now: Timestamp,
    using random: inout some RandomNumberGenerator
  ) throws(FederationError) -> Certificate {
    let present = try loaded(at: now)
    if try staged() != nil {
      throw FederationError(
        .failedPrecondition, "A CA is staged already: `ca promote` it, or remove it with `ca retire --staged`.")
    }
    guard present.bundle.authorities.count < TrustBundle.limit else {
      throw FederationError(
        .failedPrecondition, "\(TrustBundle.limit) CAs are trusted: `ca retire` the old ones first.")
    }
    let next: CertificateAuthority
    if let given {
      next = try CertificateAuthority(
        federationID: present.federationID, trustDomain: trustDomain, certificatePEM: given.certificatePEM,
        keyPEM: given.keyPEM, at: now)
      guard !present.bundle.authorities.contains(next.certificate) else {
        throw FederationError(.alreadyExists, "This CA is trusted already. Stage another one.")
      }
    } else {
      next = try CertificateAuthority.make(
        federationID: present.federationID, trustDomain: trustDomain, at: now, using: &random)
    }
    let alone = try CertificateAuthority(
      federationID: present.federationID, trustDomain: trustDomain, certificate: next.certificate, key: next.key,
      at: now)
    try directory.write(alone.text(), to: CertificateAuthority.stagedFile)
    return next.certificate
  }

  /// Lets the staged CA sign from now on; those before stay trusted.
  ///
  /// - Throws: `.failedPrecondition` when none is staged.
  public func promote(at now: Timestamp) throws(FederationError) -> CertificateAuthority {
    let present = try loaded(at: now)
    guard try staged() != nil, let text = try CertificateAuthority.read(CertificateAuthority.stagedFile, in: directory)
    else { throw FederationError(.failedPrecondition, "No CA is staged: `ca stage` first.") }
    let next = try CertificateAuthority(
      federationID: present.federationID, trustDomain: trustDomain,
      certificatePEM: text.certificates + present.bundle.pem(), keyPEM: text.key, at: now)
    try next.save(in: directory)
    try directory.remove(CertificateAuthority.stagedFile)
    return next
  }

  /// Ends the trust in every CA that neither signs nor is staged.
  ///
  /// - Returns: those that were trusted until now.
  public func retire(at now: Timestamp) throws(FederationError) -> [Certificate] {
    let present = try loaded(at: now)
    let next = try staged()
    let old = present.bundle.authorities.dropFirst().filter { $0 != next }
    try CertificateAuthority(
      federationID: present.federationID, trustDomain: trustDomain, certificate: present.certificate,
      key: present.key, at: now
    ).save(in: directory)
    return Array(old)
  }

  /// Takes a staged CA back. It has signed nothing yet.
  ///
  /// - Throws: `.failedPrecondition` when none is staged.
  public func unstage() throws(FederationError) -> Certificate {
    guard let next = try staged() else { throw FederationError(.failedPrecondition, "No CA is staged.") }
    try directory.remove(CertificateAuthority.stagedFile)
    return next
  }

  private func loaded(at now: Timestamp) throws(FederationError) -> CertificateAuthority {
    guard let present = try CertificateAuthority.load(in: directory, trustDomain: trustDomain, at: now) else {
      throw FederationError(.failedPrecondition, "\(directory.path) holds no CA yet: `init` first.")
    }
    return present
  }
}

/// A CA as it is shown to people.
public struct AuthoritySummary: Hashable, Sendable {
  /// SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` prints it, without colons and in lower case.
  public var fingerprint: String
  public var subject: String
  public var notBefore: Timestamp
  public var notAfter: Timestamp

  public init(_ certificate: Certificate) {
    fingerprint = certificate.fingerprintText
    subject = certificate.subject.description
    notBefore = Timestamp(certificate.notValidBefore)
    notAfter = Timestamp(certificate.notValidAfter)
  }
}

extension TrustBundle {
  /// The SHA-256 of each CA, in the bundle's order; the one that signs comes first.
  public var fingerprints: [String] { authorities.map(\.fingerprintText) }
}

extension Certificate {
  /// Empty when the certificate cannot be written, which none that was parsed is.
  var fingerprintText: String { (try? derBytes).map { CertificateFingerprint(der: $0).description } ?? "" }
}
