import ControlPlaneCore
import FederationModel
import SchedulerCore
import Testing
import WorkflowCore

@Suite("What makes room in caches")
struct EvictionTests {
  private func key(_ number: Int32) -> DataKey { DataKey(project: "default", dataset: "water", version: number) }

  /// A cluster whose cache of 3 GiB holds the versions 1, 2 and 3.
  private func full() -> Federation {
    var federation = Federation.withCaches(["a"])
    federation.disconnect("a")
    federation.agents["a"]!.cache = CacheInventory(name: "a", capacity: .gibibytes(3))
    federation.connect("a")
    federation.settle()
    federation.createWater()
    for number in 1...4 as ClosedRange<Int32> {
      federation.uploadWater()
      guard number < 4 else { continue }
      federation.tell("a", key(number), .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    }
    return federation
  }

  @Test("The replica that waiting tasks read stays, one that nobody reads goes; a refusal is believed")
  func byValue() throws {
    var federation = full()
    _ = federation.ask(.cordon("a", reason: "so that its reader waits"))
    _ = try federation.submit("reads", readsWater())
    federation.settle()
    _ = federation.ask(.dataset(water, .pin(version: 3, cluster: "a", true)))
    _ = federation.ask(.dataset(water, .prefetch(version: 4, cluster: "a")))
    #expect(federation.agents["a"]!.orders.evict == [key(2)])
    let values = federation.agents["a"]!.orders.values.reduce(into: [DataKey: Double]()) { $0[$1.key] = $1.value }
    #expect(try #require(values[key(1)]) > 10 * (values[key(2)] ?? 0))
    // Somebody there reads it by now.
    federation.tell("a", key(2), .ready(size: gigabyte, moved: .zero, milliseconds: 0, source: nil))
    #expect(federation.database.replicas.count == 3)
    federation.tell("a", key(2), .gone(reason: "evicted"))
    federation.tell(
      "a", key(4), .ready(size: gigabyte, moved: gigabyte, milliseconds: 9, source: .repository(key: nil)))
    #expect(Set(federation.database.replicas.keys.map(\.key)) == [key(1), key(3), key(4)])
  }

  @Test("What is dear to fetch again outlives what is cheap, and what runs read lately what they did not")
  func byCost() throws {
    var federation = full()
    _ = try federation.submit("reads", readsWater())
    federation.mustEnd()
    federation.deliverAll()
    _ = federation.ask(.dataset(water, .prefetch(version: 4, cluster: "a")))
    #expect(federation.agents["a"]!.orders.evict == [key(2)])
  }

  @Test("I4: what a run reads makes room for itself of what no run reads, never of its own inputs")
  func byRuns() throws {
    var federation = full()
    _ = try federation.submit("reads", readsWater(4))
    federation.settle()
    federation.plan()
    federation.settle()
    federation.deliverAll()
    #expect(federation.agents["a"]!.runs.count == 1)
    #expect(federation.agents["a"]!.orders.evict.count == 1)
  }
}

@Suite("Where data may be")
struct ResidencyTests {
  @Test("A copy on a cluster that residency excludes from now on goes, pinned or not; the others stay")
  func removesCopies() throws {
    var federation = Federation.withCaches(["a", "b"])
    federation.createWater()
    federation.uploadWater()
    let key = DataKey(project: "default", dataset: "water", version: 1)
    for cluster in ["a", "b"] {
      _ = federation.ask(.dataset(water, .prefetch(version: 1, cluster: ClusterName(cluster))))
      federation.deliverAll()
      federation.tell(
        ClusterName(cluster), key,
        .ready(size: gigabyte, moved: gigabyte, milliseconds: 9, source: .repository(key: nil)))
      _ = federation.ask(.dataset(water, .pin(version: 1, cluster: ClusterName(cluster), true)))
    }
    #expect(federation.database.replicas.count == 2)
    var spec = ClusterSpec(name: "b", kind: .process)
    spec.labels = ["region": "eu"]
    _ = federation.ask(.updateCluster(spec))
    _ = federation.ask(
      .dataset(water, .update(DatasetSpec(project: "default", name: "water", allowedClusters: ["region": "eu"]))))
    federation.deliverAll()
    #expect(federation.database.replicas.keys.map(\.cache) == ["b"])
    #expect(federation.agents["a"]!.orders.evict == [key] && federation.agents["b"]!.orders.evict.isEmpty)
    #expect(federation.agents["a"]!.orders.unpin == [key])
  }

