internal import FederationModel
internal import Supervisor

/// What `install` does and `uninstall` undoes, as data: printed by `--dry-run`, carried out otherwise. Pure.
struct InstallPlan: Sendable, Equatable {
  enum Service: Sendable, Equatable {
    /// /etc/systemd/system
    case system
    /// ~/.config/systemd/user
    case user
    /// An HPC login node without systemd: started now in the background, kept running, and started by cron after a reboot.
    case background
  }

  enum Step: Sendable, Equatable {
    /// Left alone when it holds just that.
    case write(path: String, text: String)
    case remove(path: String)
    /// Never through a shell. A failure ends the installation, unless `ifFailed` says what follows from it: then that is told.
    case run([String], ifFailed: String?)
    /// Only when a step before it changed a file.
    case runAfterChange([String])
    case crontab(line: String, isPresent: Bool)
    case startBackground([String], log: String)
    case stopBackground
    /// It leaves when its last run has ended.
    case dismissSupervisor
  }

  static let unitName = "fubini-agent.service"
  var service: Service
  var executable: String
  var stateDirectory: String
  /// What the service reads; nil for the file in the state directory.
  var configurationFile: String?
  var home: String

  /// The paths come from a person and end in a unit file: what could mean more than a path is refused.
  func validate() throws {
    for path in [executable, stateDirectory, home] + (configurationFile.map { [$0] } ?? []) {
      guard path.hasPrefix("/"),
        path.utf8.allSatisfy({ byte in
          (0x61...0x7a).contains(byte) || (0x41...0x5a).contains(byte) || (0x2d...0x39).contains(byte) || byte == 0x5f
            || byte == 0x2b
        })
      else {
        throw FederationError(.invalidArgument, "\(path): use an absolute path of letters, digits and . _ - + / only")
      }
    }
  }

  var unitPath: String {
    service == .system ? "/etc/systemd/system/\(Self.unitName)" : "\(home)/.config/systemd/user/\(Self.unitName)"
  }

  private var command: [String] {
    // Without a service manager the agent is kept by a small process of its own binary.
    [executable, service == .background ? "keep" : "run", "--state-dir", stateDirectory]
      + (configurationFile.map { ["--config", $0] } ?? [])
  }
  private var systemctl: [String] { service == .system ? ["systemctl"] : ["systemctl", "--user"] }
  var crontabLine: String { "@reboot \(command.joined(separator: " ")) >> \(logPath) 2>&1" }
  private var logPath: String { "\(stateDirectory)/\(Keeper.logName)" }

  var installation: [Step] {
    guard service != .background else {
      return [
        .crontab(line: crontabLine, isPresent: true),
        .startBackground(command, log: logPath),
      ]
    }
    var steps: [Step] = [
      .write(path: unitPath, text: unit), .runAfterChange(systemctl + ["daemon-reload"]),
      .run(systemctl + ["enable", "--now", Self.unitName], ifFailed: nil),
      // An agent that runs already must read what has changed; its runs go on.
      .runAfterChange(systemctl + ["restart", Self.unitName]),
    ]
    if service == .user {
      steps.append(
        .run(
          ["loginctl", "enable-linger"],
          ifFailed: "the agent will end when you log out, unless root runs: loginctl enable-linger USER"))
    }
    return steps
  }

  var removal: [Step] {
    guard service != .background else {
      return [.stopBackground, .dismissSupervisor, .crontab(line: crontabLine, isPresent: false)]
    }
    return [
      .run(systemctl + ["disable", "--now", Self.unitName], ifFailed: "it was not running"), .dismissSupervisor,
      .remove(path: unitPath),
      .run(systemctl + ["daemon-reload"], ifFailed: "systemd forgets the unit at its next start"),
    ]
  }

  /// `KillMode=process`: stopping the agent leaves the supervisor and its runs alive.
  var unit: String {
    """
    [Unit]
    Description=Fubini agent
    After=network-online.target
    Wants=network-online.target

    [Service]
    ExecStart=\(command.joined(separator: " "))
    Restart=always
    RestartSec=2
    KillMode=process
    KillSignal=SIGTERM
    TimeoutStopSec=20
    Delegate=yes
    LimitNOFILE=65536
    Environment=MALLOC_ARENA_MAX=2

    [Install]
    WantedBy=\(service == .system ? "multi-user.target" : "default.target")

    """
  }

  /// One line per step, for `--dry-run`.
  static func describe(_ step: Step) -> String {
    switch step {
    case .write(let path, let text):
      "write \(path):\n"
        + text.split(separator: "\n", omittingEmptySubsequences: false).map { "  | \($0)" }.joined(separator: "\n")
    case .remove(let path): "remove \(path)"
    case .run(let words, let consequence):
      "run \(words.joined(separator: " "))\(consequence.map { " (if that fails: \($0))" } ?? "")"
    case .runAfterChange(let words): "run \(words.joined(separator: " ")) (if something was written)"
    case .crontab(let line, let isPresent): "\(isPresent ? "add to" : "take out of") the crontab: \(line)"
    case .startBackground(let words, _): "start in the background: \(words.joined(separator: " "))"
    case .dismissSupervisor: "ask the supervisor of this state directory to leave when its last run has ended"
    case .stopBackground: "end the agent of this state directory (its runs go on)"
    }
  }
}
