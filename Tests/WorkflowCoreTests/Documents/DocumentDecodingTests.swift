import FederationModel
import Testing
import WorkflowCore

/// A document around `templates` (indented by two), whose first template is `main`.
func workflow(_ templates: String, spec: String = "") -> String {
  """
  apiVersion: argoproj.io/v1alpha1
  kind: Workflow
  metadata: {generateName: test-}
  spec:
    entrypoint: main
  \(spec.split(separator: "\n").map { "  " + $0 }.joined(separator: "\n"))
    templates:
  \(templates.split(separator: "\n", omittingEmptySubsequences: false).map { "  " + $0 }.joined(separator: "\n"))
  """
}

func decode(_ text: String, strict: Bool = true) throws -> WorkflowDefinition {
  try WorkflowDefinition.decode(text.utf8, strict: strict)
}

/// Every problem of a document; none when it is accepted.
func problems(of text: String, strict: Bool = true) -> [DocumentProblem] {
  do throws(DocumentErrors) {
    _ = try WorkflowDefinition.decode(text.utf8, strict: strict)
    return []
  } catch {
    return error.problems
  }
}

@Suite("Decoding documents")
struct DocumentDecodingTests {
  private let container = "- name: main\n  container: {image: busybox, command: [\"true\"]}"

  @Test("the fields of the first cut arrive as values")
  func fields() throws {
    let definition = try decode(
      workflow(
        """
        - name: main
          inputs:
            parameters:
              - {name: a, value: 5, enum: [5, 6]}
              - {name: b, default: yes}
            artifacts: [{name: f, path: /in/f, optional: true, mode: 420}]
          outputs:
            parameters: [{name: o, globalName: go, valueFrom: {path: /o, default: 1.10}}]
            artifacts: [{name: d, path: /out, archive: {none: {}}, s3: {key: a/b}}]
          retryStrategy: {limit: 3, retryPolicy: Always, backoff: {duration: 5s, factor: 2, maxDuration: 1m}}
          timeout: 1h30m
          activeDeadlineSeconds: 10
          container:
            image: busybox
            command: [sh, -c]
            args: [echo, 1, true]
            env: [{name: NUM, value: 010}]
            resources: {requests: {cpu: 500m, memory: 1Gi}}
            volumeMounts: [{name: work, mountPath: /work}]
        """,
        spec: """
          parallelism: 2
          activeDeadlineSeconds: 60
          volumes: [{name: work, emptyDir: {}}]
          nodeSelector: {disk: ssd}
          podGC: {strategy: OnPodCompletion}
          """))
    let template = try #require(definition.template(named: "main"))
    guard case .container(let main) = template.body else {
      Issue.record("the body is \(template.body)")
      return
    }
    #expect(template.inputs.parameters.map(\.value) == ["5", nil])
    #expect(template.inputs.parameters.map(\.defaultValue) == [nil, "true"])
    #expect(template.inputs.parameters[0].allowedValues == ["5", "6"])
    #expect(template.inputs.artifacts[0].mode == 0o644)
    #expect(template.outputs.parameters[0].valueFrom == ValueFrom(source: .path("/o"), defaultValue: "1.1"))
    #expect(template.outputs.artifacts[0].archive == ArchiveFormat.none)
    #expect(template.outputs.artifacts[0].key == "a/b")
    #expect(template.retryStrategy?.limit == "3")
    #expect(template.retryStrategy?.backoff?.factor == "2")
    #expect(template.timeout == "1h30m")
    #expect(template.activeDeadlineSeconds == "10")
    #expect(main.args == ["echo", "1", "true"])
    #expect(main.env == [EnvironmentVariable(name: "NUM", value: "8")])
    #expect(main.resources.requests == ["cpu": "500m", "memory": "1Gi"])
    #expect(definition.spec.parallelism == 2)
    #expect(definition.spec.volumes == [WorkflowVolume(name: "work")])
    #expect(definition.canonicalJSON.contains("OnPodCompletion"))
  }

  @Test("what is stored reads back as the same values, from YAML and from JSON alike")
  func roundTrip() throws {
    let yaml = try decode(workflow(container, spec: "arguments: {parameters: [{name: x, value: \"a\\\"b\\n\"}]}"))
    let restored = try WorkflowDefinition(json: yaml.canonicalJSON)
    #expect(restored == yaml)
    #expect(restored.spec == yaml.spec)
    #expect(restored.metadata == yaml.metadata)
    let json = try WorkflowDefinition.decode(yaml.canonicalJSON.utf8, format: .json)
    #expect(json.canonicalJSON == yaml.canonicalJSON)
  }

