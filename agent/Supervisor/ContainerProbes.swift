internal import CSupervisor
internal import Glibc

/// One probe of a container that runs.
struct ProbeQuestion {
  let container: Int
  let probe: ContainerPlan.Probe
  /// When it is asked next (CLOCK_BOOTTIME).
  var askAt: UInt64
  /// The program that asks; 0 while nobody does.
  var pid: Int32 = 0
  /// When it has taken too long.
  var giveUpAt: UInt64 = .max
  var successes: UInt32 = 0
  var failures: UInt32 = 0
}

/// Probes are programs beside their container, inside the run's sandbox. They begin when the container does, those of readiness and liveness
/// when its startup probe has been affirmed, and end with it.
///
/// - Source: Kubernetes, pkg/kubelet/prober/worker.go.
extension ContainerInit {
  private static let millisecond: UInt64 = 1_000_000

  func beginProbes(of index: Int) {
    let probes = plan.containers[index].probes
    let hasStartup = probes.contains { $0.kind == .startup }
    if !hasStartup { startedContainers.insert(index) }
    if !probes.contains(where: { $0.kind == .readiness }) { readyContainers.insert(index) }
    let now = csupervisor_boottime_ns()
    questions += probes.filter { hasStartup ? $0.kind == .startup : $0.kind != .startup }.map {
      ProbeQuestion(container: index, probe: $0, askAt: now &+ $0.initialDelayMs * Self.millisecond)
    }
  }

  func endProbes(of index: Int) {
    for question in questions where question.container == index && question.pid > 0 { kill(-question.pid, SIGKILL) }
    questions.removeAll { $0.container == index }
    endedByProbe[index] = nil
    readyContainers.remove(index)
    startedContainers.remove(index)
  }

  var nextProbeMoment: UInt64 {
    var next = endedByProbe.values.min() ?? .max
    for question in questions { next = min(next, question.pid > 0 ? question.giveUpAt : question.askAt) }
    return next
  }

  func passProbeTime(_ now: UInt64) {
    for (index, moment) in endedByProbe where now >= moment {
      if case .running(let pid) = states[index] { kill(-pid, SIGKILL) }
      endedByProbe[index] = nil
    }
    for index in questions.indices {
      if questions[index].pid > 0 {
        // Its end is its answer, and a bad one.
        if now >= questions[index].giveUpAt {
          kill(-questions[index].pid, SIGKILL)
          questions[index].giveUpAt = .max
        }
      } else if now >= questions[index].askAt {
        ask(index, now)
      }
    }
    settleUnasked()
  }

  private func ask(_ index: Int, _ now: UInt64) {
    let question = questions[index]
    let container = plan.containers[question.container]
    questions[index].askAt = now &+ question.probe.periodMs * Self.millisecond
    let nothing = csupervisor_open("/dev/null", O_RDWR, 0)
    defer { if nothing >= 0 { close(nothing) } }
    let run = SupervisedRun(
      id: 0, arguments: question.probe.arguments, environment: environment(of: container),
      workingDirectory: container.workingDirectory)
    let (pid, _) = ProcessSpawn.start(
      run, input: nothing, output: nothing, error: nothing, kept: -1, directory: container.workingDirectory)
    guard pid > 0 else {
      questions[index].pid = -1
      return
    }
    questions[index].pid = pid
    questions[index].giveUpAt = now &+ question.probe.timeoutMs * Self.millisecond
  }

  /// A probe whose program cannot be executed has its answer at once.
  private func settleUnasked() {
    while let index = questions.firstIndex(where: { $0.pid < 0 }) { settle(index, isGood: false) }
  }

  /// A program has ended that is no container's: a probe's, or one that somebody left.
  func answered(_ pid: Int32, isGood: Bool) {
    guard let index = questions.firstIndex(where: { $0.pid == pid }) else { return }
    // What it has started goes with it.
    kill(-pid, SIGKILL)
    // One that was killed for its time is late, whatever it said.
    settle(index, isGood: isGood && questions[index].giveUpAt != .max)
  }

  private func settle(_ index: Int, isGood: Bool) {
    questions[index].pid = 0
    questions[index].giveUpAt = .max
    questions[index].successes = isGood ? questions[index].successes + 1 : 0
    questions[index].failures = isGood ? 0 : questions[index].failures + 1
    let question = questions[index]
    if isGood, question.successes >= question.probe.successThreshold { return affirmed(index) }
    guard !isGood, question.failures >= question.probe.failureThreshold, question.probe.kind != .readiness,
      case .running(let pid) = states[question.container]
    else { return }
    let name = plan.containers[question.container].name
    Self.say("container \(name): its \(question.probe.kind.name) has failed \(question.failures) times; it is ended")
    endProbes(of: question.container)
    endedByProbe[question.container] = csupervisor_boottime_ns() &+ question.probe.graceMs * Self.millisecond
    kill(-pid, SIGTERM)
  }

  private func affirmed(_ index: Int) {
    let question = questions[index]
    switch question.probe.kind {
    case .liveness: return
    case .readiness:
      readyContainers.insert(question.container)
      questions.remove(at: index)
    case .startup:
      startedContainers.insert(question.container)
      questions.remove(at: index)
      let now = csupervisor_boottime_ns()
      questions += plan.containers[question.container].probes.filter { $0.kind != .startup }.map {
        ProbeQuestion(container: question.container, probe: $0, askAt: now)
      }
    }
  }

  /// Once: when everything that runs beside each other runs, and is ready.
  func tellReady() {
    guard plan.isDaemon, !hasToldReady, !isEnding else { return }
    for (index, container) in plan.containers.enumerated() where container.role != .initial {
      guard case .running = states[index], startedContainers.contains(index), readyContainers.contains(index) else {
        return
      }
    }
    hasToldReady = true
    do throws(SystemFailure) { try Files.replace(ContainerPlan.readyPath, with: []) } catch {
      Self.say("that it is ready cannot be told: \(error)")
    }
  }
}

extension ContainerPlan.Probe.Kind {
  fileprivate var name: String {
    switch self {
    case .startup: "startupProbe"
    case .readiness: "readinessProbe"
    case .liveness: "livenessProbe"
    }
  }
}
