import FederationModel
import Testing
import WorkflowCore

@testable import ControlPlaneCore

@Suite("Locks and caches across workflows")
struct CoreLockTests {
  private static func document(_ spec: String) -> String {
    "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec:\n" + spec
  }

  private static func guarded(_ priority: Int = 0, _ lock: String = "mutex: {name: door}") -> String {
    document(
      """
        entrypoint: main
        priority: \(priority)
        templates:
        - {name: main, steps: [[{name: a, template: t}, {name: b, template: t}]]}
        - {name: t, synchronization: {\(lock)}, container: {image: i, command: [c]}}
      """)
  }

  private func machine(_ federation: Federation, _ name: String) throws -> WorkflowMachine {
    try #require(federation.core.workflows.values.first { $0.row.name == name }).machine
  }

  private func waits(_ federation: Federation, _ name: String) throws -> [String] {
    let machine = try machine(federation, name)
    return machine.lockRequests.filter { !$0.locks.isHeld }.map {
      $0.node.map { machine[$0].message } ?? machine.status.message
    }
  }

  @Test("one task of all workflows of a project holds a mutex; the others say what they wait for (I10)")
  func mutex() throws {
    var federation = Federation(seed: 1, clusters: [])
    _ = try federation.submit("one", Self.guarded())
    _ = try federation.submit("two", Self.guarded(7))
    federation.settle()
    #expect(try waits(federation, "one") == ["Waiting for default/Mutex/door lock. Lock status: 0/1"])
    #expect(try waits(federation, "two").count == 2)
    #expect(federation.core.census.pendingTasks == 1)
    let one = try #require(federation.core.workflows.first { $0.value.row.name == "one" }).key
    federation.command(.workflow(WorkflowReference(project: "default", name: "one"), .terminate))
    federation.settle()
    #expect(federation.core.workflows[one] == nil)
    #expect(try waits(federation, "two").count == 1)
    #expect(federation.core.census.pendingTasks == 1)
  }

  @Test("a rebuilt core has the same holders and the same line", arguments: 0..<8)
  func rebuilt(_ seed: UInt64) throws {
    var federation = Federation(seed: seed, clusters: [])
    // As the change of the config map writes it, and tells of it.
    func set(_ limits: [String: Int], _ change: Int64) {
      federation.database.semaphores = Dictionary(
        uniqueKeysWithValues: limits.map { key, limit in
          let name = LockName(kind: .configMap, name: "limits", key: key)
          return ("default/\(name)", SemaphoreRow(project: "default", lock: name, limit: limit))
        })
      federation.command(.project("default", .setSemaphores(configMap: "limits", limits: limits, change: change)))
    }
    set(["gpu": 2], 2)
    for index in 0..<4 {
      _ = try federation.submit(
        "w\(index)", Self.guarded(index % 2, "semaphores: [{configMapKeyRef: {name: limits, key: gpu}}]"))
    }
    federation.settle()
    let before = federation.core.lockBook
    #expect(before.holdings.values.map(\.count) == [2] && before.waitingCount == 6)
    let core = ControlPlaneCore(
      state: federation.database.load(), position: CommitPosition(term: 2, sequence: 0), incarnation: 9)
    #expect(core.lockBook.holdings == before.holdings && core.lockBook.waitingCount == 6)
    #expect(core.lockBook.limits == before.limits)
    federation.core = core
    set(["gpu": 3, "other": 1], 4)
    // One that was made before, and is told after.
    federation.command(.project("default", .setSemaphores(configMap: "limits", limits: ["gpu": 9], change: 2)))
    federation.settle()
    #expect(federation.core.lockBook.holdings.values.map(\.count) == [3])
    set([:], 5)
    federation.settle()
    #expect(federation.core.lockBook.limits.isEmpty && federation.database.semaphores.isEmpty)
  }

  @Test("a semaphore of which nobody said how many may hold it ends the node in Error, which says so")
  func withoutLimit() throws {
    var federation = Federation(seed: 3, clusters: [])
    _ = try federation.submit("w", Self.guarded(0, "semaphore: {database: {key: none}}"))
    federation.settle()
    let nodes = federation.database.nodes.values
    #expect(nodes.contains { $0.phase == .error && $0.message.contains("default/Database/none") })
    #expect(federation.core.lockBook.isEmpty)
  }

  @Test("a workflow waits for its own lock before it begins, and the next begins when it is over")
  func workflowLevel() throws {
    let text = Self.document(
      """
        entrypoint: main
        synchronization: {mutex: {name: whole}}
        templates: [{name: main, suspend: {}}]
      """)
    var federation = Federation(seed: 4, clusters: [])
    for name in ["one", "two"] { _ = try federation.submit(name, text) }
    federation.settle()
    #expect(try machine(federation, "two").status.phase == .pending)
    #expect(try waits(federation, "two") == ["Waiting for default/Mutex/whole lock. Lock status: 0/1"])
    federation.command(.workflow(WorkflowReference(project: "default", name: "one"), .resume))
    federation.settle()
    #expect(try machine(federation, "two").status.phase == .running)
    federation.command(.workflow(WorkflowReference(project: "default", name: "two"), .delete))
    federation.settle()
    #expect(federation.core.lockBook.isEmpty)
  }

