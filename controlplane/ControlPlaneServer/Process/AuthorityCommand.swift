import ArgumentParser
import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import FederationPKI
import FoundationEssentials

extension ControlPlaneCommand {
  /// `ca`: looking at the federation's CA, and replacing it while agents work.
  struct Authority: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "ca", abstract: "The federation's CA: show it, and replace it without an interruption.",
      discussion: """
        To replace it: `stage` (the next CA is trusted; connected agents learn of it within seconds), `promote` (it signs;
        connected agents renew within seconds), `retire` (the old one is trusted no more). Each step can be repeated, and
        refuses to go on while a cluster would be left behind. Running control planes follow by themselves.
        """,
      subcommands: [Show.self, Stage.self, Promote.self, Retire.self])

    struct Show: AsyncParsableCommand {
      static let configuration = CommandConfiguration(abstract: "The trusted CAs, and how many clusters know each.")
      @OptionGroup var options: Options
      func run() async throws {
        try await reporting { print(try await AuthorityOperator(options.load()).describe(), terminator: "") }
      }
    }

    struct Stage: AsyncParsableCommand {
      static let configuration = CommandConfiguration(abstract: "Makes the next CA trusted; it does not sign yet.")
      @OptionGroup var options: Options
      @Option(help: "PEM file of an operator's CA certificate; left out, a CA is made.") var certificate: String?
      @Option(help: "PEM file of its key, mode 0600.") var key: String?
      func run() async throws {
        try await reporting {
          guard (certificate == nil) == (key == nil) else {
            throw FederationError(.invalidArgument, "give both --certificate and --key, or neither")
          }
          let files = certificate.flatMap { certificate in key.map { (certificate, $0) } }
          print(try await AuthorityOperator(options.load()).stage(files))
        }
      }
    }

    struct Promote: AsyncParsableCommand {
      static let configuration = CommandConfiguration(abstract: "Lets the staged CA sign; the old one stays trusted.")
      @OptionGroup var options: Options
      @Flag(help: "Leave behind the clusters that do not trust it yet: their agents must join again.") var force = false
      func run() async throws {
        try await reporting { print(try await AuthorityOperator(options.load()).promote(force: force)) }
      }
    }

    struct Retire: AsyncParsableCommand {
      static let configuration = CommandConfiguration(abstract: "Ends the trust in every CA that does not sign.")
      @OptionGroup var options: Options
      @Flag(help: "Take back a staged CA instead.") var staged = false
      @Flag(help: "Leave behind the clusters that still have its certificates: their agents must join again.")
      var force = false
      func run() async throws {
        try await reporting { print(try await AuthorityOperator(options.load()).retire(staged: staged, force: force)) }
      }
    }
  }
}

/// The `ca` commands on one configuration. They write the CA's files; the control planes that run follow these.
struct AuthorityOperator {
  private let configuration: ServerConfiguration
  private let process: ControlPlaneProcess
  private let directory: SecretDirectory
  private let rollover: AuthorityRollover
  private let now = Timestamp.wallClock

  init(_ configuration: ServerConfiguration) throws {
    self.configuration = configuration
    process = try ControlPlaneProcess(configuration)
    directory = try process.keyDirectory()
    rollover = AuthorityRollover(directory: directory, trustDomain: try TrustDomain(configuration.trustDomain))
  }

  /// One line for each CA.
  func describe() async throws -> String {
    let authority = try process.authority()
    let staged = configuration.authority == nil ? try rollover.staged() : nil
    let clusters = try await process.withStore { try await $0.clusterTrust() }.filter { !isTooOld($0) }
    var text = "ROLE     EXPIRES                   CLUSTERS  FINGERPRINT (SHA-256), SUBJECT\n"
    for (index, certificate) in authority.bundle.authorities.enumerated() {
      let summary = AuthoritySummary(certificate)
      let role = index == 0 ? "signs" : certificate == staged ? "staged" : "trusted"
      let trusting = clusters.count { $0.trusts.contains(summary.fingerprint) }
      let columns = [(role, 9), (WireTime(summary.notAfter).description, 26), ("\(trusting)/\(clusters.count)", 10)]
      text += columns.map { $0.0 + String(repeating: " ", count: max(1, $0.1 - $0.0.count)) }.joined()
      text += "\(summary.fingerprint) \(summary.subject)\n"
      for cluster in clusters where !cluster.trusts.contains(summary.fingerprint) {
        text += "           not yet trusted by \(cluster.cluster)\n"
      }
    }
    for cluster in clusters where cluster.authority != authority.bundle.fingerprints[0] {
      text += "           \(cluster.cluster) still has a certificate of \(cluster.authority ?? "an earlier CA")\n"
    }
    return text
  }

