import Testing
import WorkflowCore

/// One thing that is wrong with a document, and how it must be said.
struct BadDocument: Sendable, CustomTestStringConvertible {
  var name: String
  var text: String
  /// `line: path: message begins with`, in order; the list is complete.
  var expected: [(line: Int?, path: String, message: String)]
  var testDescription: String { name }
}

@Suite("Validating workflows")
struct WorkflowValidationTests {
  private static func steps(_ groups: String, more: String = "") -> String {
    workflow(
      """
      - name: main
        steps:
      \(groups.split(separator: "\n").map { "  " + $0 }.joined(separator: "\n"))
      - name: leaf
        inputs: {parameters: [{name: p, default: d}], artifacts: [{name: f, path: /f, optional: true}]}
        outputs: {parameters: [{name: o, valueFrom: {path: /o}}], artifacts: [{name: d, path: /d}]}
        container: {image: busybox}
      \(more)
      """)
  }

  private static func dag(_ tasks: String) -> String {
    workflow(
      """
      - name: main
        dag:
          tasks:
      \(tasks.split(separator: "\n").map { "    " + $0 }.joined(separator: "\n"))
      - name: leaf
        inputs: {parameters: [{name: p, default: d}]}
        container: {image: busybox}
      """)
  }

  private static let leaf = "- name: main\n  container: {image: busybox}"

