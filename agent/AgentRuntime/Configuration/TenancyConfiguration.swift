public import FederationModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Whose work the agent takes, as its operator declares it: the keys `tenancy`, `project` and `projects`.
public struct TenancyConfiguration: Sendable, Equatable {
  public enum Kind: String, Sendable, CaseIterable { case single, mapped, shared }

  /// What a project is on this cluster.
  public struct Account: Sendable, Equatable {
    /// `user`: a Unix user's name, or `UID:GID`. Empty on a Kubernetes cluster.
    public var user: String
    /// `account`: of Slurm; nil: what the block `slurm` says.
    public var account: String?
    /// `namespace`: of Kubernetes.
    public var namespace: String?
  }

  /// `tenancy`; nil: what follows from the other two keys, and from who the agent is.
  public var kind: Kind?
  /// `project`: of `single`.
  public var project: ProjectName?
  /// `projects`: of `mapped`.
  public var projects: [ProjectName: Account] = [:]

  public init() {}

  /// What this agent declares.
  ///
  /// Without a word of the operator's, an agent that is root and puts its runs into sandboxes takes every project's, because
  /// their user owns nothing; any other agent takes one project's, because its runs are its own user and share that user's files.
  ///
  /// - Throws: `.invalidArgument` when the keys contradict each other, `.failedPrecondition` for a mapping that this agent
  ///   cannot carry out.
  ///
  /// - Parameter hasSudo: whether work of mapped projects is handed over through a sudo rule, which needs no root.
  func tenancy(isRoot: Bool, isSandboxed: Bool, hasSudo: Bool = false) throws(FederationError) -> Tenancy {
    let kind =
      kind ?? (!projects.isEmpty ? .mapped : project != nil || !(isRoot && isSandboxed) ? .single : .shared)
    guard kind == .mapped || projects.isEmpty, kind == .single || project == nil else {
      throw FederationError(
        .invalidArgument,
        "`project` belongs to `tenancy: single` and `projects` to `tenancy: mapped`, and this is \(kind.rawValue)")
    }
    switch kind {
    case .shared: return .shared
    case .single: return .single(project)
    case .mapped:
      guard !projects.isEmpty else {
        throw FederationError(
          .invalidArgument, "`tenancy: mapped` needs `projects`: {PROJECT: {user: UNIX-USER}, ...}")
      }
      guard isRoot || hasSudo else {
        throw FederationError(
          .failedPrecondition,
          "only an agent that is root can give each project a Unix user of its own; this one can serve one project: "
            + "set `project`, or start one agent for each")
      }
      if let project = projects.filter({ $0.value.user.isEmpty }).keys.min() {
        throw FederationError(
          .invalidArgument, "projects.\(project).user must be a Unix user: namespaces are of Kubernetes clusters")
      }
      let users = Dictionary(grouping: projects, by: \.value.user)
      if let (user, shared) = users.first(where: { $0.value.count > 1 }) {
        throw FederationError(
          .invalidArgument,
          "projects \(shared.map(\.key.text).sorted().joined(separator: " and ")) have the same Unix user \(user), "
            + "which would show each the other's files")
      }
      if hasSudo, let user = projects.values.map(\.user).first(where: { !UnixUser.isName($0) }) {
        throw FederationError(
          .invalidArgument, "\"\(user.prefix(64))\" cannot stand in a sudo rule: name the Unix user in `projects`")
      }
      return .mapped(Set(projects.keys))
    }
  }
}

extension TenancyConfiguration {
  /// What the agent of a Kubernetes cluster declares: one project, or a namespace for each.
  ///
  /// - Throws: `.invalidArgument` when the keys contradict each other.
  func ofNamespaces() throws(FederationError) -> Tenancy {
    let kind = kind ?? (projects.isEmpty ? .single : .mapped)
    guard kind == .mapped || projects.isEmpty, kind == .single || project == nil else {
      throw FederationError(
        .invalidArgument,
        "`project` belongs to `tenancy: single` and `projects` to `tenancy: mapped`, and this is \(kind.rawValue)")
    }
    switch kind {
    case .single: return .single(project)
    case .shared:
      throw FederationError(
        .invalidArgument,
        "a Kubernetes cluster keeps projects apart by namespaces: set `project`, or `projects: {P: {namespace: N}}`")
    case .mapped:
      var owners: [String: ProjectName] = [:]
      for (project, account) in projects.sorted(by: { $0.key < $1.key }) {
        guard let namespace = account.namespace else {
          throw FederationError(.invalidArgument, "projects.\(project).namespace must name the project's namespace")
        }
        if let other = owners.updateValue(project, forKey: namespace) {
          throw FederationError(
            .invalidArgument,
            "projects \(other) and \(project) have the same namespace \(namespace), which would show each the other's pods"
          )
        }
      }
      guard !projects.isEmpty else {
        throw FederationError(.invalidArgument, "`tenancy: mapped` needs `projects`: {PROJECT: {namespace: NAME}, ...}")
      }
      return .mapped(Set(projects.keys))
    }
  }
}

/// Finds the numbers of a Unix user.
enum UnixUser {
  struct Numbers: Hashable, Sendable {
    var user: UInt32
    var group: UInt32
  }

  /// Names are asked of the system's own `id`: this program is static, and cannot ask a directory service itself.
  ///
  /// - Throws: `.failedPrecondition` for a user that is not there, or is root.
  static func numbers(of text: String) throws(FederationError) -> Numbers {
    let numbers: Numbers
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    if parts.count == 2, let user = UInt32(parts[0]), let group = UInt32(parts[1]) {
      numbers = Numbers(user: user, group: group)
    } else {
      guard isPlainName(text), let user = ask("-u", text), let group = ask("-g", text) else {
        throw FederationError(
          .failedPrecondition,
          "there is no Unix user \(text.prefix(64)) on this machine: make one, or write UID:GID in `projects`")
      }
      numbers = Numbers(user: user, group: group)
    }
    guard numbers.user != 0, numbers.group != 0, numbers.user != .max, numbers.group != .max else {
      throw FederationError(.failedPrecondition, "no project can be the user or the group root (\(text.prefix(64)))")
    }
    return numbers
  }

  /// The name of this process's own user.
  static func own() throws(FederationError) -> String {
    guard let answer = try? StepRunner.execute(["id", "-un"]), answer.status == 0 else {
      throw FederationError(
        .failedPrecondition, "user \(geteuid()) has no name on this machine: make one for the agent")
    }
    return String(answer.output.prefix { !$0.isWhitespace })
  }

  /// POSIX's portable names, which no option can be taken for.
  static func isPlainName(_ text: String) -> Bool {
    guard let first = text.utf8.first, first != 0x2d, text.utf8.count <= 32 else { return false }
    return text.utf8.allSatisfy { byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f: true
      default: false
      }
    }
  }

  /// A name that cannot be taken for a number either.
  static func isName(_ text: String) -> Bool {
    isPlainName(text) && !text.utf8.allSatisfy { (0x30...0x39).contains($0) }
  }

  private static func ask(_ option: String, _ name: String) -> UInt32? {
    guard let answer = try? StepRunner.execute(["id", option, name]), answer.status == 0 else { return nil }
    return UInt32(answer.output.split(whereSeparator: \.isWhitespace).first ?? "")
  }
}