  @Test("A data set whose files are on a cluster that there is not is refused")
  func unknownHome() {
    var federation = Federation.withCaches(["a"])
    let origin = DataOrigin(uri: "file://nowhere/data")
    let spec = DatasetSpec(project: "default", name: "lost", origin: origin)
    guard
      case .failure(let error)? = federation.ask(
        .dataset(DatasetReference(project: "default", name: "lost"), .create(spec)))
    else {
      Issue.record("it is taken")
      return
    }
    #expect(error.code == .notFound && error.publicMessage.contains("there is no cluster nowhere"))
  }
}

@Suite("Inputs of which a document knows only where they are")
struct ForeignInputTests {
  private func reads(_ source: String) -> String {
    """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {name: reads}
    spec:
      entrypoint: main
      templates:
      - name: main
        inputs: {artifacts: [{name: in, path: /in, \(source)}]}
        container: {image: any, command: ["true"]}
    """
  }
  private let bucket =
    "s3: {bucket: b, key: x.bam, accessKeySecret: {name: k, key: a}, secretKeySecret: {name: k, key: s}}"

  private func list(_ order: DataOrders.Index, _ sha256: String) -> StoredArtifact {
    StoredArtifact(key: order.repositoryKey, size: ByteCount(90), sha256: sha256, archive: .none)
  }

  @Test("Its size is asked once, it counts as an input, and as long as it stays the same nobody fetches it again")
  func asksOnce() throws {
    var federation = Federation.withCaches(["a"])
    _ = try federation.submit("one", reads(bucket))
    _ = try federation.submit("two", reads(bucket))
    federation.settle()
    federation.plan()
    federation.settle()
    federation.deliverAll()
    let order = try #require(federation.agents["a"]!.orders.index.first)
    #expect(federation.agents["a"]!.orders.index.count == 1 && order.origin.uri == "s3://b/x.bam")
    #expect(federation.agents["a"]!.runs.isEmpty)
    let reason = federation.core.reasons(
      in: WorkflowReference(project: "default", name: "one"), of: [NodeID(0)])
    #expect(
      reason.values.first?.contains("waits until the agent of a has looked at its input in, s3://b/x.bam") == true)
    #expect(federation.core.secretAccess(of: order.key, named: "k", on: "a")?.fields?["accessKeyId"] == "a")
    federation.tell("a", order.key, .indexed(failure: "", manifest: list(order, "m"), files: 1, size: gigabyte))
    federation.plan()
    federation.settle()
    federation.deliverAll()
    let runs = federation.agents["a"]!.runs
    #expect(runs.count == 2)
    for run in runs.values {
      guard case .foreign(let foreign) = run.assignment.spec.inputs[0].source else {
        Issue.record("\(run.assignment.spec.inputs)")
        continue
      }
      #expect(foreign.object?.key == order.key && foreign.object?.size == gigabyte)
      #expect(foreign.object?.sources.contains { if case .origin = $0 { true } else { false } } == true)
    }
    // Two runs, one transfer (I5).
    #expect(federation.database.transfers.count == 1)
    federation.tell(
      "a", order.key, .ready(size: gigabyte, moved: gigabyte, milliseconds: 9, source: .origin(order.origin)))
    federation.mustEnd()
    // Later it is looked at again. The same list: the same bytes, which are there.
    federation.clock = federation.clock + .seconds(600)
    _ = try federation.submit("three", reads(bucket))
    federation.settle()
    federation.deliverAll()
    let again = try #require(federation.agents["a"]!.orders.index.last)
    #expect(again.key != order.key)
    federation.tell("a", again.key, .indexed(failure: "", manifest: list(again, "m"), files: 1, size: gigabyte))
    federation.mustEnd()
    #expect(federation.database.transfers.count == 1)
    #expect(federation.database.versions.keys.map(\.text) == [order.key.text])
    // Another list: other bytes.
    federation.clock = federation.clock + .seconds(600)
    _ = try federation.submit("four", reads(bucket))
    federation.settle()
    federation.deliverAll()
    let changed = try #require(federation.agents["a"]!.orders.index.last)
    federation.tell("a", changed.key, .indexed(failure: "", manifest: list(changed, "n"), files: 1, size: gigabyte))
    federation.mustEnd()
    #expect(federation.database.transfers.count == 2)
    #expect(federation.database.workflows.values.allSatisfy { $0.status.phase.isTerminal })
  }

