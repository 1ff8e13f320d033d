import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Glibc
import LocalSlurm
import Postgres
import TestSupport

/// A federation with one agent `hpc` on a real Slurm: the agent is an ordinary user, its projects `chem` and `phys` are two others.
/// Users and sudo rule are this fixture's, and go with it.
struct MappedFixture: Sendable {
  static let agent = "fub-t-agent"
  static let alice = "fub-t-alice"
  static let bob = "fub-t-bob"
  /// The agent's program: `FUBINI_TEST_AGENT` names another one, like the static one that `make agent` builds.
  private static let program =
    ProcessInfo.processInfo.environment["FUBINI_TEST_AGENT"] ?? Federation.defaultBinaries + "/fubini-agent"
  static let isAvailable = geteuid() == 0 && access("/usr/bin/sudo", X_OK) == 0

  let federation: Federation
  let slurm: SlurmFixture
  /// Where the rule is.
  private let rule: String
  /// The programs, in directories that only root can change.
  let binaries: String

  var cluster: LocalSlurmCluster { slurm.clusters[0] }
  var shared: String { slurm.shared + "/hpc" }
  var state: String { federation.agentState("hpc") }

  /// - Parameters:
  ///   - users: those that the rule allows.
  ///   - coreHour: the cluster's price, fen; nil: it has none.
  static func with(
    users: [String] = [alice, bob], coreHour: Double? = nil, _ body: @Sendable (MappedFixture) async throws -> Void
  ) async throws {
    // The process's id tells whose it is, also in the name of the rule.
    var template = Array("/tmp/fub-mapped-\(getpid())-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw HarnessError("no directory: \(errno)") }
    let binaries = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let rule = "/etc/sudoers.d/\(binaries.split(separator: "/").last!)"
    removeRulesOfTheDead()
    defer {
      unlink(rule)
      try? FileManager.default.removeItem(atPath: binaries)
    }
    chmod(binaries, 0o755)
    for name in ["fubini", "fubini-controlplane"] {
      try FileManager.default.createSymbolicLink(
        atPath: "\(binaries)/\(name)", withDestinationPath: "\(Federation.defaultBinaries)/\(name)")
    }
    try FileManager.default.copyItem(atPath: program, toPath: binaries + "/fubini-agent")
    guard chmod(binaries + "/fubini-agent", 0o755) == 0, chown(binaries + "/fubini-agent", 0, 0) == 0 else {
      throw HarnessError("the program cannot be made root's")
    }
    for user in [agent, alice, bob] { try await makeUser(user, log: binaries + "/useradd.log") }
    do {
      try await SlurmFixture.with("hpc") { slurm in
        var options = FederationOptions()
        options.agents = [member(slurm)]
        options.agents[0].coreHour = coreHour
        try await Federation.with(options, binaries: binaries) { federation in
          let fixture = MappedFixture(federation: federation, slurm: slurm, rule: rule, binaries: binaries)
          try await fixture.makeProjects()
          try await fixture.writeRule(users: users)
          try await body(fixture)
        }
      }
    } catch {
      await removeUsers(log: binaries + "/userdel.log")
      throw error
    }
    await removeUsers(log: binaries + "/userdel.log")
  }

  /// A test run that was killed leaves its rule. Those of runs beside this one stay.
  private static func removeRulesOfTheDead() {
    for (name, owner) in rules() where owner == nil || kill(owner!, 0) != 0 && errno == ESRCH {
      unlink("/etc/sudoers.d/\(name)")
    }
  }

  /// This fixture's, with the process that made each.
  private static func rules() -> [(name: String, owner: pid_t?)] {
    ((try? FileManager.default.contentsOfDirectory(atPath: "/etc/sudoers.d")) ?? [])
      .filter { $0.hasPrefix("fub-mapped-") }
      .map { ($0, $0.split(separator: "-").dropFirst(2).first.flatMap { pid_t($0) }) }
  }

  private static func member(_ slurm: SlurmFixture) -> FederationOptions.Agent {
    var member = SlurmMember.agent(
      "hpc", of: slurm.clusters[0], slurm, block: ["sandbox": "none"],
      keys: [
        "tenancy": "mapped", "projects": "{chem: {user: \(alice), account: chem}, phys: {user: \(bob), account: phys}}",
      ])
    member.user = agent
    return member
  }

  private static func makeUser(_ name: String, log: String) async throws {
    guard getpwnam(name) == nil else { return }
    let code = try await OwnedProcess.run(
      ["/usr/sbin/useradd", "--no-create-home", "--shell", "/usr/sbin/nologin", name], log: log)
    guard code == 0 else { throw HarnessError("useradd \(name) ended with \(code):\n\(LogTail.of(log))") }
  }

  /// Unless another test run has them as well.
  private static func removeUsers(log: String) async {
    guard rules().allSatisfy({ $0.owner == getpid() }) else { return }
    for user in [agent, alice, bob] {
      _ = try? await OwnedProcess.run(["/usr/sbin/userdel", "--force", user], log: log)
    }
  }

  private func makeProjects() async throws {
    let client = try client("default")
    for project in ["chem", "phys", "other"] {
      let answer = try await client.send("POST", "/v1/projects", body: Data("{\"name\": \"\(project)\"}".utf8))
      guard answer.status == 201 else { throw HarnessError("project \(project): \(answer.text)") }
    }
  }

  /// The rule as the agent's own command prints it, for some of its users.
  func writeRule(users: [String]) async throws {
    let printed = try await agentCommand(["install", "--print-sudoers"])
    guard printed.code == 0 else { throw HarnessError("no rule: \(printed.output)") }
    let all = "(\(Self.alice), \(Self.bob))"
    guard printed.output.contains(all) else { throw HarnessError("not for these users: \(printed.output)") }
    // sudo takes no second rule with the same names, and another test run has the same agent.
    let text = printed.output.replacingOccurrences(of: all, with: "(\(users.joined(separator: ", ")))")
      .replacingOccurrences(of: "FUBINI_BROKER_", with: "FUBINI_BROKER_\(getpid())_")
    // sudo leaves out files with a dot in their names.
    let file = binaries + "/rule"
    try? FileManager.default.removeItem(atPath: file)
    try text.write(toFile: file, atomically: true, encoding: .utf8)
    chmod(file, 0o440)
    let log = binaries + "/visudo.log"
    guard try await OwnedProcess.run(["/usr/sbin/visudo", "-cf", file], log: log) == 0 else {
      throw HarnessError("visudo refuses it: \(LogTail.of(log))\n\(text)")
    }
    unlink(rule)
    try FileManager.default.moveItem(atPath: file, toPath: rule)
  }

  /// Of what is at a path; nil when nothing is. By way of the library: the C structure's fields belong to one of two modules, as it
  /// comes.
  static func entry(_ path: String) -> (owner: UInt32, mode: Int, size: Int64)? {
    guard let found = try? FileManager.default.attributesOfItem(atPath: path),
      let owner = found[.ownerAccountID] as? NSNumber, let mode = found[.posixPermissions] as? NSNumber,
      let size = found[.size] as? NSNumber
    else { return nil }
    return (owner.uint32Value, mode.intValue, size.int64Value)
  }

  func number(_ user: String) -> UInt32 { getpwnam(user)?.pointee.pw_uid ?? 0 }

  /// As the agent's user.
  func agentCommand(_ words: [String]) async throws -> (code: Int32, output: String) {
    let log = binaries + "/command-\(UInt32.random(in: 0 ... .max)).log"
    let code = try await OwnedProcess.run(
      [
        "/usr/bin/setpriv", "--reuid=\(Self.agent)", "--regid=\(Self.agent)", "--clear-groups",
        "\(binaries)/fubini-agent",
      ]
        + words + ["--config", federation.agentConfigurationPath("hpc")],
      environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"], log: log)
    return (code, String(decoding: FileManager.default.contents(atPath: log) ?? Data(), as: UTF8.self))
  }

  func client(_ project: String) throws -> RESTClient {
    var client = try federation.client()
    client.project = project
    return client
  }

  func submit(_ project: String, _ yaml: String) async throws { _ = try await client(project).submit(yaml) }

  /// The directory of a workflow's only run, once it runs.
  func directory(of workflow: String, _ project: String, user: String) async throws -> String {
    var found: String?
    try await poll("\(workflow) of \(project) runs", timeout: .seconds(60)) {
      guard let detail = try? await client(project).workflow(workflow) else { return false }
      if detail.summary.phase.isTerminal { throw HarnessError("it ended: \(detail.nodes.map(\.message))") }
      found = runs().first { Self.entry($0 + "/started")?.owner == number(user) }
      return found != nil && detail.nodes.contains { $0.run?.phase == "Running" }
    }
    return found!
  }

  /// The directories of all users' runs.
  func runs() -> [String] {
    let users = shared + "/users"
    return ((try? FileManager.default.contentsOfDirectory(atPath: users)) ?? []).flatMap { user in
      let runs = "\(users)/\(user)/files/runs"
      return ((try? FileManager.default.contentsOfDirectory(atPath: runs)) ?? []).map { "\(runs)/\($0)" }
    }
  }

  /// The brokers of this fixture's agent, without the `sudo` before each.
  func brokers() -> [OwnedProcess] {
    OwnedProcess.all(withCommandLineContaining: binaries + "/fubini-agent")
      .filter { $0.words == ["\(binaries)/fubini-agent", "broker"] }.map(\.process)
  }
}
