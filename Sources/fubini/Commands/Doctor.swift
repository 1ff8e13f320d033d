internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#endif

struct Doctor: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Check the set-up and say how to mend it.",
    discussion: "Ends with 1 when something has failed; warnings do not count.")

  func run() async throws {
    var findings = Diagnosis.tools(isRemote: Diagnosis.hasControlPlane) + Diagnosis.files()
    do {
      try await withClient { client in findings += try await Diagnosis.controlPlane(client) }
    } catch let failure as CommandFailure {
      findings.append(FindingDocument(.failed, "control plane", failure.message))
    }
    for finding in findings { Terminal.line(Diagnosis.line(finding)) }
    let failures = findings.count { $0.level == .failed }
    if failures > 0 { throw CommandFailure(.error, "\(failures) to mend.") }
  }
}

/// What `fubini doctor` looks at, each with what to do next.
enum Diagnosis {
  private typealias Finding = FindingDocument

  /// Certificates allow five minutes between two clocks.
  static let clockSkewMax = Duration.seconds(300)
  static let clockSkewWarning = Duration.seconds(5)

  static func line(_ finding: FindingDocument) -> String {
    let word = finding.level == .ok ? "ok   " : finding.level == .warning ? "warn " : "FAIL "
    return "\(word) \(Terminal.printable(finding.check)): \(Terminal.printable(finding.message))"
  }

  static var hasControlPlane: Bool {
    let environment = ProcessInfo.processInfo.environment
    if environment["FUBINI_URL"]?.isEmpty == false { return true }
    return (try? ContextFile.load(path: ContextFile.path(environment: environment)))?.current != nil
  }

  /// - Parameter isRemote: A control plane is configured, so `fubini up` may never be wanted here.
  static func tools(isRemote: Bool) -> [FindingDocument] {
    let missing = isRemote ? FindingDocument.Level.warning : .failed
    let remedy = "only `fubini up` needs it; scripts/install-prerequisites.sh installs it"
    var findings = ["bwrap", "rclone"].map { tool in
      let path = ["/usr/bin", "/usr/local/bin", "/bin"].map { "\($0)/\(tool)" }.first {
        FileManager.default.isExecutableFile(atPath: $0)
      }
      return path.map { Finding(.ok, tool, $0) } ?? Finding(missing, tool, "not installed: \(remedy)")
    }
    findings.append(
      (try? LocalPostgres.binaries()).map { Finding(.ok, "postgresql", $0) }
        ?? Finding(missing, "postgresql", "not installed: \(remedy)"))
    for name in ["fubini-controlplane", "fubini-agent"] {
      findings.append(
        (try? LocalSetup.sibling(name)).map { Finding(.ok, name, $0) }
          ?? Finding(missing, name, "not beside fubini: only `fubini up` needs it; `swift build --product \(name)`"))
    }
    return findings
  }

  static func files() -> [FindingDocument] {
    let path = ContextFile.path(environment: ProcessInfo.processInfo.environment)
    var status = stat()
    guard stat(path, &status) == 0 else { return [] }
    return [
      status.st_mode & 0o077 == 0
        ? Finding(.ok, "contexts", path) : Finding(.failed, "contexts", "\(path) is readable by others: chmod 600 it")
    ]
  }

  static func controlPlane(_ client: APIClient) async throws -> [FindingDocument] {
    var findings: [FindingDocument] = []
    let name = "control plane \(client.connection.url)"
    let ready: ReadinessDocument = try await client.get(["readyz"])
    findings.append(Finding(ready.ready ? .ok : .failed, name, ready.ready ? "ready" : ready.reason))
    let asked = Display.now
    let version: VersionDocument = try await client.get(["v1", "version"])
    let middle = asked + (Display.now - asked) / 2
    findings += compare(version, ours: Fubini.version, now: middle)
    let user: UserDocument = try await client.get(["v1", "userinfo"])
    findings.append(Finding(.ok, "token", "of \(user.user)\(user.isAdmin ? ", an administrator" : "")"))
    if user.isAdmin {
      let examined: DoctorDocument = try await client.get(["v1", "doctor"])
      findings += examined.findings.map { Finding($0.level, "control plane, \($0.check)", $0.message) }
    }
    let clusters: ClusterList = try await client.get(["v1", "clusters"])
    if clusters.items.isEmpty {
      findings.append(
        Finding(
          .failed, "clusters", "none yet: `fubini cluster create NAME --kind process --print-join-command`"))
    }
    return findings + clusters.items.flatMap { judge($0, version: version.version) }
  }

  static func compare(_ version: VersionDocument, ours: String, now: Timestamp) -> [FindingDocument] {
    var findings = [
      version.version == ours
        ? Finding(.ok, "version", ours)
        : Finding(
          .warning, "version",
          "this fubini is \(ours), the control plane \(version.version): use the same, or one apart")
    ]
    if let time = version.time { findings.append(clock(time.timestamp - now, "clock of the control plane")) }
    return findings
  }

  static func judge(_ cluster: ClusterDocument, version: String) -> [FindingDocument] {
    let name = "cluster \(cluster.name)"
    var findings: [FindingDocument] = []
    switch cluster.state {
    case "Ready": findings.append(Finding(.ok, name, "Ready"))
    // What an operator has decided is no fault.
    case "Cordoned", "Draining": findings.append(Finding(.warning, name, "\(cluster.state): \(cluster.reason)"))
    default: findings.append(Finding(.failed, name, "\(cluster.state): \(remedy(cluster))"))
    }
    guard let live = cluster.live, live.isConnected else { return findings }
    if live.agentVersion != version {
      findings.append(
        Finding(
          .warning, name, "its agent is \(live.agentVersion), the control plane \(version): upgrade the older one"))
    }
    if let skew = live.clockSkewMilliseconds, abs(skew) >= clockSkewWarning.milliseconds {
      findings.append(clock(.milliseconds(skew), "\(name), clock"))
    }
    return findings + live.notices.map { Finding(.warning, name, $0) }
  }

  private static func remedy(_ cluster: ClusterDocument) -> String {
    let reason = cluster.reason.isEmpty ? "" : cluster.reason + "; "
    return switch cluster.state {
    case "NeverJoined": "\(reason)paste the line of `fubini cluster token \(cluster.name)` there"
    case "Offline": "\(reason)look at `fubini-agent status` and `fubini-agent doctor` there"
    case "Revoked":
      "\(reason)`fubini cluster token \(cluster.name)` lets it join again, `fubini cluster forget` removes it"
    case "Adopting": "\(reason)`fubini recover \(cluster.name)` when you are content with what was restored"
    default: cluster.reason
    }
  }

  static func clock(_ skew: Duration, _ name: String) -> FindingDocument {
    let magnitude = skew < .zero ? .zero - skew : skew
    let seconds = (magnitude.seconds * 10).rounded() / 10
    let text = "\(seconds) s \(skew < .zero ? "behind" : "ahead")"
    if magnitude >= clockSkewMax { return Finding(.failed, name, "\(text): run NTP on both machines") }
    return magnitude >= clockSkewWarning
      ? Finding(.warning, name, "\(text): run NTP on both machines") : Finding(.ok, name, text)
  }
}
