public import Execution
public import FederationModel

/// A sandbox as a value, and the bubblewrap command line that makes it. Pure, apart from the injected directory listing.
///
/// The run's private root directory is bound as `/`, writable; what it may see of the host or of its root file system is bound
/// read-only over it. So every absolute path that an author may name for an output can be made, everything that a run writes
/// stays in its own directory, and what is not named here does not exist for it.
public struct Sandbox: Hashable, Sendable {
  public enum Base: Hashable, Sendable {
    /// `/usr` and its links, and a prepared `/etc` (a directory of the agent's with chosen files only).
    case host(etc: String)
    /// A root file system's directory.
    case directory(String)
  }
  public struct Binding: Hashable, Sendable {
    public var source: String
    public var path: String
    public init(source: String, path: String) {
      self.source = source
      self.path = path
    }
  }

  public var bubblewrap: String
  public var base: Base
  /// The run's private root on the host.
  public var root: String
  /// Host paths that the operator allows, seen at the same place.
  public var allowedHostPaths: [String]
  public var inputs: [Binding]
  /// Second paths of directories in the root.
  public var mounts: [DirectoryMount] = []
  /// Directories of the host that are not the run's alone.
  public var shared: [SharedDirectory] = []
  /// Directories inside the run that it must be able to write in, beyond its root itself.
  public var writableDirectories: Set<String>
  /// Device files of the host that the run may use, where they exist.
  public var devices: [String]
  public var sharesNetwork: Bool
  /// Set when the agent is root: sources are bound here, by number, before the run's user loses sight of them.
  public var stage: String?
  /// Host paths that every user may enter: bound by their own names, because each staged one is a mount more.
  public var reachable: Set<String> = []
  public var workingDirectory: String
  public var command: [String]
  /// Whether the run itself can make no user namespaces, which keeps it away from much of the kernel. Needs bubblewrap 0.8.
  public var disablesUserNamespaces: Bool
  /// Whether several of them, on one node or many, are made of one root at once. Each gets a root of its own then, read-only,
  /// and they share the writable directories: making links and mount points in one root they would get in each other's way.
  public var isCopied: Bool

  public init(
    bubblewrap: String, base: Base, root: String, allowedHostPaths: [String] = [], inputs: [Binding] = [],
    writableDirectories: Set<String> = [], devices: [String] = [], sharesNetwork: Bool, stage: String?,
    workingDirectory: String, command: [String], disablesUserNamespaces: Bool = false,
    isCopied: Bool = false
  ) {
    self.bubblewrap = bubblewrap
    self.base = base
    self.root = root
    self.allowedHostPaths = allowedHostPaths
    self.inputs = inputs
    self.writableDirectories = writableDirectories
    self.devices = devices
    self.sharesNetwork = sharesNetwork
    self.stage = stage
    self.workingDirectory = workingDirectory
    self.command = command
    self.disablesUserNamespaces = disablesUserNamespaces
    self.isCopied = isCopied
  }

  /// What a directory of the host holds.
  public struct Entry: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
      case directory, file
      case link(target: String)
    }
    public var name: String
    public var kind: Kind
    public init(_ name: String, _ kind: Kind) {
      self.name = name
      self.kind = kind
    }
  }
  /// nil when there is no such directory.
  public typealias Lister = (_ directory: String) -> [Entry]?

  /// What a root holds at its top before anything is written in it: directories to mount on, and links by name.
  public struct Skeleton: Hashable, Sendable {
    public var directories: Set<String>
    public var links: [String: String]
  }

  public struct Launch: Sendable {
    /// The command line.
    public var arguments: [String]
    /// The host paths to be bound at `stage`/0, /1, ... (empty without a stage).
    public var mounts: [String]
    /// Links to be made in the root before, by absolute path in it. Not bubblewrap's work, because releases before 0.9 refuse
    /// a link that is there already, as it is in a root that was kept.
    public var links: [(path: String, target: String)]
    public var skeleton: Skeleton
  }

  /// - Throws: `.invalidArgument` when what must be bound is beyond bounds.
  public func launch(listing: @escaping Lister) throws(FederationError) -> Launch {
    var builder = Builder(sandbox: self, listing: listing)
    builder.arguments = [bubblewrap, "--unshare-user"]
    if disablesUserNamespaces { builder.arguments.append("--disable-userns") }
    builder.arguments += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if !sharesNetwork { builder.arguments.append("--unshare-net") }
    builder.arguments += [
      "--hostname", "fubini", "--new-session", "--die-with-parent", "--cap-drop", "ALL",
      // The supervisor's lock: held by the sandbox's init for as long as anything inside lives.
      "--sync-fd", "3",
    ]
    if isCopied {
      builder.arguments += ["--tmpfs", "/"]
      for directory in writableDirectories.sorted() { builder.bind(root + directory, directory, writable: true) }
    } else {
      builder.bind(root, "/", writable: true)
    }
    try builder.placeBase()
    for path in allowedHostPaths { try builder.place(path, at: path, depth: 0) }
    builder.arguments += ["--proc", "/proc", "--dev", "/dev"]
    // By their own names, not through the stage: they are everybody's, and may be missing on the node that runs it.
    for device in devices { builder.arguments += ["--dev-bind-try", device, device] }
    // The outer ones first, or they would cover those inside.
    for mount in mounts.sorted(by: { $0.path.utf8.count < $1.path.utf8.count }) {
      builder.bind(
        root + mount.directory, AbsolutePath.normalise(mount.path) ?? mount.path, writable: !mount.isReadOnly)
    }
    for directory in shared.sorted(by: { $0.path.utf8.count < $1.path.utf8.count }) {
      builder.bind(directory.source, directory.path, writable: !directory.isReadOnly)
    }
    for input in inputs { builder.bind(input.source, input.path) }
    // What is written elsewhere would be lost without a word.
    if isCopied { builder.arguments += ["--remount-ro", "/"] }
    builder.arguments += ["--chdir", workingDirectory, "--"]
    guard builder.mounts.count <= 300 else {
      throw FederationError(
        .invalidArgument, "the run needs more than 300 separate mounts; use fewer input artifacts or paths")
    }
    return Launch(
      arguments: builder.arguments + command, mounts: builder.mounts, links: builder.links, skeleton: builder.skeleton)
  }

  static let hostDirectories = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"]
  /// Bound from the host over the prepared `/etc`, where they exist.
  static let hostConfiguration = [
    "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/alternatives", "/etc/ld.so.conf.d",
  ]
}

