import FederationModel
import Testing

@testable import AgentRuntime

@Suite struct InstallTests {
  private static func plan(_ service: InstallPlan.Service) -> InstallPlan {
    InstallPlan(
      service: service, executable: "/usr/bin/fubini-agent", stateDirectory: "/var/lib/f",
      configurationFile: "/etc/fubini/agent.yaml", home: "/home/u")
  }

  /// What a machine remembers of an installation.
  private final class Machine {
    var commands: [String] = []
    var crontab = ""
    var starts: [[String]] = []

    func runner(_ root: String) -> StepRunner {
      var runner = StepRunner(stateDirectory: root + "/state")
      runner.root = root
      runner.execute = { [self] words, input in
        if words == ["crontab", "-l"] { return crontab.isEmpty ? (1, "no crontab") : (0, crontab) }
        if words == ["crontab", "-"] { crontab = input }
        commands.append(words.joined(separator: " "))
        return (0, "")
      }
      runner.awaitReady = { _, _ in }
      runner.start = { [self] executable, arguments, _ in starts.append([executable] + arguments) }
      return runner
    }
  }

  @Test(
    "the service reads the configuration that was given; installing twice writes once; uninstalling takes it away",
    arguments: [InstallPlan.Service.system, .user])
  func systemd(service: InstallPlan.Service) throws {
    let root = try TemporaryDirectory()
    let machine = Machine()
    let plan = Self.plan(service)
    try plan.validate()
    let control = service == .system ? "systemctl" : "systemctl --user"
    var first = machine.runner(root.path)
    for step in plan.installation { try first.perform(step) }
    let unit = try root.read(String(plan.unitPath.dropFirst()))
    #expect(
      unit.contains("ExecStart=/usr/bin/fubini-agent run --state-dir /var/lib/f --config /etc/fubini/agent.yaml\n"))
    #expect(machine.commands.contains("\(control) daemon-reload"))
    machine.commands = []
    var second = machine.runner(root.path)
    for step in plan.installation { try second.perform(step) }
    #expect(!second.hasChanged)
    #expect(!machine.commands.contains("\(control) daemon-reload"))
    #expect(!machine.commands.contains { $0.contains("restart") })
    var removal = machine.runner(root.path)
    for step in plan.removal { try removal.perform(step) }
    #expect(throws: FederationError.self) { try root.read(String(plan.unitPath.dropFirst())) }
  }

  @Test("without systemd, cron starts the same command after a reboot, once, beside what the user has there")
  func background() throws {
    let root = try TemporaryDirectory()
    let machine = Machine()
    machine.crontab = "0 1 * * * backup\n"
    let plan = Self.plan(.background)
    for _ in 0..<2 {
      var runner = machine.runner(root.path)
      for step in plan.installation { try runner.perform(step) }
    }
    let words = ["/usr/bin/fubini-agent", "keep", "--state-dir", "/var/lib/f", "--config", "/etc/fubini/agent.yaml"]
    let line = "@reboot \(words.joined(separator: " ")) >> /var/lib/f/agent.log 2>&1"
    #expect(machine.crontab == "0 1 * * * backup\n\(line)\n")
    #expect(machine.starts.first == words)
    var removal = machine.runner(root.path)
    for step in plan.removal { try removal.perform(step) }
    #expect(machine.crontab == "0 1 * * * backup\n")
  }

  @Test("a background start that does not last is told with the end of its log, and fails")
  func failedStart() throws {
    let root = try TemporaryDirectory()
    var runner = StepRunner(stateDirectory: root.path)
    runner.start = { _, _, log in try root.write("first\nno such control plane\n", to: "agent.log") }
    runner.awaitReady = { try $0.awaitBackground(log: $1, timeout: .milliseconds(200)) }
    let error = #expect(throws: FederationError.self) {
      try runner.perform(.startBackground(["/usr/bin/fubini-agent", "keep"], log: root.path + "/agent.log"))
    }
    #expect(error?.publicMessage.contains("\(root.path)/agent.log, ends with:\nfirst\nno such control plane") == true)
    #expect(error?.publicMessage.hasPrefix("The agent could not be kept running") == true)
  }

  @Test("a dry run prints every step, and a path that means more than a path is refused")
  func printed() {
    for service in [InstallPlan.Service.system, .user, .background] {
      let plan = Self.plan(service)
      for step in plan.installation + plan.removal { #expect(!InstallPlan.describe(step).isEmpty) }
      let text = plan.installation.map(InstallPlan.describe).joined(separator: "\n")
      #expect(text.contains("--config /etc/fubini/agent.yaml"), "\(text)")
    }
    var plan = Self.plan(.system)
    plan.configurationFile = "/etc/a b"
    #expect(throws: FederationError.self) { try plan.validate() }
  }
}