  @Test("outputs are kept across workflows and rebuilds, for as long as they are young enough")
  func memo() throws {
    func text(_ age: String) -> String {
      Self.document(
        """
          entrypoint: main
          templates:
          - name: main
            memoize: {key: k, maxAge: \(age), cache: {configMap: {name: store}}}
            outputs: {parameters: [{name: o, value: ready}]}
            steps: [[{name: a, template: hold}]]
          - {name: hold, suspend: {}}
        """)
    }
    var federation = Federation(seed: 5, clusters: [])
    _ = try federation.submit("one", text("1h"))
    federation.settle()
    federation.command(.workflow(WorkflowReference(project: "default", name: "one"), .resume))
    federation.settle()
    let name = MemoName(project: "default", cache: "store", key: "k")
    #expect(federation.database.memos[name]?.outputs.parameters == ["o": "ready"])
    #expect(federation.database.memos[name]?.workflow == "one")
    federation.core = ControlPlaneCore(
      state: federation.database.load(), position: CommitPosition(term: 2, sequence: 0), incarnation: 9)
    _ = try federation.submit("two", text("1h"))
    federation.settle()
    let two = try #require(federation.database.workflows.values.first { $0.name == "two" })
    #expect(two.status.phase == .succeeded, "nothing had to be resumed")
    #expect(federation.database.memos[name]!.hitAt > federation.database.memos[name]!.createdAt)
    federation.clock = federation.clock + .seconds(100)
    _ = try federation.submit("three", text("10s"))
    federation.settle()
    #expect(try machine(federation, "three").status.phase == .running, "it is too old")
  }

  @Test("a project keeps so many entries; those that were taken longest ago go first")
  func bound() {
    var book = MemoBook()
    var gone: [MemoName] = []
    for index in 0...MemoBook.entriesMax {
      let name = MemoName(project: "p", cache: "c", key: "\(index)")
      gone += book.keep(
        MemoRow(
          name: name, outputs: TaskOutputs(), node: "", workflow: "", createdAt: .epoch,
          hitAt: Timestamp(milliseconds: Int64(index == 0 ? 1_000_000 : index))))
    }
    #expect(gone.count == MemoBook.entriesMax / 10)
    #expect(book[MemoName(project: "p", cache: "c", key: "0")] != nil)
    #expect(book[MemoName(project: "p", cache: "c", key: "1")] == nil)
  }
}

@Suite("Workflows that go by themselves")
struct ExpiryTests {
  private static let text = """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {name: w}
    spec:
      entrypoint: main
      ttlStrategy: {secondsAfterCompletion: 60}
      templates: [{name: main, suspend: {}}]
    """

  @Test(
    "a workflow with a ttl is deleted when its time is up, also by a core that was rebuilt", arguments: [false, true])
  func expiry(_ isRebuilt: Bool) throws {
    var federation = Federation(seed: 1, clusters: [])
    _ = try federation.submit("w", Self.text)
    federation.settle()
    federation.command(.workflow(WorkflowReference(project: "default", name: "w"), .resume))
    federation.settle()
    #expect(federation.database.workflows.values.map(\.status.phase) == [.succeeded])
    if isRebuilt {
      federation.core = ControlPlaneCore(
        state: federation.database.load(), position: CommitPosition(term: 2, sequence: 0), incarnation: 9)
    }
    federation.clock = federation.clock + .seconds(50)
    federation.apply(.tick(silence: [:]))
    federation.settle()
    #expect(federation.database.workflows.count == 1)
    federation.clock = federation.clock + .seconds(11)
    federation.apply(.tick(silence: [:]))
    federation.settle()
    #expect(federation.database.workflows.isEmpty)
    #expect(federation.database.audit.contains { $0.action == "workflow.expire" })
  }
}

@Suite("Outputs that a workflow did not make itself")
struct HeldOutputTests {
  private static func document(_ spec: String) -> String {
    "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec:\n" + spec
  }

  private static func memoized(_ more: String = "") -> String {
    document(
      """
        entrypoint: main
        \(more)
        templates:
        - {name: main, steps: [[{name: a, template: t}]]}
        - name: t
          memoize: {key: k, cache: {configMap: {name: store}}}
          outputs: {artifacts: [{name: o, path: /o}]}
          container: {image: i, command: [c]}
      """)
  }

