import FederationModel

/// How many tasks of each class wait, and how fast they are placed. Soft.
struct ClassBacklog: Sendable {
  private struct Line: Sendable {
    var waiting = 0
    /// Placements and seconds, both forgotten alike: their quotient is a rate from the first second on.
    var placed = 0.0
    var seconds = 0.0
    var isServed = false
  }

  private var lines: [PriorityClass: Line] = [:]
  private var lastTick: Timestamp?
  /// Seconds after which a placement counts for a third of a new one.
  private static let memory = 600.0
  /// Fewer placements than these, as far as they are remembered, say nothing of a rate: work of many hours is placed seldom.
  private static let placedMin = 10.0

  mutating func came(_ priorityClass: PriorityClass) { lines[priorityClass, default: Line()].waiting += 1 }
  mutating func left(_ priorityClass: PriorityClass) { lines[priorityClass]?.waiting -= 1 }

  mutating func placed(_ priorityClass: PriorityClass) {
    lines[priorityClass, default: Line()].placed += 1
    lines[priorityClass]!.isServed = true
  }

  /// Time passes. While nobody of a class waits nothing is learnt of how fast it could be served.
  mutating func tick(at now: Timestamp) {
    defer { lastTick = now }
    guard let lastTick, now > lastTick else { return }
    let seconds = (now - lastTick).seconds
    let kept = max(0, 1 - seconds / Self.memory)
    for line in lines.keys where lines[line]!.isServed && lines[line]!.waiting > 0 {
      lines[line]!.placed *= kept
      lines[line]!.seconds = lines[line]!.seconds * kept + seconds
    }
  }

  func waiting(_ priorityClass: PriorityClass) -> Int { lines[priorityClass]?.waiting ?? 0 }

  /// Until all that wait now are placed, at the pace of the last minutes; nil while nobody knows.
  func expectedWait(_ priorityClass: PriorityClass) -> Duration? {
    guard let line = lines[priorityClass], line.seconds >= 1, line.placed >= Self.placedMin else { return nil }
    return .seconds(min(1e9, Double(line.waiting) * line.seconds / line.placed))
  }
}