  static let bad: [BadDocument] = [
    BadDocument(
      name: "an unknown field, with the nearest known one",
      text: workflow("- name: main\n  contianer: {image: busybox}"),
      expected: [
        (8, "spec.templates[0]", "a template needs one of"), (9, "spec.templates[0].contianer", "unknown field"),
      ]),
    BadDocument(
      name: "a field that this version cannot honour",
      text: workflow(leaf + "\n  plugin: {hello: {}}"),
      expected: [
        (8, "spec.templates[0]", "a template has one of"),
        (10, "spec.templates[0].plugin", "plugin templates are not supported"),
      ]),
    BadDocument(
      name: "a missing entrypoint", text: workflow(leaf).replacing("entrypoint: main", with: "entrypoint: mian"),
      expected: [(5, "spec.entrypoint", "there is no template \"mian\"")]),
    BadDocument(
      name: "a template given twice", text: workflow(leaf + "\n" + leaf),
      expected: [(10, "spec.templates[1].name", "the template name \"main\" is given twice")]),
    BadDocument(
      name: "a step that names no template", text: steps("- - {name: a, template: laef}"),
      expected: [(10, "spec.templates[0].steps[0][0].template", "there is no template \"laef\"")]),
    BadDocument(
      name: "a misshapen name", text: steps("- - {name: a.b, template: leaf}"),
      expected: [(10, "spec.templates[0].steps[0][0].name", "the step name \"a.b\" must consist of")]),
    BadDocument(
      name: "a cycle, printed",
      text: dag(
        """
        - {name: a, template: leaf, depends: c}
        - {name: b, template: leaf, depends: a}
        - {name: c, template: leaf, dependencies: [b]}
        """),
      expected: [
        (11, "spec.templates[0].dag.tasks[0].depends", "the tasks wait for each other in a cycle: a -> c -> b -> a")
      ]),
    BadDocument(
      name: "a task that depends on itself", text: dag("- {name: a, template: leaf, dependencies: [a]}"),
      expected: [
        (11, "spec.templates[0].dag.tasks[0].dependencies", "the tasks wait for each other in a cycle: a -> a")
      ]),
    BadDocument(
      name: "unknown dependencies and bad grammar",
      text: dag(
        """
        - {name: first, template: leaf, depends: "frist && (x"}
        - {name: b, template: leaf, depends: frist.Succeeded}
        - {name: c, template: leaf, dependencies: [b, nobody]}
        """),
      expected: [
        (11, "spec.templates[0].dag.tasks[0].depends", "not a valid depends expression"),
        (12, "spec.templates[0].dag.tasks[1].depends", "there is no task \"frist\" to depend on"),
        (13, "spec.templates[0].dag.tasks[2].dependencies[1]", "there is no task \"nobody\" to depend on"),
      ]),
    BadDocument(
      name: "a task that refers to one that it does not wait for",
      text: dag(
        """
        - {name: a, template: leaf}
        - {name: b, template: leaf, depends: a}
        - {name: c, template: leaf, depends: b, when: "{{tasks.a.outputs.result}} == 1"}
        - {name: d, template: leaf, depends: b, when: "{{tasks.c.outputs.result}} == 1"}
        """),
      expected: [
        (14, "spec.templates[0].dag.tasks[3]", "task \"d\" refers to task \"c\" but does not wait for it")
      ]),
    BadDocument(
      name: "steps refer only to earlier groups",
      text: steps(
        """
        - - {name: a, template: leaf, when: "{{steps.b.outputs.result}} == 1"}
        - - {name: b, template: leaf, when: "{{steps.a.outputs.parameters.nope}} == 1"}
          - {name: c, template: leaf, when: "{{steps.x.status}} == 1"}
        """),
      expected: [
        (
          10, "spec.templates[0].steps[0][0].when",
          "{{steps.b.outputs.result}} cannot be resolved: the step \"b\" has not"
        ),
        (11, "spec.templates[0].steps[1][0].when", "{{steps.a.outputs.parameters.nope}} cannot be resolved: template"),
        (12, "spec.templates[0].steps[1][1].when", "{{steps.x.status}} cannot be resolved: there is no step"),
      ]),
    BadDocument(
      name: "tags out of their scope",
      text: workflow(
        """
        - name: main
          container:
            image: busybox
            args: ["{{inputs.parameters.x}}", "{{item}}", "{{workflow.failures}}", "{{retries}}", "{{workflow.nmae}}"]
            command: ["{{workflow.parameters.size}}", "{{.State}}", "{{=1 + 1}}", "{{pod.name}}"]
        """),
      expected: [
        (11, "spec.templates[0].container.args[0]", "{{inputs.parameters.x}} cannot be resolved"),
        (11, "spec.templates[0].container.args[1]", "{{item}} cannot be resolved: there is no withItems"),
        (11, "spec.templates[0].container.args[2]", "{{workflow.failures}} cannot be resolved: it is known only"),
        (
          11, "spec.templates[0].container.args[3]", "{{retries}} cannot be resolved: the template has no retryStrategy"
        ),
        (11, "spec.templates[0].container.args[4]", "{{workflow.nmae}} cannot be resolved"),
        (12, "spec.templates[0].container.command[0]", "{{workflow.parameters.size}} cannot be resolved"),
      ]),
    BadDocument(
      name: "expressions with broken grammar",
      text: workflow(
        leaf + "\n  retryStrategy: {limit: 1, expression: 'lastRetry.exitCode =='}\n  timeout: '{{=1 +}}'"),
      expected: [
        (10, "spec.templates[0].retryStrategy.expression", "the expression 'lastRetry.exitCode =='"),
        (11, "spec.templates[0].timeout", "the expression '1 +'"),
      ]),
    BadDocument(
      name: "item keys that no item has",
      text: steps("- - {name: a, template: leaf, withItems: [{os: linux}], when: \"{{item.so}} == {{item.os}}\"}"),
      expected: [(10, "spec.templates[0].steps[0][0].when", "{{item.so}} cannot be resolved: no item has the key")]),
    BadDocument(
      name: "missing arguments, for steps and for the entrypoint",
      text: workflow(
        """
        - name: main
          inputs: {parameters: [{name: size}]}
          steps: [[{name: a, template: leaf}]]
        - name: leaf
          inputs: {parameters: [{name: p}], artifacts: [{name: f, path: /f}]}
          container: {image: busybox}
        """),
      expected: [
        (9, "spec.templates[0].inputs.parameters[0]", "the entrypoint needs the parameter \"size\""),
        (10, "spec.templates[0].steps[0][0]", "template \"leaf\" needs the parameter \"p\""),
        (10, "spec.templates[0].steps[0][0]", "template \"leaf\" needs the artifact \"f\""),
      ]),
    BadDocument(
      name: "numbers, durations and quantities that make no sense",
      text: workflow(
        leaf.replacing("busybox", with: "busybox, resources: {limits: {cpu: lots}}")
          + "\n  timeout: soon\n  parallelism: -1\n  activeDeadlineSeconds: 0\n  retryStrategy: {limit: many}"),
      expected: [
        (9, "spec.templates[0].container.resources.limits.cpu", "must be a quantity"),
        (10, "spec.templates[0].timeout", "must be a duration"),
        (11, "spec.templates[0].parallelism", "must be between 0 and 1000000, not -1"),
        (12, "spec.templates[0].activeDeadlineSeconds", "must be between 1 and"),
        (13, "spec.templates[0].retryStrategy.limit", "must be a whole number"),
      ]),
    BadDocument(
      name: "paths and keys that leave their place, and artifacts given twice",
      text: workflow(
        """
        - name: main
          inputs:
            artifacts:
            - {name: a, path: etc, raw: {data: x}}
            - {name: a, path: /b/../c, raw: {data: x}}
            - {name: c, path: /c, s3: {key: ../other}}
          container: {image: busybox}
        """),
      expected: [
        (11, "spec.templates[0].inputs.artifacts[0].path", "must be an absolute path"),
        (12, "spec.templates[0].inputs.artifacts[1].name", "the artifact name \"a\" is given twice"),
        (12, "spec.templates[0].inputs.artifacts[1].path", "must not contain \"..\""),
        (13, "spec.templates[0].inputs.artifacts[2].s3.key", "must be a key inside the repository"),
      ]),
    BadDocument(
      name: "a federation block with wrong words",
      text: workflow(
        leaf
          + "\n  federation: {clusters: {kinds: [slrum]}, maxPrice: cheap, gang: {size: 0}, slurm: {partition: \"a b\"}}"
      ),
      expected: [
        (10, "spec.templates[0].federation.clusters.kinds[0]", "must be one of process, slurm, kubernetes"),
        (10, "spec.templates[0].federation.maxPrice", "must be an amount"),
        (10, "spec.templates[0].federation.gang.size", "must be between 1 and"),
        (10, "spec.templates[0].federation.slurm.partition", "must be a value of Slurm's option"),
      ]),
    BadDocument(
      name: "a placement policy with wrong words",
      text: workflow(
        leaf + "\n  federation: {placementPolicy: {name: locl-first, waitThreshold: soon, price: 3}, gpuType: \"a b\"}"),
      expected: [
        (10, "spec.templates[0].federation.placementPolicy.name", "must be one of local-first"),
        (10, "spec.templates[0].federation.placementPolicy.waitThreshold", "must be a duration"),
        (10, "spec.templates[0].federation.placementPolicy.price", ""),
        (10, "spec.templates[0].federation.gpuType", "must be the name of a type of GPU"),
      ]),
    BadDocument(
      name: "data sets with wrong names and paths",
      text: workflow(
        leaf + """

            federation:
              stageOut: soon
              datasets:
              - {name: Water_MD, mountPath: data}
              - {name: a, version: 0, mountPath: /usr/share/a}
              - {name: b, mountPath: /data/b}
              - {name: c, mountPath: /data/b//x}
              - {name: d, mountPath: /}
              - {mountPath: "/{{workflow.name}}"}
              - {name: e, mountPath: /tmp}
              - {name: f, mountPath: /data/../etc}
              - g
          """),
      expected: [
        (11, "spec.templates[0].federation.stageOut", "must be one of eager, lazy, never"),
        (13, "spec.templates[0].federation.datasets[0].name", "must be the name of a data set"),
        (13, "spec.templates[0].federation.datasets[0].mountPath", "must be an absolute path"),
        (14, "spec.templates[0].federation.datasets[1].version", "must be between 1 and"),
        (14, "spec.templates[0].federation.datasets[1].mountPath", "would hide files of the system in /usr"),
        (16, "spec.templates[0].federation.datasets[3].mountPath", "overlaps the path of data set \"b\""),
        (17, "spec.templates[0].federation.datasets[4].mountPath", "must be a directory below /"),
        (18, "spec.templates[0].federation.datasets[5]", "the data set has no name"),
        (18, "spec.templates[0].federation.datasets[5].mountPath", "must be a path without tags"),
        (19, "spec.templates[0].federation.datasets[6].mountPath", "would hide all of /tmp"),
        (20, "spec.templates[0].federation.datasets[7].mountPath", "must not contain"),
        (21, "spec.templates[0].federation.datasets[8]", "must be a map with name and mountPath"),
      ]),
    BadDocument(
      name: "a data set over a template's own files",
      text: workflow(
        """
        - name: main
          inputs: {artifacts: [{name: a, path: /data/in/a, raw: {data: x}}]}
          outputs:
            artifacts: [{name: o, path: /data}]
            parameters: [{name: p, valueFrom: {path: /data/in/p}}]
          container: {image: busybox, volumeMounts: [{name: work, mountPath: /data/in}]}
        """, spec: "volumes: [{name: work, emptyDir: {}}]\nfederation: {datasets: [{name: d, mountPath: /data/in}]}"),
      expected: [
        (
          10, "spec.templates[0].inputs.artifacts[0].path",
          "the path /data/in/a of artifact \"a\" overlaps data set \"d\""
        ),
        (12, "spec.templates[0].outputs.artifacts[0].path", "the path /data of artifact \"o\" overlaps data set \"d\""),
        (
          13, "spec.templates[0].outputs.parameters[0].valueFrom.path",
          "the path /data/in/p of output parameter \"p\" overlaps data set \"d\""
        ),
        (
          14, "spec.templates[0].container.volumeMounts[0].mountPath",
          "the path /data/in of volume \"work\" overlaps data set \"d\""
        ),
      ]),
    BadDocument(
      name: "two kinds of template in one", text: workflow(leaf + "\n  suspend: {}"),
      expected: [(8, "spec.templates[0]", "a template has one of")]),
    BadDocument(
      name: "a volume that does not exist",
      text: workflow(
        leaf.replacing("busybox", with: "busybox, volumeMounts: [{name: wrok, mountPath: /w}]"),
        spec: "volumes: [{name: work, emptyDir: {}}]"),
      expected: [(9, "spec.templates[0].container.volumeMounts[0].name", "there is no volume \"wrok\"")]),
  ]