  @Test(
    "plain scalars mean what Kubernetes takes them for",
    arguments: [
      ("5", "5"), ("0x1F", "31"), ("010", "8"), ("1_000", "1000"), ("1.50", "1.5"), ("1e3", "1000"), ("yes", "true"),
      ("off", "false"), ("\"yes\"", "yes"), ("'010'", "010"), ("2001-01-01", "2001-01-01"), ("1.2.3", "1.2.3"),
      ("-7", "-7"), ("+7", "7"), ("0b101", "5"), ("!!str 5", "5"), ("12:30", "12:30"), ("-", "-"), (".5", "0.5"),
      (".inf", nil), ("!secret x", nil),
    ] as [(String, String?)])
  func scalars(source: String, expected: String?) throws {
    let text = workflow(container, spec: "arguments: {parameters: [{name: x, value: \(source)}]}")
    guard let expected else {
      #expect(!problems(of: text).isEmpty)
      return
    }
    #expect(try decode(text).spec.arguments.parameters[0].value == expected)
  }

  @Test("anchors, aliases and merge keys are expanded")
  func anchors() throws {
    let definition = try decode(
      workflow(
        """
        - name: main
          container: &base {image: busybox, command: ["true"]}
        - name: other
          container: {<<: *base, image: alpine}
        """))
    guard case .container(let other)? = definition.template(named: "other")?.body else { return }
    #expect(other.image == "alpine")
    #expect(other.command == ["true"])
  }

  @Test("template defaults fill what a template leaves open, and never its kind")
  func templateDefaults() throws {
    let definition = try decode(
      workflow(
        """
        - name: main
          steps: [[{name: a, template: leaf}]]
        - name: leaf
          timeout: 5s
          container: {image: busybox}
        """,
        spec: "templateDefaults: {timeout: 30s, container: {command: [\"true\"], image: none}}"))
    #expect(definition.template(named: "main")?.timeout == "30s")
    #expect(definition.template(named: "leaf")?.timeout == "5s")
    guard case .container(let leaf)? = definition.template(named: "leaf")?.body else { return }
    #expect(leaf.image == "busybox")
    #expect(leaf.command == ["true"])
  }