private struct Builder {
  let sandbox: Sandbox
  let listing: Sandbox.Lister
  var arguments: [String] = []
  var mounts: [String] = []
  var links: [(path: String, target: String)] = []
  var skeleton = Sandbox.Skeleton(
    directories: ["etc", "proc", "dev", "tmp", String(RunLayout.defaultWorkingDirectory.dropFirst())], links: [:])

  init(sandbox: Sandbox, listing: @escaping Sandbox.Lister) {
    self.sandbox = sandbox
    self.listing = listing
  }

  mutating func bind(_ source: String, _ path: String, writable: Bool = false) {
    var source = source
    if let stage = sandbox.stage, !sandbox.reachable.contains(source) {
      mounts.append(source)
      source = "\(stage)/\(mounts.count - 1)"
    }
    arguments += [writable ? "--bind" : "--ro-bind", source, path]
  }

  mutating func placeBase() throws(FederationError) {
    switch sandbox.base {
    case .host(let etc):
      let top = listing("/") ?? []
      for path in Sandbox.hostDirectories {
        guard let entry = top.first(where: { "/" + $0.name == path }) else { continue }
        try place(entry, in: "/", at: "/", depth: 0)
      }
      try place(etc, at: "/etc", depth: 0)
      let present = Set((listing("/etc") ?? []).map { "/etc/" + $0.name })
      for path in Sandbox.hostConfiguration where present.contains(path) { try place(path, at: path, depth: 0) }
    case .directory(let directory):
      guard let top = listing(directory) else {
        throw FederationError(
          .failedPrecondition, "the root file system \(directory) is not there; ask the cluster's operator")
      }
      // The run has its own of these.
      for entry in top where !["proc", "dev", "sys", "tmp"].contains(entry.name) {
        try place(entry, in: directory, at: "/", depth: 0)
      }
    }
  }

  private mutating func place(_ entry: Sandbox.Entry, in source: String, at path: String, depth: Int)
    throws(FederationError)
  {
    let target = path == "/" ? "/" + entry.name : path + "/" + entry.name
    switch entry.kind {
    case .link(let destination):
      if sandbox.isCopied {
        arguments += ["--symlink", destination, target]
      } else {
        links.append((target, destination))
        if path == "/" { skeleton.links[entry.name] = destination }
      }
    case .file: bind(source == "/" ? "/" + entry.name : source + "/" + entry.name, target)
    case .directory:
      if path == "/" { skeleton.directories.insert(entry.name) }
      try place(source == "/" ? "/" + entry.name : source + "/" + entry.name, at: target, depth: depth + 1)
    }
  }

  /// Binds `source` whole, or, where the run must write below it, entry by entry over a directory of its own.
  mutating func place(_ source: String, at path: String, depth: Int) throws(FederationError) {
    let isOpened = sandbox.writableDirectories.contains { $0 == path || $0.hasPrefix(path + "/") }
    guard isOpened, depth < 32, let entries = listing(source) else {
      bind(source, path)
      return
    }
    guard entries.count <= 250 else {
      throw FederationError(
        .invalidArgument, "the run cannot write in \(path): it has too many entries; choose a path like /tmp or /mnt")
    }
    for entry in entries.sorted(by: { $0.name < $1.name }) { try place(entry, in: source, at: path, depth: depth) }
  }
}

/// Lexical operations on absolute paths.
package enum AbsolutePath {
  /// Without `.`, `..`, doubled and trailing slashes; nil when it is not absolute, or holds a NUL byte.
  package static func normalise(_ path: String) -> String? {
    guard path.utf8.first == 0x2f, !path.utf8.contains(0), path.utf8.count <= 4096 else { return nil }
    var parts: [Substring] = []
    for part in path.split(separator: "/") where part != "." {
      if part == ".." { _ = parts.popLast() } else { parts.append(part) }
    }
    return "/" + parts.joined(separator: "/")
  }

  static func parent(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
    return String(path[..<slash])
  }
}
