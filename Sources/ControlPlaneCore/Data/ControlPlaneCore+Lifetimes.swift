import FederationModel

/// How long versions of data sets live that nobody uses, and numbers that nobody may have again.
extension ControlPlaneCore {
  /// When a version may have to be looked at is noted. One that is used meanwhile is looked at again then.
  mutating func expect(_ row: DatasetVersionRow) {
    if let moment = nextDeadline(of: row) { data.look(at: row.key, by: moment) }
  }

  /// When a version is archived or deleted unless somebody uses it.
  private func nextDeadline(of row: DatasetVersionRow) -> Timestamp? {
    guard let spec = data.datasets[row.dataset]?.row.spec else { return nil }
    let archive = row.mayBeArchived ? spec.archive?.after : nil
    return [archive, spec.expiresAfter].compactMap { $0 }.min().map { (row.usedAt ?? row.createdAt) + $0 }
  }

  /// Deletes versions that nobody has used for their data set's `expiresAfter`, and forgets data sets that were removed long ago.
  mutating func expireVersions() {
    var left = configuration.sliceLimit
    while left > 0, let next = data.popLook(before: now) {
      left -= 1
      guard next.isDue else { continue }
      guard let row = data.version(next.key), let spec = data.datasets[row.dataset]?.row.spec else { continue }
      guard let moment = nextDeadline(of: row), moment < now else {
        expect(row)
        continue
      }
      guard let life = spec.expiresAfter, (row.usedAt ?? row.createdAt) + life < now else {
        archive(row)
        if let life = spec.expiresAfter {
          data.look(at: row.key, by: (row.usedAt ?? row.createdAt) + life)
        }
        continue
      }
      guard (try? refuseInUse(row.dataset, row.number)) != nil, pending.readers(of: row.key) == 0 else {
        data.look(at: row.key, by: now + Self.busyPause)
        continue
      }
      drop(row.dataset, row.number)
      if row.dataset.isForeign {
        forgetForeign(row.dataset)
        continue
      }
      output.events.append(
        EventRow(at: now, reason: "DatasetExpired", message: "\(row.key) was not used for its lifetime and is deleted"))
    }
    left = configuration.sliceLimit
    while left > 0, let forgotten = data.popRemoved(before: now + (.zero - Self.numbersKept)) {
      left -= 1
      output.deletedDatasets.formUnion(forgotten)
    }
  }

  /// A hidden data set without versions is nothing.
  private mutating func forgetForeign(_ reference: DatasetReference) {
    guard let entry = data.datasets[reference], entry.versions.isEmpty, entry.askers.isEmpty else { return }
    if let origin = entry.row.spec.origin {
      data.foreign[ForeignName(project: reference.project, origin: origin)] = nil
    }
    data.datasets[reference] = nil
    output.datasets[reference] = nil
    output.deletedDatasets.insert(reference)
  }

  /// When a version is looked at again that has outlived its use but is mounted.
  private static let busyPause = Duration.seconds(600)
  /// Longer than an agent can be away and still come back: its certificate is renewed for a month after its end.
  private static let numbersKept = Duration.seconds(400 * 86_400)
}