  func stage(_ files: (certificate: String, key: String)?) async throws -> String {
    try requireOwnDirectory()
    var random = SystemRandomNumberGenerator()
    let given = try files.map {
      (try SecretDirectory.readPublic($0.certificate), try SecretDirectory.readSecret($0.key))
    }
    let next = AuthoritySummary(try rollover.stage(given, at: now, using: &random))
    try await audit("ca.stage", next.fingerprint)
    return """
      Staged \(next.fingerprint), valid until \(WireTime(next.notAfter)).
      Connected agents learn of it within seconds; `ca show` counts them. Then: `ca promote`.
      Make a backup of \(directory.path) now.
      """
  }

  func promote(force: Bool) async throws -> String {
    try requireOwnDirectory()
    guard let staged = try rollover.staged() else {
      throw FederationError(.failedPrecondition, "No CA is staged: `ca stage` first.")
    }
    let next = AuthoritySummary(staged).fingerprint
    let behind = try await clusters { !$0.trusts.contains(next) }
    try refuse(behind, force, "do not trust the staged CA yet")
    let voided = try await process.withStore { try await $0.openJoinTokenCount(at: now) }
    _ = try rollover.promote(at: now)
    try await audit("ca.promote", next)
    return "\(next) signs from now on; the CA before it stays trusted.\n"
      + (voided > 0
        ? "\(voided) unspent join tokens name the old CA and are refused: `fubini cluster token` makes new ones.\n"
        : "")
      + "Connected agents renew within seconds; `ca show` counts them. Then: `ca retire`."
  }

  func retire(staged: Bool, force: Bool) async throws -> String {
    try requireOwnDirectory()
    if staged {
      let next = AuthoritySummary(try rollover.unstage()).fingerprint
      try await audit("ca.unstage", next)
      return "\(next) is not staged any more."
    }
    let signing = try process.authority().bundle.fingerprints[0]
    let behind = try await clusters { $0.authority != signing }
    try refuse(behind, force, "still have a certificate of another CA than the one that signs")
    let old = try rollover.retire(at: now).map { AuthoritySummary($0).fingerprint }
    guard !old.isEmpty else { return "Nothing to retire: only the CA that signs is trusted." }
    for fingerprint in old { try await audit("ca.retire", fingerprint) }
    return "Trusted no more: \(old.joined(separator: ", "))."
  }

  // MARK: Parts

  private func requireOwnDirectory() throws {
    guard let files = configuration.authority else { return }
    throw FederationError(
      .failedPrecondition,
      "The CA's files are yours (federation.ca): put the next CA's certificate into \(files.bundle ?? "federation.ca.bundle"), "
        + "wait until `ca show` counts every cluster, replace \(files.certificate) and \(files.key), and keep the old "
        + "certificate in the bundle until `ca show` names no cluster that still has it. Running control planes follow."
    )
  }

  private func clusters(_ isBehind: (ClusterTrust) -> Bool) async throws -> [ClusterName] {
    try await process.withStore { try await $0.clusterTrust() }.filter { !isTooOld($0) && isBehind($0) }.map(\.cluster)
  }

  /// Such an agent must join again whatever becomes of the CA.
  private func isTooOld(_ trust: ClusterTrust) -> Bool { trust.notAfter + PeerIdentity.renewalWindow < now }

  private func refuse(_ behind: [ClusterName], _ force: Bool, _ why: String) throws {
    guard !behind.isEmpty, !force else { return }
    let names = behind.prefix(20).map(\.text).joined(separator: ", ") + (behind.count > 20 ? ", ..." : "")
    throw FederationError(
      .failedPrecondition,
      "\(behind.count) clusters \(why): \(names). Connected ones follow within seconds; wait for the others, "
        + "`fubini cluster forget` them, or leave them behind with --force.")
  }

  private func audit(_ action: String, _ fingerprint: String) async throws {
    let row = AuditRow(at: now, actor: "operator", action: action, object: fingerprint, detail: directory.path)
    try await process.withStore { try await $0.appendAudit(row) }
  }
}
