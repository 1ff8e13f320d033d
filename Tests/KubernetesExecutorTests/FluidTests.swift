internal import Execution
internal import FederationModel
internal import Testing

@testable internal import KubernetesExecutor

/// What Fluid is asked for, and what its answers mean.
@Suite struct FluidTests {
  private static let key = DataKey(project: "alpha", dataset: "genomes", version: 2)
  private static let mark = "0a1b2c3d"

  static func configuration(
    _ change: (inout FluidConfiguration) -> Void = { _ in }
  ) -> FluidConfiguration {
    var fluid = FluidConfiguration()
    fluid.runtime = .init(kind: "AlluxioRuntime", spec: ["replicas": 2])
    fluid.capacity = .gibibytes(100)
    fluid.datasets["genomes"] = .init()
    change(&fluid)
    return fluid
  }

  private static func place(_ change: (inout FluidConfiguration.Source) -> Void = { _ in }) throws -> FluidPlace {
    let fluid = configuration { change(&$0.datasets["genomes"]!) }
    return try #require(fluid.place(of: key, mark: mark) { _ in "runs" })
  }

  private static func dataset(
    _ place: FluidPlace, phase: String = "Bound", cached: String? = nil, percentage: String? = nil,
    files: String? = nil,
    total: String? = nil, isOurs: Bool = true, deleting: Bool = false
  ) -> FluidDatasetFacts? {
    var metadata: [String: JSONValue] = ["name": .string(place.dataset), "namespace": "runs", "uid": "d1"]
    if isOurs {
      metadata["labels"] = [ObjectName.markLabel: .string(mark)]
      metadata["annotations"] = [FluidObject.keyAnnotation: .string(place.key.text)]
    }
    if deleting { metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z" }
    var states: [String: JSONValue] = ["cacheCapacity": "4.00GiB"]
    if let cached { states["cached"] = .string(cached) }
    if let percentage { states["cachedPercentage"] = .string(percentage) }
    var status: [String: JSONValue] = ["phase": .string(phase), "cacheStates": .object(states)]
    if let files { status["fileNum"] = .string(files) }
    if let total { status["ufsTotal"] = .string(total) }
    return FluidDatasetFacts(["metadata": .object(metadata), "status": .object(status)], mark: mark)
  }

  private static func load(
    _ place: FluidPlace, _ phase: String, isOurs: Bool = true, message: String = ""
  ) -> FluidLoadFacts? {
    var metadata: [String: JSONValue] = ["name": .string(place.name), "namespace": "runs", "uid": "l1"]
    if isOurs {
      metadata["labels"] = [ObjectName.markLabel: .string(mark)]
      metadata["annotations"] = [FluidObject.keyAnnotation: .string(place.key.text)]
    }
    return FluidLoadFacts(
      [
        "metadata": .object(metadata),
        "status": ["phase": .string(phase), "conditions": [["message": .string(message)]]],
      ],
      mark: mark)
  }

  private static func step(
    _ place: FluidPlace, _ dataset: FluidDatasetFacts?, _ load: FluidLoadFacts? = nil, hasSettled: Bool = false
  ) -> FluidStep {
    FluidStep(place, dataset, load, size: .gibibytes(2), files: 7, hasSettled: hasSettled)
  }

  @Test("A data set is Fluid's where the operator says so: by its name, its project's, and its version")
  func places() {
    let fluid = Self.configuration {
      $0.datasets["beta/genomes"] = .init()
      $0.datasets["beta/genomes"]!.dataset = "betas"
      $0.datasets["beta/genomes"]!.version = 4
    }
    func dataset(_ key: DataKey) -> String? {
      fluid.place(of: key, mark: Self.mark) { $0 == "gamma" ? nil : "runs" }?.dataset
    }
    let own = dataset(Self.key)
    #expect(own?.hasPrefix("fubini-\(Self.mark)-") == true)
    // A version is a Dataset of its own, and its name fits into a volume's.
    #expect(dataset(DataKey(project: "alpha", dataset: "genomes", version: 3)) != own)
    #expect((own?.utf8.count ?? 99) <= 40)
    #expect(dataset(DataKey(project: "beta", dataset: "genomes", version: 4)) == "betas")
    #expect(dataset(DataKey(project: "beta", dataset: "genomes", version: 5)) == nil)
    #expect(dataset(DataKey(project: "alpha", dataset: "others", version: 1)) == nil)
    #expect(dataset(DataKey(project: "gamma", dataset: "genomes", version: 1)) == nil)
    #expect(dataset(DataKey(sha256: String(repeating: "a", count: 64))) == nil)
  }

  @Test("A Dataset mounts the origin at its root, with the operator's options; secrets are named and never copied")
  func datasetManifest() throws {
    let place = try Self.place {
      $0.options = ["alluxio.underfs.s3.endpoint": "http://minio:9000"]
      $0.secretOptions = ["aws.accessKeyId": .init(name: "s3", key: "id")]
    }
    let object = FluidObject.dataset(place, mountPoint: "s3://bucket/genomes", mark: Self.mark)
    #expect(object["apiVersion"] == "data.fluid.io/v1alpha1")
    #expect(object["kind"] == "Dataset")
    let mount = object["spec"]?["mounts"]?[0]
    #expect(mount?["mountPoint"] == "s3://bucket/genomes")
    #expect(mount?["path"] == "/")
    #expect(mount?["readOnly"] == true)
    #expect(mount?["options"] == ["alluxio.underfs.s3.endpoint": "http://minio:9000"])
    #expect(
      mount?["encryptOptions"] == [
        ["name": "aws.accessKeyId", "valueFrom": ["secretKeyRef": ["name": "s3", "key": "id"]]]
      ])
    let metadata = try #require(object["metadata"])
    #expect(FluidObject.key(metadata, mark: Self.mark) == Self.key)
    #expect(FluidObject.key(metadata, mark: "ffffffff") == nil)
    let runtime = FluidObject.runtime(
      place, .init(kind: "AlluxioRuntime", spec: ["replicas": 2]), of: "d1", mark: Self.mark)
    // Fluid binds what has the same name; with the Dataset the runtime goes.
    #expect(runtime["metadata"]?["name"] == metadata["name"])
    #expect(runtime["metadata"]?["ownerReferences"]?[0]?["uid"] == "d1")
    #expect(runtime["spec"] == ["replicas": 2])
  }

