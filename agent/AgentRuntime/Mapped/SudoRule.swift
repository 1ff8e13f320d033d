internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The rule by which root lets an agent start brokers as other users: one command, without a word more, as these users and no
/// others.
struct SudoRule: Sendable, Equatable {
  /// Who asks: the agent's Unix user.
  var agent: String
  /// Sorted.
  var users: [String]
  var agentBinary: String

  /// - Throws: `.invalidArgument` for a name or path that could mean more in the file.
  init(agent: String, users: some Sequence<String>, agentBinary: String) throws(FederationError) {
    self.agent = agent
    self.users = Set(users).sorted()
    self.agentBinary = agentBinary
    for name in [agent] + self.users where !UnixUser.isName(name) {
      throw FederationError(
        .invalidArgument, "\"\(name.prefix(64))\" cannot stand in a sudo rule: give a Unix user's name")
    }
    let isPlain = agentBinary.utf8.allSatisfy { byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2b, 0x2d, 0x2e, 0x2f, 0x5f: true
      default: false
      }
    }
    guard agentBinary.hasPrefix("/"), isPlain else {
      throw FederationError(
        .invalidArgument, "\(agentBinary) cannot stand in a sudo rule: use a path of letters, digits and . _ - + / only"
      )
    }
  }

  /// `use_pty` and logging of input would put something else in the place of the socket that the broker speaks through; it
  /// writes nothing that could be logged.
  ///
  /// - Source: sudoers(5).
  var text: String {
    """
    # Fubini's agent (user \(agent)) submits the work of its projects as their Unix users.
    # Whoever is \(agent) can act as any of them, so nobody else should be.
    Cmnd_Alias \(alias) = \(agentBinary) broker
    Defaults!\(alias) !requiretty, !use_pty, !log_input, !log_output
    \(agent) ALL = (\(users.joined(separator: ", "))) NOPASSWD: \(alias)

    """
  }

  /// Two agents of one machine have a file each, and sudo refuses both when they define one alias. Aliases are made of capital
  /// letters, digits and underscores; other bytes of the agent's name become their hexadecimal codes, so that no two are alike.
  private var alias: String {
    let name = agent.utf8.map { byte in
      switch byte {
      case 0x61...0x7a: String(UnicodeScalar(byte - 0x20))
      case 0x30...0x39: String(UnicodeScalar(byte))
      default: "_" + String(byte, radix: 16, uppercase: true)
      }
    }
    return "FUBINI_BROKER_" + name.joined()
  }

  /// What in a path is not root's alone: a program that others may change must not be in a rule.
  struct Component: Sendable, Equatable {
    var path: String
    var owner: UInt32
    var group: UInt32
    var mode: UInt32
    var isDirectory: Bool
  }

  /// The first component that somebody else than root may change; nil when there is none. In a directory like `/tmp` only an
  /// entry's owner may rename it, so root's own entries are safe there. Pure.
  static func weakness(_ components: [Component]) -> Component? {
    components.first { component in
      let isWritable = component.mode & 0o002 != 0 || component.mode & 0o020 != 0 && component.group != 0
      return component.owner != 0 || isWritable && !(component.isDirectory && component.mode & 0o1000 != 0)
    }
  }

  /// From the root down to `path`, which must be free of links.
  static func components(of path: String) throws -> [Component] {
    var current = ""
    var found: [Component] = []
    for part in [Substring("")] + path.split(separator: "/") {
      if !part.isEmpty { current += "/" + part }
      var status = stat()
      guard lstat(current.isEmpty ? "/" : current, &status) == 0 else {
        throw POSIXFile.failure("Cannot examine \(current)")
      }
      found.append(
        Component(
          path: current.isEmpty ? "/" : current, owner: status.st_uid, group: status.st_gid,
          mode: UInt32(status.st_mode), isDirectory: status.st_mode & S_IFMT == S_IFDIR))
    }
    return found
  }

  /// The rule for a configuration.
  ///
  /// - Throws: `.failedPrecondition` when the configuration maps nobody, or when the program could be changed by others.
  static func rule(for configuration: AgentConfiguration, agent: String, agentBinary: String) throws -> SudoRule {
    guard configuration.executor == .slurm, case .mapped = try configuration.declaredTenancy() else {
      throw FederationError(
        .failedPrecondition,
        "no rule is needed: it serves `executor: slurm` with `projects: {PROJECT: {user: UNIX-USER, account: ACCOUNT}}`"
      )
    }
    let rule = try SudoRule(
      agent: agent, users: configuration.tenancy.projects.values.map(\.user), agentBinary: agentBinary)
    if let weakness = weakness(try components(of: agentBinary)) {
      throw FederationError(
        .failedPrecondition,
        "\(weakness.path) can be changed by others than root, who could then act as \(rule.users.joined(separator: ", ")): "
          + "as root, `install -D -o root -g root -m 755 \(agentBinary) /usr/local/libexec/fubini-agent`, and run that one"
      )
    }
    return rule
  }
}
