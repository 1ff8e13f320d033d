/// `make` makes an output, `use` reads it elsewhere when `check` is over.
///
/// - Parameters:
///   - federation: what `make` asks of the federation besides.
///   - role: where `check` runs.
func chain(_ federation: String = "", name: String = "chain", checkOn role: String = "check") -> String {
  """
  apiVersion: argoproj.io/v1alpha1
  kind: Workflow
  metadata: {name: \(name)}
  spec:
    entrypoint: main
    templates:
    - name: main
      dag:
        tasks:
        - {name: make, template: make}
        - {name: check, template: check, dependencies: [make]}
        - name: use
          template: use
          dependencies: [check]
          arguments: {artifacts: [{name: in, from: "{{tasks.make.outputs.artifacts.out}}"}]}
    - name: make
      federation: {clusters: {labels: {role: make}}\(federation.isEmpty ? "" : ", " + federation)}
      container: {image: any, command: ["true"]}
      outputs: {artifacts: [{name: out, path: /out}]}
    - name: check
      federation: {clusters: {labels: {role: \(role)}}}
      container: {image: any, command: ["true"]}
    - name: use
      federation: {clusters: {labels: {role: use}}}
      inputs: {artifacts: [{name: in, path: /in}]}
      container: {image: any, command: ["true"]}
  """
}

/// One task, which asks for nothing.
let single = """
  apiVersion: argoproj.io/v1alpha1
  kind: Workflow
  metadata: {name: one}
  spec:
    entrypoint: main
    templates:
    - name: main
      container: {image: any, command: ["true"]}
  """

/// `count` tasks of a core each, of one class.
func classTasks(
  _ priorityClass: String, _ count: Int = 1, _ federation: String = "", outputs: String = "", retries: Int = 0
) -> String {
  """
  apiVersion: argoproj.io/v1alpha1
  kind: Workflow
  metadata: {name: w}
  spec:
    entrypoint: main
    templates:
    - name: main
      steps: [[{name: s, template: one, withSequence: {count: "\(count)"}}]]
    - name: one
      federation: {priorityClass: \(priorityClass)\(federation.isEmpty ? "" : ", " + federation)}
      \(retries == 0 ? "" : "retryStrategy: {limit: \"\(retries)\"}")
      container: {image: any, command: ["true"], resources: {requests: {cpu: "1"}}}
      \(outputs)
  """
}
