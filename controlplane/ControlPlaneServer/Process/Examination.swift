import ArgumentParser
import ControlPlaneStore
import FederationAPI
import FederationModel
import FederationPKI
import FoundationEssentials
import SwiftASN1
import X509

#if canImport(Glibc)
  import Glibc
#endif

extension ControlPlaneCommand {
  struct Doctor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Checks configuration, database, certificates and disks, and says how to mend what is wrong.",
      discussion: "Ends with 1 when something has failed; warnings do not count.")
    @OptionGroup var options: Options
    func run() async throws {
      try await reporting {
        let process = try ControlPlaneProcess(options.load())
        let findings = try await process.withStore { await Examination(process, database: $0).findings() }
        for finding in findings { print(finding.line) }
        guard !findings.contains(where: { $0.level == .failed }) else { throw ExitCode(1) }
      }
    }
  }
}

extension FindingDocument {
  /// `failed   disk                 ...`
  var line: String {
    func padded(_ text: String, _ width: Int) -> String {
      text + String(repeating: " ", count: max(0, width - text.count))
    }
    return "\(padded(level.rawValue, 8)) \(padded(check, 22)) \(message)"
  }
}

/// What a control plane needs to keep its promises, looked at one by one. Each finding says what to do.
struct Examination: Sendable {
  private let process: ControlPlaneProcess
  private let store: ControlPlaneStore
  private let now = Timestamp.wallClock
  private typealias Finding = FindingDocument

  init(_ process: ControlPlaneProcess, database: ControlPlaneStore) {
    self.process = process
    store = database
  }

  func findings() async -> [FindingDocument] {
    let version = Finding(.ok, "version", "fubini-controlplane \(ProductVersion.current)")
    return [version] + (await database()) + certificates() + (await agents()) + disks() + (await buckets())
      + [timeZones]
  }

  private var timeZones: FindingDocument {
    FileManager.default.fileExists(atPath: "\(TimeZones.directory)/Europe/Berlin")
      ? Finding(.ok, "time zones", "there are rules in \(TimeZones.directory)")
      : Finding(
        .warning, "time zones",
        "there are no rules in \(TimeZones.directory), so that cron workflows with a timezone are refused: install tzdata"
      )
  }

  // MARK: Database

  private func database() async -> [FindingDocument] {
    do {
      return Self.judge(try await store.health(now: { Timestamp.wallClock }))
    } catch {
      return [Finding(.failed, "database", "does not answer: \(error). Check `database` and the server.")]
    }
  }

  /// - Parameter health: as the server told.
  static func judge(_ health: DatabaseHealth) -> [FindingDocument] {
    var findings = [version(health)] + rights(health)
    findings += [("fsync", "a crash of its host"), ("full_page_writes", "a crash of its host")].map { name, loss in
      health.settings[name] == "on"
        ? Finding(.ok, name, "on")
        : Finding(
          .failed, name,
          "is \(health.settings[name] ?? "not known"): \(loss) can damage the database. Set \(name) = on and restart it."
        )
    }
    let commit = health.settings["synchronous_commit"] ?? "not known"
    findings.append(
      commit == "off"
        ? Finding(
          .warning, "synchronous_commit",
          "off for this role; the control plane sets it on for its own sessions. Set it on, so that nobody relies on that."
        )
        : Finding(.ok, "synchronous_commit", commit))
    findings.append(replication(health, commit))
    findings.append(clock(health.clockSkew, "database's clock"))
    if health.isStandby {
      findings.append(
        Finding(.failed, "database role", "a standby: nothing can be written. Point `database` to the primary."))
    }
    findings.append(schema(health))
    return findings
  }

  private static func version(_ health: DatabaseHealth) -> FindingDocument {
    let text = "PostgreSQL \(health.version / 10_000).\(health.version % 10_000)"
    return health.version >= 130_000
      ? Finding(.ok, "database", text) : Finding(.failed, "database", "\(text): 13 or later is needed")
  }

