internal import Execution
internal import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The files of runs, as their pods get and send them. Its calls block.
struct PodFileStore: Sendable {
  let workspace: @Sendable (RunID) -> RunWorkspace
  var limits = ArchiveLimits()
  /// Of a program's standard output: what a result may have, and its newline.
  static let outputBytesMax = Int(OutputCollection.valueBytesMax) + 1
  private static let listBytesMax = 4 << 20

  /// What a whole body may have: contents, and a header and names for each of them.
  var bodyBytesMax: Int64 { limits.bytesMax + 2048 * Int64(limits.entriesMax) }

  private static func listPath(_ workspace: RunWorkspace) -> String { workspace.directory + "/pod.json" }

  static func write(_ files: SharedPodFiles, in workspace: RunWorkspace) throws {
    let path = listPath(workspace)
    let file = try POSIXFile.open(path + ".new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW)
    do {
      defer { POSIXFile.close(file) }
      try POSIXFile.write(file, try JSONEncoder().encode(files), path)
    }
    guard rename(path + ".new", path) == 0 else { throw POSIXFile.failure("Cannot write \(path)") }
  }

  /// - Throws: `.notFound` for a run that has nothing here (any more).
  func files(of run: RunID) throws -> SharedPodFiles {
    guard let file = try OpenedFile.open(Self.listPath(workspace(run))) else {
      throw FederationError(.notFound, "this agent has no files of run \(run.hexadecimal) for a pod")
    }
    return try JSONDecoder().decode(
      SharedPodFiles.self, from: Data(try POSIXFile.readAll(file.descriptor, limit: Self.listBytesMax)))
  }

  /// The first pod that comes is the run's, for as long as the run has files here: another one, which a cluster may have made in its place,
  /// must not begin what may be done already (I1).
  ///
  /// - Throws: `.alreadyExists` for another pod, `.notFound` for a run that has nothing here.
  func claim(_ run: RunID, for pod: String) throws {
    _ = try files(of: run)
    let path = workspace(run).directory + "/pod-uid"
    let candidate = path + "-\(UInt64.random(in: .min ... .max))"
    while true {
      if let file = try OpenedFile.open(path) {
        let first = try POSIXFile.readAll(file.descriptor, limit: 256)
        guard first == Array(pod.utf8) else {
          throw FederationError(.alreadyExists, "another pod of run \(run.hexadecimal) was there first")
        }
        return
      }
      let file = try POSIXFile.open(candidate, O_WRONLY | O_CREAT | O_EXCL)
      defer { unlink(candidate) }
      do {
        defer { POSIXFile.close(file) }
        try POSIXFile.write(file, Array(pod.utf8), candidate)
        guard fsync(file) == 0 else { throw POSIXFile.failure("Cannot write \(candidate)") }
      }
      // Appears whole, and once.
      if link(candidate, path) == 0 { return }
      guard errno == EEXIST else { throw POSIXFile.failure("Cannot make \(path)") }
    }
  }

  // MARK: To the pod

  /// Writes a tar stream of everything that the pod gets.
  func writeInputs(of run: RunID, to output: Int32) throws {
    let files = try files(of: run)
    let root = workspace(run).root
    let writer = TarWriter(to: output)
    for (index, source) in files.inputs.enumerated() {
      switch source {
      case .root(let path): try Self.add(try RootedTree(root), path, as: "in/\(index)", isShared: true, to: writer)
      case .host(let path):
        guard let slash = path.lastIndex(of: "/"), path.hasPrefix("/") else {
          throw FederationError(.internal, "\(path) is no place of a data set")
        }
        let parent = String(path[..<slash])
        try Self.add(
          try RootedTree(parent.isEmpty ? "/" : parent), String(path[path.index(after: slash)...]), as: "in/\(index)",
          isShared: false, to: writer)
      }
    }
    try writer.finish()
  }

  /// - Parameter isShared: the run may write to it, under whatever user its image has: who may read it there may also write.
  private static func add(
    _ tree: RootedTree, _ path: String, as name: String, isShared: Bool, to writer: TarWriter
  ) throws {
    var top: String?
    _ = try TreeWalk.visit(tree, path: path, limits: ArchiveLimits()) { found in
      var entry = found
      let own = top ?? found.name
      top = own
      entry.name = name + found.name.dropFirst(own.count)
      if isShared, entry.mode & 0o204 == 0o204 { entry.mode |= 0o022 }
      try writer.add(entry)
    }
  }

  // MARK: From the pod

  /// A directory beside the run's root, in which outputs are collected until all have come.
  func makeScratch(of run: RunID) throws -> String {
    _ = try files(of: run)
    let scratch = "\(workspace(run).directory)/outputs-\(UInt64.random(in: .min ... .max))"
    guard mkdir(scratch, 0o700) == 0 else { throw POSIXFile.failure("Cannot make \(scratch)") }
    return scratch
  }

  /// - Parameter input: a tar stream, read to its end.
  /// - Throws: `.invalidArgument` for an archive that is damaged, too large or wants to leave its place.
  func unpackOutputs(from input: Int32, into scratch: String) throws {
    var writer = ArchiveWriter(into: try RootedTree(scratch), limits: limits)
    try TarReader.unpack(from: input, into: &writer)
    _ = try writer.finish(exceptTop: nil)
  }

  /// Moves what the run declares into its root; nothing else.
  func putOutputs(of run: RunID, from scratch: String) throws {
    let files = try files(of: run)
    let root = try RootedTree(workspace(run).root)
    let tree = try RootedTree(scratch)
    for path in files.outputs {
      guard let components = RootedTree.memberComponents(String(path.drop { $0 == "/" })), !components.isEmpty else {
        continue
      }
      try Self.move(components, from: tree, to: root)
    }
  }

  private static func move(_ components: [String], from tree: RootedTree, to root: RootedTree) throws {
    do {
      try tree.withParent(of: components) { from, name in
        var status = stat()
        guard fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return }
        // A directory that forbids writing cannot be moved; its mode comes back afterwards.
        let isDirectory = status.st_mode & S_IFMT == S_IFDIR
        if isDirectory { fchmodat(from, name, 0o700, 0) }
        try root.withParent(of: components, create: true) { to, newName in
          if renameat(from, name, to, newName) != 0 {
            // What was there before the program ran: another attempt's, or an input of this name.
            POSIXFile.removeTree("/proc/self/fd/\(to)/\(newName)")
            guard renameat(from, name, to, newName) == 0 else {
              throw POSIXFile.failure("Cannot put \(components.joined(separator: "/"))")
            }
          }
          if isDirectory { fchmodat(to, newName, status.st_mode & 0o777, 0) }
        }
      }
    } catch let error as FederationError where error.code == .notFound {
      // The program has not made it; whether that matters is found out where outputs are collected.
    }
  }

  /// Replaces the end of the program's standard output.
  func takeStandardOutput(_ bytes: [UInt8], of run: RunID) throws {
    _ = try files(of: run)
    let path = workspace(run).standardOutput
    let file = try POSIXFile.open(path + ".new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW)
    do {
      defer { POSIXFile.close(file) }
      try POSIXFile.write(file, bytes, path)
    }
    guard rename(path + ".new", path) == 0 else { throw POSIXFile.failure("Cannot write \(path)") }
  }
}
