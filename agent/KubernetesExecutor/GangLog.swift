internal import Glibc
internal import Synchronization

/// The log of a gang: whole lines of its members in the order in which they come, each with its member's rank, as `srun --label` writes them.
///
/// How much of each member's log is there is known by its lines, so that an agent that starts anew goes on where this one ends.
final class GangLog: Sendable {
  private struct State {
    var size: Int64 = 0
    /// Bytes of members' logs that are written, without their labels.
    var taken: [Int: Int] = [:]
  }
  private let descriptor: Int32
  private let limit: Int64
  private let notice: String
  private let state: Mutex<State>

  init?(_ path: String, limit: Int64, notice: String) {
    let file = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard file >= 0 else { return nil }
    var state = State()
    Self.read(file, into: &state)
    // A line that was being written when an agent died is written anew.
    guard ftruncate(file, off_t(state.size)) == 0 else {
      close(file)
      return nil
    }
    self.state = Mutex(state)
    descriptor = file
    self.limit = limit
    self.notice = notice
  }
  deinit { close(descriptor) }

  private static func read(_ file: Int32, into state: inout State) {
    var buffer = [UInt8](repeating: 0, count: 1 << 18)
    var line: [UInt8] = []
    while true {
      let count = Glibc.read(file, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return }
      var rest = buffer[..<count]
      while let end = rest.firstIndex(of: 0x0a) {
        line += rest[...end]
        rest = rest[(end + 1)...]
        state.size += Int64(line.count)
        let digits = line.prefix { (0x30...0x39).contains($0) }
        if digits.count < 10, let rank = Int(String(decoding: digits, as: UTF8.self)),
          line.dropFirst(digits.count).starts(with: [0x3a, 0x20])
        {
          state.taken[rank, default: 0] += line.count - digits.count - 2
        }
        line.removeAll(keepingCapacity: true)
      }
      line += rest
    }
  }

  var size: Int64 { state.withLock { $0.size } }
  func taken(of rank: Int) -> Int { state.withLock { $0.taken[rank] ?? 0 } }

  /// - Parameters:
  ///   - lines: each with its end.
  ///   - count: of bytes of the member's log that they are made of.
  func write(_ lines: ArraySlice<UInt8>, of rank: Int, count: Int) {
    let label = Array("\(rank): ".utf8)
    var labelled: [UInt8] = []
    var rest = lines
    while !rest.isEmpty {
      let end = rest.firstIndex(of: 0x0a) ?? rest.endIndex - 1
      labelled += label
      labelled += rest[...end]
      rest = rest[(end + 1)...]
    }
    state.withLock { state in
      guard state.size < limit else { return }
      state.taken[rank, default: 0] += count
      if state.size + Int64(labelled.count) > limit {
        labelled = labelled.prefix(Int(limit - state.size)) + Array(notice.utf8)
      }
      state.size += LogFile.put(labelled[...], descriptor)
    }
  }
}

/// One stream of a member's log. Used by one task at a time.
final class MemberLog: LogSink, @unchecked Sendable {
  private let log: GangLog
  private let rank: Int
  private var skip: Int
  /// A line whose end has not come.
  private var line: [UInt8] = []
  /// Longer ones are cut.
  private static let lineBytesMax = 1 << 16

  init(_ log: GangLog, rank: Int) {
    self.log = log
    self.rank = rank
    skip = log.taken(of: rank)
  }

  var size: Int64 { log.size }

  func write(_ bytes: [UInt8]) {
    let known = min(skip, bytes.count)
    skip -= known
    line += bytes[known...]
    if let end = line.lastIndex(of: 0x0a) {
      log.write(line[...end], of: rank, count: end + 1)
      line.removeFirst(end + 1)
    }
    if line.count > Self.lineBytesMax { endLine() }
  }

  func finish(isLast: Bool) -> Bool {
    if isLast, !line.isEmpty { endLine() }
    return line.isEmpty
  }

  private func endLine() {
    log.write((line + [0x0a])[...], of: rank, count: line.count)
    line = []
  }
}
