import FederationModel
import Testing

@testable import WorkflowCore

@Suite("Secrets, config maps and volumes of a template")
struct VolumeTests {
  private func spec(_ container: String, volumes: String = "", metadata: String = "") throws -> TaskSpec {
    let yaml = """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: w}
      spec:
        entrypoint: main
        arguments: {parameters: [{name: which, value: red}]}
        volumes: [\(volumes)]
        templates:
        - name: main
          \(metadata)
          container:
            image: i
            command: [run]

      """
    let indented = container.split(separator: "\n").map { "      " + $0 }.joined(separator: "\n")
    return try firstTask(of: yaml + indented + "\n")
  }

  @Test(
    "What an empty directory says of its medium and size goes to Kubernetes, at the path at which all of it is; a warning says so"
  )
  func directorySettings() throws {
    let task = try spec(
      "volumeMounts: [{name: v, mountPath: /part, subPath: p}, {name: v, mountPath: /all}, {name: w, mountPath: /w}]",
      volumes: "{name: v, emptyDir: {medium: Memory, sizeLimit: 64Mi}}, {name: w, emptyDir: {}}")
    #expect(task.pod?.directories == ["/all": ["medium": "Memory", "sizeLimit": "64Mi"]])
    #expect(task.features.isDisjoint(with: [.pods, .privilegedPods]))
    #expect(throws: (any Error).self) { try spec("", volumes: "{name: v, emptyDir: {sizeLimit: much}}") }
  }

  @Test("Access modes are Kubernetes' own", arguments: [("ReadWriteOncePod", true), ("InvalidAccessMode", false)])
  func accessModes(mode: String, isGood: Bool) throws {
    let document = Self.claims.replacing("ReadWriteOnce", with: mode)
    if isGood {
      _ = try MachineDriver(spec: document)
    } else {
      #expect(throws: (any Error).self) { _ = try MachineDriver(spec: document) }
    }
  }

  @Test(
    "A file of a template's own in a volume claim is refused where it is written",
    arguments: [
      ("inputs: {artifacts: [{name: f, path: /mnt/vol/f}]}", "inputs.artifacts[0].path"),
      ("outputs: {artifacts: [{name: f, path: /mnt/vol}]}", "outputs.artifacts[0].path"),
      ("outputs: {parameters: [{name: p, valueFrom: {path: /mnt/vol/p}}]}", "outputs.parameters[0].valueFrom.path"),
      ("outputs: {artifacts: [{name: f, path: /mnt/volume}]}", nil),
    ] as [(String, String?)])
  func filesInClaims(part: String, place: String?) throws {
    let document = Self.claims.replacing("{name: make, container", with: "{name: make, \(part), container")
      .replacing(
        "{name: make, template: make}",
        with: "{name: make, template: make\(part.hasPrefix("inputs") ? Self.given : "")}")
    do {
      _ = try MachineDriver(spec: document)
      #expect(place == nil)
    } catch let error as DocumentErrors {
      let wanted = place.map { "spec.templates[1].\($0)" }
      #expect(error.problems.map(\.path) == [wanted ?? "none"], "\(error.problems)")
    }
  }

  private static let given = ", arguments: {artifacts: [{name: f, raw: {data: x}}]}"

  private static let claims = """
      entrypoint: main
      volumeClaimGC: {strategy: OnWorkflowCompletion}
      volumeClaimTemplates: [{metadata: {name: work}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]
      volumes: [{name: refs, persistentVolumeClaim: {claimName: genomes, readOnly: true}}]
      templates:
      - name: main
        steps:
        - - {name: make, template: make}
        - - {name: read, template: read}
          - {name: other, template: other}
      - {name: make, container: {image: i, command: [c], volumeMounts: [{name: work, mountPath: /mnt/vol}]}}
      - name: read
        container:
          image: i
          command: [c]
          volumeMounts: [{name: work, mountPath: /in, readOnly: true}, {name: refs, mountPath: /refs/}]
      - {name: other, container: {image: i, command: [c]}}
    """

  /// For Kubernetes.
  private static let wanted: JSONValue = [
    "accessModes": ["ReadWriteOnce"], "resources": ["requests": ["storage": "1Gi"]],
  ]

