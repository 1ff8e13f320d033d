internal import CSupervisor
internal import Glibc

/// The first program of a run that has several: it starts them inside the run's sandbox, passes on what they write, and ends them when
/// the run's main program has ended. Limits, fence and log are those of any other run: to the supervisor this is its program.
///
/// Init containers run one after the other; the first that fails ends the run. Then the main container and its sidecars start together; when
/// the main one has ended, the sidecars get SIGTERM and, after the grace, SIGKILL. The members of a container set start when those that they
/// depend on have ended well; the run ends when none is left that can start.
public final class ContainerInit {
  enum State: Equatable {
    case waiting
    case running(pid: Int32)
    /// Failed, and starts again at this moment (CLOCK_BOOTTIME).
    case pausing(until: UInt64)
    case ended(code: Int32)
  }
  private struct Output {
    var container: Int
    var line: [UInt8] = []
  }

  let plan: ContainerPlan
  private let poll: Int32
  private let signals: Int32
  private let timer: Int32
  var states: [State]
  /// What is asked of the containers that run.
  var questions: [ProbeQuestion] = []
  /// Containers whose readiness, or having started, was affirmed.
  var readyContainers: Set<Int> = []
  var startedContainers: Set<Int> = []
  /// Containers that were asked to end for their answers, by the moment of their SIGKILL.
  var endedByProbe: [Int: UInt64] = [:]
  var hasToldReady = false
  private var attempts: [UInt32]
  /// By read end.
  private var outputs: [Int32: Output] = [:]
  private var killAt: UInt64?
  /// A signal has asked for the end, or the main program has ended: nothing starts any more.
  private(set) var isEnding = false
  /// Sidecars that ended after they were asked to: how they did is of no interest but for SIGKILL's own code.
  private var askedToEnd: Set<Int> = []

  /// Runs everything to its end. Returns the exit code of the run: that of the main program, else of what failed first; 126 when the plan
  /// cannot be read.
  public static func main() -> Int32 {
    guard let bytes = Files.read(ContainerPlan.path, limit: 8 << 20), let plan = try? ContainerPlan(bytes: bytes) else {
      say("there is no plan of this run's containers")
      return 126
    }
    do throws(SystemFailure) {
      let run = try ContainerInit(plan)
      try run.loop()
      return run.code
    } catch {
      say("\(error)")
      return 126
    }
  }

  static func say(_ text: String) { try? Files.writeAll(2, Array("fubini: \(text)\n".utf8)) }

  private init(_ plan: ContainerPlan) throws(SystemFailure) {
    self.plan = plan
    states = plan.containers.map { _ in .waiting }
    attempts = plan.containers.map { _ in 0 }
    poll = csupervisor_poll_create()
    signals = csupervisor_signals_create()
    timer = csupervisor_timer_create()
    for file in [poll, signals, timer] where file < 0 { throw SystemFailure("event loop", -file) }
    for file in [signals, timer] {
      let result = csupervisor_poll_watch(poll, file, 0, 0)
      if result != 0 { throw SystemFailure("watch descriptor", -result) }
    }
  }

  private func loop() throws(SystemFailure) {
    startReady()
    tellReady()
    var ready = [Int32](repeating: 0, count: 32)
    while !isOver {
      csupervisor_timer_arm(timer, nextMoment)
      let count = csupervisor_poll_wait(poll, &ready, Int32(ready.count))
      guard count >= 0 else { throw SystemFailure("wait for events", -count) }
      for file in ready[..<Int(count)] {
        if file == signals {
          takeSignals()
        } else if file == timer {
          var expirations: UInt64 = 0
          _ = read(timer, &expirations, 8)
        } else {
          take(file)
        }
      }
      passTime()
      startReady()
      tellReady()
    }
    for file in Array(outputs.keys) { take(file, isLast: true) }
  }

  // MARK: What is to be done

  /// Nothing runs, and nothing can start.
  private var isOver: Bool {
    for (index, state) in states.enumerated() {
      switch state {
      case .running, .pausing: return false
      case .waiting: if !isEnding, canStart(index) { return false }
      case .ended: continue
      }
    }
    return true
  }