  @Test("A plan has it looked at once, counts it, and leaves it for whoever submits the workflow")
  func plansKnowIt() throws {
    var federation = Federation.withCaches(["a"])
    let definition = try Federation.definition(reads(bucket))
    func forecaster(reading inputs: [UnseenInput]) throws -> Forecaster {
      let basis = try federation.core.forecastBasis(of: definition, in: "default", reading: inputs)
      return try Forecaster(try WorkflowProgram(definition), name: "planned", basis: basis)
    }
    let unseen = try forecaster(reading: []).unseenInputs()
    #expect(unseen.count == 1)
    let unknown = try forecaster(reading: unseen).forecast()
    #expect(unknown.tasks[0].moved == .zero)
    #expect(unknown.unknowns.contains { $0.contains("s3://b/x.bam: nobody has looked at it yet") })
    for _ in 1...2 {
      guard case .success(.looking)? = federation.ask(.lookAhead(unseen, "default")) else {
        Issue.record("it is not looked at")
        return
      }
    }
    federation.deliverAll()
    let order = try #require(federation.agents["a"]!.orders.index.first)
    #expect(federation.agents["a"]!.orders.index.count == 1 && order.origin.uri == "s3://b/x.bam")
    #expect(federation.core.seen(unseen, of: "default").isEmpty)
    federation.tell("a", order.key, .indexed(failure: "", manifest: list(order, "m"), files: 1, size: gigabyte))
    let known = try forecaster(reading: unseen)
    #expect(known.unseenInputs().isEmpty)
    #expect(known.forecast().tasks[0].moved == gigabyte && federation.database.transfers.isEmpty)
    _ = try federation.submit("one", reads(bucket))
    federation.mustEnd()
    #expect(federation.agents["a"]!.orders.index.count <= 1 && federation.database.versions.count == 1)
    // Another project is told nothing of what this one reads.
    #expect(federation.core.seen(unseen, of: "other").isEmpty)
  }

  @Test("A plan says why an input of its workflow cannot be read")
  func plansSayWhy() throws {
    var federation = Federation.withCaches(["a"])
    let definition = try Federation.definition(reads(bucket))
    let program = try WorkflowProgram(definition)
    let unseen = try Forecaster(
      program, name: "planned", basis: try federation.core.forecastBasis(of: definition, in: "default")
    ).unseenInputs()
    _ = federation.ask(.lookAhead(unseen, "default"))
    federation.deliverAll()
    let order = try #require(federation.agents["a"]!.orders.index.first)
    federation.tell("a", order.key, .indexed(failure: "AccessDenied", manifest: nil, files: 0, size: .zero))
    let basis = try federation.core.forecastBasis(of: definition, in: "default", reading: unseen)
    let forecast = try Forecaster(program, name: "planned", basis: basis).forecast()
    #expect(forecast.unknowns.contains { $0.contains("s3://b/x.bam, cannot be read: AccessDenied") })
  }

  @Test("What has neither checksum nor time is never taken for the same")
  func unvalidated() throws {
    var federation = Federation.withCaches(["a"])
    var keys: Set<DataKey> = []
    for name in ["one", "two"] {
      _ = try federation.submit(name, reads("http: {url: \"https://host/x\"}"))
      federation.settle()
      federation.deliverAll()
      let order = try #require(federation.agents["a"]!.orders.index.last)
      federation.tell(
        "a", order.key,
        .indexed(failure: "", manifest: list(order, "m"), files: 1, size: gigabyte, isValidated: false))
      keys.insert(order.key)
      federation.mustEnd()
    }
    #expect(keys.count == 2 && federation.database.versions.count == 2)
  }

  @Test("A leader's restart asks again; what a placed task was found to read stays what it is")
  func survivesTheLeader() throws {
    var federation = Federation.withCaches(["a"])
    _ = try federation.submit("one", reads(bucket))
    federation.settle()
    federation.crash()
    federation.connect("a")
    federation.settle()
    federation.deliverAll()
    let order = try #require(federation.agents["a"]!.orders.index.last)
    federation.tell("a", order.key, .indexed(failure: "", manifest: list(order, "m"), files: 1, size: gigabyte))
    federation.plan()
    federation.settle()
    federation.crash()
    federation.connect("a")
    federation.settle()
    federation.deliverAll()
    let run = try #require(federation.agents["a"]!.runs.values.first)
    guard case .foreign(let foreign) = run.assignment.spec.inputs[0].source else {
      Issue.record("\(run.assignment.spec.inputs)")
      return
    }
    #expect(foreign.object?.key == order.key)
  }

