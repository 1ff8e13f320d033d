internal import CSupervisor
internal import Glibc

/// The conversation over `supervisor.sock`. A frame is: length of what follows (4 bytes), kind (1), tag (4), body.
///
/// Little-endian. The client's tag comes back with the answer; events have tag 0. A client opens with `hello` and the range
/// of versions that it speaks, because an upgraded agent meets the supervisor that an older one started. Bodies only grow
/// at their ends, and readers ignore what they do not know.
public enum SupervisorProtocol {
  public static let version: UInt16 = 1
  /// Bound of one frame, both ways.
  public static let frameBytesMax = 4 << 20
  static let headerBytes = 9

  public static func frame(_ kind: UInt8, tag: UInt32, _ body: [UInt8] = []) -> [UInt8] {
    var writer = WireWriter()
    writer.put(UInt32(body.count + 5))
    writer.put(kind)
    writer.put(tag)
    return writer.bytes + body
  }

  /// Takes the first whole frame out of `buffer`; nil when it has not arrived yet.
  public static func takeFrame(
    from buffer: inout [UInt8]
  ) throws(WireReader.Malformed) -> (kind: UInt8, tag: UInt32, body: ArraySlice<UInt8>)? {
    var consumed = 0
    let frame = try nextFrame(in: buffer, consumed: &consumed)
    // Not in place: the body must outlive the buffer's change.
    if frame != nil { buffer = Array(buffer[consumed...]) }
    return frame
  }

  /// As `takeFrame`, but only moves `consumed`: one pass over a batch of frames.
  static func nextFrame(
    in buffer: [UInt8], consumed: inout Int
  ) throws(WireReader.Malformed) -> (kind: UInt8, tag: UInt32, body: ArraySlice<UInt8>)? {
    guard buffer.count - consumed >= headerBytes else { return nil }
    var reader = WireReader(buffer[consumed...])
    let length = Int(try reader.number(UInt32.self))
    guard (5...frameBytesMax).contains(length) else { throw WireReader.Malformed() }
    guard buffer.count - consumed >= 4 + length else { return nil }
    let kind = try reader.number(UInt8.self)
    let tag = try reader.number(UInt32.self)
    let body = buffer[(consumed + headerBytes)..<(consumed + 4 + length)]
    consumed += 4 + length
    return (kind, tag, body)
  }
}

/// What a client asks. Raw values are on the wire.
public enum SupervisorCommand: UInt8, Sendable {
  /// Body: lowest and highest version (2 bytes each).
  case hello = 1
  /// Body: `SupervisedRun`. Answered by `.accepted` also when the run was started before.
  case start = 2
  /// Body: run id (8), grace in milliseconds (8), and the signal that the grace begins with (4); without it, or to a supervisor that
  /// does not know it, SIGTERM.
  case cancel = 3
  /// Body: run id. Refused while the run lives.
  case forget = 4
  /// Answered by one `.ended` or `.started` per run, all with the command's tag, then `.done`.
  case list = 5
  /// From now on every event comes over this connection too.
  case subscribe = 6
  case status = 7
  /// The supervisor leaves as soon as nothing runs; new starts are refused.
  case shutdownWhenIdle = 8
  /// Body: run id (8), milliseconds since its start (8): its slice ends there, unless it ended later before. Answered by `.done` also
  /// for a run that does not live. Only for a supervisor whose status says that it knows slices.
  case extend = 9
}

/// What the supervisor says. Raw values are on the wire.
public enum SupervisorReply: UInt8, Sendable {
  /// Body: version (2), pid as it is known outside the supervisor's own namespace (4).
  case hello = 0x80
  case done = 0x81
  /// Body: `RefusalCode` (1), text.
  case refused = 0x82
  /// To `start`. Body: 1 if the run was started before, else 0.
  case accepted = 0x83
  /// Body: runs alive (4), runs kept (4), notice texts, 1 if the kernel kills every run with the supervisor (a PID
  /// namespace of its own) else 0, 1 if it knows slices. The last two are missing from supervisors that do not know them.
  case status = 0x84
  /// Event and list entry. Body: run id (8), log bytes (8).
  case started = 0x90
  /// Event and list entry. Body: run id (8), `RunEnd`.
  case ended = 0x91
  /// Event: the log has grown. Body: run id (8), log bytes (8). At most ten a second per run.
  case logGrew = 0x92
}