  private var code: Int32 {
    if let main = plan.containers.firstIndex(where: { $0.role == .main }), case .ended(let code) = states[main],
      code != 0
    {
      return code
    }
    let result = plan.containers.firstIndex { $0.isResult && $0.role == .member }
    if let result, case .ended(let code) = states[result], code != 0 { return code }
    for index in states.indices {
      guard case .ended(let code) = states[index], code != 0 else { continue }
      // As in Argo: a sidecar that a signal has ended did what it was asked to.
      if plan.containers[index].role == .sidecar, code == 128 + SIGKILL || code == 128 + SIGTERM { continue }
      if askedToEnd.contains(index), plan.containers[index].role == .member { continue }
      return code
    }
    // What could not start: asked to end before it did.
    return isEnding && states.contains(.waiting) ? 128 + SIGTERM : 0
  }

  private func endedWell(_ index: Int) -> Bool { states[index] == .ended(code: 0) }

  /// Init containers start one after the other, the others when all of those and what they depend on have ended well.
  private func canStart(_ index: Int) -> Bool {
    let container = plan.containers[index]
    for (other, earlier) in plan.containers.enumerated() where earlier.role == .initial {
      if other == index { return true }
      if !endedWell(other) { return false }
    }
    for name in container.dependencies {
      guard let other = plan.containers.firstIndex(where: { $0.name == name }), endedWell(other) else { return false }
    }
    return true
  }

  private func startReady() {
    guard !isEnding else { return }
    var hasChanged = true
    // One that cannot be executed has ended at once, and others may depend on that.
    while hasChanged, !isEnding {
      hasChanged = false
      for index in states.indices where states[index] == .waiting && canStart(index) {
        start(index)
        hasChanged = true
      }
    }
  }

  private func start(_ index: Int) {
    let container = plan.containers[index]
    attempts[index] += 1
    var ends: [Int32] = [-1, -1]
    if !container.isResult {
      guard csupervisor_pipe(&ends) == 0 else { return ended(index, 126) }
      csupervisor_set_nonblocking(ends[0])
    }
    let run = SupervisedRun(
      id: 0, arguments: container.arguments, environment: environment(of: container),
      workingDirectory: container.workingDirectory)
    let (output, error) = container.isResult ? (Int32(1), Int32(2)) : (ends[1], ends[1])
    let (pid, _) = ProcessSpawn.start(
      run, input: 0, output: output, error: error, kept: -1, directory: container.workingDirectory)
    if ends[1] >= 0 { close(ends[1]) }
    guard pid > 0 else {
      if ends[0] >= 0 { close(ends[0]) }
      Self.say(
        "container \(container.name) cannot execute \(container.arguments.first ?? ""): \(SystemFailure.text(of: -pid))"
      )
      return ended(index, -pid == ENOENT ? 127 : 126)
    }
    states[index] = .running(pid: pid)
    beginProbes(of: index)
    if ends[0] >= 0 {
      outputs[ends[0]] = Output(container: index)
      _ = csupervisor_poll_watch(poll, ends[0], 0, 0)
    }
  }

  /// The run's own, and over it the container's.
  func environment(of container: ContainerPlan.Container) -> [String] {
    let names = Set(container.environment.map { $0.prefix { $0 != "=" } })
    var all = container.environment
    var next = environ
    while let variable = next.pointee {
      let text = String(cString: variable)
      if !names.contains(text.prefix { $0 != "=" }) { all.append(text) }
      next += 1
    }
    return all
  }

  private func ended(_ index: Int, _ code: Int32) {
    let container = plan.containers[index]
    endProbes(of: index)
    noteEnd(of: container, code)
    if container.role == .member, code != 0, !isEnding, attempts[index] <= plan.retries {
      states[index] = .pausing(until: csupervisor_boottime_ns() + plan.retryPauseMs * 1_000_000)
      return
    }
    states[index] = .ended(code: code)
    guard code != 0 || container.role == .main else { return }
    if code != 0, container.role != .sidecar || !isEnding {
      Self.say("container \(container.name) has ended with exit code \(code)")
    }
    // What has failed before the main program leaves nothing to wait for.
    if container.role == .main || container.role == .initial { endOthers() }
  }