  /// Ends the only run of a workflow, which has put its output elsewhere.
  private func end(_ federation: inout Federation, _ name: String) throws {
    federation.plan()
    federation.settle()
    federation.deliverAll()
    let run = try #require(
      federation.agents["a"]!.runs.first {
        $0.value.assignment.workflowName == name && !$0.value.assignment.spec.outputArtifacts.isEmpty
      })
    let target = run.value.assignment.spec.outputArtifacts[0].target
    #expect(target?.uri == "s3://b/dir/made" && target?.secret == "k" && target?.fields?["accessKeyId"] == "a")
    #expect(run.value.assignment.spec.objects == [ProjectObject(.secret, "k")], "the agent may ask for what opens it")
    let made = StoredArtifact(key: "dir/made", size: .zero, sha256: "", archive: .none)
    federation.endHere(
      run.key, TaskOutcome(phase: .succeeded, exitCode: 0, outputs: TaskOutputs(artifacts: ["out": made])))
  }

  @Test(
    "Who has put something elsewhere ends what was seen there: its reader, after the leader's end as well, waits for another look"
  )
  func writesElsewhere() throws {
    var federation = Federation.withCaches(["a"])
    let secrets = "accessKeySecret: {name: k, key: a}, secretKeySecret: {name: k, key: s}"
    let all = reads("s3: {bucket: b, key: dir/, \(secrets)}")
    // Looked at, and known for a minute.
    _ = try federation.submit("before", all)
    federation.settle()
    federation.deliverAll()
    let first = try #require(federation.agents["a"]!.orders.index.last)
    federation.tell("a", first.key, .indexed(failure: "", manifest: list(first, "m"), files: 1, size: gigabyte))
    _ = try federation.submit(
      "chain",
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: chain}
      spec:
        entrypoint: main
        templates:
        - name: main
          steps:
          - - {name: make, template: make}
          - - name: read
              template: read
              arguments: {artifacts: [{name: in, from: "{{steps.make.outputs.artifacts.out}}", subPath: part}]}
        - name: make
          container: {image: any, command: ["true"]}
          outputs: {artifacts: [{name: out, path: /out, archive: {none: {}}, s3: {bucket: b, key: dir/made, \(secrets)}}]}
        - name: read
          inputs: {artifacts: [{name: in, path: /in}]}
          container: {image: any, command: ["true"]}
      """)
    try end(&federation, "chain")
    #expect(federation.database.artifacts.isEmpty, "it is not the repository's")
    federation.crash()
    federation.connect("a")
    federation.settle()
    federation.deliverAll()
    let part = try #require(federation.agents["a"]!.orders.index.last)
    #expect(part.origin.uri == "s3://b/dir/made/part" && part.origin.secret == "k")
    federation.tell("a", part.key, .indexed(failure: "", manifest: list(part, "p"), files: 1, size: gigabyte))
    federation.mustEnd()
    #expect(federation.database.workflows.values.allSatisfy { $0.status.phase == .succeeded })
  }

  @Test("A look that was under way when somebody wrote there serves those alone who had asked for it before")
  func looksAgain() throws {
    var federation = Federation.withCaches(["a"])
    let secrets = "accessKeySecret: {name: k, key: a}, secretKeySecret: {name: k, key: s}"
    _ = try federation.submit(
      "writes",
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: writes}
      spec:
        entrypoint: main
        templates:
        - name: main
          container: {image: any, command: ["true"]}
          outputs: {artifacts: [{name: out, path: /out, archive: {none: {}}, s3: {bucket: b, key: dir/made, \(secrets)}}]}
      """)
    federation.settle()
    _ = try federation.submit("early", reads("s3: {bucket: b, key: dir/, \(secrets)}"))
    federation.settle()
    try end(&federation, "writes")
    let early = try #require(federation.agents["a"]!.orders.index.last)
    _ = try federation.submit("late", reads("s3: {bucket: b, key: dir/, \(secrets)}"))
    federation.settle()
    federation.deliverAll()
    federation.tell("a", early.key, .indexed(failure: "", manifest: list(early, "m"), files: 1, size: gigabyte))
    federation.plan()
    federation.settle()
    federation.deliverAll()
    func waiting() -> [String] {
      federation.database.workflows.values.filter { row in
        !federation.agents["a"]!.runs.values.contains { $0.assignment.workflowName == row.name } && row.name != "writes"
      }.map(\.name)
    }
    #expect(waiting() == ["late"])
    let late = try #require(federation.agents["a"]!.orders.index.last)
    #expect(late.key != early.key)
    federation.tell("a", late.key, .indexed(failure: "", manifest: list(late, "n"), files: 2, size: gigabyte))
    federation.plan()
    federation.settle()
    federation.deliverAll()
    #expect(waiting().isEmpty)
  }

  @Test("An optional input that is not there is none; one that may not be read is an error all the same")
  func optional() throws {
    for (said, phase) in [
      ("\(DataOrigin.nothingThere) s3://b/x.bam", NodePhase.succeeded), ("AccessDenied", NodePhase.error),
    ] {
      var federation = Federation.withCaches(["a"])
      _ = try federation.submit("one", reads("optional: true, " + bucket))
      federation.settle()
      federation.deliverAll()
      let order = try #require(federation.agents["a"]!.orders.index.last)
      federation.tell("a", order.key, .indexed(failure: said, manifest: nil, files: 0, size: .zero))
      federation.mustEnd()
      #expect(federation.database.workflows.values.map(\.status.phase) == [phase])
      if phase == .succeeded { #expect(federation.database.nodes.values.first?.inputs.artifact("in") == .absent) }
    }
  }

  @Test("What is not there ends its task with the agent's words, and is asked again by whoever comes later")
  func missing() throws {
    var federation = Federation.withCaches(["a"])
    _ = try federation.submit("one", reads(bucket))
    federation.settle()
    federation.deliverAll()
    let order = try #require(federation.agents["a"]!.orders.index.last)
    federation.tell(
      "a", order.key, .indexed(failure: "there are no files at s3://b/x.bam", manifest: nil, files: 0, size: .zero))
    let node = federation.database.nodes.values.first
    #expect(
      node?.phase == .error && node?.message.contains("there are no files at") == true, "\(String(describing: node))")
    #expect(federation.database.versions.isEmpty)
    federation.clock = federation.clock + .seconds(60)
    _ = try federation.submit("two", reads(bucket))
    federation.settle()
    federation.deliverAll()
    #expect(federation.agents["a"]!.orders.index.count == 2)
  }

  @Test("A key of the project's own repository is looked at; one that is not there ends its task")
  func ownRepository() throws {
    for isThere in [true, false] {
      var federation = Federation.withCaches(["a"])
      _ = try federation.submit("one", reads("s3: {key: in/x}"))
      federation.settle()
      #expect(federation.looks.map(\.key) == ["in/x"])
      federation.apply(
        .looked(
          "default", key: "in/x",
          .success(isThere ? RepositoryObject(size: .mebibytes(5), sha256: String(repeating: "ab", count: 32)) : nil)))
      federation.settle()
      federation.mustEnd()
      let node = try #require(federation.database.nodes.values.first)
      #expect((node.phase == .error) == !isThere, "\(node.message)")
      #expect(isThere || node.message.contains("there is no object in/x"))
    }
  }
}

