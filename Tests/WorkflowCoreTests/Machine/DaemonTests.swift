import FederationModel
import Testing

@testable import WorkflowCore

@Suite("Daemons")
struct DaemonTests {
  private static let templates = """
      - name: server
        daemon: true
        container:
          image: s
          command: [serve]
          ports: [{name: web, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /up, port: web}, initialDelaySeconds: 2, timeoutSeconds: 5, failureThreshold: 7}
      - {name: work, inputs: {parameters: [{name: at, default: none}]}, container: {image: w, command: [c], args: ["{{inputs.parameters.at}}"]}}
    """

  private func driver(_ spec: String) throws -> MachineDriver {
    var driver = try MachineDriver(spec: spec + "\n" + Self.templates)
    driver.send(.start)
    return driver
  }

  private func begin(_ driver: inout MachineDriver, _ node: NodeID, on cluster: ClusterName = "c", at address: String)
    throws
  {
    driver.machine.taskReachable(node, at: address)
    driver.send(.taskStarted(node, cluster: cluster, runsAs: "host"))
  }

  private static let steps = """
      entrypoint: main
      templates:
      - name: main
        steps:
        - - {name: db, template: server}
        - - {name: use, template: work, arguments: {parameters: [{name: at, value: "{{steps.db.ip}}:80"}]}}
        - - {name: tidy, template: work}
    """

  @Test("what follows a daemon waits until it is ready, finds its address, and its end comes with its template's")
  func life() throws {
    var driver = try driver(Self.steps)
    let server = driver.open[0]
    try begin(&driver, server, at: "10.0.0.7")
    #expect(driver.launched == ["wf[0].db"], "it runs, and is not ready")
    driver.send(.taskReady(server))
    #expect(driver.launched == ["wf[0].db", "wf[1].use"])
    #expect(driver.phase("wf[0].db") == .running && driver.phase("wf[0]") == .succeeded)
    #expect(try driver.machine.taskSpec(for: driver.open[1]).arguments == ["10.0.0.7:80"])
    let node = ArgoStatus.status(driver.machine)["nodes"]?[ArgoNames.nodeID(workflow: "wf", node: "wf[0].db")]
    #expect(node?["daemoned"] == true && node?["podIP"] == "10.0.0.7" && node?["phase"] == "Running")
    driver.end(driver.open[1], .good())
    #expect(driver.cancelled.isEmpty)
    driver.end(driver.open[1], .good())
    #expect(driver.phase("wf") == .succeeded, "the template does not wait for it")
    #expect(driver.cancelled == [server])
    #expect(driver.machine.status.phase == .running, "the workflow is not over while a run of it lives")
    driver.end(server, TaskOutcome(phase: .cancelled, message: "cancelled"))
    #expect(driver.machine.status.phase == .succeeded && driver.finishedCount == 1)
    #expect(driver.phase("wf[0].db") == .succeeded)
    let ended = ArgoStatus.status(driver.machine)["nodes"]?[ArgoNames.nodeID(workflow: "wf", node: "wf[0].db")]
    #expect(ended?["daemoned"] == nil)
  }

  @Test("what mentions a daemon with an address of its cluster's own network runs beside it, and its address stays")
  func ownNetwork() throws {
    var driver = try driver(Self.steps)
    let server = driver.open[0]
    try begin(&driver, server, on: "k8s", at: RunAddress.loopback)
    driver.machine.taskReachable(server, at: "10.0.0.7", onlyInCluster: true)
    driver.send(.taskReady(server))
    // An agent that has begun anew tells it again.
    driver.machine.taskReachable(server, at: "10.0.0.8", onlyInCluster: true)
    driver.send(.taskReady(server))
    #expect(driver.launched == ["wf[0].db", "wf[1].use"])
    let spec = try driver.machine.taskSpec(for: driver.open[1])
    #expect(spec.arguments == ["10.0.0.7:80"] && spec.beside == Companion("k8s", .daemon))
    driver.end(driver.open[1], .good())
    #expect(try driver.machine.taskSpec(for: driver.open[1]).beside == nil, "it mentions none")
  }

  @Test("a daemon that dies is no failure, before it was ready or after; one that is lost is an error")
  func death() throws {
    var early = try driver(Self.steps)
    early.end(early.open[0], .bad(3))
    #expect(early.phase("wf[0].db") == .succeeded && early.launched.last == "wf[1].use")
    var late = try driver(Self.steps)
    let server = late.open[0]
    try begin(&late, server, at: "10.0.0.7")
    late.send(.taskReady(server))
    late.end(server, .bad(3))
    #expect(late.phase("wf[0].db") == .succeeded)
    late.run()
    #expect(late.machine.status.phase == .succeeded && late.cancelled.isEmpty)
    var lost = try driver(Self.steps)
    let gone = lost.open[0]
    try begin(&lost, gone, at: "10.0.0.7")
    lost.send(.taskReady(gone))
    lost.end(gone, TaskOutcome(phase: .lost, message: "gone"))
    #expect(lost.phase("wf[0].db") == .error)
    lost.run()
    #expect(lost.machine.status.phase == .succeeded, "what came after it decides")
  }

