import FederationModel
import Testing

@testable import WorkflowCore

/// Runs a workflow against scripted outcomes: a queue of launched tasks, answered in order.
struct MachineDriver {
  var machine: WorkflowMachine
  var now = Timestamp(milliseconds: 1_700_000_000_000)
  /// Launched and not ended, in the order of their launch.
  var open: [NodeID] = []
  var launched: [String] = []
  var cancelled: [NodeID] = []
  var finishedCount = 0
  /// Whether every lock is free.
  var holdsLocks = true
  var released: [NodeID?] = []
  var memos: [String: TaskOutputs] = [:]
  /// Of one slice; see `WorkflowMachine.handle`.
  var limit = Int.max

  init(_ yaml: String, name: String = "wf") throws {
    let definition = try WorkflowDefinition.decode(Array(yaml.utf8))
    machine = try WorkflowMachine(definition: definition, identity: Self.identity(name))
  }

  init(spec: String, name: String = "wf") throws {
    try self.init("apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: wf}\nspec:\n" + spec, name: name)
  }

  static func identity(_ name: String) -> WorkflowIdentity {
    WorkflowIdentity(
      name: name, uid: "uid-1", project: "science", createdAt: Timestamp(milliseconds: 1_700_000_000_000))
  }

  mutating func send(_ event: WorkflowEvent) {
    var answers: [WorkflowEvent] = []
    for action in machine.handle(event, at: now, limit: limit) {
      switch action {
      case .launch(let node):
        open.append(node)
        launched.append(machine[node].name)
      case .cancel(let node, _): cancelled.append(node)
      case .acquire(let node): answers.append(holdsLocks ? .locksAcquired(node) : .locksAwaited(node, message: "waits"))
      case .release(let node): released.append(node)
      case .recall(let node, _):
        answers.append(.recalled(node, outputs: machine[node].gate?.memo.flatMap { memos["\($0.cache)/\($0.key)"] }))
      case .remember(let node):
        if let memo = machine[node].gate?.memo { memos["\(memo.cache)/\(memo.key)"] = machine[node].outputs }
      case .finished: finishedCount += 1
      }
    }
    for answer in answers { send(answer) }
  }

  mutating func end(_ node: NodeID, _ outcome: TaskOutcome) {
    open.removeAll { $0 == node }
    send(.taskEnded(node, outcome))
  }

  /// Answers the oldest open task.
  mutating func endNext(_ outcome: TaskOutcome) { if let node = open.first { end(node, outcome) } }

  /// Runs to the end, letting time pass where the workflow waits for it; at most `limit` answers.
  mutating func run(limit: Int = 100_000, _ answer: (NodeRecord) -> TaskOutcome = { _ in .good() }) {
    if machine.status.phase == .pending { send(.start) }
    var answers = 0
    var next = 0
    while answers < limit, !machine.status.phase.isTerminal {
      answers += 1
      if machine.isUnfinished {
        send(.proceed)
      } else if next < open.count {
        let node = open[next]
        next += 1
        send(.taskEnded(node, answer(machine[node])))
      } else if let wake = machine.nextWake {
        now = max(now, wake)
        send(.timeReached)
      } else {
        break
      }
    }
    open.removeFirst(min(next, open.count))
  }

  var live: [NodeRecord] { (0..<Int32(machine.nodeCount)).map { machine[NodeID($0)] }.filter { !$0.isSuperseded } }
  func node(_ name: String) -> NodeRecord? { live.first { $0.name == name } }
  func phase(_ name: String) -> NodePhase? { node(name)?.phase }
}

extension TaskOutcome {
  static func good(result: String? = nil, _ parameters: [String: String] = [:]) -> Self {
    TaskOutcome(phase: .succeeded, exitCode: 0, outputs: TaskOutputs(result: result, parameters: parameters))
  }
  static func bad(_ code: Int32 = 1, _ message: String = "exit code 1") -> Self {
    TaskOutcome(phase: .failed, exitCode: code, message: message)
  }
}

/// A small generator with a seed, so that a failing run can be repeated.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed &+ 0x9e37_79b9_7f4a_7c15 }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