@Suite("Where versions are besides caches")
struct ArchiveTests {
  private let first = DataKey(project: "default", dataset: "water", version: 1)
  private let manifest = StoredArtifact(
    key: DatasetManifest.path(of: String(repeating: "0c", count: 32)), size: ByteCount(9),
    sha256: String(repeating: "0c", count: 32), archive: .none)

  private func archiving() -> Federation {
    var federation = Federation.withCaches(["a"])
    let policy = ArchivePolicy(target: DataOrigin(uri: "s3://cold/x?region=r", secret: "cold"), after: .seconds(3600))
    _ = federation.ask(.dataset(water, .create(DatasetSpec(project: "default", name: "water", archive: policy))))
    federation.uploadWater()
    return federation
  }

  private func pass(_ seconds: Int64, _ federation: inout Federation) {
    federation.clock = federation.clock + .seconds(seconds)
    federation.apply(.tick(silence: [:]))
    federation.settle()
    federation.deliverAll()
  }

  @Test(
    "A version that nobody used is copied to its archive, and only then is it there alone; caches fetch it from there")
  func archives() throws {
    var federation = archiving()
    pass(3000, &federation)
    #expect(federation.agents["a"]!.orders.archive.isEmpty)
    pass(700, &federation)
    let order = try #require(federation.agents["a"]!.orders.archive.first)
    #expect(order.target.uri == "s3://cold/x/default/water/1?region=r" && order.manifest.key == "datasets/m")
    #expect(federation.core.secretAccess(of: first, named: "cold", on: "a")?.secret == "cold")
    #expect(federation.database.versions[first]?.archive == nil)
    // The leader's successor orders it again.
    federation.crash()
    federation.connect("a")
    federation.settle()
    federation.deliverAll()
    #expect(federation.agents["a"]!.orders.archive.map(\.key) == [first])
    federation.tell("a", first, .archived(failure: "", moved: gigabyte))
    #expect(federation.database.versions[first]?.archive == order.target)
    #expect(federation.core.secretAccess(of: first, named: "cold", on: "a") == nil)
    _ = federation.ask(.dataset(water, .prefetch(version: 1, cluster: "a")))
    #expect(federation.agents["a"]!.orders.stage.last?.sources == [.archive(order.target)])
    #expect(federation.core.secretAccess(of: first, named: "cold", on: "a") != nil)
  }

