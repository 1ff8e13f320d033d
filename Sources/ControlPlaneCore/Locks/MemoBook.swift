import FederationModel
import WorkflowCore

/// The outputs that memoized templates have left, by project.
///
/// All of it is durable. A project keeps so many; beyond that, those go that were taken longest ago.
struct MemoBook: Sendable {
  static let entriesMax = 10_000
  /// Of one entry's outputs as JSON. Argo's caches are config maps, which hold 1 MiB altogether.
  static let bytesMax = 256 << 10

  private var entries: [ProjectName: [MemoName: MemoRow]] = [:]

  subscript(name: MemoName) -> MemoRow? { entries[name.project]?[name] }

  /// Keeps an entry in place of an older one. Returns those that had to go.
  mutating func keep(_ row: MemoRow) -> [MemoName] {
    entries[row.name.project, default: [:]][row.name] = row
    guard let own = entries[row.name.project], own.count > Self.entriesMax else { return [] }
    // A tenth at once, so that the order is not made for every entry.
    let gone = own.values.sorted { ($0.hitAt, $0.name) < ($1.hitAt, $1.name) }.prefix(Self.entriesMax / 10).map(\.name)
    for name in gone { entries[row.name.project]![name] = nil }
    return gone
  }
}
