internal import FederationModel

/// What is to be done so that Fluid keeps a replica whole. A pure function of what its objects say.
enum FluidStep: Hashable, Sendable {
  /// All of it is in Fluid's cache.
  case whole
  /// A Dataset of ours is to be made.
  case make
  /// A DataLoad is to be made.
  case load
  /// The DataLoad of this UID has brought nothing more: it is to go, and the try with it.
  case giveUp(uid: String, why: String)
  /// Until an object changes.
  ///
  /// - Parameters:
  ///   - part: of the bytes that are there, 0 to 1.
  ///   - isSettling: the DataLoad has ended, and the Dataset's state may follow.
  case wait(String, part: Double, isSettling: Bool = false)
  case failed(String, isForGood: Bool)

  /// Bytes that Fluid and the federation may count differently.
  private static let tolerance = 0.01

  /// - Parameters:
  ///   - files: of the version.
  ///   - size: of the version.
  ///   - hasSettled: what was to follow the DataLoad's end has had its time.
  init(
    _ place: FluidPlace, _ dataset: FluidDatasetFacts?, _ load: FluidLoadFacts?, size: ByteCount, files: Int64,
    hasSettled: Bool = false
  ) {
    guard let dataset else {
      self =
        place.isMade
        ? .make
        : .failed(
          "there is no Dataset \(place.dataset) in namespace \(place.namespace), which `kubernetes.fluid` names",
          isForGood: false)
      return
    }
    if place.isMade, dataset.key != place.key {
      self = .failed(
        "there is a Dataset \(place.dataset) in namespace \(place.namespace) that is somebody else's", isForGood: true)
      return
    }
    if let load, load.key != place.key {
      self = .failed(
        "there is a DataLoad \(place.name) in namespace \(place.namespace) that is somebody else's", isForGood: true)
      return
    }
    guard !dataset.isDeleting else {
      self = .wait("its Dataset \(place.dataset) is being deleted", part: 0)
      return
    }
    guard dataset.phase != "Failed" else {
      self = .failed("Fluid: the Dataset \(place.dataset) has failed: \(dataset.problem)", isForGood: false)
      return
    }
    guard dataset.phase == "Bound" else {
      let phase = dataset.phase.isEmpty ? "" : " (\(dataset.phase))"
      self = .wait(
        "Fluid has not bound the Dataset \(place.dataset) to a runtime yet\(phase)"
          + (dataset.problem.isEmpty ? "" : ": \(dataset.problem)"), part: 0)
      return
    }
    if let other = Self.difference(place, dataset, size: size, files: files) {
      self = .failed(other, isForGood: true)
      return
    }
    self = Self.loading(place, dataset, load, size: size, hasSettled: hasSettled)
  }

  private static func loading(
    _ place: FluidPlace, _ dataset: FluidDatasetFacts, _ load: FluidLoadFacts?, size: ByteCount, hasSettled: Bool
  ) -> Self {
    let isDone = load?.phase == "Complete" && load?.isDeleting == false
    if isWhole(place, dataset, size: size), isDone || place.path.isEmpty || hasAll(dataset) { return .whole }
    guard let load else { return .load }
    let part = part(place, dataset, size: size)
    if load.isDeleting { return .wait("an earlier DataLoad is being deleted", part: part) }
    switch load.phase {
    case "Failed": return .giveUp(uid: load.uid, why: "Fluid: its DataLoad has failed: \(load.message)")
    case "Complete":
      let there = dataset.cachedPercentage.map { " \($0) % of it is" } ?? " not all of it is"
      let why =
        "its DataLoad is complete, and\(there) in Fluid's cache"
        + (dataset.capacity.isEmpty ? "" : ", which holds \(dataset.capacity)")
      return hasSettled ? .giveUp(uid: load.uid, why: why) : .wait(why, part: part, isSettling: true)
    case "Executing": return .wait("", part: part)
    default: return .wait("Fluid has not begun its DataLoad yet", part: part)
    }
  }

  /// Whether all of it is in Fluid's cache, as far as the Dataset says: of a part of one, that enough bytes are there for it to be.
  static func isWhole(_ place: FluidPlace, _ dataset: FluidDatasetFacts, size: ByteCount) -> Bool {
    guard dataset.phase == "Bound", !dataset.isDeleting else { return false }
    if hasAll(dataset) || size.bytes == 0 { return true }
    guard !place.path.isEmpty else { return false }
    guard let cached = dataset.cached else { return true }
    return Double(cached.bytes) >= Double(size.bytes) * (1 - tolerance)
  }

  private static func hasAll(_ dataset: FluidDatasetFacts) -> Bool { (dataset.cachedPercentage ?? 0) >= 100 }

  private static func part(_ place: FluidPlace, _ dataset: FluidDatasetFacts, size: ByteCount) -> Double {
    if place.path.isEmpty { return min(1, max(0, (dataset.cachedPercentage ?? 0) / 100)) }
    guard let cached = dataset.cached, size.bytes > 0 else { return 0 }
    return min(1, Double(cached.bytes) / Double(size.bytes))
  }

  /// Fluid mounts what is there now: that it is the version, only numbers can tell.
  private static func difference(
    _ place: FluidPlace, _ dataset: FluidDatasetFacts, size: ByteCount, files: Int64
  ) -> String? {
    guard place.path.isEmpty else { return nil }
    let whose = "the Dataset \(place.dataset) is not \(place.key): it has"
    if let count = dataset.files, count > 0, files > 0, count != files {
      return "\(whose) \(count) files, not \(files)"
    }
    guard let total = dataset.size, total.bytes > 0 else { return nil }
    let allowed = max(1_048_576, Double(size.bytes) * tolerance)
    let distance = Double(total.bytes) - Double(size.bytes)
    return distance.magnitude > allowed ? "\(whose) \(total), not \(size)" : nil
  }
}
