internal import FederationAPI
internal import FederationModel
internal import Synchronization

/// What the control plane is to be told of data: for each key the latest word alone, so it is bounded by the keys that there are.
final class DataEventOutbox: Sendable {
  /// Objects of fewer bytes are not followed one by one (docs/adr/0015-data-plane.md).
  static let followedBytesMin: Int64 = 1 << 20
  static let eventsMax = 1000

  /// A replica's state, a copy into the repository and a list are told apart: none replaces another.
  private enum Topic: Hashable { case replica, progress, stored, indexed, archived }
  private struct Name: Hashable {
    var key: DataKey
    var topic: Topic
  }
  private let pending = Mutex<[Name: Wire.DataEvent]>([:])

  private func put(_ key: DataKey, _ topic: Topic, _ change: (inout Wire.DataEvent) -> Void) {
    var event = Wire.DataEvent()
    event.key = key.text
    change(&event)
    pending.withLock { pending in
      // A replica's end or arrival makes news of its progress old.
      if topic == .replica { pending[Name(key: key, topic: .progress)] = nil }
      let name = Name(key: key, topic: topic)
      // That it is here says an untold arrival as well, and only that says how it came.
      if case .ready(let ready)? = event.event, !ready.hasSource, let before = pending[name], Self.isArrival(before) {
        return
      }
      pending[name] = event
    }
  }

  /// Whether it tells where a replica's bytes came from: that is said once.
  private static func isArrival(_ event: Wire.DataEvent) -> Bool {
    if case .ready(let ready)? = event.event { ready.hasSource } else { false }
  }

  static func isFollowed(_ key: DataKey, _ size: Int64) -> Bool { key.sha256 == nil || size >= followedBytesMin }

  func ready(_ key: DataKey, size: Int64, moved: Int64, milliseconds: Int64, source: DataSource?) {
    guard Self.isFollowed(key, size) else { return }
    put(key, .replica) {
      $0.ready.size = size
      $0.ready.bytesMoved = moved
      $0.ready.milliseconds = milliseconds
      if let source { $0.ready.source = .init(source) }
    }
  }

  func gone(_ key: DataKey, because reason: String, size: Int64 = .max) {
    guard Self.isFollowed(key, size) else { return }
    put(key, .replica) { $0.gone.reason = reason }
  }

  func progress(_ key: DataKey, done: Int64, of size: Int64, rate: Int64, waiting: String, source: DataSource?) {
    guard Self.isFollowed(key, size) else { return }
    put(key, .progress) {
      $0.progress.bytesDone = done
      $0.progress.bytesPerSecond = rate
      $0.progress.waiting = waiting
      if let source { $0.progress.source = .init(source) }
    }
  }

  func failed(_ key: DataKey, message: String) { put(key, .replica) { $0.failed.message = message } }

  func archived(_ key: DataKey, failure: String, moved: Int64, milliseconds: Int64) {
    put(key, .archived) {
      $0.archived.failure = failure
      $0.archived.bytesMoved = moved
      $0.archived.milliseconds = milliseconds
    }
  }

  /// - Parameter manifest: of a data set that is in the repository as packs now.
  func stored(
    _ key: DataKey, failure: String, moved: Int64, milliseconds: Int64, manifest: StoredArtifact? = nil
  ) {
    put(key, .stored) {
      if let manifest { $0.stored.manifest = .init(manifest) }
      $0.stored.failure = failure
      $0.stored.bytesMoved = moved
      $0.stored.milliseconds = milliseconds
    }
  }

  func indexed(_ key: DataKey, _ indexed: Wire.Indexed) { put(key, .indexed) { $0.indexed = indexed } }

  /// Takes some of what is to be told; empty when there is nothing.
  func take(limit: Int = eventsMax) -> [Wire.DataEvent] {
    pending.withLock { pending in
      let names = Array(pending.keys.prefix(limit))
      return names.compactMap { pending.removeValue(forKey: $0) }
    }
  }

  /// A session began: the report of the whole cache takes the place of what is known of replicas, but for how they came.
  func dropReplicas() {
    pending.withLock { pending in
      pending = pending.filter { name, event in
        (name.topic != .replica && name.topic != .progress) || Self.isArrival(event)
      }
    }
  }
}
