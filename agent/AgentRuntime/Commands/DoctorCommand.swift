internal import ArgumentParser
internal import FederationModel
internal import FederationPKI
internal import FoundationEssentials
internal import Logging
internal import SlurmExecutor
internal import Supervisor

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

struct DoctorCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor", abstract: "Checks what an agent needs here, and says how to mend what is missing.")
  @OptionGroup var location: LocationOptions
  @Flag(help: "Also reads every byte of the cache, and names what is corrupt.")
  var scrub = false

  func run() async throws {
    let configuration = try location.load().validated()
    var findings = Preflight.local(configuration)
    findings += await Preflight.slurm(configuration)
    findings += await Preflight.kubernetes(configuration, Logger(label: "fubini-agent"))
    findings += await Preflight.data(configuration)
    if scrub { findings += await Preflight.scrub(configuration) }
    findings += await Preflight.remote(configuration)
    for finding in findings { CommandOutput.say(finding.line) }
    guard !findings.contains(where: { $0.level == .failed }) else { throw ExitCode(1) }
  }
}

/// Checks before anything depends on them.
enum Preflight {
  enum Level: String, Sendable { case ok, warning, failed }
  struct Finding: Sendable {
    var level: Level
    var check: String
    var text: String
    var line: String { "\(level.rawValue.padding(8)) \(check.padding(18)) \(text)" }
  }

  static func local(_ configuration: AgentConfiguration) -> [Finding] {
    [
      userNamespaces(configuration), bubblewrap(configuration), gzip(), disk(configuration),
      controlGroups(configuration),
      libc(),
      journalFileSystem(configuration),
    ] + sudo(configuration)
  }

  static func slurm(_ configuration: AgentConfiguration) async -> [Finding] {
    guard configuration.executor == .slurm else { return [] }
    let slurm = AgentProcess.slurmConfiguration(configuration, federationID: "", cluster: "")
    return await SlurmPreflight.findings(slurm).map {
      Finding(level: $0.isFailure ? .failed : .ok, check: $0.check, text: $0.text)
    }
  }

  /// One for each Unix user that a project is mapped to.
  private static func sudo(_ configuration: AgentConfiguration) -> [Finding] {
    guard configuration.executor == .slurm, !configuration.tenancy.projects.isEmpty else { return [] }
    return Set(configuration.tenancy.projects.values.map(\.user)).sorted().map { user in
      let command = MappedExecutor.command(user: user, agentBinary: AgentProcess.executablePath)
      let answer = try? StepRunner.execute(command)
      guard let number = try? UnixUser.numbers(of: user).user else {
        return Finding(
          level: .failed, check: "sudo", text: "there is no Unix user \(user): make one, or change `projects`")
      }
      if let answer, answer.status == 0, answer.output == BrokerCommand.answer(user: number) + "\n" {
        return Finding(level: .ok, check: "sudo", text: "\(command.joined(separator: " ")) works")
      }
      let said = answer.map { $0.output.split(separator: "\n").last.map(String.init) ?? "status \($0.status)" }
      return Finding(
        level: .failed, check: "sudo",
        text:
          "\(command.joined(separator: " ")) fails (\(said?.prefix(200) ?? "it did not start")): root puts the output of "
          + "`fubini-agent install --print-sudoers` into a file of its own below /etc/sudoers.d")
    }
  }

  private static func userNamespaces(_ configuration: AgentConfiguration) -> Finding {
    if configuration.executor == .kubernetes {
      return Finding(level: .ok, check: "user namespaces", text: "not needed: runs are pods")
    }
    guard configuration.sandbox == .bubblewrap else {
      return Finding(
        level: .warning, check: "user namespaces", text: "not needed: sandbox is none, runs see the whole host")
    }
    if geteuid() == 0 { return Finding(level: .ok, check: "user namespaces", text: "not needed by root") }
    let isForbidden =
      number("/proc/sys/user/max_user_namespaces") == 0 || number("/proc/sys/kernel/unprivileged_userns_clone") == 0
      || number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1
    return isForbidden
      ? Finding(
        level: .failed, check: "user namespaces",
        text:
          "forbidden here: ask for `sysctl user.max_user_namespaces=15000`, or set `sandbox: none` if every user here trusts every other"
      )
      : Finding(level: .ok, check: "user namespaces", text: "allowed")
  }

  private static func bubblewrap(_ configuration: AgentConfiguration) -> Finding {
    // Of a Slurm cluster the login node stands for the nodes.
    let isOptional = configuration.executor == .slurm && configuration.slurm.sandbox == .auto
    let isUsed =
      switch configuration.executor {
      case .process: configuration.sandbox == .bubblewrap
      case .slurm: configuration.slurm.sandbox != .none
      case .null, .kubernetes: false
      }
    guard isUsed else { return Finding(level: .ok, check: "bwrap", text: "not used") }
    let level = isOptional ? Level.warning : .failed
    let result = try? StepRunner.execute(["bwrap", "--unshare-user", "--ro-bind", "/", "/", "true"])
    switch result?.status {
    case 0: return Finding(level: .ok, check: "bwrap", text: "makes a sandbox")
    case 127: return Finding(level: level, check: "bwrap", text: "not found: install the package bubblewrap")
    default:
      return Finding(
        level: level, check: "bwrap",
        text: "cannot make a sandbox: \(result?.output.prefix(200) ?? "it did not start")")
    }
  }