  private static func rights(_ health: DatabaseHealth) -> [FindingDocument] {
    let audit = health.mayOnlyAddToAudit.map { mayOnlyAdd in
      Finding(
        .ok, "audit log",
        mayOnlyAdd
          ? "\(health.role) may only add to it"
          : "triggers keep it append only; with `ownerDatabase` set, \(health.role) could be a role that may only add to it"
      )
    }
    // Whom the owner has let in is not the owner of the tables, and is not meant to be.
    if health.mayOnlyAddToAudit == true { return audit.map { [$0] } ?? [] }
    return [ownership(health)] + (audit.map { [$0] } ?? [])
  }

  private static func ownership(_ health: DatabaseHealth) -> FindingDocument {
    guard health.mayCreate else {
      return Finding(
        .failed, "rights",
        "\(health.role) may not create in its schema: GRANT CREATE, USAGE ON SCHEMA public TO \(health.role)")
    }
    guard health.foreignTables.isEmpty else {
      return Finding(
        .failed, "rights",
        "\(health.role) does not own \(health.foreignTables.joined(separator: ", ")): migrations would fail. "
          + "ALTER TABLE ... OWNER TO \(health.role)")
    }
    return health.isSuperuser
      ? Finding(.warning, "rights", "\(health.role) is a superuser: give the control plane a role of its own")
      : Finding(.ok, "rights", "\(health.role) may create and change its tables")
  }

  private static func replication(_ health: DatabaseHealth, _ commit: String) -> FindingDocument {
    guard health.settings["synchronous_standby_names"]?.isEmpty == false else {
      return Finding(
        .warning, "replication",
        "no synchronous standby: with the database's host is lost what was acknowledged since the last archived WAL. "
          + "Set synchronous_standby_names, or accept it (docs/how-to/backup-and-restore.md).")
    }
    if commit == "local" || commit == "off" {
      return Finding(
        .failed, "replication",
        "there are synchronous standbys, but synchronous_commit = \(commit) does not wait for them: set it on")
    }
    return health.synchronousStandbys > 0 || health.isSuperuser == false
      ? Finding(.ok, "replication", "synchronous (\(health.settings["synchronous_standby_names"] ?? ""))")
      : Finding(.failed, "replication", "no synchronous standby is connected: commits wait until one is")
  }

  private static func schema(_ health: DatabaseHealth) -> FindingDocument {
    let known = ControlPlaneStore.schemaVersion
    guard let applied = health.schemaVersion else {
      return Finding(.failed, "schema", "there is none yet: `fubini-controlplane init`")
    }
    if applied > known {
      return Finding(
        .failed, "schema", "version \(applied), this program knows \(known): it refuses to start. Upgrade it.")
    }
    return applied < known
      ? Finding(.warning, "schema", "version \(applied) of \(known): `fubini-controlplane migrate`, or the next start")
      : Finding(.ok, "schema", "version \(applied)")
  }

  /// Certificates allow five minutes; a warning long before.
  static func clock(_ skew: Duration, _ name: String) -> FindingDocument {
    let seconds = (skew.seconds * 10).rounded() / 10
    let text = "\(abs(seconds)) s \(seconds < 0 ? "behind" : "ahead of") this machine's"
    if abs(seconds) >= 300 { return Finding(.failed, name, "\(text): run NTP on both machines") }
    return abs(seconds) >= 5 ? Finding(.warning, name, "\(text): run NTP on both machines") : Finding(.ok, name, text)
  }

  // MARK: Certificates