/// Documents that cover every kind of node, for the property tests.
enum SampleWorkflows {
  static let all: [String] = [
    """
      entrypoint: main
      templates:
      - name: main
        steps:
        - - {name: a, template: work, withItems: [x, y, z], continueOn: {failed: true}}
          - {name: b, template: work, when: "1 == 2"}
        - - {name: c, template: nested}
      - name: nested
        dag:
          tasks:
          - {name: p, template: work}
          - {name: q, template: retried, dependencies: [p]}
          - {name: r, template: work, depends: "p.Failed || p.Errored"}
          - {name: s, template: work, depends: "q && (p || r)"}
      - {name: work, container: {image: i, command: [c]}}
      - {name: retried, retryStrategy: {limit: "2", retryPolicy: Always, backoff: {duration: "10"}}, container: {image: i, command: [c]}}
    """,
    """
      entrypoint: main
      onExit: tidy
      parallelism: 2
      activeDeadlineSeconds: 500
      templates:
      - name: main
        parallelism: 2
        dag:
          failFast: false
          tasks:
          - {name: fan, template: work, withSequence: {count: "5"}}
          - {name: wait, template: pause}
          - {name: sub, template: inner, dependencies: [fan], onExit: tidy}
          - {name: last, template: work, depends: "fan.AnySucceeded && wait"}
      - name: inner
        steps:
        - - {name: one, template: work}
          - {name: two, template: work}
        - - {name: three, template: work}
      - {name: pause, suspend: {duration: "30"}}
      - {name: tidy, container: {image: i, command: [c]}}
      - {name: work, timeout: 100s, container: {image: i, command: [c]}}
    """,
    """
      entrypoint: main
      retryStrategy: {limit: "1"}
      templates:
      - {name: main, container: {image: i, command: [c]}}
    """,
    """
      entrypoint: main
      onExit: tidy
      hooks:
        begun: {template: work, expression: 'workflow.status == "Running"'}
        bad: {template: nested, expression: 'workflow.status == "Failed"'}
      templates:
      - name: main
        steps:
        - - {name: a, template: work, withItems: [x, y], hooks: {ran: {template: nested, expression: 'steps.a.status == "Succeeded"'}, exit: {template: tidy}}}
          - name: b
            template: retried
            continueOn: {failed: true}
            hooks:
              up: {template: work, expression: 'steps.b.status == "Running"'}
              down: {template: work, expression: 'steps.b.status == "Failed"'}
        - - {name: c, template: nested}
      - name: nested
        dag:
          tasks:
          - {name: p, template: work, hooks: {p: {template: work, expression: 'tasks.p.status == "Running"'}}}
          - {name: q, template: work, depends: "p.Succeeded || p.Failed"}
      - {name: work, container: {image: i, command: [c]}}
      - {name: tidy, container: {image: i, command: [c]}}
      - {name: retried, retryStrategy: {limit: "1"}, container: {image: i, command: [c]}}
    """,
    """
      entrypoint: main
      onExit: work
      parallelism: 3
      templates:
      - name: main
        dag:
          failFast: false
          tasks:
          - {name: server, template: server}
          - {name: sub, template: nested, dependencies: [server]}
          - name: use
            template: work
            depends: server.Daemoned
            arguments: {parameters: [{name: at, value: "{{tasks.server.ip}}"}]}
          - {name: late, template: work, depends: "server.Succeeded || use.Failed"}
      - name: nested
        parallelism: 2
        steps:
        - - {name: own, template: retried, withItems: [x, y]}
        - - {name: u, template: work}
          - {name: v, template: work, continueOn: {failed: true}, onExit: work}
      - {name: server, daemon: true, container: {image: i, command: [s]}}
      - {name: retried, daemon: true, retryStrategy: {limit: "1", retryPolicy: Always}, container: {image: i, command: [s]}}
      - {name: work, inputs: {parameters: [{name: at, default: none}]}, container: {image: i, command: [c], args: ["{{inputs.parameters.at}}"]}}
    """,
  ]
}
