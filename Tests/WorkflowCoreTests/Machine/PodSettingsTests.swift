import FederationModel
import Testing

@testable import WorkflowCore

@Suite("What only Kubernetes can obey")
struct PodSettingsTests {
  private static func document(spec: String = "", template: String = "", container: String = "") -> String {
    let fields = [spec.isEmpty ? [] : spec.split(separator: "\n").map { "  " + $0 }].joined().joined(separator: "\n")
    return """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: w}
      spec:
        entrypoint: main
        arguments: {parameters: [{name: zone, value: z1}]}
      \(fields)
        templates:
        - name: main
          metadata: {labels: {team: "{{workflow.parameters.zone}}"}, annotations: {note: x}}
      \(template.split(separator: "\n").map { "    " + $0 }.joined(separator: "\n"))
          container: {image: i, command: [c], \(container)}

      """
  }

  private func task(spec: String = "", template: String = "", container: String = "") throws -> TaskSpec {
    try firstTask(of: Self.document(spec: spec, template: template, container: container))
  }

  @Test("a template's settings take the place of the workflow's, aliases of hosts are added up, and tags are replaced")
  func settings() throws {
    let task = try task(
      spec: """
        tolerations: [{key: a, operator: Exists}]
        schedulerName: volcano
        serviceAccountName: runner
        podPriorityClassName: low
        podMetadata: {labels: {all: "1"}, annotations: {note: y, other: z}}
        hostAliases: [{ip: 10.0.0.1, hostnames: [one]}]
        imagePullSecrets: [{name: pull}]
        securityContext: {fsGroup: 2000}
        """,
      template: """
        tolerations: [{key: "{{workflow.parameters.zone}}", operator: Exists}]
        priorityClassName: high
        hostAliases: [{ip: 10.0.0.2, hostnames: [two]}]
        affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: []}}
        """, container: "imagePullPolicy: Always, securityContext: {readOnlyRootFilesystem: true}")
    let pod = try #require(task.pod)
    #expect(
      pod.spec == [
        "tolerations": [["key": "z1", "operator": "Exists"]], "schedulerName": "volcano",
        "serviceAccountName": "runner", "priorityClassName": "high", "imagePullSecrets": [["name": "pull"]],
        "hostAliases": [["ip": "10.0.0.1", "hostnames": ["one"]], ["ip": "10.0.0.2", "hostnames": ["two"]]],
        "securityContext": ["fsGroup": 2000],
        "affinity": ["nodeAffinity": ["preferredDuringSchedulingIgnoredDuringExecution": []]],
      ])
    #expect(
      pod.containers == [
        "main": ["imagePullPolicy": "Always", "securityContext": ["readOnlyRootFilesystem": true]]
      ])
    #expect(pod.labels == ["all": "1", "team": "z1"] && pod.annotations == ["note": "x", "other": "z"])
    // Names that runs look up are no use without the aliases.
    #expect(task.features == [.pods])
    #expect(Set(pod.spec.keys).isSubset(of: PodSettings.specMembers))
  }

  @Test(
    "what changes what a program may do or sees is for clusters of Kubernetes alone; what says where a pod goes is not",
    arguments: [
      ("tolerations: [{key: a}]\naffinity: {nodeAffinity: {}}\nschedulerName: x\nserviceAccountName: s", "", []),
      ("", "securityContext: {runAsUser: 1000, runAsNonRoot: true, allowPrivilegeEscalation: false}", []),
      ("", "securityContext: {capabilities: {drop: [ALL]}, privileged: false, procMount: Default}", []),
      ("", "imagePullPolicy: Never", []),
      ("", "securityContext: {runAsUser: 0}", [.pods]), ("hostAliases: [{ip: 10.0.0.1}]", "", [.pods]),
      ("", "lifecycle: {preStop: {exec: {command: [a]}}}", [.pods]),
      ("", "env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]", [.pods]),
      ("", "env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]", [.pods]),
      ("", "securityContext: {privileged: true}", [.pods, .privilegedPods]),
      ("", "securityContext: {capabilities: {add: [SYS_PTRACE]}}", [.pods, .privilegedPods]),
      ("", "securityContext: {procMount: Unmasked}", [.pods, .privilegedPods]),
      ("securityContext: {sysctls: [{name: a, value: b}]}", "", [.pods, .privilegedPods]),
      ("volumes: [{name: v, nfs: {server: s, path: /}}]", "volumeMounts: [{name: v, mountPath: /v}]", [.pods]),
      (
        "volumes: [{name: v, hostPath: {path: /}}]", "volumeMounts: [{name: v, mountPath: /v}]",
        [.pods, .privilegedPods]
      ),
      ("volumes: [{name: v, hostPath: {path: /}}]", "", []), ("podSpecPatch: '{runtimeClassName: gvisor}'", "", []),
      (
        "podSpecPatch: '{containers: [{name: main, securityContext: {privileged: true}}]}'", "",
        [.pods, .privilegedPods]
      ),
    ] as [(String, String, Set<RunFeature>)])
  func features(template: String, container: String, features: Set<RunFeature>) throws {
    let task = try task(template: template, container: container)
    #expect(task.features == features, "\(String(describing: task.pod))")
  }

  @Test(
    "what has no effect elsewhere is told with the workflow, and what is for Kubernetes alone is not: its tasks go nowhere else"
  )
  func warnings() throws {
    let definition = try WorkflowDefinition.decode(
      Array(
        Self.document(
          spec: "schedulerName: x\nhostAliases: [{ip: 10.0.0.1}]\nserviceAccountName: s",
          container: "securityContext: {privileged: true, runAsGroup: 7}"
        ).utf8))
    #expect(
      definition.spec.warnings.map { $0.split(separator: ":")[0] } == [
        "spec.schedulerName has an effect on Kubernetes clusters alone",
        "spec.templates[0].container.securityContext.runAsGroup has an effect on Kubernetes clusters alone",
      ])
  }

  @Test("what metadata has beside Kubernetes' fields has no effect there either, and is told with the workflow")
  func unknownMetadata() throws {
    let document = Self.document(spec: "", container: "").replacing("{name: w}", with: "{name: w, label: {a: b}}")
    #expect(document.contains("label: {a: b}"))
    let definition = try WorkflowDefinition.decode(Array(document.utf8))
    #expect(
      definition.spec.warnings == [
        "metadata.label has no effect: no metadata has a field of this name, and Kubernetes drops it; did you mean labels?"
      ])
  }

  @Test("settings go into a pod beside what it has said already, and not into the agent's own containers")
  func merging() {
    let settings = PodSettings(
      spec: ["tolerations": ["added"], "securityContext": ["fsGroup": 1, "runAsUser": 2], "hostPID": true],
      containers: [
        "main": ["env": ["mine"], "imagePullPolicy": "Always", "command": ["evil"]],
        "fubini-init": ["imagePullPolicy": "Always"],
      ], labels: ["a": "1", "fubini.dev/run": "2"],
      volumes: [PodVolume(name: "v", source: ["nfs": [:]], mounts: [.init(path: "/v", subPath: "p", isReadOnly: true)])]
    )
    let pod: JSONValue = [
      "metadata": ["labels": ["fubini.dev/run": "1"]],
      "spec": [
        "tolerations": ["own"], "securityContext": ["runAsUser": 1], "initContainers": [["name": "fubini-init"]],
        "containers": [["name": "main", "env": ["own"], "command": ["c"]]], "volumes": [["name": "own"]],
      ],
    ]
    let mount: JSONValue = ["name": "v", "mountPath": "/v", "subPath": "p", "readOnly": true]
    #expect(
      settings.merged(into: pod) == [
        "metadata": ["labels": ["a": "1", "fubini.dev/run": "1"]],
        "spec": [
          "tolerations": ["own", "added"], "securityContext": ["fsGroup": 1, "runAsUser": 1],
          "initContainers": [["name": "fubini-init"]],
          "containers": [
            [
              "name": "main", "env": ["own", "mine"], "command": ["c"], "imagePullPolicy": "Always",
              "volumeMounts": [mount],
            ]
          ], "volumes": [["name": "own"], ["name": "v", "nfs": [:]]],
        ],
      ])
  }
}

