import FederationModel
import Testing

@testable import WorkflowCore

@Suite("Locks and memoized outputs in the machine")
struct GateTests {
  private static let locked = """
      entrypoint: main
      templates:
      - name: main
        steps:
        - - {name: a, template: guarded, arguments: {parameters: [{name: p, value: door}]}}
      - name: guarded
        inputs: {parameters: [{name: p}]}
        synchronization: {mutexes: [{name: "{{inputs.parameters.p}}"}], semaphore: {configMapKeyRef: {name: limits, key: gpu}}}
        retryStrategy: {limit: "1"}
        container: {image: i, command: [c]}
    """

  @Test("a node asks for all of its locks before it begins, waits with a reason, and gives them back at its end")
  func locks() throws {
    var driver = try MachineDriver(spec: Self.locked)
    driver.holdsLocks = false
    driver.send(.start)
    let node = try #require(driver.node("wf[0].a"))
    #expect(driver.launched.isEmpty)
    #expect(node.phase == .pending && node.message == "waits")
    #expect(
      node.gate?.locks?.names == [
        LockName(kind: .configMap, name: "limits", key: "gpu"), LockName(kind: .mutex, name: "door"),
      ])
    let waiting = ArgoStatus.status(driver.machine)["nodes"]?[ArgoNames.nodeID(workflow: "wf", node: "wf[0].a")]
    #expect(waiting?["synchronizationStatus"] == ["waiting": "science/ConfigMap/limits/gpu"])
    driver.send(.locksAcquired(node.id))
    #expect(driver.launched == ["wf[0].a(0)"])
    driver.endNext(.bad())
    #expect(driver.released.isEmpty, "its attempts have the locks of the whole")
    driver.endNext(.good())
    #expect(driver.released == [node.id])
    #expect(driver.machine.lockRequests.isEmpty)
    #expect(driver.machine.status.phase == .succeeded)
  }

  @Test("a rebuilt machine has the same requests, and goes on with the same answer")
  func rebuilt() throws {
    for isHeld in [false, true] {
      var driver = try MachineDriver(spec: Self.locked)
      driver.holdsLocks = isHeld
      driver.send(.start)
      let machine = driver.machine
      let records = (0..<Int32(machine.nodeCount)).map { machine[NodeID($0)] }
      driver.machine = try WorkflowMachine(
        definition: machine.definition, identity: machine.identity, status: machine.status, nodes: records)
      #expect(driver.machine.isUnfinished == machine.isUnfinished)
      #expect(driver.machine.lockRequests.map(\.node) == machine.lockRequests.map(\.node))
      #expect(driver.machine.lockRequests.map(\.locks) == machine.lockRequests.map(\.locks))
      if !isHeld { driver.send(.locksAcquired(try #require(driver.node("wf[0].a")).id)) }
      #expect(driver.launched == ["wf[0].a(0)"])
    }
  }

  @Test("a node that is stopped while it waits gives up its place")
  func stopped() throws {
    var driver = try MachineDriver(spec: Self.locked)
    driver.holdsLocks = false
    driver.send(.start)
    let node = try #require(driver.node("wf[0].a")).id
    driver.send(.stop(message: ""))
    #expect(driver.released == [node])
    #expect(driver.machine.status.phase == .failed && driver.machine.lockRequests.isEmpty)
  }

  @Test("a workflow's own lock is asked for before anything else, and given back when it is over")
  func workflowLevel() throws {
    let spec = """
        entrypoint: main
        synchronization: {mutex: {name: "{{workflow.name}}", database: true}}
        templates: [{name: main, container: {image: i, command: [c]}}]
      """
    var driver = try MachineDriver(spec: spec)
    driver.holdsLocks = false
    driver.send(.start)
    #expect(driver.machine.status.phase == .pending && driver.machine.status.message == "waits")
    #expect(driver.machine.status.locks?.names == [LockName(kind: .databaseMutex, name: "wf")])
    #expect(driver.machine.nodeCount == 0)
    driver.send(.locksAcquired(nil))
    #expect(driver.machine.status.phase == .running && driver.launched == ["wf"])
    driver.endNext(.bad())
    #expect(driver.released == [nil])
    driver.holdsLocks = false
    driver.send(.retry(restartSuccessful: false, selector: nil))
    #expect(driver.launched == ["wf"], "it asks again")
    driver.send(.locksAcquired(nil))
    #expect(driver.launched == ["wf", "wf"])
  }

  @Test("a lock that can never be had ends what asks for it in Error")
  func refused() throws {
    var driver = try MachineDriver(spec: Self.locked)
    driver.holdsLocks = false
    driver.send(.start)
    driver.send(.locksRefused(try #require(driver.node("wf[0].a")).id, message: "no limit"))
    #expect(driver.phase("wf[0].a") == .error)
    #expect(driver.node("wf[0].a")?.message == "no limit")
    var own = try MachineDriver(
      spec: """
          entrypoint: main
          synchronization: {mutex: {name: m}}
          templates:
          - {name: main, steps: [[{name: a, template: t}]]}
          - {name: t, synchronization: {mutex: {name: m}}, container: {image: i, command: [c]}}
        """)
    own.run()
    #expect(own.node("wf[0].a")?.message.contains("would wait for ever") == true)
    #expect(own.machine.status.phase == .failed)
  }

  @Test("a template that holds a lock is retried from its beginning, where it asks for the lock again")
  func retried() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - {name: main, steps: [[{name: a, template: inner}]]}
          - {name: inner, synchronization: {mutex: {name: m}}, steps: [[{name: x, template: t}], [{name: y, template: t}]]}
          - {name: t, container: {image: i, command: [c]}}
        """)
    driver.send(.start)
    driver.endNext(.good())
    driver.endNext(.bad())
    #expect(driver.machine.status.phase == .failed && driver.released.count == 1)
    driver.send(.retry(restartSuccessful: false, selector: nil))
    #expect(driver.machine.lockRequests.count == 1)
    #expect(driver.launched.last == "wf[0].a[0].x")
    driver.run()
    #expect(driver.machine.status.phase == .succeeded && driver.released.count == 2)
  }

  @Test("a memoized template runs once for a key; then its outputs come from the cache, with their mark")
  func memoized() throws {
    let spec = """
        entrypoint: main
        templates:
        - name: main
          steps:
          - - {name: a, template: make, arguments: {parameters: [{name: p, value: one}]}}
          - - {name: b, template: make, arguments: {parameters: [{name: p, value: one}]}}
          - - {name: c, template: make, arguments: {parameters: [{name: p, value: two}]}}
          - - {name: d, template: use, arguments: {parameters: [{name: p, value: "{{steps.b.outputs.parameters.o}}"}]}}
        - name: make
          inputs: {parameters: [{name: p}]}
          memoize: {key: "k-{{inputs.parameters.p}}", maxAge: 10s, cache: {configMap: {name: store}}}
          outputs: {parameters: [{name: o, valueFrom: {path: /o}}]}
          container: {image: i, command: [c]}
        - {name: use, inputs: {parameters: [{name: p}]}, container: {image: i, command: ["{{inputs.parameters.p}}"]}}
      """
    var driver = try MachineDriver(spec: spec)
    driver.send(.start)
    driver.endNext(.good(["o": "1"]))
    #expect(driver.launched == ["wf[0].a", "wf[2].c"])
    #expect(driver.node("wf[1].b")?.phase == .succeeded)
    #expect(driver.memos.keys.sorted() == ["store/k-one"])
    driver.endNext(.bad())
    #expect(driver.memos.count == 1, "what failed is not kept")
    driver.send(.retry(restartSuccessful: false, selector: nil))
    driver.endNext(.good(["o": "2"]))
    #expect(try driver.machine.taskSpec(for: driver.open[0]).command == ["1"])
    let nodes = ArgoStatus.status(driver.machine)["nodes"]
    let status = nodes?[ArgoNames.nodeID(workflow: "wf", node: "wf[1].b")]?["memoizationStatus"]
    #expect(status == ["hit": true, "key": "k-one", "cacheName": "store"])
    let first = nodes?[ArgoNames.nodeID(workflow: "wf", node: "wf[0].a")]?["memoizationStatus"]
    #expect(first?["hit"] == false)
  }

  @Test(
    "what names no lock and no cache is refused at its place",
    arguments: [
      ("synchronization: {mutex: {}}", "a mutex needs a name"),
      ("synchronization: {semaphore: {configMapKeyRef: {name: a}}}", "needs the key of its limit"),
      ("synchronization: {semaphore: {database: {key: a}, configMapKeyRef: {name: a, key: b}}}", "needs the key"),
      ("synchronization: {lock: {}}", "unknown field"),
      ("memoize: {key: a}", "memoize needs a key"),
      ("memoize: {key: a, cache: {configMap: {name: c}}, maxAge: x}", "duration"),
      ("synchronization: {mutex: {name: '{{inputs.parameters.none}}'}}", "no input parameter"),
    ])
  func refusals(_ field: String, _ word: String) {
    let found = problems(
      of: WorkflowCoreTests.workflow("- {name: main, container: {image: i, command: [c]}, \(field)}"))
    #expect(found.contains { $0.path.hasPrefix("spec.templates[0].") && $0.message.contains(word) }, "\(found)")
  }
}

@Suite("Commands and terms of whole workflows")
struct WorkflowTermsTests {
  private static let pause = """
      entrypoint: main
      templates:
      - {name: main, steps: [[{name: ask, template: ask}], [{name: use, template: use, arguments: {parameters: [{name: p, value: "{{steps.ask.outputs.parameters.o}}"}]}}]]}
      - {name: ask, suspend: {}, outputs: {parameters: [{name: o, valueFrom: {supplied: {}}}]}}
      - {name: use, inputs: {parameters: [{name: p}]}, container: {image: i, command: ["{{inputs.parameters.p}}"]}}
    """

  @Test("outputs that are set on a suspend node stay until it is resumed")
  func set() throws {
    var driver = try MachineDriver(spec: Self.pause)
    driver.send(.start)
    driver.send(.setNodes(selector: .displayName("ask"), phase: nil, message: "looked at", parameters: ["o": "set"]))
    #expect(driver.phase("wf[0].ask") == .running && driver.node("wf[0].ask")?.message == "looked at")
    driver.send(.resumeNodes(selector: .all, parameters: [:]))
    #expect(try driver.machine.taskSpec(for: try #require(driver.open.first)).command == ["set"])
    #expect(driver.machine.refusalToSet(.all, nil, [:]) != nil, "nothing waits any more")
  }

  @Test("a suspend node that is set to Failed ends so, with the message")
  func failed() throws {
    var driver = try MachineDriver(spec: Self.pause)
    driver.send(.start)
    #expect(driver.machine.refusalToSet(.all, nil, ["other": ""]) != nil)
    driver.send(.setNodes(selector: .all, phase: .failed, message: "no", parameters: [:]))
    #expect(driver.node("wf[0].ask")?.message == "no")
    #expect(driver.machine.status.phase == .failed)
  }

  @Test("a document that is shut down ends before it begins")
  func shutdown() throws {
    var driver = try MachineDriver(
      spec: "  entrypoint: main\n  shutdown: Stop\n  templates: [{name: main, container: {image: i, command: [c]}}]")
    driver.send(.start)
    #expect(driver.machine.status.phase == .failed && driver.launched.isEmpty && driver.finishedCount == 1)
    #expect(driver.machine.status.message == "Stopped with strategy 'Stop'")
  }

  @Test(
    "ttlStrategy says by the outcome when the workflow goes; a retried one stays",
    arguments: [
      ("{secondsAfterCompletion: 9}", true, 9), ("{secondsAfterCompletion: 9}", false, 9),
      ("{secondsAfterSuccess: 5, secondsAfterCompletion: 9}", true, 5), ("{secondsAfterSuccess: 5}", false, nil),
      ("{secondsAfterFailure: 7, secondsAfterCompletion: 9}", false, 7),
    ] as [(String, Bool, Int64?)])
  func ttl(_ strategy: String, _ isGood: Bool, _ seconds: Int64?) throws {
    var driver = try MachineDriver(
      spec:
        "  entrypoint: main\n  ttlStrategy: \(strategy)\n  templates: [{name: main, container: {image: i, command: [c]}}]"
    )
    driver.send(.start)
    driver.endNext(isGood ? .good() : .bad())
    #expect(driver.machine.status.expiresAt == seconds.map { driver.now + .seconds($0) })
    guard !isGood else { return }
    driver.send(.retry(restartSuccessful: false, selector: nil))
    #expect(driver.machine.status.expiresAt == nil)
  }

  @Test("with an affinity a further attempt is to avoid where earlier ones ran; without, it is not")
  func affinity() throws {
    for affinity in ["affinity: {nodeAntiAffinity: {}}, ", ""] {
      var driver = try MachineDriver(
        spec:
          "  entrypoint: main\n  templates: [{name: main, retryStrategy: {\(affinity)limit: 2}, container: {image: i, command: [c]}}]"
      )
      driver.send(.start)
      driver.send(.taskStarted(driver.open[0], cluster: "east", runsAs: "u"))
      driver.endNext(.bad())
      #expect(driver.machine.triedClusters(of: driver.open[0]) == (affinity.isEmpty ? [] : ["east"]))
    }
  }

  @Test("resources of the pod fill what a container leaves open")
  func podResources() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          podResources: {requests: {cpu: "2", memory: 1Gi}, limits: {memory: 4Gi}}
          templates: [{name: main, container: {image: i, command: [c], resources: {requests: {memory: 2Gi}}}}]
        """)
    driver.send(.start)
    let spec = try driver.machine.taskSpec(for: driver.open[0])
    #expect(spec.resources.cpuMillicores == 2000 && spec.resources.memory == ByteCount(2 << 30))
    #expect(spec.limits?.memory == ByteCount(4 << 30))
  }

  @Test(
    "Argo's node field selectors are read, and every condition must hold",
    arguments: [
      ("displayName=ask", true), ("displayName=ask,phase=Running", true), ("displayName==ask", true),
      ("displayName=ask,phase=Failed", false), ("templateName=ask", true), ("templateRef.name=x", false),
      ("inputs.parameters.p.value=1", false), ("name=wf[0].ask", true),
    ])
  func selectors(_ text: String, _ matches: Bool) throws {
    var driver = try MachineDriver(spec: Self.pause)
    driver.send(.start)
    let selector = try NodeSelector(fields: text)
    #expect((driver.machine.refusalToSet(selector, nil, [:]) == nil) == matches)
    for wrong in ["", "name", "colour=red", "phase=Odd"] {
      #expect(throws: FederationError.self) { try NodeSelector(fields: wrong) }
    }
  }

  @Test("a resubmitted workflow is the author's document under a generated name, with a mark")
  func resubmitted() throws {
    let definition = try decode(workflow("- {name: main, container: {image: i, command: [c]}}"))
    let again = try definition.resubmitted(from: "first")
    #expect(again.metadata.generateName == "test-" && again.metadata.name == nil)
    #expect(again.metadata.labels == ["workflows.argoproj.io/resubmitted-from-workflow": "first"])
    #expect(again.spec == definition.spec)
  }

  @Test("labels are made of the workflow's parameters, and are labels like others")
  func labelsFrom() throws {
    let spec = """
        entrypoint: main
        serviceAccountName: robot
        arguments: {parameters: [{name: team, value: blue}]}
        workflowMetadata: {labels: {a: b}, labelsFrom: {owner: {expression: "workflow.parameters.team + '-' + workflow.name"}}}
        templates: [{name: main, container: {image: i, command: ["{{workflow.labels.owner}}", "{{workflow.serviceAccountName}}"]}}]
      """
    var driver = try MachineDriver(spec: spec)
    #expect(driver.machine.labels == ["a": "b", "owner": "blue-wf"])
    let shown = ArgoStatus.render(driver.machine)["metadata"]?["labels"]
    #expect(shown?["owner"] == "blue-wf" && shown?["a"] == "b")
    driver.send(.start)
    #expect(try driver.machine.taskSpec(for: driver.open[0]).command == ["blue-wf", "robot"])
    #expect(throws: DocumentErrors.self) {
      try MachineDriver(spec: spec.replacing("workflow.parameters.team + '-'", with: "nobody.knows + 1 +"))
    }
  }

  @Test("a scheduled workflow knows the time that it was scheduled for")
  func scheduledTime() throws {
    var driver = try MachineDriver(
      "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n"
        + "metadata: {name: wf, annotations: {workflows.argoproj.io/scheduled-time: '2023-11-14T22:13:20Z'}}\n"
        + "spec: {entrypoint: main, templates: [{name: main, container: {image: i, command: ['{{workflow.scheduledTime}}']}}]}"
    )
    driver.send(.start)
    #expect(try driver.machine.taskSpec(for: driver.open[0]).command == ["2023-11-14T22:13:20Z"])
  }
}
