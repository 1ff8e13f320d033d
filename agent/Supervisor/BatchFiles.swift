internal import CSupervisor
internal import Glibc

/// The files through which an executor and the batch steps of its runs talk, on a file system that all nodes share.
///
/// The executor writes `request`, `secrets` and `lease`; the step writes the rest. The claim may be made by either, once.
public struct BatchFiles: Sendable {
  public enum Event: String, Sendable, CaseIterable { case started, ended }

  /// Who made a run's claim.
  public enum Claim: Hashable, Sendable {
    /// A step, and where it runs: node and job.
    case step(place: String)
    /// The executor, so that the run never starts.
    case executor
  }

  /// Absolute; belongs to the agent's user alone.
  public let sharedDirectory: String
  /// Beside the other files, unless somebody else than their owner writes it.
  public let leaseFile: String
  public init(sharedDirectory: String, leaseFile: String? = nil) {
    self.sharedDirectory = sharedDirectory
    self.leaseFile = leaseFile ?? sharedDirectory + "/lease"
  }

  private static let executorPlace = "given up"

  func directory(_ id: UInt64) -> RunDirectory { RunDirectory(stateDirectory: sharedDirectory, id: id) }

  /// Where a run's files are.
  public func path(_ id: UInt64) -> String { directory(id).path }

  // MARK: What the executor writes

  /// Makes the directories that everything else here lies in.
  public func makeDirectories() throws(SystemFailure) {
    for name in ["", "/runs", "/events"] { try Files.makeDirectory(sharedDirectory + name) }
  }

  /// The command line and its limits; secrets go apart. The run's directory must exist.
  public func writeRequest(_ run: SupervisedRun) throws(SystemFailure) {
    var writer = WireWriter()
    run.encode(into: &writer)
    try Files.replace(path(run.id) + "/request", with: writer.bytes)
  }

  /// `NAME=value` each, and files. The step reads them once and removes the file before it starts the program (I9).
  public func writeSecrets(_ secrets: [String], _ privateFiles: [PrivateFile] = [], of id: UInt64) throws(SystemFailure)
  {
    var writer = WireWriter()
    writer.put(secrets)
    writer.put(privateFiles)
    try Files.replace(path(id) + "/secrets", with: writer.bytes)
  }

  /// Says whether a run that was queued before its inputs were there may start. Written in place, and the file is there before the
  /// job: nodes see new bytes in a file that they open again sooner than a new file.
  public func tellInputs(areHere: Bool, of id: UInt64) throws(SystemFailure) {
    let file = try Files.open(path(id) + "/inputs", O_WRONLY | O_CREAT)
    defer { close(file) }
    try Files.writeAll(file, [areHere ? Self.inputsAreHere : UInt8(ascii: "0")])
    if fsync(file) != 0 { throw SystemFailure("sync the state of a run's inputs") }
  }

  /// Says how long a run may go on with what is held for it, never less than before. Written in place, and the file is there before the
  /// job, as with the inputs.
  public func raiseSlice(toMs milliseconds: UInt64, of id: UInt64) throws(SystemFailure) {
    guard milliseconds > slice(of: id) ?? 0 else { return }
    let file = try Files.open(path(id) + "/slice", O_WRONLY | O_CREAT)
    defer { close(file) }
    let digits = String(milliseconds)
    try Files.writeAll(file, Array((String(repeating: "0", count: max(0, 20 - digits.utf8.count)) + digits).utf8))
    if fsync(file) != 0 { throw SystemFailure("sync the slice of a run") }
  }

  /// Milliseconds since its start; nil where none was written, or the file cannot be read.
  public func slice(of id: UInt64) -> UInt64? {
    guard let bytes = Files.read(path(id) + "/slice", limit: 20), bytes.count == 20 else { return nil }
    return UInt64(String(decoding: bytes, as: UTF8.self))
  }

  private static let inputsAreHere = UInt8(ascii: "1")

  /// False also while nobody has said so, or the file cannot be read.
  public func areInputsHere(_ id: UInt64) -> Bool { Files.read(path(id) + "/inputs", limit: 1) == [Self.inputsAreHere] }

  /// Also removes them where no step will.
  @discardableResult
  public func takeSecrets(_ id: UInt64) -> (environment: [String], files: [PrivateFile]) {
    let path = path(id) + "/secrets"
    guard let bytes = Files.read(path, limit: Self.secretBytesMax) else { return ([], []) }
    unlink(path)
    var reader = WireReader(bytes[...])
    let environment = (try? reader.texts()) ?? []
    return (environment, reader.isAtEnd ? [] : (try? reader.privateFiles()) ?? [])
  }

  /// Of all values of one run, more than they may be (`RunRequest.privateBytesMax`).
  private static let secretBytesMax = 8 << 20

  /// Says to the step that runs it, before that gets its signal, that this run is meant and no other that it has taken up since.
  ///
  /// - Parameter farewell: the signal that its program has asked for, and from there to SIGKILL; nil: as at every other end.
  public func askToEnd(_ id: UInt64, _ farewell: (signal: Int32, graceMs: UInt64)? = nil) {
    let path = path(id) + "/cancel"
    if let farewell {
      try? Files.replace(path, with: Array("\(farewell.signal) \(farewell.graceMs)\n".utf8))
      return
    }
    let file = csupervisor_open(path, O_WRONLY | O_CREAT, 0o600)
    if file >= 0 { close(file) }
  }