  private static let artifact = StoredArtifact(key: "one/one-1/o.tgz", size: ByteCount(9), sha256: "ab", archive: .tar)
  private static let name = MemoName(project: "default", cache: "store", key: "k")

  /// A federation whose cache has an entry with an artifact.
  private static func federation(_ configuration: CoreConfiguration = CoreConfiguration()) -> Federation {
    var federation = Federation(seed: 6, clusters: [], configuration: configuration)
    federation.database.memos[name] = MemoRow(
      name: name, outputs: TaskOutputs(artifacts: ["o": artifact]), node: "one-1", workflow: "one",
      createdAt: federation.clock, hitAt: federation.clock)
    federation.core = ControlPlaneCore(
      state: federation.database.load(), position: CommitPosition(term: 2, sequence: 0), incarnation: 9,
      configuration: configuration)
    return federation
  }

  @Test("who takes a memoized artifact holds it: it is indexed as its own, under the key that it has")
  func hit() throws {
    var federation = Self.federation()
    _ = try federation.submit("two", Self.memoized())
    federation.settle()
    let two = try #require(federation.database.workflows.values.first { $0.name == "two" })
    #expect(two.status.phase == .succeeded)
    let rows = federation.database.artifacts.values.filter { $0.task.workflow == two.id }
    #expect(
      rows.map(\.stored) == [Self.artifact] && rows.map(\.name) == ["o"] && rows.allSatisfy { $0.collection == nil })
  }

  @Test("an entry that the repository need not hold any longer is none", arguments: [false, true])
  func age(_ isOld: Bool) throws {
    var federation = Self.federation(CoreConfiguration(memoAge: .seconds(100)))
    federation.clock = federation.clock + .seconds(isOld ? 101 : 90)
    _ = try federation.submit("two", Self.memoized())
    federation.settle()
    let two = try #require(federation.database.workflows.values.first { $0.name == "two" })
    #expect(two.status.phase == (isOld ? .running : .succeeded))
    #expect(isOld || federation.database.memos[Self.name]!.hitAt > federation.database.memos[Self.name]!.createdAt)
  }

  private static let failing = document(
    """
      entrypoint: main
      templates:
      - name: main
        steps: [[{name: ok, template: gate}], [{name: no, template: gate}]]
      - {name: gate, suspend: {}}
    """)

  @Test("a memoized resubmission keeps what succeeded, holds its artifacts, and survives a rebuild")
  func resubmission() throws {
    var federation = Federation(seed: 8, clusters: [])
    let one = WorkflowReference(project: "default", name: "one")
    _ = try federation.submit("one", Self.failing)
    federation.settle()
    func submission(_ name: String) throws -> Submission {
      let row = try #require(federation.database.workflows.values.first { $0.name == "one" })
      let definition = try WorkflowDefinition(json: row.document).resubmitted(from: "one", keepingTemplates: true)
      return Submission(definition: definition, project: "default", name: name, uid: "uid-\(name)")
    }
    let early = federation.command(.resubmit(one, try submission("early")))
    federation.command(.workflow(one, .set(.displayName("ok"), phase: .succeeded, message: "", parameters: [:])))
    federation.command(.workflow(one, .set(.displayName("no"), phase: .failed, message: "no", parameters: [:])))
    federation.settle()
    guard case .failure(let error)? = federation.replies[early] else {
      Issue.record("it still ran")
      return
    }
    #expect(error.code == .failedPrecondition)
    // As if the first step had made an artifact.
    let id = try #require(federation.database.workflows.values.first { $0.name == "one" }?.id)
    let key = try #require(
      federation.database.nodes.first { $0.key.workflow == id && $0.value.displayName == "ok" }?.key)
    federation.database.nodes[key]!.outputs.artifacts["o"] = Self.artifact
    federation.command(.resubmit(one, try submission("two")))
    federation.settle()
    func two() throws -> WorkflowMachine {
      try #require(federation.core.workflows.values.first { $0.row.name == "two" }).machine
    }
    func waiting() throws -> [String] {
      let machine = try two()
      return (0..<Int32(machine.nodeCount)).map { machine[NodeID($0)] }
        .filter { !$0.isSuperseded && !$0.phase.isTerminal && $0.type == .suspend }.map(\.name)
    }
    #expect(try waiting() == ["two[1].no"])
    #expect(federation.database.artifacts.values.map(\.stored.key) == [Self.artifact.key])
    federation.core = ControlPlaneCore(
      state: federation.database.load(), position: CommitPosition(term: 2, sequence: 0), incarnation: 9)
    #expect(try waiting() == ["two[1].no"])
    federation.command(.workflow(WorkflowReference(project: "default", name: "two"), .resume))
    federation.settle()
    #expect(federation.database.workflows.values.first { $0.name == "two" }?.status.phase == .succeeded)
  }
}