  @Test("names are taken as they are written, also those that YAML 1.1 takes for booleans and numbers")
  func plainNames() throws {
    let definition = try decode(
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {generateName: n-, labels: {y: yes}}
      spec:
        entrypoint: off
        arguments: {parameters: [{name: n, value: yes}]}
        templates:
          - name: off
            dag:
              tasks:
                - {name: y, template: on}
                - {name: no, template: on, dependencies: [y], withItems: [{name: yes}, 010]}
          - name: on
            inputs: {parameters: [{name: 010, default: n}]}
            container: {image: busybox}
      """)
    #expect(definition.spec.entrypoint == "off" && definition.spec.templates.map(\.name) == ["off", "on"])
    #expect(definition.spec.arguments.parameters == [WorkflowParameter(name: "n", value: "true")])
    #expect(definition.metadata.labels == ["y": "true"])
    #expect(definition.template(named: "on")?.inputs.parameters.map(\.name) == ["010"])
    guard case .dag(let dag)? = definition.template(named: "off")?.body else {
      Issue.record("it is a graph")
      return
    }
    #expect(dag.tasks.map(\.name) == ["y", "no"])
    #expect(definition.canonicalJSON.contains(#""withItems":[{"name":true},8]"#), "items are data, not names")
  }

  @Test("inline templates are lifted under the name of their step")
  func inlineTemplates() throws {
    let definition = try decode(
      workflow("- name: main\n  dag: {tasks: [{name: a, inline: {container: {image: busybox}}}]}"))
    #expect(definition.spec.templates.map(\.name) == ["main", "main.a"])
    #expect(definition.template(named: "main.a")?.isInline == true)
  }

  @Test(
    "data sets and the stage-out policy are read from the block and from the annotation, a template's list taken whole")
  func datasets() throws {
    let definition = try decode(
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata:
        name: hints
        annotations: {fubini.dev/federation: '{"datasets": [{"name": "water-md", "mountPath": "/data/water"}]}'}
      spec:
        entrypoint: main
        federation: {stageOut: eager, recompute: never}
        templates:
          - name: main
            container: {image: busybox}
          - name: own
            federation:
              datasets: [{name: genome, version: 3, mountPath: /ref/}, {name: water-md, mountPath: /reference}]
              stageOut: never
            container: {image: busybox}
          - name: none
            federation: {datasets: []}
            container: {image: busybox}
      """)
    let hints = definition.spec.templates.map { definition.federationHints(for: $0) }
    #expect(hints[0].datasets == [DatasetMount(name: "water-md", mountPath: "/data/water")])
    #expect(hints[0].stageOut == .eager)
    #expect(hints[0].recompute == .never)
    #expect(
      hints[1].datasets == [
        DatasetMount(name: "genome", version: 3, mountPath: "/ref"),
        DatasetMount(name: "water-md", mountPath: "/reference"),
      ])
    #expect(hints[1].stageOut == .never)
    #expect(hints[2].datasets == [])
    let again = try WorkflowDefinition.decode(Array(definition.canonicalJSON.utf8), strict: true)
    #expect(again.spec.templates.map { again.federationHints(for: $0) } == hints)
  }

  @Test("the federation block and its annotation give the same hints; a template's own fields win")
  func federation() throws {
    let definition = try decode(
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata:
        name: hints
        annotations: {fubini.dev/federation: '{"walltime": "2h", "priorityClass": "idle", "gang": {"size": 4},
                                               "gpuType": "a100", "placementPolicy": "local-first",
                                               "slurm": {"partition": "cpu", "nodes": 2, "exclusive": true}}'}
      spec:
        entrypoint: main
        federation: {priorityClass: realtime, maxPrice: "12.50 CNY"}
        templates:
          - name: main
            federation: {clusters: {kinds: [slurm], exclude: [edge-7]}, onDisconnect: replace}
            container: {image: busybox}
          - name: other
            federation: {placementPolicy: {name: local-first, waitThreshold: 90s, priceThreshold: "0.50 CNY"}}
            container: {image: busybox}
      """)
    let hints = definition.federationHints(for: definition.spec.templates[0])
    #expect(hints.walltime == .seconds(7200))
    #expect(hints.gangSize == 4)
    #expect(hints.slurm == SlurmHints(partition: "cpu", nodes: 2, exclusive: true))
    #expect(hints.priorityClass == .realtime)
    #expect(hints.maxPrice == Money(minorUnits: 1250, currency: "CNY"))
    #expect(hints.kinds == [.slurm])
    #expect(hints.exclude == ["edge-7"])
    #expect(hints.onDisconnect == .replace)
    #expect(hints.placementPolicy == PlacementPolicy(waitThreshold: .seconds(600), priceThreshold: nil))
    #expect(definition.gpuType(for: definition.spec.templates[0]) == "a100")
    #expect(
      definition.federationHints(for: definition.spec.templates[1]).placementPolicy
        == PlacementPolicy(waitThreshold: .seconds(90), priceThreshold: Money(minorUnits: 50, currency: "CNY")))
  }

  @Test("arguments given at submission replace values; unknown names and values outside an enum are errors")
  func overrides() throws {
    let definition = try decode(
      workflow(container, spec: "arguments: {parameters: [{name: size, value: s, enum: [s, m]}, {name: who}]}"))
    let changed = try definition.withArguments(["size": "m", "who": "me"])
    #expect(changed.spec.arguments.parameters.map(\.value) == ["m", "me"])
    let errors = #expect(throws: DocumentErrors.self) { try definition.withArguments(["siez": "m", "size": "xl"]) }
    #expect(errors?.problems.count == 2)
    #expect(errors?.description.contains("did you mean \"size\"") == true)
    #expect(errors?.description.contains("s, m") == true)
    #expect(try definition.withEntrypoint("main").spec.entrypoint == "main")
    #expect(throws: DocumentErrors.self) { try definition.withEntrypoint("mian") }
  }

  @Test(
    "durations are seconds or Go durations",
    arguments: [
      ("30", 30_000), ("30s", 30_000), ("1h30m", 5_400_000), ("1.5h", 5_400_000), ("250ms", 250), ("2d", 172_800_000),
      ("", nil), ("s", nil), ("-5s", nil), ("5x", nil), ("1h30", nil), ("9999999999999999999", nil), ("inf", nil),
    ] as [(String, Int64?)])
  func durations(text: String, milliseconds: Int64?) {
    #expect(GoDuration.parse(text)?.milliseconds == milliseconds)
  }
}