  private static func gzip() -> Finding {
    GzipProcess.path.map { Finding(level: .ok, check: "gzip", text: $0) }
      ?? Finding(level: .failed, check: "gzip", text: "not found: install it, artifacts are packed with it")
  }

  private static func disk(_ configuration: AgentConfiguration) -> Finding {
    var path = configuration.stateDirectory
    while access(path, F_OK) != 0, let slash = path.lastIndex(of: "/"), slash != path.startIndex {
      path = String(path[..<slash])
    }
    var status = statvfs()
    guard statvfs(path, &status) == 0 else {
      return Finding(level: .failed, check: "disk", text: "\(path) cannot be examined")
    }
    let free = ByteCount(Int64(status.f_bavail) * Int64(status.f_frsize))
    return free < .gibibytes(1)
      ? Finding(level: .failed, check: "disk", text: "\(free) free at \(path): at least 1 GiB is needed")
      : Finding(level: .ok, check: "disk", text: "\(free) free at \(path)")
  }

  private static func controlGroups(_ configuration: AgentConfiguration) -> Finding {
    guard configuration.executor == .process else {
      return Finding(level: .ok, check: "control groups", text: "not used")
    }
    let notices = Supervisor.limitNotices(configuration.controlGroups)
    return notices.isEmpty
      ? Finding(level: .ok, check: "control groups", text: "limits of memory, CPU and processes can be enforced")
      : Finding(level: .warning, check: "control groups", text: notices.joined(separator: "; "))
  }

  private static func libc() -> Finding {
    #if canImport(Glibc)
      var name = [CChar](repeating: 0, count: 64)
      confstr(Int32(_CS_GNU_LIBC_VERSION), &name, name.count)
      let version = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      return Finding(level: .ok, check: "libc", text: version)
    #else
      return Finding(level: .ok, check: "libc", text: "musl")
    #endif
  }

  private static func journalFileSystem(_ configuration: AgentConfiguration) -> Finding {
    StateDirectory.isNetworkFileSystem(configuration.stateDirectory)
      ? Finding(
        level: .warning, check: "state directory",
        text: "on a network file system: slower; give a local one if there is one")
      : Finding(level: .ok, check: "state directory", text: "on a local file system")
  }

  static func remote(_ configuration: AgentConfiguration) async -> [Finding] {
    var findings: [Finding] = []
    do {
      guard let identity = try CertificateStore(stateDirectory: configuration.stateDirectory).load() else {
        return [Finding(level: .failed, check: "certificate", text: "none: `fubini-agent join` first")]
          + ((try? configuration.addresses) ?? []).map(reachability)
      }
      let now = SystemClock.now
      if now < identity.notBefore {
        findings.append(
          Finding(
            level: .failed, check: "clock",
            text: "the certificate is not valid yet: this machine's clock is behind the control plane's, set it (NTP)"))
      } else {
        findings.append(Finding(level: .ok, check: "clock", text: "not behind the control plane's"))
      }
      let hours = (identity.notAfter - now).milliseconds / 3_600_000
      findings.append(
        hours >= 0
          ? Finding(level: .ok, check: "certificate", text: "cluster \(identity.cluster), expires in \(hours) h")
          : Finding(
            level: hours < -720 ? .failed : .warning, check: "certificate",
            text: hours < -720
              ? "expired more than 30 days ago: join anew" : "expired \(-hours) h ago: a running agent renews it"))
      for address in try configuration.addresses { findings.append(reachability(address)) }
    } catch {
      findings.append(
        Finding(level: .failed, check: "identity", text: (error as? FederationError)?.publicMessage ?? "\(error)"))
    }
    return findings
  }

  /// A TCP connection, with the time out of the operating system's resolver.
  private static func reachability(_ address: ControlPlaneAddress) -> Finding {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let dialled = address.proxy.map { ($0.host, $0.port) } ?? (address.host, address.port)
    let name = address.proxy.map { "the proxy \($0) before \(address)" } ?? "\(address)"
    let code = getaddrinfo(dialled.0, String(dialled.1), &hints, &list)
    guard code == 0 else {
      return Finding(level: .failed, check: "reach", text: "\(name): \(String(cString: gai_strerror(code)))")
    }
    defer { freeaddrinfo(list) }
    var next = list
    while let info = next {
      next = info.pointee.ai_next
      let client = socket(info.pointee.ai_family, info.pointee.ai_socktype, info.pointee.ai_protocol)
      guard client >= 0 else { continue }
      defer { close(client) }
      var timeout = timeval(tv_sec: 5, tv_usec: 0)
      setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
      if connect(client, info.pointee.ai_addr, info.pointee.ai_addrlen) == 0 {
        return Finding(level: .ok, check: "reach", text: "\(name) accepts connections")
      }
    }
    return Finding(
      level: .failed, check: "reach", text: "\(name) cannot be reached: open the firewall for outbound TCP")
  }

  private static func number(_ path: String) -> Int? {
    guard let file = try? POSIXFile.open(path, O_RDONLY) else { return nil }
    defer { POSIXFile.close(file) }
    let text = String(decoding: (try? POSIXFile.readAll(file, limit: 32)) ?? [], as: UTF8.self)
    return Int(text.prefix { $0.isNumber })
  }
}

extension String {
  fileprivate func padding(_ width: Int) -> String { self + String(repeating: " ", count: Swift.max(0, width - count)) }
}
