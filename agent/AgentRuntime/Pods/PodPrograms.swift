internal import Execution
internal import FederationModel
internal import FoundationEssentials
internal import NIOCore

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The agent's programs in pods: `pod-init` before the containers of a run, and `pod-step` around the command of each.
public enum PodPrograms {
  public static let initCommand = "pod-init"
  public static let stepCommand = "pod-step"
  private static let stepUsage = "usage: pod-step --container NAME -- COMMAND [ARGUMENT...]"

  /// What a program was told by its environment.
  private struct Orders {
    var plan: PodPlan
    var client: PodFileClient
    /// Of a member of a gang.
    var rank: Int?

    init() throws {
      func variable(_ name: String) throws -> String {
        guard let value = getenv(name) else { throw FederationError(.invalidArgument, "\(name) is not set") }
        return String(cString: value)
      }
      let text = try variable(PodPlan.variable)
      do { plan = try JSONDecoder().decode(PodPlan.self, from: Data(text.utf8)) } catch {
        throw FederationError(.invalidArgument, "\(PodPlan.variable) holds no plan", cause: error)
      }
      if let gang = plan.gang {
        guard let found = Int(try variable(PodPlan.rankVariable)), (0..<gang.size).contains(found) else {
          throw FederationError(.invalidArgument, "\(PodPlan.rankVariable) is no rank of a gang of \(gang.size)")
        }
        rank = found
      }
      client = try PodFileClient(
        run: plan.run, url: plan.url, authority: try variable(PodPlan.authorityVariable),
        token: try variable(PodPlan.tokenVariable), pod: try variable(PodPlan.podVariable), rank: rank)
    }

    /// What a copy of a gang finds in its environment, by the names that `srun` gives them.
    var gangVariables: [String] {
      guard let gang = plan.gang, let rank else { return [] }
      let hosts = (0..<gang.size).map(gang.host).joined(separator: ",")
      return [
        "SLURM_PROCID=\(rank)", "SLURM_NTASKS=\(gang.size)", "SLURM_NPROCS=\(gang.size)", "SLURM_NODEID=\(rank)",
        "SLURM_LOCALID=0", "SLURM_NNODES=\(gang.size)", "SLURM_JOB_NUM_NODES=\(gang.size)",
        "SLURM_NODELIST=\(hosts)", "SLURM_JOB_NODELIST=\(hosts)", "SLURMD_NODENAME=\(gang.host(rank))",
      ]
    }

    /// Where Kubernetes shows what a container has left; its log shows an error as well.
    func leave(_ kind: PodNotice.Kind, _ error: String? = nil, wallMs: UInt64? = nil) {
      if let error { say(error) }
      let notice = PodNotice(kind, error: error.map { String($0.prefix(noticeMax)) }, wallMilliseconds: wallMs)
      guard let bytes = try? JSONEncoder().encode(notice),
        let file = try? POSIXFile.open(plan.places.terminationLog, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
      else { return }
      defer { POSIXFile.close(file) }
      try? POSIXFile.write(file, bytes, "the termination log")
    }
  }

  /// Of a notice's text: Kubernetes keeps 4096 bytes of a termination log.
  private static let noticeMax = 800

  private static func say(_ text: String) { CommandOutput.complain("fubini: \(text)") }

  private static func text(of error: any Error) -> String { (error as? FederationError)?.publicMessage ?? "\(error)" }

  private static func prepare() {
    // One connection at a time: more threads would only cost the pod's memory.
    NIOSingletons.groupLoopCountSuggestion = 1
    NIOSingletons.blockingPoolThreadCountSuggestion = 1
    signal(SIGPIPE, SIG_IGN)
  }

  // MARK: pod-init

  /// Puts this program and the run's inputs into the pod's volumes, once this pod is known to be the run's.
  ///
  /// - Returns: the exit code: 0, 2 without a plan, 64 when the files could not be moved.
  public static func initialise() -> Int32 {
    prepare()
    // The first process of a container has no default action for it.
    signal(SIGTERM) { _ in _exit(128 + SIGTERM) }
    let orders: Orders
    do { orders = try Orders() } catch {
      say(text(of: error))
      return 2
    }
    do {
      let places = orders.plan.places
      for directory in [places.program, places.files, places.state] { try POSIXFile.makeDirectories(directory) }
      // Containers may have users of their own. A volume that is somebody else's is as whoever made it wanted it.
      chmod(places.files, 0o755)
      chmod(places.state, 0o777)
      try copyProgram(to: places.agent)
      try fetchInputs(orders)
      guard let lack = try awaitGang(orders) else { return 0 }
      orders.leave(.incomplete, lack)
      return PodPlan.filesFailed
    } catch {
      let isSecond = (error as? FederationError)?.code == .alreadyExists
      orders.leave(isSecond ? .superseded : .inputs, text(of: error))
      return PodPlan.filesFailed
    }
  }