  @Test("runs that mount a volume of the workflow's own go where the first of them went; others go anywhere")
  func claims() throws {
    var driver = try MachineDriver(spec: Self.claims)
    driver.send(.start)
    let own = ClaimVolume.Owner(uid: "uid-1", goesWithFailure: true)
    let make = try driver.machine.taskSpec(for: driver.open[0])
    #expect(
      make.claims == [
        ClaimVolume(name: "work", workflow: own, mounts: [.init(path: "/mnt/vol")], specification: Self.wanted)
      ])
    #expect(make.features == [.claims] && make.beside == nil && make.scratchPaths.isEmpty)
    driver.machine.volumesPlaced(on: "edge")
    driver.machine.volumesPlaced(on: "late")
    #expect(driver.machine.takeChanges().status)
    driver.endNext(.good())
    let read = try driver.machine.taskSpec(for: driver.open[0])
    #expect(
      read.claims == [
        ClaimVolume(
          name: "work", workflow: own, mounts: [.init(path: "/in", isReadOnly: true)], specification: Self.wanted),
        ClaimVolume(name: "genomes", workflow: nil, mounts: [.init(path: "/refs", isReadOnly: true)]),
      ])
    #expect(read.beside == Companion("edge", .volumes))
    #expect(try driver.machine.taskSpec(for: driver.open[1]).beside == nil)
    for _ in 0..<2 { driver.endNext(.bad()) }
    #expect(driver.machine.status.phase == .failed)
    driver.send(.retry(restartSuccessful: false, selector: nil))
    #expect(driver.machine.status.volumesOn == "edge", "a retry finds what was left")
  }

  @Test(
    "what a volume claim cannot be is refused by name",
    arguments: [
      ("volumeMounts: [{name: work, mountPath: /w, subPath: a}]", "", "cannot be mounted alone"),
      ("volumeMounts: [{name: none, mountPath: /w}]", "", "no volume"),
      ("volumeMounts: []", ", dataSource: {kind: X, name: y}", "begins empty"),
      ("volumeMounts: []", ", volumeMode: Block", "file system"),
    ])
  func refusedClaims(mounts: String, field: String, message: String) throws {
    let yaml = """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: w}
      spec:
        entrypoint: main
        volumeClaimTemplates: [{metadata: {name: work}, spec: {accessModes: [ReadWriteOnce]\(field)}}]
        templates: [{name: main, container: {image: i, command: [c], \(mounts)}}]
      """
    let errors = #expect(throws: DocumentErrors.self) { try WorkflowDefinition.decode(Array(yaml.utf8)) }
    #expect(errors?.problems.contains { $0.message.contains(message) } == true, "\(errors?.problems ?? [])")
  }

  @Test("a variable names the value that it takes, with its tags replaced, and its own value goes into no spec")
  func variables() throws {
    let spec = try spec(
      """
      env:
      - {name: A, value: a}
      - {name: TOKEN, valueFrom: {secretKeyRef: {name: "s-{{workflow.parameters.which}}", key: k}}}
      - {name: MODE, valueFrom: {configMapKeyRef: {name: c, key: mode, optional: true}}}
      - {name: A, valueFrom: {secretKeyRef: {name: later, key: k}}}
      envFrom: [{prefix: X_, configMapRef: {name: all}}, {secretRef: {name: more, optional: true}}]
      """)
    #expect(spec.environment.isEmpty)
    let sources = try #require(spec.environmentSources)
    #expect(
      Set(sources) == [
        .value(variable: "TOKEN", key: "k", of: ProjectObject(.secret, "s-red"), isOptional: false),
        .value(variable: "MODE", key: "mode", of: ProjectObject(.configMap, "c"), isOptional: true),
        .value(variable: "A", key: "k", of: ProjectObject(.secret, "later"), isOptional: false),
        .all(of: ProjectObject(.configMap, "all"), prefix: "X_", isOptional: false),
        .all(of: ProjectObject(.secret, "more"), prefix: "", isOptional: true),
      ])
    #expect(spec.features == [.objects])
    #expect(spec.objects.count == 5)
  }

  @Test(
    "fields of a pod are those of the node",
    arguments: [
      ("metadata.name", "w"), ("metadata.namespace", "p"), ("spec.serviceAccountName", "default"),
      ("metadata.labels['team']", "blue"), ("metadata.labels['workflows.argoproj.io/workflow']", "w"),
      ("metadata.annotations['none']", ""),
    ])
  func fields(path: String, value: String) throws {
    let spec = try spec(
      "env: [{name: F, valueFrom: {fieldRef: {fieldPath: \"\(path)\"}}}]",
      metadata: "metadata: {labels: {team: blue}}")
    #expect(spec.environment == [EnvironmentVariable(name: "F", value: value)])
    #expect(spec.features.isEmpty)
  }

  @Test("a volume of files says whose values they are, and where which part of it appears")
  func files() throws {
    let spec = try spec(
      "volumeMounts: [{name: v, mountPath: /etc/v/}, {name: v, mountPath: /etc/one, subPath: sub/f}]",
      volumes: """
        {name: v, projected: {defaultMode: 256, sources: [{secret: {name: s, items: [{key: k, path: sub/f, mode: 292}]}}, \
        {configMap: {name: c, optional: true}}, {downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}]}}
        """)
    #expect(
      spec.fileVolumes == [
        FileVolume(
          name: "v",
          sources: [
            .object(
              ProjectObject(.secret, "s"), items: [.init(key: "k", path: "sub/f", mode: 292)], isOptional: false),
            .object(ProjectObject(.configMap, "c"), items: nil, isOptional: true),
            .text("w", path: "name", mode: nil),
          ], mode: 256, mounts: [.init(path: "/etc/v"), .init(path: "/etc/one", subPath: "sub/f")])
      ])
    #expect(spec.features == [.objects, .volumes])
  }

  @Test("an empty directory that appears twice, in part or read-only, has its bytes in one place")
  func directories() throws {
    let spec = try spec(
      """
      volumeMounts:
      - {name: work, mountPath: /scratch}
      - {name: work, mountPath: /again, readOnly: true}
      - {name: work, mountPath: /part, subPath: a/b}
      - {name: other, mountPath: /o, subPath: x}
      - {name: shown, mountPath: /shown, readOnly: true}
      """, volumes: "{name: work, emptyDir: {}}, {name: other, emptyDir: {}}, {name: shown, emptyDir: {}}")
    #expect(spec.scratchPaths == ["/scratch", "/shown"])
    #expect(
      Set(spec.directoryMounts ?? []) == [
        DirectoryMount(path: "/again", directory: "/scratch", isReadOnly: true),
        DirectoryMount(path: "/part", directory: "/scratch/a/b"),
        DirectoryMount(path: "/o", directory: "/.fubini/volumes/other/x"),
        DirectoryMount(path: "/shown", directory: "/shown", isReadOnly: true),
      ])
    #expect(spec.storedPath(of: "/part/c") == "/scratch/a/b/c")
    #expect(spec.storedPath(of: "/partly") == "/partly")
    #expect(spec.storedPath(of: "/again") == "/scratch")
  }

  @Test(
    "what has no meaning here is refused by name",
    arguments: [
      ("env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.phase}}}]", "", "of the fields of a pod"),
      ("env: [{name: A, valueFrom: {resourceFieldRef: {divisor: 1}}}]", "", "needs the name of a resource"),
      ("env: [{name: A, value: x, valueFrom: {secretKeyRef: {name: a, key: b}}}]", "", "not both"),
      ("env: [{name: A, valueFrom: {secretKeyRef: {name: a}}}]", "", "needs the name of a secret"),
      ("envFrom: [{prefix: A}]", "", "takes one of"),
      ("volumeMounts: [{name: v, mountPath: /v, subPath: ../x}]", "{name: v, emptyDir: {}}", "below the volume"),
      ("args: []", "{name: v, secret: {items: []}}", "needs the name of a secret"),
      ("args: []", "{name: v, configMap: {name: c, items: [{key: k, path: /abs}]}}", "below the volume"),
    ])
  func refusals(container: String, volumes: String, message: String) {
    #expect {
      _ = try spec(container, volumes: volumes)
    } throws: { error in
      "\(error)".contains(message)
    }
  }
}
