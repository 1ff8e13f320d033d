import FederationModel
import Testing

@testable import WorkflowCore

@Suite("Templates of several containers")
struct ContainerTests {
  private func spec(_ template: String) throws -> TaskSpec {
    let yaml = """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: w}
      spec:
        entrypoint: main
        volumes: [{name: work, emptyDir: {}}, {name: other, emptyDir: {}}]
        templates:
        - name: main

      """
    let indented = template.split(separator: "\n").map { "    " + $0 }.joined(separator: "\n")
    return try firstTask(of: yaml + indented + "\n")
  }

  @Test("the main container, its init containers and its sidecars are one run, with what they need together")
  func companions() throws {
    let spec = try spec(
      """
      container:
        image: a
        command: [main]
        args: ["{{workflow.name}}"]
        env: [{name: X, value: y}]
        resources: {requests: {cpu: "1", memory: 1Gi}, limits: {cpu: "2"}}
        volumeMounts: [{name: work, mountPath: /work}]
      initContainers:
      - {name: prepare, image: a, command: [p], resources: {requests: {memory: 4Gi}}}
      sidecars:
      - name: side
        image: b
        command: [s]
        env: [{name: T, valueFrom: {secretKeyRef: {name: s, key: k}}}]
        mirrorVolumeMounts: true
        readinessProbe: {exec: {command: ["true"]}}
        resources: {requests: {cpu: 500m}, limits: {cpu: "1"}}
        volumeMounts: [{name: work, mountPath: /shared}]
      """)
    let containers = try #require(spec.containers)
    #expect(containers.list.map(\.name) == ["prepare", "main", "side"])
    #expect(containers.list.map(\.role) == [.initial, .main, .sidecar])
    #expect(containers.list[1].arguments == ["w"] && containers.list[1].environment.map(\.name) == ["X"])
    #expect(spec.command.isEmpty && spec.environment.isEmpty && spec.image == "a")
    #expect(spec.objects == [ProjectObject(.secret, "s")])
    #expect(spec.features == [.containers, .objects, .volumes])
    #expect(spec.resources == Resources(cpuMillicores: 1500, memory: ByteCount(4 << 30)))
    #expect(spec.limits == Resources(cpuMillicores: 3000))
    #expect(spec.scratchPaths == ["/work"])
    #expect(spec.directoryMounts == [DirectoryMount(path: "/shared", directory: "/work")])
  }

  @Test("Argo sees the containers of a set as nodes below their pod, each with its own end")
  func nodes() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            steps:
            - - {name: set, template: set, continueOn: {failed: true}}
            - - {name: last, template: last}
          - name: set
            containerSet:
              containers:
              - {name: a, image: i, command: [a]}
              - {name: b, image: i, command: [b]}
              - {name: main, image: i, command: [m], dependencies: [a, b]}
          - {name: last, container: {image: i, command: [l]}}
        """)
    func node(_ name: String) -> JSONValue? {
      ArgoStatus.status(driver.machine)["nodes"]?[ArgoNames.nodeID(workflow: "wf", node: name)]
    }
    func id(_ name: String) -> JSONValue { .string(ArgoNames.nodeID(workflow: "wf", node: name)) }
    driver.send(.start)
    #expect(node("wf[0].set.a")?["phase"] == "Pending" && node("wf[0].set.a")?["type"] == "Container")
    #expect(node("wf[0].set")?["children"] == .array([id("wf[0].set.a"), id("wf[0].set.b")]))
    var bad = TaskOutcome.bad(3)
    bad.outputs.exitCodes = ["a": 0, "b": 3]
    driver.endNext(bad)
    #expect(node("wf[0].set.a")?["phase"] == "Succeeded" && node("wf[0].set.b")?["message"] == "exit code 3")
    #expect(node("wf[0].set.main")?["phase"] == "Failed" && node("wf[0].set.main")?["message"] == "it did not run")
    #expect(node("wf[0].set.a")?["children"] == .array([id("wf[0].set.main")]))
    #expect(node("wf[0].set.main")?["children"] == .array([id("wf[1]")]))
    #expect(node("wf[0].set.a")?["boundaryID"] == id("wf[0].set") && node("wf[0].set.a")?["templateName"] == "set")
    driver.endNext(.good())
    #expect(node("wf[1].last")?["children"] == nil && node("wf[1].last.main") == nil)
  }

  @Test("the containers of a set wait for each other as they say, and the one named main gives the result")
  func set() throws {
    let spec = try spec(
      """
      containerSet:
        retryStrategy: {retries: "2", duration: 3s}
        volumeMounts: [{name: work, mountPath: /work}]
        containers:
        - {name: a, image: i, command: [a]}
        - {name: main, image: i, command: [m], dependencies: [a]}
      """)
    let containers = try #require(spec.containers)
    #expect(containers.list.map(\.role) == [.member, .member])
    #expect(containers.list[1].dependencies == ["a"])
    #expect(containers.retries == 2 && containers.retryPause == .seconds(3))
    #expect(spec.scratchPaths == ["/work"])
  }

  @Test(
    "what cannot be run is refused by name",
    arguments: [
      ("containerSet: {containers: []}", "needs containers"),
      ("containerSet: {containers: [{name: a, image: i, command: [a], dependencies: [b]}]}", "no container \"b\""),
      (
        "containerSet: {containers: [{name: a, image: i, dependencies: [b]}, {name: b, image: i, dependencies: [a]}]}",
        "wait for each other"
      ),
      (
        "containerSet: {containers: [{name: a, image: i}]}\noutputs: {artifacts: [{name: o, path: /o}]}",
        "needs a container named main"
      ),
      ("container: {image: i}\nsidecars: [{name: main, image: i}]", "two containers are named"),
      ("suspend: {}\nsidecars: [{name: s, image: i}]", "belong to a container"),
      ("container: {image: i}\nsidecars: [{name: s, image: i, restartPolicy: Always}]", "restart policies"),
    ])
  func refusals(template: String, message: String) {
    #expect {
      _ = try spec(template)
    } throws: { error in
      "\(error)".contains(message)
    }
  }
}