@Suite("Resource templates")
struct ResourceTemplateTests {
  private static func document(_ resource: String, outputs: String = "") -> String {
    """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {name: w}
    spec:
      entrypoint: main
      arguments: {parameters: [{name: n, value: job-1}]}
      templates:
      - name: main
        resource:
    \(resource.split(separator: "\n", omittingEmptySubsequences: false).map { "      " + $0 }.joined(separator: "\n"))
        \(outputs)

    """
  }

  @Test("an object is made on clusters that can, with its tags replaced")
  func task() throws {
    let task = try firstTask(
      of: Self.document(
        """
        action: create
        setOwnerReference: true
        successCondition: status.succeeded > 0
        failureCondition: status.failed > {{workflow.parameters.n}}
        flags: [--validate=false]
        manifest: |
          kind: Job
          metadata: {name: "{{workflow.parameters.n}}"}
        """,
        outputs:
          "outputs: {parameters: [{name: phase, valueFrom: {jsonPath: '{.status.phase}', default: none}}]}"))
    #expect(
      task.resource
        == RunResource(
          action: .create, manifest: "kind: Job\nmetadata: {name: \"job-1\"}\n", setsOwner: true,
          successCondition: "status.succeeded > 0", failureCondition: "status.failed > job-1",
          flags: ["--validate=false"],
          outputs: [.init(name: "phase", jsonPath: "{.status.phase}", defaultValue: "none")], workflow: "u"
        ))
    #expect(task.features == [.resources] && task.command.isEmpty)
    // Its values come as files do.
    #expect(
      task.outputParameters
        == [OutputParameter(name: "phase", path: RunResource.path(ofOutput: 0), defaultValue: "none")])
    #expect(task.scratchPaths == [RunResource.outputDirectory])
  }

  @Test(
    "what makes no sense is refused by name",
    arguments: [
      ("action: create", "", "needs a manifest"), ("manifest: 'a: b'", "", "needs an action"),
      ("action: destroy\nmanifest: 'a: b'", "", "must be one of get, create"),
      ("action: create\nmanifest: 'a: [b'", "", "neither YAML nor JSON"),
      ("action: create\nmanifest: 'a: b'\nsuccessCondition: 'a ~ b'", "", "no operator"),
      ("action: create\nmanifestFrom: {artifact: {name: m}}", "", "manifests that are artifacts"),
      (
        "action: get\nmanifest: 'a: b'", "outputs: {parameters: [{name: p, valueFrom: {path: /x}}]}",
        "has no files"
      ),
      (
        "action: get\nmanifest: 'a: b'", "outputs: {parameters: [{name: p, valueFrom: {jqFilter: .a}}]}",
        "jq filters are not supported"
      ),
      ("action: create\nmanifest: 'a: b'\nflags: [--edit]", "", "the flag --edit of kubectl is not supported"),
      ("action: create\nmanifest: 'a: b'\nflags: [configmap, x]", "", "flags may not name another"),
      ("action: delete\nmanifest: 'a: b'\nsuccessCondition: a", "", "delete leaves no object"),
      (
        "action: delete\nmanifest: 'a: b'", "outputs: {parameters: [{name: p, valueFrom: {jsonPath: '{.a}'}}]}",
        "delete leaves no object"
      ),
    ])
  func refusals(resource: String, outputs: String, message: String) {
    let errors = #expect(throws: DocumentErrors.self) {
      try WorkflowDefinition.decode(Array(Self.document(resource, outputs: outputs).utf8))
    }
    #expect(errors?.problems.contains { $0.message.contains(message) } == true, "\(errors?.problems ?? [])")
  }

  @Test("a manifest has a limit")
  func largeManifest() {
    let yaml = Self.document("action: create\nmanifest: '" + String(repeating: "x", count: 600_000) + "'", outputs: "")
    let errors = #expect(throws: DocumentErrors.self) { try WorkflowDefinition.decode(Array(yaml.utf8)) }
    #expect(errors?.problems.contains { $0.message.contains("the manifest is larger than 512 KiB") } == true)
  }

  @Test("values of objects are of resource templates alone")
  func jsonPathElsewhere() {
    let yaml = """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: w}
      spec:
        entrypoint: main
        templates:
        - name: main
          container: {image: i, command: [c]}
          outputs: {parameters: [{name: p, valueFrom: {jsonPath: '{.a}'}}]}
      """
    let errors = #expect(throws: DocumentErrors.self) { try WorkflowDefinition.decode(Array(yaml.utf8)) }
    #expect(errors?.problems.map(\.message) == ["jsonPath is of resource templates alone: their object has values"])
  }

  @Test(
    "conditions are requirements of a label selector over paths of the object",
    arguments: [
      ("status.succeeded > 0", true), ("status.succeeded > 1", false), ("status.succeeded < 2", true),
      ("status.phase == Running", true), ("status.phase=Running,status.succeeded=1", true),
      ("status.phase = Running, status.succeeded = 2", false), ("status.phase != Done", true),
      ("status.none != Done", true), ("status.none == Done", false), ("status.none > 0", false),
      ("status.phase in (Done, Running)", true), ("status.phase notin (Done, Running)", false),
      ("status.none notin (a)", true), ("status.phase", true), ("status.none", false), ("!status.none", true),
      ("!status.phase", false), ("status.conditions.0.type == Ready", true), ("status.conditions.1", false),
      ("status.conditions.# > 0", true), ("status.ok == true", true), ("status.nothing", false),
    ])
  func conditions(text: String, holds: Bool) throws {
    let object: JSONValue = [
      "status": [
        "succeeded": 1, "phase": "Running", "conditions": [["type": "Ready"]], "ok": true, "nothing": nil,
      ]
    ]
    #expect(try ResourceCondition(text).holds(object) == holds)
  }

  @Test(
    "of a failure condition one requirement is enough, and it is told as Argo tells it",
    arguments: [
      ("status.failed > 3, status.phase == Failed", "{status.failed gt [3]}"), ("status.phase in (A, B)", nil),
      ("status.none, status.phase != Done", "{status.phase != [Done]}"), ("status.failed < 4", nil),
    ] as [(String, String?)])
  func failures(text: String, met: String?) throws {
    let object: JSONValue = ["status": ["failed": 4, "phase": "Running"]]
    #expect(try ResourceCondition(text).firstMet(by: object) == met)
  }

  @Test("a manifest is YAML or JSON, with as many objects as it has")
  func manifests() throws {
    #expect(try ObjectManifest.objects("kind: A\n---\n---\n{\"kind\": \"B\"}") == [["kind": "A"], ["kind": "B"]])
    #expect(try ObjectManifest.objects("kind: List\nitems: [{kind: A}, {kind: B}]").count == 2)
    #expect(try ObjectManifest.objects("[{op: add, path: /a, value: 1}]")[0][0]?["value"] == 1)
    #expect(try ObjectManifest.objects("").isEmpty)
    #expect(throws: FederationError.self) { try ObjectManifest.objects("a: [b") }
  }

  @Test("flags of kubectl say which object, where, and how")
  func flags() throws {
    let named = try KubectlFlags(["configmap", "a", "-n", "other", "--ignore-not-found"], action: .get)
    #expect(named.type == "configmap" && named.names == ["a"] && named.namespace == "other")
    #expect(named.ignoresAbsence == true && !named.selects)
    let selected = try KubectlFlags(["pods", "--selector=a=b", "--wait=false", "--cascade=orphan"], action: .delete)
    #expect(selected.labelSelector == "a=b" && selected.selects && selected.names.isEmpty && !selected.waits)
    #expect(selected.propagationPolicy == "Orphan" && selected.ignoresAbsence == nil)
    let several = try KubectlFlags(["job.batch/a", "job.batch/b", "--grace-period", "-1"], action: .delete)
    #expect(several.type == "job.batch" && several.names == ["a", "b"] && several.graceSeconds == nil)
    #expect(try KubectlFlags(["--validate=false"], action: .create).validation == .ignore)
    #expect(try KubectlFlags([], action: .apply).forcesConflicts == nil)
    #expect(try KubectlFlags(["--server-side"], action: .apply).forcesConflicts == false)
    #expect(try KubectlFlags(["--force"], action: .delete).graceSeconds == 0)
  }

  @Test(
    "flags that make no sense are refused",
    arguments: [
      (["-n"], RunResource.Action.get), (["configmap"], .get), (["configmap", "a", "b"], .get),
      (["-l", "a=b"], .delete),
      (["configmap", "a", "-l", "x"], .delete), (["configmap/a", "job/b"], .delete), (["configmap", "-l", "a"], .get),
      (["--validate=maybe"], .create), (["--wait"], .create), (["--grace-period=x", "pod/a"], .delete), (["/a"], .get),
    ])
  func badFlags(words: [String], action: RunResource.Action) {
    #expect(throws: FederationError.self) { try KubectlFlags(words, action: action) }
  }

  @Test(
    "values of an object are printed as kubectl prints them",
    arguments: [
      ("{.metadata.name}", "w"), ("name={.metadata.name}{'\\n'}", "name=w\n"), ("plain", "plain"),
      ("{.items[*].n}", "1 2"), ("{range .items[*]}{.n}:{.t};{end}", "1:a;2:b;"), ("{range .none[*]}{.n}{end}x", "x"),
      ("{.items[0]}", #"{"n":1,"t":"a"}"#), ("{.items[?(@.t==\"b\")].n}", "2"), ("{.missing.part}", ""),
      ("{.metadata.labels.a\\.b/c}", "dotted"), ("{.metadata.labels['a.b/c']}", "dotted"), ("{.items[-1].t}", "b"),
      ("{.ok}", "true"), ("{@.metadata.name}", "w"), ("{.items}", #"[{"n":1,"t":"a"},{"n":2,"t":"b"}]"#),
    ])
  func kubectlPaths(template: String, printed: String) throws {
    let object: JSONValue = [
      "metadata": ["name": "w", "labels": ["a.b/c": "dotted"]], "ok": true,
      "items": [["n": 1, "t": "a"], ["n": 2, "t": "b"]],
    ]
    #expect(try KubectlPath.text(template, of: object) == printed)
  }

  @Test(
    "what is no template of kubectl is refused",
    arguments: ["{.a", "{end}", "{range .items[*]}x", "{range .none}x", "{.a[}"])
  func badPaths(template: String) {
    #expect(throws: FederationError.self) { try KubectlPath.text(template, of: ["items": [1]]) }
  }

  @Test(
    "what is no list of requirements is refused",
    arguments: ["", "a >", "a > b", "a in b", "a in (b", "a b", "a,", "a..b", "a = b c"])
  func badConditions(text: String) {
    #expect(throws: FederationError.self) { try ResourceCondition(text) }
  }
}
