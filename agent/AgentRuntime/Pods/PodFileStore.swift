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

  /// The first pod that comes is the run's, or of a gang the one of its rank, for as long as the run has files here: another one, which a
  /// cluster may have made in its place, must not begin what may be done already (I1).
  ///
  /// - Parameter rank: of a member of a gang; else nil.
  /// - Throws: `.alreadyExists` for another pod, `.notFound` for a run that has nothing here, `.invalidArgument` for a rank that the run
  ///   does not have.
  func claim(_ run: RunID, for pod: String, rank: Int?) throws {
    let size = try files(of: run).gangSize
    guard (size == nil) == (rank == nil), rank.map({ (0..<(size ?? 0)).contains($0) }) ?? true else {
      throw FederationError(
        .invalidArgument, "run \(run.hexadecimal) has no member \(rank.map(String.init) ?? "without a rank")")
    }
    let path = claimPath(run, rank)
    let candidate = path + "-\(UInt64.random(in: .min ... .max))"
    while true {
      if let file = try OpenedFile.open(path) {
        let first = try POSIXFile.readAll(file.descriptor, limit: 256)
        guard first == Array(pod.utf8) else {
          let member = rank.map { "member \($0) of " } ?? ""
          throw FederationError(.alreadyExists, "another pod of \(member)run \(run.hexadecimal) was there first")
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

  private func claimPath(_ run: RunID, _ rank: Int?) -> String {
    workspace(run).directory + "/pod-uid" + (rank.map { "-of-\($0)" } ?? "")
  }

  /// How many members of a gang have come.
  func members(of run: RunID) throws -> Int {
    (0..<(try files(of: run).gangSize ?? 1)).count { !POSIXFile.isMissing(claimPath(run, $0)) }
  }

  /// Milliseconds of the program's wall time that are held for it; nil: as long as its bounds allow.
  func slice(of run: RunID) throws -> UInt64? {
    guard let file = try OpenedFile.open(workspace(run).slice) else { return nil }
    return UInt64(String(decoding: try POSIXFile.readAll(file.descriptor, limit: 32), as: UTF8.self))
  }

  /// See `RunWorkspace.farewell`; nil: it is told as at every other end.
  func farewell(of run: RunID) throws -> String? {
    guard let file = try OpenedFile.open(workspace(run).farewell) else { return nil }
    return String(decoding: try POSIXFile.readAll(file.descriptor, limit: 64), as: UTF8.self)
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

  /// Moves what the run declares into its root; nothing else. What a member of a gang sends waits for the others: `gather`.
  func putOutputs(of run: RunID, from scratch: String, rank: Int? = nil) throws {
    guard let rank else { return try put(try files(of: run).outputs, from: scratch, of: run) }
    let place = memberPath(run, rank)
    POSIXFile.removeTree(place)
    guard rename(scratch, place) == 0 else { throw POSIXFile.failure("Cannot make \(place)") }
  }

  private func put(_ outputs: [String], from scratch: String, of run: RunID, merges: Bool = false) throws {
    let root = try RootedTree(workspace(run).root)
    let tree = try RootedTree(scratch)
    for path in outputs {
      guard let components = RootedTree.memberComponents(String(path.drop { $0 == "/" })), !components.isEmpty else {
        continue
      }
      do {
        try tree.withParent(of: components) { from, name in
          try root.withParent(of: components, create: true) { to, newName in
            try Self.move(name, in: from, to: newName, in: to, merges: merges)
          }
        }
      } catch let error as FederationError where error.code == .notFound {
        // The program has not made it; whether that matters is found out where outputs are collected.
      }
    }
  }

  /// - Parameter merges: of two directories of one name the entries are moved, and not the directory.
  private static func move(
    _ name: String, in from: Int32, to newName: String, in to: Int32, merges: Bool
  ) throws {
    var status = stat()
    guard fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return }
    // A directory that forbids writing cannot be moved; its mode comes back afterwards.
    let isDirectory = status.st_mode & S_IFMT == S_IFDIR
    if isDirectory { fchmodat(from, name, 0o700, 0) }
    var there = stat()
    if merges, isDirectory, fstatat(to, newName, &there, AT_SYMLINK_NOFOLLOW) == 0, there.st_mode & S_IFMT == S_IFDIR {
      fchmodat(to, newName, 0o700, 0)
      try merge(name, in: from, with: newName, in: to)
    } else if renameat(from, name, to, newName) != 0 {
      // What was there before the program ran: another attempt's, or an input of this name.
      POSIXFile.removeTree("/proc/self/fd/\(to)/\(newName)")
      guard renameat(from, name, to, newName) == 0 else { throw POSIXFile.failure("Cannot put \(newName)") }
    }
    if isDirectory { fchmodat(to, newName, status.st_mode & 0o777, 0) }
  }

  private static func merge(_ name: String, in from: Int32, with newName: String, in to: Int32) throws {
    let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
    let source = openat(from, name, flags)
    guard source >= 0 else { throw POSIXFile.failure("Cannot open \(name)") }
    defer { POSIXFile.close(source) }
    let target = openat(to, newName, flags)
    guard target >= 0 else { throw POSIXFile.failure("Cannot open \(newName)") }
    defer { POSIXFile.close(target) }
    for entry in try POSIXFile.entries(of: source) { try move(entry, in: source, to: entry, in: target, merges: true) }
  }

  /// Replaces the end of the program's standard output.
  func takeStandardOutput(_ bytes: [UInt8], of run: RunID, rank: Int? = nil) throws {
    _ = try files(of: run)
    try Self.replace(rank.map { outputPath(run, $0) } ?? workspace(run).standardOutput, with: bytes)
  }

  private static func replace(_ path: String, with bytes: [UInt8]) throws {
    let file = try POSIXFile.open(path + ".new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW)
    do {
      defer { POSIXFile.close(file) }
      try POSIXFile.write(file, bytes, path)
    }
    guard rename(path + ".new", path) == 0 else { throw POSIXFile.failure("Cannot write \(path)") }
  }

  // MARK: Of gangs

  private func memberPath(_ run: RunID, _ rank: Int) -> String { "\(workspace(run).directory)/member-\(rank)" }
  private func outputPath(_ run: RunID, _ rank: Int) -> String { "\(workspace(run).standardOutput)-of-\(rank)" }

  /// See `PodFiles.gather`. From the highest rank down, each taking the place of what is there: so it may be broken off and done again.
  func gather(_ run: RunID) throws {
    let files = try files(of: run)
    guard let size = files.gangSize else { return }
    for rank in (0..<size).reversed() where !POSIXFile.isMissing(memberPath(run, rank)) {
      try put(files.outputs, from: memberPath(run, rank), of: run, merges: true)
      POSIXFile.removeTree(memberPath(run, rank))
    }
    var tail = OutputTail(bytesMax: Self.outputBytesMax)
    var isThere = false
    for rank in 0..<size {
      guard let file = try OpenedFile.open(outputPath(run, rank)) else { continue }
      isThere = true
      let bytes = try POSIXFile.readAll(file.descriptor, limit: Self.outputBytesMax)
      for line in bytes.split(separator: 0x0a, omittingEmptySubsequences: false).dropLast(bytes.last == 0x0a ? 1 : 0) {
        tail.add(Array("\(rank): ".utf8) + line + [0x0a])
      }
    }
    if isThere { try Self.replace(workspace(run).standardOutput, with: tail.bytes) }
  }
}