public enum RefusalCode: UInt8, Sendable {
  case malformed = 1, version = 2, notPermitted = 3, fenced = 4, alive = 5, leaving = 6, storage = 7
}

/// A run as the supervisor sees it: a command line with limits. What it means is the executor's business.
public struct SupervisedRun: Hashable, Sendable {
  public var id: UInt64
  /// The program is looked up in the supervisor's PATH if it has no slash.
  public var arguments: [String]
  /// `NAME=value`. Kept in memory only.
  public var environment: [String]
  /// nil: the run's directory.
  public var workingDirectory: String?
  /// Host paths that are bound at `stage`/0, /1, ... in a mount namespace of the child's own; needs root. At most 300.
  public var mounts: [String]
  public var stage: String
  /// Both nil (as the supervisor), or both set; needs root.
  public var user: UInt32?
  public var group: UInt32?
  /// Whether the program is bubblewrap, and what it starts lives in a PID namespace whose init holds descriptor 3 and dies with its
  /// parent. The environment is then that of what it starts.
  public var isSandboxed: Bool
  public var capturesStandardOutput: Bool
  /// Milliseconds since the start; 0 for none.
  public var walltimeMs: UInt64
  public var activeDeadlineMs: UInt64
  /// Without a renewed lease; 0 for never.
  public var disconnectLimitMs: UInt64
  /// From SIGTERM to SIGKILL when a limit ends the run.
  public var graceMs: UInt64
  public var logBytesMax: UInt64
  /// 0 for none.
  public var memoryBytesMax: UInt64
  public var cpuMillicoresMax: UInt64
  public var processesMax: UInt64
  /// Milliseconds since the start that are paid for; 0 for no such limit. May grow while the run lives.
  public var sliceMs: UInt64
  /// Absolute, `PrivateFiles.directory(ofRun:)`; empty: the run has no private files.
  public var privateDirectory = ""
  /// Kept in memory only.
  public var privateFiles: [PrivateFile] = []

  public init(
    id: UInt64, arguments: [String], environment: [String] = [], workingDirectory: String? = nil, mounts: [String] = [],
    stage: String = "/tmp", user: UInt32? = nil, group: UInt32? = nil, isSandboxed: Bool = false,
    capturesStandardOutput: Bool = false, walltimeMs: UInt64 = 0, activeDeadlineMs: UInt64 = 0,
    disconnectLimitMs: UInt64 = 0, graceMs: UInt64 = 30_000, logBytesMax: UInt64 = 64 << 20, memoryBytesMax: UInt64 = 0,
    cpuMillicoresMax: UInt64 = 0, processesMax: UInt64 = 0, sliceMs: UInt64 = 0
  ) {
    self.sliceMs = sliceMs
    self.id = id
    self.arguments = arguments
    self.environment = environment
    self.workingDirectory = workingDirectory
    self.mounts = mounts
    self.stage = stage
    self.user = user
    self.group = group
    self.isSandboxed = isSandboxed
    self.capturesStandardOutput = capturesStandardOutput
    self.walltimeMs = walltimeMs
    self.activeDeadlineMs = activeDeadlineMs
    self.disconnectLimitMs = disconnectLimitMs
    self.graceMs = graceMs
    self.logBytesMax = logBytesMax
    self.memoryBytesMax = memoryBytesMax
    self.cpuMillicoresMax = cpuMillicoresMax
    self.processesMax = processesMax
  }

  public func encode(into writer: inout WireWriter) {
    writer.put(id)
    writer.put(arguments)
    writer.put(environment)
    writer.put(workingDirectory ?? "")
    writer.put(mounts)
    writer.put(stage)
    writer.put(user != nil && group != nil)
    writer.put(user ?? 0)
    writer.put(group ?? 0)
    writer.put(isSandboxed)
    writer.put(capturesStandardOutput)
    for limit in [
      walltimeMs, activeDeadlineMs, disconnectLimitMs, graceMs, logBytesMax, memoryBytesMax, cpuMillicoresMax,
      processesMax, sliceMs,
    ] {
      writer.put(limit)
    }
    // Few runs have any, and without them nothing follows.
    guard !privateDirectory.isEmpty else { return }
    writer.put(privateDirectory)
    writer.put(privateFiles)
  }