  @Test("A DataLoad loads what the data set is of its Dataset")
  func loadManifest() throws {
    let whole = FluidObject.load(try Self.place(), mark: Self.mark)
    #expect(whole["spec"]?["target"] == [["path": "/", "replicas": 1]])
    let part = FluidObject.load(
      try Self.place {
        $0.dataset = "archive"
        $0.path = "2024/train"
        $0.copies = 3
      }, mark: Self.mark)
    #expect(part["spec"]?["dataset"] == ["name": "archive", "namespace": "runs"])
    #expect(part["spec"]?["target"] == [["path": "/2024/train", "replicas": 3]])
    #expect(part["spec"]?["loadMetadata"] == true)
  }

  @Test("Dataset, then DataLoad, then progress, then whole")
  func steps() throws {
    let place = try Self.place()
    #expect(Self.step(place, nil) == .make)
    guard case .wait(let unbound, _, _) = Self.step(place, Self.dataset(place, phase: "NotBound")) else {
      Issue.record("a Dataset without a runtime is waited for")
      return
    }
    #expect(unbound.contains("NotBound"))
    let empty = Self.dataset(place, percentage: "0.0%")
    #expect(Self.step(place, empty) == .load)
    guard case .wait(_, let pending, _) = Self.step(place, empty, Self.load(place, "Pending")) else {
      Issue.record("a DataLoad that has not begun is waited for")
      return
    }
    #expect(pending == 0)
    #expect(
      Self.step(place, Self.dataset(place, percentage: "25.0%"), Self.load(place, "Executing")) == .wait("", part: 0.25)
    )
    #expect(Self.step(place, Self.dataset(place, percentage: "100.0%"), Self.load(place, "Executing")) == .whole)
    // What somebody else has loaded need not be loaded.
    #expect(Self.step(place, Self.dataset(place, percentage: "100.0%")) == .whole)
    #expect(Self.step(place, Self.dataset(place, phase: "NotBound", percentage: "100.0%")) != .whole)
  }

  @Test("A DataLoad that ends too early is waited for, then gives way to another; one that fails at once")
  func shortfall() throws {
    let place = try Self.place()
    let most = Self.dataset(place, percentage: "80.0%")
    guard case .wait(let why, let part, let isSettling) = Self.step(place, most, Self.load(place, "Complete")) else {
      Issue.record("the Dataset's state follows later")
      return
    }
    #expect(isSettling && part == 0.8)
    #expect(why.contains("80.0 %") && why.contains("4.00GiB"), "\(why)")
    guard case .giveUp(let uid, _) = Self.step(place, most, Self.load(place, "Complete"), hasSettled: true) else {
      Issue.record("it has had its time")
      return
    }
    #expect(uid == "l1")
    guard case .giveUp(_, let failure) = Self.step(place, most, Self.load(place, "Failed", message: "no such bucket"))
    else {
      Issue.record("a DataLoad that failed is no DataLoad")
      return
    }
    #expect(failure.contains("no such bucket"))
  }

  @Test("I7: objects of the same names that are not ours are not used and not replaced")
  func namesakes() throws {
    let place = try Self.place()
    for step in [
      Self.step(place, Self.dataset(place, percentage: "100.0%", isOurs: false)),
      Self.step(place, Self.dataset(place, percentage: "0.0%"), Self.load(place, "Complete", isOurs: false)),
    ] {
      guard case .failed(let why, let isForGood) = step else {
        Issue.record("\(step)")
        continue
      }
      #expect(isForGood && why.contains("somebody else's"))
    }
    // A Dataset that the operator names is somebody else's, and used.
    let named = try Self.place { $0.dataset = "archive" }
    #expect(Self.step(named, Self.dataset(named, percentage: "100.0%", isOurs: false)) == .whole)
    guard case .failed(_, let isForGood) = Self.step(named, nil) else {
      Issue.record("no Dataset of somebody else's is made")
      return
    }
    #expect(!isForGood)
  }

  @Test("A Dataset with other files or another size than the version is not that version")
  func difference() throws {
    let place = try Self.place()
    for other in [
      Self.dataset(place, percentage: "100.0%", files: "8"),
      Self.dataset(place, percentage: "100.0%", total: "3.00GiB"),
    ] {
      guard case .failed(let why, isForGood: true) = Self.step(place, other) else {
        Issue.record("it was taken for the version")
        continue
      }
      #expect(why.contains("is not dataset:alpha/genomes@2"))
    }
    let same = Self.dataset(place, percentage: "100.0%", files: "7", total: "2.00GiB")
    #expect(Self.step(place, same) == .whole)
    // While Fluid counts, nothing is known.
    #expect(Self.step(place, Self.dataset(place, percentage: "100.0%", total: "[Calculating]")) == .whole)
  }

  @Test("A part of a Dataset is whole when its DataLoad is and enough bytes are there, and not when they are gone")
  func parts() throws {
    let place = try Self.place {
      $0.dataset = "archive"
      $0.path = "train"
    }
    let loaded = Self.dataset(place, cached: "3.00GiB", percentage: "30.0%", isOurs: false)
    #expect(Self.step(place, loaded) == .load)
    #expect(Self.step(place, loaded, Self.load(place, "Complete")) == .whole)
    let evicted = Self.dataset(place, cached: "1.00GiB", percentage: "10.0%", isOurs: false)
    #expect(Self.step(place, evicted, Self.load(place, "Complete")) != .whole)
    #expect(!FluidStep.isWhole(place, try #require(evicted), size: .gibibytes(2)))
    #expect(FluidStep.isWhole(place, try #require(loaded), size: .gibibytes(2)))
  }

  @Test(
    "Sizes are read as Fluid prints them",
    arguments: [
      ("0.00B", 0), ("1.50KiB", 1536), ("2.00GiB", 2 << 30), ("3GB", 3 << 30), ("512", 512), ("[Calculating]", nil),
      ("1.0XB", nil),
    ] as [(String, Int64?)])
  func sizes(_ text: String, _ bytes: Int64?) {
    #expect(FluidObject.size(text)?.bytes == bytes)
  }

  @Test("A pod mounts Fluid's volume once, read-only, and fetches nothing; never one of another namespace")
  func pods() throws {
    func request(_ namespace: String) -> RunRequest {
      JobManifestTests.request {
        $0.inputs = [
          StagedInput(hostPath: "/c/a", path: "/a", claim: .init(name: "genomes", namespace: namespace)),
          StagedInput(
            hostPath: "/c/b", path: "/b", claim: .init(name: "genomes", namespace: namespace, subPath: "x/y")),
        ]
      }
    }
    let manifest = try JobManifestTests.manifest(request("runs"))
    #expect(manifest.shared.inputs.isEmpty)
    let volumes = JobManifestTests.pod(manifest)["volumes"]?.arrayValue ?? []
    #expect(
      volumes.filter { $0["persistentVolumeClaim"] != nil } == [
        ["name": "data-0", "persistentVolumeClaim": ["claimName": "genomes", "readOnly": true]]
      ])
    let mounts = JobManifestTests.main(manifest)["volumeMounts"]?.arrayValue ?? []
    #expect(mounts.contains(["name": "data-0", "mountPath": "/a", "readOnly": true]))
    #expect(mounts.contains(["name": "data-0", "mountPath": "/b", "readOnly": true, "subPath": "x/y"]))
    #expect(throws: FederationError.self) { try JobManifestTests.manifest(request("others")) }
  }
}
