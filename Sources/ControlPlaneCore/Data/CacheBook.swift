import FederationModel
import SchedulerCore

/// What one cache holds of what is followed, and in which order it would go: the least valuable first.
struct CacheBook: Sendable {
  private struct Entry: Sendable {
    var size: ByteCount
    /// Names it in `order`.
    var number: Int
    /// Pinned, or nowhere else.
    var isKept = true
    /// Its agent was told to let it go, and has not answered.
    var isLeaving = false
    var value = 0.0
    /// What its agent was told last; 0 is what it believes without being told.
    var told = 0.0
    /// Uses by runs: each counts less the longer it is ago.
    var heat = 0.0
    var heatAt = Timestamp.epoch
  }

  private var entries: [DataKey: Entry] = [:]
  private var order = EvictionOrder()
  private var keysByNumber: [Int: DataKey] = [:]
  private var lastNumber = 0
  /// Of all that is here.
  private(set) var held = ByteCount.zero
  /// Of those that may go.
  private(set) var evictable = ByteCount.zero
  /// Of those that were told to go.
  private(set) var leaving = ByteCount.zero
  /// Of what moves here.
  var expected = ByteCount.zero

  /// Until a use counts half.
  private static let heatHalfLife = 6 * 3600.0

  var keys: some Sequence<DataKey> { entries.keys }
  var isEmpty: Bool { entries.isEmpty }
  func contains(_ key: DataKey) -> Bool { entries[key] != nil }
  /// Taken, by what moves here, too.
  var used: ByteCount { held + expected }

  mutating func insert(_ key: DataKey, _ size: ByteCount) {
    if entries[key] != nil { return stay(key) }
    lastNumber += 1
    entries[key] = Entry(size: size, number: lastNumber)
    keysByNumber[lastNumber] = key
    held += size
  }

  mutating func remove(_ key: DataKey) {
    guard let entry = entries[key] else { return }
    keep(key, true)
    stay(key)
    entries[key] = nil
    keysByNumber[entry.number] = nil
    held -= entry.size
  }

  /// Whether it must stay; what is not here is no error.
  mutating func keep(_ key: DataKey, _ isKept: Bool) {
    guard let entry = entries[key], entry.isKept != isKept else { return }
    entries[key]!.isKept = isKept
    if isKept {
      evictable -= entry.size
      order.remove(entry.number)
    } else {
      evictable += entry.size
      if !entry.isLeaving { order.update(entry.number, value: entry.value) }
    }
  }

  /// It is here after all.
  private mutating func stay(_ key: DataKey) {
    guard let entry = entries[key], entry.isLeaving else { return }
    entries[key]!.isLeaving = false
    leaving -= entry.size
    if !entry.isKept { order.update(entry.number, value: entry.value) }
  }

  /// What would go first; nil when nothing is left that may go.
  var least: DataKey? { order.least.flatMap { keysByNumber[$0] } }

  /// The least valuable replica is on its way out.
  ///
  /// - Returns: its size; nil when nothing is left that may go.
  mutating func dismissLeast() -> ByteCount? {
    guard let number = order.evict(), let key = keysByNumber[number], let size = entries[key]?.size else { return nil }
    entries[key]!.isLeaving = true
    leaving += size
    return size
  }

  // MARK: Values

  /// A run reads it here.
  mutating func used(_ key: DataKey, at now: Timestamp) {
    guard let entry = entries[key] else { return }
    entries[key]!.heat = Self.decayed(entry.heat, since: entry.heatAt, at: now) + 1
    entries[key]!.heatAt = now
  }

  func heat(of key: DataKey, at now: Timestamp) -> Double {
    entries[key].map { Self.decayed($0.heat, since: $0.heatAt, at: now) } ?? 0
  }

  private static func decayed(_ heat: Double, since: Timestamp, at now: Timestamp) -> Double {
    guard heat > 0 else { return 0 }
    var halves = max(0, (now - since).seconds) / heatHalfLife
    var left = heat
    // Without a power function: whole halves, and a straight line between them.
    while halves >= 1, left > 1e-6 {
      left /= 2
      halves -= 1
    }
    return left * (1 - min(1, halves) / 2)
  }

  /// What it is worth from now on.
  ///
  /// - Parameter isTouched: it begins to age anew; false: it is as old as it was.
  /// - Returns: whether its agent is to be told: it believes something else by a fifth at least.
  mutating func revalue(_ key: DataKey, _ value: Double, isTouched: Bool) -> Bool {
    guard var entry = entries[key] else { return false }
    let change = value - entry.value
    entry.value = value
    let isNews = abs(value - entry.told) > max(value, entry.told) * 0.2
    if isNews { entry.told = value }
    entries[key] = entry
    if !entry.isKept, !entry.isLeaving {
      if isTouched { order.update(entry.number, value: value) } else { order.shift(entry.number, by: change) }
    }
    return isNews
  }

  /// All that an agent is to know after a welcome.
  mutating func tellAll() -> [DataKey: Double] {
    var values: [DataKey: Double] = [:]
    for (key, entry) in entries {
      entries[key]!.told = entry.value
      if entry.value > 0 { values[key] = entry.value }
    }
    return values
  }

  /// Its agent begins anew: whatever it was told to let go is told again if need be.
  mutating func forgetLeaving() { for (key, entry) in entries where entry.isLeaving { stay(key) } }
}