  public init(from reader: inout WireReader) throws(WireReader.Malformed) {
    id = try reader.number()
    arguments = try reader.texts()
    environment = try reader.texts()
    let directory = try reader.text()
    workingDirectory = directory.isEmpty ? nil : directory
    mounts = try reader.texts()
    stage = try reader.text()
    let hasIdentity = try reader.flag()
    let (uid, gid) = (try reader.number(UInt32.self), try reader.number(UInt32.self))
    user = hasIdentity ? uid : nil
    group = hasIdentity ? gid : nil
    isSandboxed = try reader.flag()
    capturesStandardOutput = try reader.flag()
    walltimeMs = try reader.number()
    activeDeadlineMs = try reader.number()
    disconnectLimitMs = try reader.number()
    graceMs = try reader.number()
    logBytesMax = try reader.number()
    memoryBytesMax = try reader.number()
    cpuMillicoresMax = try reader.number()
    // Agents before this limit existed end here.
    processesMax = reader.isAtEnd ? 0 : try reader.number()
    sliceMs = reader.isAtEnd ? 0 : try reader.number()
    if !reader.isAtEnd {
      privateDirectory = try reader.text()
      privateFiles = try reader.privateFiles()
    }
    guard !arguments.isEmpty, mounts.count <= 300 else { throw WireReader.Malformed() }
  }
}

/// How a run ended. The content of its `exit` file.
public struct RunEnd: Hashable, Sendable {
  public enum Reason: UInt8, Sendable {
    /// By itself, or by a signal that was not ours.
    case exited = 0
    case cancelled = 1
    /// The agent's lease ran out (I1).
    case fenced = 2
    case walltime = 3
    case activeDeadline = 4
    /// The supervisor died with the run alive; it provably lives no more.
    case lost = 5
    /// The program could not be started; `message` says why.
    case notStarted = 6
    /// The batch system asked it to end: a limit of its own, a preemption, or an administrator.
    case terminated = 7
    /// What was paid for was used up.
    case slice = 8
  }
  public var reason: Reason
  /// As wait(2) gives it; meaningless for `.lost` and `.notStarted`.
  public var waitStatus: Int32
  public var wallMs: UInt64
  public var logBytes: UInt64
  /// Bytes of output beyond the limit (or beyond the disk), which were dropped.
  public var discardedBytes: UInt64
  /// The kernel killed a process of it because it was over its memory limit.
  public var ranOutOfMemory: Bool
  public var message: String

  public init(
    reason: Reason, waitStatus: Int32 = 0, wallMs: UInt64 = 0, logBytes: UInt64 = 0, discardedBytes: UInt64 = 0,
    ranOutOfMemory: Bool = false, message: String = ""
  ) {
    self.reason = reason
    self.waitStatus = waitStatus
    self.wallMs = wallMs
    self.logBytes = logBytes
    self.discardedBytes = discardedBytes
    self.ranOutOfMemory = ranOutOfMemory
    self.message = message
  }

  /// Whether SIGKILL ended the program, as itself or as a shell or sandbox in between tells it.
  static func wasKilled(_ waitStatus: Int32) -> Bool {
    csupervisor_signal(waitStatus) == SIGKILL || csupervisor_exit_code(waitStatus) == 128 + SIGKILL
  }

  public func encode(into writer: inout WireWriter) {
    writer.put(reason.rawValue)
    writer.put(waitStatus)
    writer.put(wallMs)
    writer.put(logBytes)
    writer.put(discardedBytes)
    writer.put(ranOutOfMemory)
    writer.put(message)
  }

  public init(from reader: inout WireReader) throws(WireReader.Malformed) {
    guard let reason = Reason(rawValue: try reader.number(UInt8.self)) else { throw WireReader.Malformed() }
    self.reason = reason
    waitStatus = try reader.number()
    wallMs = try reader.number()
    logBytes = try reader.number()
    discardedBytes = try reader.number()
    ranOutOfMemory = try reader.flag()
    message = try reader.text()
  }
}