  private func certificates() -> [FindingDocument] {
    var findings: [FindingDocument] = []
    do {
      for (index, certificate) in try process.authority().bundle.authorities.enumerated() {
        let name = index == 0 ? "CA" : "CA (trusted as well)"
        findings.append(
          expiry(
            Timestamp(milliseconds: AuthoritySummary(certificate).notAfter.milliseconds), name, warning: 90,
            "`fubini-controlplane ca stage` begins its replacement"))
      }
    } catch {
      findings.append(Finding(.failed, "CA", (error as? FederationError)?.publicMessage ?? "\(error)"))
    }
    guard let files = process.configuration.http.tls else { return findings }
    do {
      let pem = try SecretDirectory.readPublic(files.certificate)
      let certificate = try Certificate(pemEncoded: String(pem))
      let end = Timestamp(milliseconds: Int64(certificate.notValidAfter.timeIntervalSince1970 * 1000))
      findings.append(expiry(end, "API certificate", warning: 14, "renew \(files.certificate) and restart"))
    } catch {
      let problem = (error as? FederationError)?.publicMessage ?? "it holds no PEM certificate"
      findings.append(Finding(.failed, "API certificate", "\(files.certificate): \(problem)"))
    }
    do { _ = try SecretDirectory.readSecret(files.key) } catch {
      findings.append(Finding(.warning, "API key", error.publicMessage))
    }
    return findings
  }

  /// - Parameter warning: days before the end.
  private func expiry(_ end: Timestamp, _ name: String, warning: Int64, _ remedy: String) -> FindingDocument {
    let days = (end - now).milliseconds / 86_400_000
    if end < now { return Finding(.failed, name, "expired on \(WireTime(end)): \(remedy)") }
    return days < warning
      ? Finding(.warning, name, "expires in \(days) days: \(remedy)") : Finding(.ok, name, "expires in \(days) days")
  }

  private func agents() async -> [FindingDocument] {
    guard let trusts = try? await store.clusterTrust() else { return [] }
    let expired = trusts.filter { $0.notAfter < now }
    guard !expired.isEmpty else {
      return [Finding(.ok, "agent certificates", "\(trusts.count), none expired")]
    }
    return expired.prefix(20).map {
      let days = (now - $0.notAfter).milliseconds / 86_400_000
      return Finding(
        .warning, "agent certificates",
        days >= 30
          ? "\($0.cluster) expired \(days) days ago: it must join again, `fubini cluster token \($0.cluster)`"
          : "\($0.cluster) expired \(days) days ago: it renews by itself when its agent runs, within 30 days")
    }
  }

  // MARK: Buckets

  private func buckets() async -> [FindingDocument] {
    var programs: [String] = []
    if case .bucket(let bucket) = process.configuration.artifacts { programs.append(bucket.rclone) }
    if case .bucket(let bucket) = process.configuration.logs, !programs.contains(bucket.rclone) {
      programs.append(bucket.rclone)
    }
    var findings: [FindingDocument] = []
    for program in programs { findings.append(await RcloneVersion.finding(program)) }
    return findings
  }

  // MARK: Disks

  private func disks() -> [FindingDocument] {
    let configuration = process.configuration
    var paths = [("data directory", configuration.dataDirectory)]
    if case .directory(let path?) = configuration.logs { paths.append(("log directory", path)) }
    if case .directory(let path?) = configuration.artifacts { paths.append(("artifact directory", path)) }
    return paths.map { name, path in
      var status = statvfs()
      guard statvfs(path, &status) == 0 else {
        return Finding(.failed, name, "\(path) cannot be examined: make it for the user that runs the control plane")
      }
      guard access(path, W_OK) == 0 else {
        return Finding(.failed, name, "\(path) cannot be written: give it to the user that runs the control plane")
      }
      let free = ByteCount(Int64(status.f_bavail) * Int64(status.f_frsize))
      let share = Double(status.f_bavail) / Double(max(1, status.f_blocks))
      let text = "\(free) (\(Int(share * 100)) %) free at \(path)"
      if free < .gibibytes(1) { return Finding(.failed, name, "\(text): at least 1 GiB is needed") }
      return share < 0.1 ? Finding(.warning, name, "\(text): make room") : Finding(.ok, name, text)
    }
  }
}