  @Test("a daemon holds no slot once it is ready, and a retried one is ready with its attempt")
  func slots() throws {
    var driver = try driver(
      """
        entrypoint: main
        parallelism: 1
        templates:
        - name: main
          dag:
            tasks:
            - {name: db, template: kept}
            - {name: use, template: work, depends: db.Daemoned, arguments: {parameters: [{name: at, value: "{{tasks.db.ip}}"}]}}
            - {name: never, template: work, depends: db.Failed}
        - {name: kept, daemon: true, retryStrategy: {limit: "3"}, container: {image: s, command: [serve]}}
      """)
    let server = driver.open[0]
    #expect(driver.machine[server].name == "wf.db(0)")
    try begin(&driver, server, at: "h7")
    driver.send(.taskReady(server))
    #expect(driver.phase("wf.db") == .running && driver.launched.last == "wf.use")
    #expect(try driver.machine.taskSpec(for: driver.open[1]).arguments == ["h7"])
    driver.end(driver.open[1], .good())
    #expect(driver.cancelled == [server])
    driver.end(server, TaskOutcome(phase: .cancelled))
    #expect(driver.phase("wf.db") == .succeeded && driver.machine.status.phase == .succeeded)
    #expect(driver.launched.count == 2)
  }

  @Test("who may use a daemon that is reached by loopback alone runs on its cluster, however deep it stands")
  func beside() throws {
    var driver = try driver(
      """
        entrypoint: main
        templates:
        - name: main
          steps:
          - - {name: db, template: server}
          - - {name: sub, template: nested, arguments: {parameters: [{name: at, value: "{{steps.db.ip}}"}]}}
            - {name: other, template: work}
        - name: nested
          inputs: {parameters: [{name: at}]}
          dag: {tasks: [{name: deep, template: work, arguments: {parameters: [{name: at, value: "{{inputs.parameters.at}}"}]}}]}
      """)
    let server = driver.open[0]
    try begin(&driver, server, on: "edge", at: RunAddress.loopback)
    driver.send(.taskReady(server))
    func beside(_ name: String) throws -> Companion? {
      try driver.machine.taskSpec(for: try #require(driver.node(name)).id).beside
    }
    #expect(try beside("wf[1].sub.deep") == Companion("edge", .daemon))
    #expect(try beside("wf[1].other") == nil)
    #expect(try beside("wf[0].db") == nil)
  }

  @Test("a stop ends a daemon, too, and a retry of the workflow starts it anew with what came after it")
  func stopAndRetry() throws {
    var driver = try driver(Self.steps)
    let server = driver.open[0]
    try begin(&driver, server, at: "10.0.0.7")
    driver.send(.taskReady(server))
    driver.send(.stop(message: "enough"))
    #expect(Set(driver.cancelled) == Set(driver.open))
    for node in driver.open { driver.end(node, TaskOutcome(phase: .cancelled)) }
    #expect(driver.machine.status.phase == .failed && driver.finishedCount == 1)
    driver.launched = []
    driver.send(.retry(restartSuccessful: false, selector: nil))
    #expect(driver.launched == ["wf[0].db"])
    let again = driver.open[0]
    try begin(&driver, again, at: "10.0.0.8")
    driver.send(.taskReady(again))
    #expect(try driver.machine.taskSpec(for: driver.open[1]).arguments == ["10.0.0.8:80"])
  }

  @Test("its probes come with its spec; a probe that ends containers makes any run one that is looked after")
  func probes() throws {
    let driver = try driver(Self.steps)
    let containers = try #require(try driver.machine.taskSpec(for: driver.open[0]).containers)
    #expect(containers.isDaemon == true && containers.list.map(\.name) == ["main"])
    #expect(
      containers.list[0].probes?.readiness
        == RunProbe(
          .http(host: "", port: 8080, path: "/up", headers: []), initialDelay: .seconds(2), timeout: .seconds(5),
          failureThreshold: 7))
    #expect(try driver.machine.taskSpec(for: driver.open[0]).features.isSuperset(of: [.daemons, .probes]))
    let alive = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            container:
              image: w
              command: [c]
              readinessProbe: {tcpSocket: {port: 1}}
              livenessProbe: {exec: {command: [test, -e, /tmp/up]}, terminationGracePeriodSeconds: 4}
        """)
    var running = alive
    running.send(.start)
    let spec = try running.machine.taskSpec(for: running.open[0])
    #expect(
      spec.containers?.list.first?.probes
        == RunProbes(liveness: RunProbe(.exec(["test", "-e", "/tmp/up"]), grace: .seconds(4))))
    #expect(spec.features == [.containers, .probes])
  }

  @Test(
    "what a probe or a daemon cannot be is refused by name",
    arguments: [
      ("daemon: true, steps: [[{name: a, template: main}]]", "only a container or a script"),
      ("container: {image: i, command: [c], livenessProbe: {grpc: {port: 1}}}", "gRPC"),
      ("container: {image: i, command: [c], livenessProbe: {httpGet: {port: 1, scheme: HTTPS}}}", "HTTPS"),
      ("container: {image: i, command: [c], livenessProbe: {httpGet: {port: web}}}", "web"),
      ("container: {image: i, command: [c], livenessProbe: {tcpSocket: {port: 1}, successThreshold: 2}}", "must be 1"),
      ("container: {image: i, command: [c], readinessProbe: {}}", "one of exec, httpGet and tcpSocket"),
    ])
  func refused(template: String, message: String) throws {
    let yaml =
      "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec: {entrypoint: main, templates: [{name: main, \(template)}]}"
    let errors = #expect(throws: DocumentErrors.self) { try WorkflowDefinition.decode(Array(yaml.utf8)) }
    #expect(errors?.problems.contains { $0.message.contains(message) } == true, "\(errors?.problems ?? [])")
  }
}