  static let good: [String] = [
    steps(
      """
      - - {name: a, template: leaf}
      - - name: b
          template: leaf
          when: "{{steps.a.outputs.result}} == 1 && {{steps.a.exitCode}} == 0"
          withParam: "{{steps.a.outputs.parameters.o}}"
          arguments:
            parameters: [{name: p, value: "{{item.anything}}"}]
            artifacts: [{name: f, from: "{{steps.a.outputs.artifacts.d}}"}]
          hooks: {exit: {template: leaf, arguments: {parameters: [{name: p, value: "{{steps.b.status}}"}]}}}
      """),
    dag(
      """
      - {name: a, template: leaf}
      - {name: b, template: leaf, depends: "!a.Failed && (a || a.Skipped)"}
      - {name: c, template: leaf, depends: b, when: "{{tasks.a.status}} == Succeeded"}
      """),
    workflow(
      leaf + "\n- name: bye\n  container: {image: b, args: [\"{{workflow.status}} {{workflow.failures}}\"]}",
      spec: "onExit: bye"),
    // Known while the workflow runs, too.
    workflow("- name: main\n  container: {image: b, args: [\"{{workflow.status}}\"]}"),
    // As others have it: an empty file, and the command with its arguments.
    workflow("- name: main\n  script: {image: b, command: [sh, -c], args: [ls]}"),
    workflow(
      "- name: main\n  inputs: {parameters: [{name: p, value: q}, {name: q, value: x}]}\n  container: {image: b, args: [\"{{inputs.parameters.{{inputs.parameters.p}}}}\"]}"
    ),
    // Recursion is bounded when it runs, not here.
    steps("- - {name: again, template: main, when: \"{{workflow.name}} == x\"}"),
    workflow(leaf.replacing("busybox", with: "busybox, args: [\"docker ps --format {{.ID}} {{ unclosed\"]")),
  ]