  /// Written in place: a new file under the old name is seen later than new bytes in a file that readers open again.
  public func renewLease(_ value: UInt64) throws(SystemFailure) {
    let file = try Files.open(leaseFile, O_WRONLY | O_CREAT)
    defer { close(file) }
    let digits = String(value)
    try Files.writeAll(file, Array((String(repeating: "0", count: max(0, 20 - digits.count)) + digits).utf8))
    if fsync(file) != 0 { throw SystemFailure("sync the lease") }
  }

  /// Claims a run for nobody. True when it was not claimed before: then it can never start.
  public func forbid(_ id: UInt64) throws(SystemFailure) -> Bool {
    try Files.makeDirectory(path(id))
    guard let file = try claim(id, place: Self.executorPlace) else { return readClaim(id) == .executor }
    close(file)
    return true
  }

  // MARK: What the executor reads

  public func readClaim(_ id: UInt64) -> Claim? {
    guard let mark = directory(id).readMark() else { return nil }
    return mark.place == Self.executorPlace ? .executor : .step(place: mark.place)
  }

  public func readEnd(_ id: UInt64) -> RunEnd? { directory(id).readEnd() }

  /// Changes every few seconds while the step lives; nil before the first.
  public func readBeat(_ id: UInt64) -> String? {
    Files.read(path(id) + "/beat", limit: 32).map { String(decoding: $0, as: UTF8.self) }
  }

  /// What has happened since the last call, in no order; the marks are removed. Bounded by `limit`.
  public func takeEvents(limit: Int = 4096) -> [(id: UInt64, event: Event)] {
    var found: [(UInt64, Event)] = []
    for name in Files.names(in: sharedDirectory + "/events").prefix(limit) {
      let parts = name.split(separator: ".", maxSplits: 1)
      if parts.count == 2, let id = RunDirectory.id(fromHexadecimal: String(parts[0])),
        let event = Event(rawValue: String(parts[1]))
      {
        found.append((id, event))
      }
      unlink(sharedDirectory + "/events/" + name)
    }
    return found
  }

  // MARK: What the step does

  package func request(_ id: UInt64) -> SupervisedRun? {
    guard let bytes = Files.read(path(id) + "/request", limit: 4 << 20) else { return nil }
    var reader = WireReader(bytes[...])
    guard let run = try? SupervisedRun(from: &reader), run.id == id else { return nil }
    return run
  }

  /// A hint: only `claim` decides.
  func isClaimed(_ id: UInt64) -> Bool { access(directory(id).started, F_OK) == 0 }

  func isEndWanted(_ id: UInt64) -> Bool { access(path(id) + "/cancel", F_OK) == 0 }

  /// How its end is to begin; nil: as every other one.
  func farewell(_ id: UInt64) -> (signal: Int32, graceMs: UInt64)? {
    guard let bytes = Files.read(path(id) + "/cancel", limit: 64) else { return nil }
    let words = String(decoding: bytes, as: UTF8.self).split(whereSeparator: { $0 == " " || $0 == "\n" })
    guard words.count == 2, let signal = Int32(words[0]), let grace = UInt64(words[1]) else { return nil }
    return (signal, grace)
  }

  func leaseValue() -> [UInt8]? { Files.read(leaseFile, limit: 32) }

  func beat(_ id: UInt64, _ count: Int) { try? Files.replace(path(id) + "/beat", with: Array("\(count)\n".utf8)) }

  /// Only a hint: the truth is in the run's own files.
  func tell(_ event: Event, _ id: UInt64) {
    let name = "\(RunDirectory.hexadecimal(id)).\(event.rawValue)"
    let file = csupervisor_open(sharedDirectory + "/events/" + name, O_WRONLY | O_CREAT, 0o600)
    if file >= 0 { close(file) }
  }

  /// The fence of I1 on a shared file system: `started` appears whole and once, by a hard link, which is atomic on NFS too.
  /// nil when it was there.
  ///
  /// - Source: open(2), "O_EXCL", on how to lock over NFS.
  func claim(_ id: UInt64, place: String) throws(SystemFailure) -> Int32? {
    let directory = directory(id)
    var name = [CChar](repeating: 0, count: 256)
    gethostname(&name, 255)
    let host = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let candidate = "\(directory.path)/started-\(host)-\(getpid())-\(csupervisor_boottime_ns())"
    let file = try Files.open(candidate, O_RDWR | O_CREAT | O_EXCL)
    defer { unlink(candidate) }
    do throws(SystemFailure) {
      try directory.writeMark(RunDirectory.Mark(bootID: ProcessTable.bootID(), place: place), to: file)
    } catch {
      close(file)
      throw error
    }
    // Closing sends the bytes to a network file system's server, which is all that others need to see them whole. A disk of
    // this machine's own that loses them by loss of power has lost the run as well; syncing it cost more than a short run.
    guard close(file) == 0 else { throw SystemFailure("write the claim") }
    let result = link(candidate, directory.started)
    let code = errno
    var status = stat()
    // An answer of the server that was lost and asked for again says EEXIST to the one who made the link.
    if result == 0 || lstat(candidate, &status) == 0 && status.st_nlink == 2 {
      return try Files.open(candidate, O_RDWR)
    }
    guard code == EEXIST else { throw SystemFailure("claim \(directory.started)", code) }
    return nil
  }
}
