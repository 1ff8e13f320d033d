internal import FederationModel

/// Which object of Fluid's it is.
struct FluidIdentity: Hashable, Sendable {
  var name: String
  var namespace: String
  var uid: String
  /// What it is of, when this agent has made it; nil: it is somebody else's (I7).
  var key: DataKey?
  var isDeleting: Bool

  init?(_ object: JSONValue, mark: String) {
    guard let metadata = object["metadata"], let name = metadata["name"]?.stringValue,
      let uid = metadata["uid"]?.stringValue
    else { return nil }
    self.name = name
    self.uid = uid
    namespace = metadata["namespace"]?.stringValue ?? ""
    key = FluidObject.key(metadata, mark: mark)
    isDeleting = metadata["deletionTimestamp"]?.stringValue != nil
  }
}

/// What counts of an object of Fluid's.
protocol FluidFacts: Hashable, Sendable {
  var identity: FluidIdentity { get set }
}

extension FluidFacts {
  var name: String { identity.name }
  var namespace: String { identity.namespace }
  var uid: String { identity.uid }
  var key: DataKey? { identity.key }
  var isDeleting: Bool {
    get { identity.isDeleting }
    set { identity.isDeleting = newValue }
  }
}

/// What counts of a Dataset.
///
/// - Source: Fluid, api/v1alpha1/dataset_types.go.
struct FluidDatasetFacts: FluidFacts {
  var identity: FluidIdentity
  /// `Bound` is the one in which it can be mounted.
  var phase = ""
  /// Of all its bytes; nil while Fluid does not know.
  var cachedPercentage: Double?
  var cached: ByteCount?
  /// As Fluid says it.
  var capacity = ""
  /// nil while Fluid does not know.
  var files: Int64?
  var size: ByteCount?
  /// Of its last condition that does not hold.
  var problem = ""

  init?(_ object: JSONValue, mark: String) {
    guard let identity = FluidIdentity(object, mark: mark) else { return nil }
    self.identity = identity
    guard let status = object["status"] else { return }
    phase = status["phase"]?.stringValue ?? ""
    if let states = status["cacheStates"] {
      cachedPercentage = states["cachedPercentage"]?.stringValue.flatMap { text in
        Double(text.hasSuffix("%") ? text.dropLast() : text[...])
      }
      cached = states["cached"]?.stringValue.flatMap(FluidObject.size)
      capacity = states["cacheCapacity"]?.stringValue ?? ""
    }
    files = status["fileNum"]?.stringValue.flatMap { Int64($0) }
    size = status["ufsTotal"]?.stringValue.flatMap(FluidObject.size)
    problem =
      status["conditions"]?.arrayValue?.last { $0["status"]?.stringValue != "True" }.map {
        bounded($0["message"]?.stringValue ?? $0["reason"]?.stringValue ?? "")
      } ?? ""
  }
}

/// What counts of a DataLoad.
///
/// - Source: Fluid, api/v1alpha1/dataload_types.go and status.go.
struct FluidLoadFacts: FluidFacts {
  var identity: FluidIdentity
  /// `Pending`, `Executing`, `Complete` or `Failed`.
  var phase = ""
  var message = ""

  init?(_ object: JSONValue, mark: String) {
    guard let identity = FluidIdentity(object, mark: mark) else { return nil }
    self.identity = identity
    phase = object["status"]?["phase"]?.stringValue ?? ""
    message =
      object["status"]?["conditions"]?.arrayValue?.last.map {
        bounded($0["message"]?.stringValue ?? $0["reason"]?.stringValue ?? "")
      } ?? ""
  }
}

/// How objects of Fluid's are known as ours (I7), and how they are made. Pure.
enum FluidObject {
  /// What an object is for: the replica's key.
  static let keyAnnotation = "fubini.dev/data"
  static let root = "/"

  /// nil for what is not ours.
  static func key(_ metadata: JSONValue, mark: String) -> DataKey? {
    guard metadata["labels"]?[ObjectName.markLabel]?.stringValue == mark,
      let key = metadata["annotations"]?[keyAnnotation]?.stringValue,
      metadata["name"]?.stringValue == "fubini-\(mark)-\(FNV.text(key))"
    else { return nil }
    return DataKey(key)
  }

  /// `1.50GiB`, as Fluid and its runtimes print sizes: units are powers of 1024, however they are written.
  static func size(_ text: String) -> ByteCount? {
    let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
    guard let number = Double(digits), number.isFinite else { return nil }
    let unit = text.dropFirst(digits.count).drop { $0 == " " }.uppercased().replacing("I", with: "")
    guard let power = ["", "B", "KB", "MB", "GB", "TB", "PB"].firstIndex(of: unit) else { return nil }
    var bytes = number
    for _ in 1..<max(1, power) { bytes *= 1024 }
    guard bytes < 9e18 else { return nil }
    return ByteCount(Int64(bytes))
  }

  private static func metadata(_ place: FluidPlace, mark: String, owner: JSONValue? = nil) -> JSONValue {
    var metadata: [String: JSONValue] = [
      "name": .string(place.name), "namespace": .string(place.namespace),
      "labels": [ObjectName.markLabel: .string(mark)], "annotations": [keyAnnotation: .string(place.key.text)],
    ]
    if let owner { metadata["ownerReferences"] = [owner] }
    return .object(metadata)
  }

  /// - Parameter mountPoint: what is declared, or the data set's origin.
  static func dataset(_ place: FluidPlace, mountPoint: String, mark: String) -> JSONValue {
    var mount: [String: JSONValue] = [
      "name": "data", "mountPoint": .string(mountPoint), "path": .string(root), "readOnly": true,
    ]
    if !place.source.options.isEmpty { mount["options"] = .object(place.source.options.mapValues { .string($0) }) }
    if !place.source.secretOptions.isEmpty {
      mount["encryptOptions"] = .array(
        place.source.secretOptions.sorted { $0.key < $1.key }.map { name, secret in
          [
            "name": .string(name),
            "valueFrom": ["secretKeyRef": ["name": .string(secret.name), "key": .string(secret.key)]],
          ]
        })
    }
    return [
      "apiVersion": .string(FluidConfiguration.version), "kind": "Dataset", "metadata": metadata(place, mark: mark),
      "spec": ["mounts": [.object(mount)], "accessModes": ["ReadOnlyMany"]],
    ]
  }

  /// Of a Dataset of ours, and gone with it: Fluid binds what has the same name.
  static func runtime(_ place: FluidPlace, _ runtime: FluidConfiguration.Runtime, of uid: String, mark: String)
    -> JSONValue
  {
    [
      "apiVersion": .string(FluidConfiguration.version), "kind": .string(runtime.kind),
      "metadata": metadata(
        place, mark: mark,
        owner: [
          "apiVersion": .string(FluidConfiguration.version), "kind": "Dataset", "name": .string(place.name),
          "uid": .string(uid),
        ]), "spec": runtime.spec,
    ]
  }

  static func load(_ place: FluidPlace, mark: String) -> JSONValue {
    [
      "apiVersion": .string(FluidConfiguration.version), "kind": "DataLoad", "metadata": metadata(place, mark: mark),
      "spec": [
        "dataset": ["name": .string(place.dataset), "namespace": .string(place.namespace)], "loadMetadata": true,
        "target": [["path": .string(root + place.path), "replicas": .integer(Int64(place.source.copies))]],
      ],
    ]
  }
}
