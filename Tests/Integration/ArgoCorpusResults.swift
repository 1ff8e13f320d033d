import FederationAPI
import FederationHarness
import FederationModel

/// What an example makes plain besides its phase: values, order, what was printed. Nodes are named by their full names without the
/// workflow's: `[0].a`, `.A`, and nothing for the entrypoint's.
struct ArgoCorpusResult {
  var phases: [String: NodePhase] = [:]
  /// `inputs[node]`: values of parameters by name.
  var inputs: [String: [String: String]] = [:]
  var outputs: [String: [String: String]] = [:]
  /// What the node's program printed, without the last newline.
  var logs: [String: String] = [:]
  /// Chains: each has ended when the next begins.
  var order: [[String]] = []

  static let all: [String: ArgoCorpusResult] = [
    "examples/dag-enhanced-depends.yaml": ArgoCorpusResult(
      phases: [
        ".should-execute-1": .succeeded, ".should-execute-2": .succeeded, ".should-execute-3": .succeeded,
        ".should-not-execute": .omitted, ".C": .failed,
      ], order: [[".A", ".B", ".should-execute-2", ".should-execute-3"], [".A", ".C", ".should-execute-1"]]),
    "examples/exit-code-output-variable.yaml": ArgoCorpusResult(
      phases: ["[0].failing-container": .failed], inputs: ["[1].echo-container": ["exitCode": "123"]],
      logs: ["[1].echo-container": "Exit code was: 123"]),
    "examples/exit-handler-dag-level.yaml": ArgoCorpusResult(
      logs: [".D": "D", ".A.onExit": "task cleanup"],
      order: [[".A", ".A.onExit", ".B", ".B.onExit", ".D", ".D.onExit"], [".A.onExit", ".C", ".C.onExit", ".D"]]),
    "examples/exit-handler-step-level.yaml": ArgoCorpusResult(
      logs: ["[1].hello2b": "hello2b"],
      order: [
        ["[0].hello1", "[0].hello1.onExit", "[1].hello2a", "[1].hello2a.onExit"], ["[0].hello1.onExit", "[1].hello2b"],
      ]),
    "examples/expression-destructure-json.yaml": ArgoCorpusResult(
      inputs: ["": ["a": "1", "b": "2", "c": "3"]], logs: ["": "123"]),
    "examples/expression-destructure-json-complex.yaml": ArgoCorpusResult(
      inputs: ["": ["a": "[43]", "b": "[43]", "d": #"["Baris","Mo","Jai"]"#]]),
    "examples/expression-reusing-verbose-snippets.yaml": ArgoCorpusResult(
      logs: ["": "The week's average temperature was 35.8 with a minimum of 15 and a maximum of 57."]),
    "examples/expression-tag-template-workflow.yaml": ArgoCorpusResult(
      inputs: [".task-0(0:3)": ["foo": "3"]], order: [[".task-0(0:3)"]]),
    "examples/fibonacci-seq-conditional-param.yaml": ArgoCorpusResult(
      inputs: ["[1].printresult": ["result": "5"]], outputs: ["[0].fibonaccimain": ["fib": "5"]],
      logs: ["[1].printresult": "5"]),
    "examples/global-parameters-from-configmap.yaml": ArgoCorpusResult(logs: ["": "hello world"]),
    "examples/intermediate-parameters.yaml": ArgoCorpusResult(
      phases: ["[2].deploy-prod": .succeeded], outputs: ["[1].approval": ["approve": "YES"]],
      order: [["[0].deploy-pre-prod", "[1].approval", "[2].deploy-prod"]]),
    "examples/loops-arbitrary-sequential-steps.yaml": ArgoCorpusResult(
      phases: ["[0].unit-step(3:exit_code:1,message:will fail and stop here)": .failed],
      order: [
        [
          "[0].unit-step(0:exit_code:0,message:succeeds 1)", "[0].unit-step(1:exit_code:0,message:succeeds 2)",
          "[0].unit-step(2:exit_code:0,message:succeeds 3)",
          "[0].unit-step(3:exit_code:1,message:will fail and stop here)",
        ]
      ]),
    "examples/memoize-simple.yaml": ArgoCorpusResult(outputs: ["": ["hello": "world"]]),
    "examples/artifact-path-placeholders.yaml": ArgoCorpusResult(outputs: ["": ["actual-lines-count": "3"]]),
    "examples/parameter-aggregation.yaml": ArgoCorpusResult(
      phases: [
        "[3].divide-by-2(0:evenness:odd,num:1)": .skipped, "[3].divide-by-2(1:evenness:even,num:2)": .succeeded,
      ],
      inputs: [
        "[1].print-nums": ["message": #"["1","2","3","4"]"#],
        "[2].print-evenness": ["message": #"["odd","even","odd","even"]"#], "[4].print(0:1)": ["message": "1"],
        "[4].print(1:2)": ["message": "2"],
      ], order: [["[0].odd-or-even(3:4)", "[1].print-nums", "[2].print-evenness", "[4].print(1:2)"]]),
    "examples/skipped-output-defaults/producer-output-default.yaml": ArgoCorpusResult(
      phases: [".producer": .skipped], inputs: [".consumer": ["in": "hello-from-producer"]],
      logs: [".consumer": "consumer got: [hello-from-producer]"]),
    "examples/step-level-timeout.yaml": ArgoCorpusResult(phases: ["[0].sleep1": .failed, "[0].sleep2": .failed]),
    "examples/workflow-template/dag.yaml": ArgoCorpusResult(
      order: [
        [".A", ".B", ".D"], [".A", ".C.inner-A", ".C.inner-B", ".C.inner-D", ".D"], [".C.inner-A", ".C.inner-C"],
      ]),
  ]

  /// What is otherwise than in Argo; nil for nothing.
  func fault(in workflow: WorkflowDetail, _ client: RESTClient) async throws -> String? {
    let nodes = Dictionary(
      workflow.nodes.map { (String($0.name.dropFirst(workflow.summary.name.count)), $0) }, uniquingKeysWith: { $1 })
    func node(_ name: String) throws -> NodeDocument {
      guard let node = nodes[name] else { throw HarnessError("no node \(name) in \(nodes.keys.sorted())") }
      return node
    }
    for (name, phase) in phases where try node(name).phase != phase { return "\(name) is \(try node(name).phase)" }
    for (name, values) in inputs {
      for (parameter, value) in values {
        let found = try node(name).inputs.first { $0.name == parameter }?.value
        if found != value { return "the input \(parameter) of \(name) is \(found ?? "missing"), not \(value)" }
      }
    }
    for (name, values) in outputs {
      for (parameter, value) in values {
        let found = try node(name).outputs.parameters.first { $0.name == parameter }?.value
        if found != value { return "the output \(parameter) of \(name) is \(found ?? "missing"), not \(value)" }
      }
    }
    for chain in order {
      for (earlier, later) in zip(chain, chain.dropFirst()) {
        guard let end = try node(earlier).finishedAt, let begin = try node(later).startedAt, end <= begin else {
          return "\(later) began before \(earlier) had ended"
        }
      }
      _ = try chain.map(node)
    }
    for (name, text) in logs {
      let log = try await client.log(workflow.summary.name, node: workflow.summary.name + name)
      if log.split(separator: "\n").joined(separator: "\n") != text { return "\(name) printed \(log), not \(text)" }
    }
    return nil
  }
}