  @Test("A version that is due while no agent answers is copied soon after one comes, not half an hour later")
  func waitsForAgents() {
    var federation = archiving()
    federation.crash()
    for _ in 0..<20 { pass(360, &federation) }
    federation.connect("a")
    federation.settle()
    federation.deliverAll()
    #expect(federation.agents["a"]!.orders.archive.isEmpty)
    pass(80, &federation)
    #expect(federation.agents["a"]!.orders.archive.map(\.key) == [first])
  }

  @Test("A copy that fails leaves the version where it is, and is tried again")
  func retries() {
    var federation = archiving()
    pass(3700, &federation)
    federation.tell("a", first, .archived(failure: "no such bucket", moved: .zero))
    #expect(federation.database.versions[first]?.archive == nil)
    #expect(federation.database.transfers.values.map(\.phase) == [.failed])
    pass(1900, &federation)
    #expect(federation.agents["a"]!.orders.archive.count == 2)
  }

  @Test("Who wants the files of an archived version has its packs brought back, and its life begins anew")
  func restores() throws {
    var federation = archiving()
    pass(3700, &federation)
    federation.tell("a", first, .archived(failure: "", moved: gigabyte))
    guard case .success(.transfer)? = federation.ask(.dataset(water, .store(version: nil))) else {
      Issue.record("nothing moves")
      return
    }
    let order = try #require(federation.agents["a"]!.orders.store.first)
    #expect(order.archive?.uri == "s3://cold/x/default/water/1?region=r" && order.manifest?.key == "datasets/m")
    #expect(federation.core.mayUse(object: manifest.key, of: "default", .write, on: "a"))
    #expect(!federation.core.mayUse(object: "datasets/m", of: "default", .write, on: "a"))
    federation.tell("a", first, .stored(failure: "", moved: gigabyte, milliseconds: 9, manifest: manifest))
    let row = try #require(federation.database.versions[first])
    #expect(row.archive == nil && row.isInRepository && row.manifest?.key == "datasets/m")
    guard case .success(.alreadyThere)? = federation.ask(.dataset(water, .store(version: nil))) else {
      Issue.record("it is asked for again")
      return
    }
  }

  @Test(
    "Who wants the files of an origin's version has them brought into a cache, packed there, and kept in the repository"
  )
  func packsOrigins() throws {
    var federation = Federation.withCaches(["a"])
    federation.createWater(origin: DataOrigin(uri: "https://host/water/"))
    _ = federation.ask(.dataset(water, .addVersion(.origin(path: "", via: nil))))
    let list = StoredArtifact(key: "datasets/water/1/manifest", size: ByteCount(1), sha256: "x", archive: .none)
    federation.tell("a", first, .indexed(failure: "", manifest: list, files: 7, size: gigabyte))
    _ = federation.ask(.dataset(water, .store(version: 1)))
    #expect(federation.agents["a"]!.orders.stage.map(\.key) == [first] && federation.agents["a"]!.orders.store.isEmpty)
    federation.tell("a", first, .ready(size: gigabyte, moved: gigabyte, milliseconds: 9, source: nil))
    _ = federation.ask(.dataset(water, .store(version: 1)))
    #expect(federation.agents["a"]!.orders.store.map(\.key) == [first])
    federation.tell("a", first, .stored(failure: "", moved: gigabyte, milliseconds: 9, manifest: manifest))
    let row = try #require(federation.database.versions[first])
    #expect(row.stored == manifest && row.manifest == list, "agents go on with the list of the origin")
    guard case .success(.alreadyThere)? = federation.ask(.dataset(water, .store(version: nil))) else {
      Issue.record("it is asked for again")
      return
    }
  }
}
