/// Cuts a stream of bytes into lines, of which none is kept longer than `limit`.
struct LineSplitter: Sendable {
  enum Line: Equatable, Sendable {
    case whole([UInt8])
    /// It was longer than the limit, and is thrown away.
    case tooLong
  }

  let limit: Int
  private var pending: [UInt8] = []
  private var isSkipping = false

  init(limit: Int) { self.limit = limit }

  /// Empty lines are left out.
  mutating func add(_ bytes: some Collection<UInt8>) -> [Line] {
    var lines: [Line] = []
    var rest = bytes[...]
    while let end = rest.firstIndex(of: 0x0a) {
      take(rest[..<end])
      rest = rest[rest.index(after: end)...]
      if isSkipping {
        lines.append(.tooLong)
      } else if !pending.isEmpty {
        lines.append(.whole(pending))
      }
      isSkipping = false
      pending = []
    }
    take(rest)
    return lines
  }

  private mutating func take(_ bytes: some Collection<UInt8>) {
    guard !isSkipping else { return }
    if pending.count + bytes.count > limit {
      isSkipping = true
      pending = []
    } else {
      pending += bytes
    }
  }
}