  private func noteEnd(of container: ContainerPlan.Container, _ code: Int32) {
    guard container.role == .member else { return }
    let file = csupervisor_open(ContainerPlan.endsPath, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o644)
    guard file >= 0 else { return }
    try? Files.writeAll(file, Array("\(container.name) \(code)\n".utf8))
    close(file)
  }

  // MARK: Ending

  private func endOthers() {
    guard !isEnding else { return }
    isEnding = true
    let (ns, overflow) = plan.graceMs.multipliedReportingOverflow(by: 1_000_000)
    killAt = overflow ? .max : csupervisor_boottime_ns() &+ ns
    for index in states.indices { endProbes(of: index) }
    signalAll(SIGTERM)
    for index in states.indices {
      if case .pausing = states[index] { states[index] = .ended(code: 128 + SIGTERM) }
    }
  }

  private func signalAll(_ signal: Int32) {
    for (index, state) in states.enumerated() {
      guard case .running(let pid) = state else { continue }
      askedToEnd.insert(index)
      // Each has a session of its own.
      kill(-pid, signal)
    }
  }

  private func signalResult(_ signal: Int32) {
    for (index, state) in states.enumerated() where plan.containers[index].isResult {
      if case .running(let pid) = state { kill(-pid, signal) }
    }
  }

  private var nextMoment: UInt64 {
    var next = killAt ?? .max
    for case .pausing(let moment) in states { next = min(next, moment) }
    return min(next, nextProbeMoment)
  }

  private func passTime() {
    let now = csupervisor_boottime_ns()
    if let moment = killAt, now >= moment {
      signalAll(SIGKILL)
      killAt = nil
    }
    for index in states.indices {
      if case .pausing(let moment) = states[index], now >= moment { states[index] = .waiting }
    }
    passProbeTime(now)
  }

  private func takeSignals() {
    while true {
      let signal = csupervisor_signals_next(signals)
      if signal == 0 { break }
      switch signal {
      case SIGCHLD: continue
      // What the program has asked to be told by, should it have to leave.
      case SIGUSR1, SIGUSR2: signalResult(signal)
      default: endOthers()
      }
    }
    var status: Int32 = 0
    while true {
      let pid = waitpid(-1, &status, WNOHANG)
      guard pid > 0 else { return }
      guard let index = states.firstIndex(of: .running(pid: pid)) else {
        answered(pid, isGood: csupervisor_exited(status) != 0 && csupervisor_exit_code(status) == 0)
        continue
      }
      // What it has started and left must not outlive it as a program that nobody knows.
      kill(-pid, SIGKILL)
      for (file, output) in outputs where output.container == index { take(file) }
      ended(
        index, csupervisor_exited(status) != 0 ? csupervisor_exit_code(status) : 128 + csupervisor_signal(status))
    }
  }

  // MARK: Output

  /// Lines of a container that is not the result's, each behind its name.
  private func take(_ file: Int32, isLast: Bool = false) {
    guard var output = outputs[file] else { return }
    var buffer = [UInt8](repeating: 0, count: 16 << 10)
    var isClosed = isLast
    for _ in 0..<16 {
      let got = read(file, &buffer, buffer.count)
      if got < 0, errno == EINTR { continue }
      if got < 0 { break }
      if got == 0 {
        isClosed = true
        break
      }
      output.line += buffer[..<got]
    }
    let head = Array("\(plan.containers[output.container].name): ".utf8)
    var text: [UInt8] = []
    while let end = output.line.firstIndex(of: 0x0a) ?? (output.line.count >= 64 << 10 ? (64 << 10) - 1 : nil) {
      text += head + output.line[...end]
      if output.line[end] != 0x0a { text.append(0x0a) }
      output.line.removeSubrange(...end)
    }
    if isClosed, !output.line.isEmpty {
      text += head + output.line + [0x0a]
      output.line = []
    }
    if !text.isEmpty { try? Files.writeAll(2, text) }
    outputs[file] = isClosed ? nil : output
    if isClosed { close(file) }
  }
}