  /// No copy of a gang begins before all of them can (I6): nodes may have room for some of the pods alone.
  ///
  /// - Returns: nil once they are all there, else what was missing when the time was over.
  private static func awaitGang(_ orders: Orders) throws -> String? {
    guard let gang = orders.plan.gang else { return nil }
    let begin = SystemClock.boottimeNanoseconds
    var pause = 0.2
    while true {
      let count = try PodFileClient.retrying(for: orders.plan.transferMs) { try orders.client.members() }
      if count >= gang.size { return nil }
      if (SystemClock.boottimeNanoseconds - begin) / 1_000_000 >= gang.waitMs {
        return "\(count) of \(gang.size) members of the gang were there after \(gang.waitMs / 1000) s"
      }
      usleep(UInt32(pause * Double.random(in: 0.7...1.3) * 1_000_000))
      pause = min(3, pause * 1.5)
    }
  }

  private static func copyProgram(to path: String) throws {
    let own = try POSIXFile.open("/proc/self/exe", O_RDONLY)
    defer { POSIXFile.close(own) }
    do {
      let copy = try POSIXFile.open(path + ".new", O_WRONLY | O_CREAT | O_TRUNC)
      defer { POSIXFile.close(copy) }
      try ArtifactPacking.copy(from: own, to: copy, path)
      fchmod(copy, 0o555)
    }
    guard rename(path + ".new", path) == 0 else { throw POSIXFile.failure("Cannot make \(path)") }
  }

  private static func fetchInputs(_ orders: Orders) throws {
    // Also for a run without any: this is where it turns out whether the pod is the first.
    let directory = orders.plan.places.files
    try PodFileClient.retrying(for: orders.plan.transferMs) {
      // What an attempt that was cut short has left.
      POSIXFile.removeTree(directory + "/in")
      try orders.client.fetchInputs(into: directory)
    }
    chmod(directory + "/in", 0o755)
    for input in orders.plan.inputs where POSIXFile.isMissing("\(directory)/in/\(input.index)") {
      throw FederationError(.failedPrecondition, "the agent has no input for \(input.path)")
    }
  }

  // MARK: pod-step

  /// Runs the command of a container.
  ///
  /// - Returns: the exit code: the command's (128 + n for signal n, 127 and 126 when it cannot be executed), 0 for a sidecar that was ended
  ///   with the main program, 2 for wrong usage, 64 when the main program's files could not be moved.
  public static func step(_ arguments: [String]) -> Int32 {
    prepare()
    guard arguments.count > 3, arguments[0] == "--container", arguments[2] == "--" else {
      say(stepUsage)
      return 2
    }
    do {
      let orders = try Orders()
      guard let container = orders.plan.containers.first(where: { $0.name == arguments[1] }) else {
        throw FederationError(.invalidArgument, "the run's plan has no container \(arguments[1])")
      }
      let command = Array(arguments[3...])
      switch container.role {
      case .main: return try main(orders, command)
      case .sidecar: return try sidecar(orders, command)
      case .member: return try member(orders, container, command)
      }
    } catch {
      say(text(of: error))
      return 2
    }
  }

  private static func sidecar(_ orders: Orders, _ arguments: [String]) throws -> Int32 {
    let command = try PodCommand(
      .init(graceMs: orders.plan.graceMs, endFile: orders.plan.places.ended), lease: nil, keepsOutput: nil,
      variables: orders.gangVariables)
    let end = try command.run(arguments)
    if let failure = end.failure {
      orders.leave(.start, failure)
    } else {
      orders.leave(.ended, wallMs: end.wallMs)
    }
    return end.reason == .endFile ? 0 : end.code
  }

  private static func main(_ orders: Orders, _ arguments: [String]) throws -> Int32 {
    let plan = orders.plan
    // The command may have a user that can make these; whether it needs them shows there.
    for directory in plan.directories { try? POSIXFile.makeDirectories(directory, mode: 0o755) }
    let client = orders.client
    var lease: (() -> PodLease)?
    if plan.disconnectLimitMs != nil || plan.sliceMs != nil {
      lease = { PodLease(limitMs: plan.disconnectLimitMs, sliceMs: plan.sliceMs, client: client) }
    }
    var farewell: (@Sendable () -> PodCommand.Farewell?)?
    if plan.hasFarewell == true { farewell = { try? client.farewell() } }
    let command = try PodCommand(
      .init(graceMs: plan.graceMs, endAfterMs: [plan.walltimeMs, plan.activeDeadlineMs].compactMap(\.self).min()),
      lease: lease, keepsOutput: plan.capturesResult ? PodFileStore.outputBytesMax : nil,
      variables: orders.gangVariables, farewell: farewell)
    defer { tellEnd(plan.places) }
    let end = try command.run(arguments)
    tellEnd(plan.places)
    if let failure = end.failure {
      orders.leave(.start, failure)
      return end.code
    }
    if end.reason == .fenced {
      // Nobody waits for its files: for the federation it is lost.
      orders.leave(.fenced, "the agent's lease has run out", wallMs: end.wallMs)
      return end.code
    }
    do { try sendFiles(orders, end.output) } catch {
      orders.leave(.outputs, text(of: error), wallMs: end.wallMs)
      return PodPlan.filesFailed
    }
    if end.reason == .limit {
      let isWalltime = (plan.walltimeMs ?? .max) <= (plan.activeDeadlineMs ?? .max)
      orders.leave(
        isWalltime ? .walltime : .activeDeadline, "the program was ended at its limit", wallMs: end.wallMs)
    } else if end.reason == .slice {
      orders.leave(.slice, "the program was ended where what was held for it ends", wallMs: end.wallMs)
    } else {
      orders.leave(.ended, wallMs: end.wallMs)
    }
    return end.code
  }

