/// The workflows that are measured.
enum Documents {
  private static let noop = """
      - name: noop
        container: {image: debian:12, command: ["true"]}
    """

  private static func workflow(_ name: String, _ main: String) -> String {
    """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {name: \(name)}
    spec:
      entrypoint: main
      templates:
    \(main)
    \(noop)
    """
  }

  static func single(_ name: String) -> String {
    """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {name: \(name)}
    spec:
      entrypoint: noop
      templates:
    \(noop)
    """
  }

  /// Runs until somebody resumes it, and needs no agent.
  static func gate(_ name: String) -> String {
    """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {name: \(name)}
    spec:
      entrypoint: main
      templates:
      - name: main
        suspend: {}
    """
  }

  /// `count` tasks side by side, each of which does `command`.
  static func fan(_ name: String, _ count: Int, command: [String] = ["true"]) -> String {
    let words = command.map { "\"\($0)\"" }.joined(separator: ", ")
    return workflow(
      name,
      """
        - name: main
          steps:
          - - {name: work, template: work, withSequence: {count: "\(count)"}}
        - name: work
          container: {image: debian:12, command: [\(words)]}
      """)
  }

  /// `count` tasks with an output each, and one that is given all of them as a list. The outputs are made by the tasks' own steps
  /// template, because a null executor's tasks leave none.
  static func mapReduce(_ name: String, _ count: Int) -> String {
    workflow(
      name,
      """
        - name: main
          steps:
          - - {name: map, template: map, withSequence: {count: "\(count)"}, arguments: {parameters: [{name: mean, value: '{"shard": {{item}}, "mean": 0.25}'}]}}
          - - {name: reduce, template: reduce, arguments: {parameters: [{name: all, value: "{{steps.map.outputs.parameters.mean}}"}]}}
        - name: map
          inputs: {parameters: [{name: mean}]}
          steps: [[{name: work, template: noop}]]
          outputs: {parameters: [{name: mean, valueFrom: {parameter: "{{inputs.parameters.mean}}"}}]}
        - name: reduce
          inputs: {parameters: [{name: all}]}
          container: {image: debian:12, command: ["true"], args: ["{{inputs.parameters.all}}"]}
      """)
  }

  /// A task that prints a list of `count` elements, one task for each of them with an output parameter, and one that is given all
  /// outputs.
  static func gather(_ name: String, _ count: Int) -> String {
    workflow(
      name,
      """
        - name: main
          steps:
          - - {name: list, template: list}
          - - {name: map, template: map, withParam: "{{steps.list.outputs.result}}", arguments: {parameters: [{name: shard, value: "{{item.shard}}"}]}}
          - - {name: reduce, template: reduce, arguments: {parameters: [{name: all, value: "{{steps.map.outputs.parameters.mean}}"}]}}
        - {name: list, script: {image: debian:12, command: [sh], source: "true # \(count)"}}
        - name: map
          inputs: {parameters: [{name: shard}]}
          outputs: {parameters: [{name: mean, valueFrom: {path: /tmp/mean}}]}
          container: {image: debian:12, command: ["true"], args: ["{{inputs.parameters.shard}}"]}
        - name: reduce
          inputs: {parameters: [{name: all}]}
          outputs: {parameters: [{name: mean, valueFrom: {path: /tmp/mean}}]}
          container: {image: debian:12, command: ["true"], args: ["{{inputs.parameters.all}}"]}
      """)
  }

  /// As `gather`, for tasks that leave nothing: the list is an argument, and the members' outputs are made by a steps template.
  static func gatherGiven(_ name: String, _ list: String) -> String {
    workflow(
      name,
      """
        - name: main
          steps:
          - - {name: map, template: map, withParam: '\(list)', arguments: {parameters: [{name: shard, value: "{{item.shard}}"}]}}
          - - {name: reduce, template: reduce, arguments: {parameters: [{name: all, value: "{{steps.map.outputs.parameters.mean}}"}]}}
        - name: map
          inputs: {parameters: [{name: shard}]}
          steps: [[{name: work, template: noop}]]
          outputs: {parameters: [{name: mean, valueFrom: {parameter: "{{inputs.parameters.shard}}"}}]}
        - name: reduce
          inputs: {parameters: [{name: all}]}
          container: {image: debian:12, command: ["true"], args: ["{{inputs.parameters.all}}"]}
      """)
  }

  /// `count` templates: a dag that calls each of the others, in a row.
  static func manyTemplates(_ name: String, _ count: Int) -> String {
    let tasks = (1..<count).map { index in
      let depends = index > 1 ? ", depends: t\(index - 1)" : ""
      return
        "      - {name: t\(index), template: leaf\(index)\(depends), arguments: {parameters: [{name: p, value: x}]}}"
    }
    let leaves = (1..<count).map { index in
      """
        - name: leaf\(index)
          inputs: {parameters: [{name: p}]}
          container: {image: debian:12, command: [echo], args: ["{{inputs.parameters.p}}"]}
      """
    }
    return workflow(
      name,
      "  - name: main\n    dag:\n      tasks:\n\(tasks.joined(separator: "\n"))\n" + leaves.joined(separator: "\n"))
  }

  /// `count` tasks one after the other.
  static func chain(_ name: String, _ count: Int) -> String {
    let steps = (0..<count).map { "      - [{name: s\($0), template: noop}]" }.joined(separator: "\n")
    return workflow(name, "  - name: main\n    steps:\n\(steps)")
  }

  /// A dag of `count` tasks, `width` side by side, each below the one `width` earlier.
  static func dag(_ name: String, _ count: Int, width: Int) -> String {
    let tasks = (0..<count).map { index in
      let depends = index < width ? "" : ", depends: t\(index - width)"
      return "      - {name: t\(index), template: noop\(depends)}"
    }
    return workflow(name, "  - name: main\n    dag:\n      tasks:\n\(tasks.joined(separator: "\n"))")
  }

  /// One task, and `count` that wait for it.
  static func star(_ name: String, _ count: Int) -> String {
    let tasks = (0..<count).map { "      - {name: t\($0), template: noop, depends: first}" }
    return workflow(
      name,
      "  - name: main\n    dag:\n      tasks:\n      - {name: first, template: noop}\n"
        + tasks.joined(separator: "\n"))
  }
}
