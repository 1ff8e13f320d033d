import FederationModel
import Synchronization

/// Packs that were seen to be in the repository for a version that is about to be made, so that a request which is sent again, because
/// its answer was too late or lost, does not look at all of them anew.
///
/// What is remembered holds while nothing may delete them: packs were asked for just before they were looked at
/// (`DatasetSweep.packAge`), or their manifest was registered (`DatasetSweep.manifestAge`). It is forgotten well before either ends.
final class VerifiedPacks: Sendable {
  struct Name: Hashable, Sendable {
    var project: ProjectName
    /// Of the manifest.
    var sha256: String
  }
  private struct Entry {
    var packs: Set<String>
    var at: Timestamp
  }

  static let life = Duration.seconds(300)
  /// Of all versions together: some 100 MB. Beyond it the oldest are forgotten.
  static let packsMax = 1_000_000

  private let entries = Mutex<[Name: Entry]>([:])

  /// The packs, by their checksums, that were seen for a manifest lately.
  func known(_ name: Name, at now: Timestamp) -> Set<String> {
    entries.withLock { entries in
      guard let entry = entries[name], now < entry.at + Self.life else { return [] }
      return entry.packs
    }
  }

  /// Call only for packs that were asked for, or whose manifest was registered, before they were found.
  func saw(_ packs: [String], for name: Name, at now: Timestamp) {
    entries.withLock { entries in
      entries = entries.filter { now < $0.value.at + Self.life }
      let before = entries[name]?.packs ?? []
      entries[name] = Entry(packs: before.union(packs), at: now)
      var count = entries.values.reduce(0) { $0 + $1.packs.count }
      while count > Self.packsMax, let oldest = entries.min(by: { $0.value.at < $1.value.at }) {
        count -= oldest.value.packs.count
        entries[oldest.key] = nil
      }
    }
  }
}
