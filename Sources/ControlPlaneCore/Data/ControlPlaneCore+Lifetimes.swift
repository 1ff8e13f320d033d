import FederationModel
import HeapModule

/// How long versions of data sets live that nobody uses, and numbers that nobody may have again.
extension ControlPlaneCore {
  /// When a version may have to be looked at is noted. One that is used meanwhile is looked at again then.
  mutating func expect(_ row: DatasetVersionRow) {
    guard let life = data.datasets[row.dataset]?.row.spec.expiresAfter else { return }
    data.lifetimes.insert(VersionDeadline(at: (row.usedAt ?? row.createdAt) + life, key: row.key))
  }

  /// Deletes versions that nobody has used for their data set's `expiresAfter`, and forgets data sets that were removed long ago.
  mutating func expireVersions() {
    var left = configuration.sliceLimit
    while left > 0, let next = data.lifetimes.min, next.at < now {
      left -= 1
      data.lifetimes.removeMin()
      guard let row = data.version(next.key), let life = data.datasets[row.dataset]?.row.spec.expiresAfter else {
        continue
      }
      guard (row.usedAt ?? row.createdAt) + life < now else {
        expect(row)
        continue
      }
      guard (try? refuseInUse(row.dataset, row.number)) != nil else {
        data.lifetimes.insert(VersionDeadline(at: now + Self.busyPause, key: row.key))
        continue
      }
      drop(row.dataset, row.number)
      output.events.append(
        EventRow(at: now, reason: "DatasetExpired", message: "\(row.key) was not used for its lifetime and is deleted"))
    }
    for row in data.removed.values.sorted(by: { $0.reference < $1.reference })
    where row.removedAt.map({ $0 + Self.numbersKept < now }) == true {
      data.removed[row.reference] = nil
      output.deletedDatasets.insert(row.reference)
    }
  }

  /// When a version is looked at again that has outlived its use but is mounted.
  private static let busyPause = Duration.seconds(600)
  /// Longer than an agent can be away and still come back: its certificate is renewed for a month after its end.
  private static let numbersKept = Duration.seconds(400 * 86_400)
}