  /// One of a container set. By its notice it is known whether it was started, and whether it ended by itself.
  private static func member(
    _ orders: Orders, _ container: PodPlan.Container, _ arguments: [String]
  ) throws -> Int32 {
    let plan = orders.plan
    let member = try PodMember(plan, container)
    defer { member.stopForwarding() }
    var notice = PodNotice(.ended)
    var end = PodCommand.End(code: 0, reason: .own, failure: nil, output: [])
    switch try member.awaitDependencies() {
    case .met: end = try run(orders, member, container, arguments)
    case .failed(let name):
      end.code = PodPlan.filesFailed
      notice = PodNotice(.skipped, error: "not started: container \(name), on which it depends, has failed")
    case .signal(let number): (end.code, end.reason) = (128 + number, .signal)
    case .late: (end.code, end.reason) = (128 + SIGTERM, .limit)
    }
    notice.wallMilliseconds = end.wallMs
    if let failure = end.failure { notice = PodNotice(.start, error: failure) }
    if end.reason == .fenced { notice = PodNotice(.fenced, error: "the agent's lease has run out") }
    if end.reason == .slice {
      notice = PodNotice(
        .slice, error: "the program was ended where what was held for it ends", wallMilliseconds: end.wallMs)
    }
    if end.reason == .limit {
      let isWalltime = (plan.walltimeMs ?? .max) <= (plan.activeDeadlineMs ?? .max)
      notice.fubini = isWalltime ? .walltime : .activeDeadline
      notice.error = "the program was ended at its limit"
    }
    try member.tellEnd(end.code)
    if member.isSpeaker { try member.awaitOthers() }
    member.stopForwarding()
    if container.name == RunContainers.resultName, ![.fenced, .skipped, .start].contains(notice.fubini) {
      do { try sendFiles(orders, end.output) } catch {
        orders.leave(.outputs, text(of: error), wallMs: end.wallMs)
        return PodPlan.filesFailed
      }
    }
    orders.leave(notice.fubini, notice.error, wallMs: notice.wallMilliseconds)
    return end.code
  }

  /// Again and again, where it fails by itself and may be started again.
  private static func run(
    _ orders: Orders, _ member: PodMember, _ container: PodPlan.Container, _ arguments: [String]
  ) throws -> PodCommand.End {
    let plan = orders.plan
    let isResult = container.name == RunContainers.resultName
    if isResult { for directory in plan.directories { try? POSIXFile.makeDirectories(directory, mode: 0o755) } }
    let lease =
      plan.disconnectLimitMs == nil && plan.sliceMs == nil
      ? nil : PodLease(limitMs: plan.disconnectLimitMs, sliceMs: plan.sliceMs, client: orders.client)
    var retries = plan.retries ?? 0
    while true {
      let command = try PodCommand(
        .init(
          graceMs: plan.graceMs, endAfterMs: try member.remaining().map { max(1, $0) }, began: try member.beginning()),
        lease: lease.map { lease in { lease } },
        keepsOutput: isResult && plan.capturesResult ? PodFileStore.outputBytesMax : nil,
        variables: orders.gangVariables,
        relay: member.isSpeaker ? nil : .init(pipe: member.output, name: container.name))
      var end = try command.run(arguments)
      guard end.code != 0, end.reason == .own, retries > 0 else { return end }
      retries -= 1
      say("container \(container.name): \(end.failure ?? "exit code \(end.code)"); it is started again")
      guard try member.pause(milliseconds: plan.retryPauseMs ?? 0) else {
        end.reason = .signal
        return end
      }
    }
  }

  /// Lets the sidecars end.
  private static func tellEnd(_ places: PodPlan.Places) {
    if let file = try? POSIXFile.open(places.ended, O_WRONLY | O_CREAT, mode: 0o644) { POSIXFile.close(file) }
  }

  private static func sendFiles(_ orders: Orders, _ output: [UInt8]) throws {
    let (plan, client) = (orders.plan, orders.client)
    if plan.capturesResult {
      try PodFileClient.retrying(for: plan.transferMs) { try client.sendStandardOutput(output) }
    }
    if !plan.outputs.isEmpty {
      try PodFileClient.retrying(for: plan.transferMs) { try client.sendOutputs(plan.outputs) }
    }
  }
}
