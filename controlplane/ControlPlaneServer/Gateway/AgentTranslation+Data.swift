import ControlPlaneCore
import FederationAPI
import FederationModel
import SwiftProtobuf

// Data: from the agents' messages to the core's words, and back.

extension CacheInventory {
  init(_ cache: Fubini_Agent_V1_Cache) {
    self.init(
      name: cache.name.told(128), capacity: ByteCount(told: cache.capacityBytes),
      used: ByteCount(told: cache.usedBytes), isWriter: cache.writer,
      exportURL: cache.exportURL.isEmpty ? nil : cache.exportURL.told(1024))
  }
}

extension CacheReport {
  /// What one message may name at most.
  static let replicasMax = 2000

  init(_ report: Fubini_Agent_V1_CacheReport) {
    self.init(
      replicas: report.replicas.prefix(Self.replicasMax).map {
        Replica(key: DataKey($0.key.told(256)), size: ByteCount(told: $0.size))
      }, isFirst: report.first, isLast: report.last)
  }
}

extension DataEvent {
  static let eventsMax = 1000

  /// nil for what a newer agent tells.
  ///
  /// - Parameter cluster: whose agent tells it: what it stored is marked as made there.
  init?(_ event: Fubini_Agent_V1_DataEvent, from cluster: ClusterName) {
    let change: Change
    switch event.event {
    case .ready(let ready):
      change = .ready(
        size: ByteCount(told: ready.size), moved: ByteCount(told: ready.bytesMoved),
        milliseconds: max(0, ready.milliseconds), source: ready.hasSource ? DataSource(ready.source) : nil)
    case .gone(let gone): change = .gone(reason: gone.reason.told(256))
    case .progress(let progress):
      change = .progress(
        done: ByteCount(told: progress.bytesDone),
        rate: max(0, progress.bytesPerSecond), waiting: progress.waiting.told(512),
        source: progress.hasSource ? DataSource(progress.source) : nil)
    case .failed(let failed): change = .failed(message: failed.message.told(4096))
    case .stored(let stored):
      change = .stored(
        failure: stored.failure.told(4096), moved: ByteCount(told: stored.bytesMoved),
        milliseconds: max(0, stored.milliseconds),
        manifest: stored.hasManifest ? StoredArtifact(stored.manifest, from: cluster) : nil)
    case .archived(let archived):
      change = .archived(failure: archived.failure.told(4096), moved: ByteCount(told: archived.bytesMoved))
    case .indexed(let indexed):
      change = .indexed(
        failure: indexed.failure.told(4096),
        manifest: indexed.hasManifest ? StoredArtifact(indexed.manifest, from: cluster) : nil,
        files: max(0, indexed.files), size: ByteCount(told: indexed.bytes), isValidated: !indexed.unvalidated)
    case nil: return nil
    }
    self.init(key: DataKey(event.key.told(256)), change: change)
  }
}

extension StoredArtifact {
  init(_ artifact: Fubini_Agent_V1_StoredArtifact, from cluster: ClusterName) {
    self.init(
      key: artifact.key.told(), size: ByteCount(told: artifact.size), sha256: artifact.sha256.told(),
      archive: ArchiveFormat(artifact.archive), producedOn: cluster, isUnstored: artifact.unstored ? true : nil)
  }
}

extension DataSource {
  init?(_ source: Fubini_Agent_V1_DataSource) {
    switch source.source {
    case .repository(let repository): self = .repository(key: repository.key.isEmpty ? nil : repository.key.told())
    case .origin(let origin):
      self = .origin(DataOrigin(told: origin))
    case .archive(let origin): self = .archive(DataOrigin(told: origin))
    case .export(let export): self = .export(ClusterName(export.cluster.told(63)), url: export.url.told(1024))
    case nil: return nil
    }
  }

  var message: Fubini_Agent_V1_DataSource {
    .with {
      switch self {
      case .repository(let key): $0.repository = .with { $0.key = key ?? "" }
      case .origin(let origin): $0.origin = origin.message
      case .archive(let origin): $0.archive = origin.message
      case .export(let cluster, let url): $0.export = .with { ($0.cluster, $0.url) = (cluster.text, url) }
      }
    }
  }
}

extension SecretAccess {
  /// A secret's values as agents call them: those that are used, and no others.
  func named(_ values: [String: String]) throws -> [String: String] {
    guard let fields else { return values }
    var named: [String: String] = [:]
    for (field, name) in fields {
      guard let value = values[name] else {
        throw FederationError(
          .failedPrecondition,
          "secret \(secret) of project \(project) has no value \(name): set it with `fubini secret set \(secret)`")
      }
      named[field] = value
    }
    return named
  }
}

extension DataOrigin {
  init(told origin: Fubini_Agent_V1_Origin) {
    self.init(uri: origin.uri.told(4096), secret: origin.secret.isEmpty ? nil : origin.secret.told(256))
  }

  var message: Fubini_Agent_V1_Origin { .with { ($0.uri, $0.secret) = (uri, secret ?? "") } }
}

extension Fubini_Agent_V1_StoredArtifact {
  init(_ artifact: StoredArtifact) {
    self.init()
    key = artifact.key
    size = artifact.size.bytes
    sha256 = artifact.sha256
    archive = artifact.archive.message
    producedOn = artifact.producedOn?.text ?? ""
    sources = (artifact.sources ?? []).map(\.message)
  }
}

extension Fubini_Agent_V1_DataObject {
  init(_ object: DataObject) {
    self.init()
    key = object.key.text
    project = object.project.text
    size = object.size.bytes
    files = object.files
    if let list = object.manifest { manifest = Fubini_Agent_V1_StoredArtifact(list) }
    sources = object.sources.map(\.message)
  }
}

extension Fubini_Agent_V1_DataOrders {
  init(_ orders: DataOrders) {
    self.init()
    stage = orders.stage.map(Fubini_Agent_V1_DataObject.init)
    cancel = orders.cancel.map(\.text)
    evict = orders.evict.map(\.text)
    store = orders.store.map { order in
      .with {
        ($0.key, $0.repositoryKey, $0.project) = (order.key.text, order.repositoryKey, order.project.text)
        if let manifest = order.manifest { $0.manifest = Fubini_Agent_V1_StoredArtifact(manifest) }
        if let archive = order.archive { $0.archive = archive.message }
      }
    }
    archive = orders.archive.map { order in
      .with {
        ($0.key, $0.project) = (order.key.text, order.project.text)
        $0.manifest = Fubini_Agent_V1_StoredArtifact(order.manifest)
        $0.target = order.target.message
      }
    }
    index = orders.index.map { order in
      .with {
        $0.key = order.key.text
        $0.project = order.project.text
        $0.origin = order.origin.message
        $0.repositoryKey = order.repositoryKey
      }
    }
    pin = orders.pin.map(\.text)
    unpin = orders.unpin.map(\.text)
    values = orders.values.map { value in .with { ($0.key, $0.value) = (value.key.text, value.value) } }
    complete = orders.isComplete
  }
}