  @Test("every problem is named with its path and line", arguments: bad)
  func badDocument(_ document: BadDocument) {
    let found = problems(of: document.text)
    let listing = found.map(\.description).joined(separator: "\n")
    #expect(found.count == document.expected.count, "\(listing)\n\(document.text)")
    for (problem, expected) in zip(found, document.expected) {
      #expect(problem.line == expected.line, "\(problem)")
      #expect(problem.path == expected.path, "\(problem)")
      #expect(problem.message.hasPrefix(expected.message), "\(problem)")
    }
  }

  @Test("the nearest known name is suggested")
  func suggestions() {
    #expect(problems(of: workflow("- name: main\n  contianer: {}"))[1].suggestion == "container")
    #expect(problems(of: Self.steps("- - {name: a, template: laef}")).map(\.suggestion) == ["leaf"])
  }

  @Test("unknown fields pass when the caller is not strict; fields that cannot be honoured never do")
  func lenient() throws {
    let text = workflow(Self.leaf + "\n  colour: blue")
    #expect(problems(of: text).count == 1)
    #expect(try decode(text, strict: false).canonicalJSON.contains("blue"))
    let refused = problems(of: text.replacing("spec:", with: "spec:\n  hostNetwork: true"), strict: false)
    #expect(refused.count == 1 && refused[0].path == "spec.hostNetwork", "\(refused)")
  }

  @Test("what Argo allows is accepted", arguments: good)
  func accepted(_ text: String) {
    let found = problems(of: text)
    #expect(found.isEmpty, "\(found.map(\.description).joined(separator: "\n"))\n\(text)")
  }
}
