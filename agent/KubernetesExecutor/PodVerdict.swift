internal import FederationModel
internal import FoundationEssentials

/// All that is known of a run when its fate is considered.
struct PodSituation: Hashable, Sendable {
  var job: JobFacts?
  /// A complete list did not have the Job, or the API server said that it was deleted.
  var isJobGone = false
  /// Those that exist and, of those that are gone, the last that was seen.
  var pods: [PodFacts] = []
  /// The last one about it that warns of something.
  var event: EventFacts?
  var isCancelRequested = false
  /// Its Job was deleted here, because the run is to end.
  var isStopped = false
  /// Since its Job was made, or was first seen.
  var age: Duration = .zero
}

/// What becomes of a run, as a pure function of what the API server says.
///
/// - Source: Kubernetes API: `PodStatus`, `ContainerState`, `JobStatus`; reasons of kubelet, scheduler and controllers.
enum PodVerdict: Hashable, Sendable {
  struct End: Hashable, Sendable {
    var phase: RunPhase
    var message = ""
    var exitCode: Int32?
    var wallTime: Duration?
    /// Where it did not end by itself.
    var cause: RunEndCause?
    /// Its pod was deleted by others: of a gang that may be because another member had ended.
    var isCollateral = false
    /// It was ended because what was held for it was used up.
    var isUnpaid = false
  }
  /// Nothing new can be said.
  case wait
  case queued(String)
  case running(String)
  /// It ends like this, and nothing of it runs.
  case ended(End)
  /// It is to end like this, once its pods are gone for good: something of it exists that may still begin.
  case stop(End)

  /// How long a pod may fail to start for a reason that may pass (an image that cannot be pulled) before the run ends in Error.
  static let startPatience = Duration.seconds(600)

  init(_ situation: PodSituation) {
    let size = situation.job?.gangSize ?? situation.pods.compactMap(\.rank).max().map { $0 + 1 }
    self = size.map { PodVerdict(gang: $0, situation) } ?? PodVerdict(single: situation)
    switch self {
    case .ended(let end) where end.phase != .lost, .stop(let end) where end.phase != .lost: break
    default: self = Self.suspended(situation) ?? self
    }
  }

  private init(single situation: PodSituation) {
    guard let pod = Self.chosen(situation.pods) else {
      self = Self.withoutPods(situation)
      return
    }
    let others = situation.pods.filter { $0.uid != pod.uid && !$0.isGone && !$0.isTerminal }
    self = Self.judge(pod, situation)
    // What the controller put in its place must not begin after the run's end.
    if case .ended(let end) = self, !others.isEmpty { self = .stop(end) }
  }

  /// The first to begin is the run, or the member: a Job's controller may have made another one since.
  static func chosen(_ pods: [PodFacts]) -> PodFacts? {
    let pods = pods.sorted { a, b in
      if a.hasStarted != b.hasStarted { return a.hasStarted }
      return (a.createdAt ?? .distantFuture, a.uid) < (b.createdAt ?? .distantFuture, b.uid)
    }
    return pods.first(where: { $0.hasStarted }) ?? pods.first(where: { $0.isTerminal }) ?? pods.first
  }

  /// Kueue takes its leave back by suspending the Job: its controller then deletes the pods. A run that had begun is lost, to be placed
  /// again: another pod with its files would do again what may be done already (I1). One that had not goes on waiting.
  private static func suspended(_ situation: PodSituation) -> PodVerdict? {
    guard let job = situation.job, job.isSuspended, !situation.isJobGone, !job.isDeleting, job.failure == nil,
      !situation.isCancelRequested, !situation.pods.isEmpty
    else { return nil }
    let message = "preempted: \(kueue(job)) has suspended its Job"
    if situation.pods.contains(where: { !$0.isGone && !$0.isTerminal }) {
      return situation.pods.contains(where: \.hasStarted)
        ? .running(message + ", and its pods are ending") : .queued(message + " before it began")
    }
    guard situation.pods.contains(where: \.hasBegun) else { return withoutPods(situation) }
    return .stop(End(phase: .lost, message: message, cause: .preempted))
  }

  private static func kueue(_ job: JobFacts) -> String { job.queue.map { "Kueue (queue \($0))" } ?? "somebody" }

  static func judge(_ pod: PodFacts, _ situation: PodSituation) -> PodVerdict {
    if pod.isTerminal { return .ended(end(of: pod, situation)) }
    if pod.isGone {
      // It had ended: only its pod's phase had not been written.
      if pod.mainEnd != nil { return .ended(end(of: pod, situation)) }
      let end = vanished(pod, situation)
      // Its Job would make another.
      return situation.isJobGone ? .ended(end) : .stop(end)
    }
    if situation.job?.isDeleting == true, !situation.isCancelRequested {
      // Our finalizer keeps the Job, and so its pods: whoever deletes it wants them to end.
      return .stop(End(phase: .cancelled, message: deletedJob))
    }
    if !situation.isCancelRequested, !pod.isDeleting, let member = pod.brokenMember, let end = member.end {
      let why = end.reason.isEmpty ? "exit code \(end.exitCode)" : end.reason
      return .stop(
        End(
          phase: .failed, message: "container \(member.name): \(why)", exitCode: end.exitCode,
          cause: end.reason == "OOMKilled" ? .outOfMemory : nil))
    }
    if pod.mainEnd != nil { return .running("its program has ended; its other containers are ending") }
    if pod.isMainRunning {
      if isNodeSilent(pod) {
        return .running("its node \(pod.node ?? "") does not answer: whether it still runs cannot be known")
      }
      if pod.isDeleting, !situation.isCancelRequested { return .running("its pod is being deleted") }
      return .running("")
    }
    return starting(pod, situation)
  }

  // MARK: Before it runs

  private static func starting(_ pod: PodFacts, _ situation: PodSituation) -> PodVerdict {
    if situation.isCancelRequested { return .wait }
    for container in pod.containers {
      guard case .waiting(let why) = container.state else { continue }
      switch why.reason {
      case "", "ContainerCreating", "PodInitializing": continue
      case "InvalidImageName":
        return .stop(End(phase: .error, message: "\(why.reason): \(container.name): \(why.message)"))
      default:
        let text = "\(why.reason): \(container.name)\(why.message.isEmpty ? "" : ": \(why.message)")"
        return situation.age < startPatience ? .queued(text) : .stop(End(phase: .error, message: text))
      }
    }
    if pod.node == nil {
      let scheduled = pod.conditions["PodScheduled"]
      if let scheduled, !scheduled.isTrue, scheduled.reason == "Unschedulable" {
        return .queued("FailedScheduling: \(scheduled.message)")
      }
      if let scheduled, !scheduled.isTrue, scheduled.reason == "SchedulingGated" {
        return .queued("SchedulingGated: \(scheduled.message)")
      }
      if let event = situation.event, event.reason == "FailedScheduling" {
        return .queued("FailedScheduling: \(event.message)")
      }
      return .queued("its pod waits for a node")
    }
    if isNodeSilent(pod) { return .queued("its node \(pod.node ?? "") does not answer") }
    for container in pod.containers where container.isInitial {
      guard case .running = container.state else { continue }
      return .queued(
        container.name == JobManifest.initName
          ? "its inputs are fetched into its pod" : "its init container \(container.name) runs")
    }
    if let event = situation.event,
      ["FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"].contains(event.reason)
    {
      return .queued("\(event.reason): \(event.message)")
    }
    return .queued("its containers are made on node \(pod.node ?? "")")
  }

  static func withoutPods(_ situation: PodSituation) -> PodVerdict {
    guard let job = situation.job, !situation.isJobGone else {
      guard situation.isJobGone else { return .wait }
      return .ended(
        situation.isCancelRequested
          ? End(phase: .cancelled, message: "cancelled before it started")
          : End(phase: .lost, message: "its Job was deleted before its end was recorded, and has no pod left"))
    }
    if job.isDeleting {
      return .ended(
        situation.isCancelRequested
          ? End(phase: .cancelled, message: "cancelled before it started")
          : End(phase: .cancelled, message: deletedJob))
    }
    if let failure = job.failure {
      return .ended(
        situation.isCancelRequested
          ? End(phase: .cancelled, message: "cancelled")
          : End(phase: .lost, message: "its pod is gone: \(failure.reason)\(said(failure.message))"))
    }
    if job.isComplete {
      return .ended(End(phase: .lost, message: "its pod is gone, so that nobody can say how it ended"))
    }
    if situation.isCancelRequested { return .wait }
    if let event = situation.event, event.reason == "FailedCreate" { return refused(event) }
    if job.isSuspended {
      guard let queue = job.queue else { return .queued("its Job is suspended: it waits in the cluster's own queue") }
      let why = situation.event.map { $0.reason == "Pending" ? said($0.message) : "" } ?? ""
      return .queued("it waits in Kueue's queue \(queue)\(why)")
    }
    return .queued("its Job has no pod yet")
  }

  /// Quotas come free, and webhooks come back; what a policy forbids stays forbidden.
  private static func refused(_ event: EventFacts) -> PodVerdict {
    let text = "FailedCreate: \(event.message)"
    let isQuota = event.message.contains("exceeded quota") || event.message.contains("failed quota")
    let isFinal =
      event.message.contains("violates PodSecurity") || event.message.contains("is invalid:")
      || event.message.contains("is forbidden") && !isQuota
    return isFinal ? .stop(End(phase: .error, message: text)) : .queued(text)
  }

  // MARK: Its end

  private static func end(of pod: PodFacts, _ situation: PodSituation) -> End {
    guard let main = pod.mainEnd else { return endWithoutMain(pod, situation) }
    let said = message(main)
    var end = End(phase: .failed, exitCode: main.exitCode, wallTime: wallTime(main, said))
    switch said?.kind {
    case "inputs", "outputs":
      end = End(phase: .error, message: said?.error ?? "its files could not be moved", wallTime: end.wallTime)
      return situation.isCancelRequested ? cancelled(end) : end
    case "start":
      // The author's fault, as in any container: a shell's exit code for it.
      end.message = said?.error ?? "the program could not be started"
    case "superseded": return End(phase: .lost, message: superseded)
    case "slice": (end.message, end.isUnpaid) = (slice, true)
    case "walltime": (end.message, end.cause) = ("the walltime has passed", .timeLimit)
    case "activeDeadline": (end.message, end.cause) = (activeDeadline, .timeLimit)
    case "fenced":
      (end.phase, end.message) = (.lost, "fenced: the agent had no contact for longer than the disconnect limit")
    default: explain(&end, main, pod, situation)
    }
    return end
  }

  private static func explain(_ end: inout End, _ main: PodFacts.End, _ pod: PodFacts, _ situation: PodSituation) {
    let code = main.exitCode
    guard code != 0 else {
      // Other containers decide nothing: by its main one a run is known.
      (end.phase, end.message) = (.succeeded, "")
      return
    }
    if main.reason == "OOMKilled" {
      end.cause = .outOfMemory
      return end.message = "OOMKilled: it needed more memory than its limit; exit code \(code)"
    }
    if situation.isCancelRequested { return end = cancelled(end) }
    if let (phase, why, cause) = disruption(pod) {
      return (end.phase, end.message, end.cause) = (phase, why, cause)
    }
    if ["StartError", "ContainerCannotRun"].contains(main.reason) {
      return end = End(phase: .error, message: "\(main.reason)\(Self.said(main.message))")
    }
    // A program may end by itself when it is told to.
    if pod.isDeleting, situation.job?.isSuspended == true {
      return (end.phase, end.message, end.isCollateral) = (.lost, deleted, true)
    }
    let signal = main.signal > 0 ? main.signal : code > 128 && code <= 192 ? code - 128 : 0
    if pod.isDeleting || pod.isGone, [9, 15].contains(signal) {
      // A drained node deletes pods as people do; its task is placed again.
      let isJobDeleted = situation.job?.isDeleting == true
      (end.phase, end.message) = isJobDeleted ? (.cancelled, deletedJob) : (.lost, deleted)
      end.isCollateral = !isJobDeleted
      return
    }
    end.message = signal > 0 ? "ended by signal \(signal), exit code \(code)" : "exit code \(code)"
  }

  /// An init container failed, or the pod's node ended it before it began.
  private static func endWithoutMain(_ pod: PodFacts, _ situation: PodSituation) -> End {
    if situation.isCancelRequested { return End(phase: .cancelled, message: "cancelled before it started") }
    for container in pod.containers where container.isInitial {
      guard case .terminated(let ended) = container.state, ended.exitCode != 0 else { continue }
      if let (phase, why, cause) = disruption(pod) {
        return End(phase: phase, message: why, cause: cause)
      }
      guard container.name == JobManifest.initName else {
        let why = ended.reason == "OOMKilled" ? "OOMKilled, " : ""
        return End(
          phase: .failed, message: "init container \(container.name): \(why)exit code \(ended.exitCode)",
          exitCode: ended.exitCode)
      }
      let said = message(ended)
      if said?.kind == "superseded" { return End(phase: .lost, message: superseded) }
      if said?.kind == "incomplete" { return End(phase: .lost, message: said?.error ?? "its gang was not complete") }
      if pod.isDeleting || pod.isGone, said == nil, [128 + 9, 128 + 15].contains(ended.exitCode) {
        return situation.job?.isDeleting == true
          ? End(phase: .cancelled, message: deletedJob) : End(phase: .lost, message: deleted, isCollateral: true)
      }
      return End(
        phase: .error,
        message: "its inputs could not be brought into its pod: "
          + (said?.error ?? (ended.message.isEmpty ? "exit code \(ended.exitCode)" : ended.message)))
    }
    if let (phase, why, cause) = disruption(pod) {
      return End(phase: phase, message: why, cause: cause)
    }
    if pod.phase == "Succeeded" { return End(phase: .succeeded, exitCode: 0) }
    let why = pod.reason.isEmpty ? "its pod failed before it started" : pod.reason
    return End(phase: .lost, message: why + said(pod.message))
  }

  /// The pod is gone, and nobody saw it end.
  private static func vanished(_ pod: PodFacts, _ situation: PodSituation) -> End {
    if situation.isCancelRequested { return End(phase: .cancelled, message: "cancelled") }
    if let (phase, why, cause) = disruption(pod) {
      return End(phase: phase, message: why, cause: cause)
    }
    if situation.job?.isDeleting == true {
      return End(phase: .cancelled, message: deletedJob)
    }
    if let event = situation.event,
      ["TaintManagerEviction", "Preempted", "NodeNotReady", "Evicted"].contains(event.reason)
    {
      return End(phase: .lost, message: "\(event.reason)\(said(event.message))")
    }
    if isNodeSilent(pod) {
      return End(
        phase: .lost, message: "its node \(pod.node ?? "") was lost, and its pod was deleted", cause: .nodeFailure)
    }
    return End(phase: .lost, message: deleted, isCollateral: true)
  }

  /// What the cluster itself did to a pod; nil: nothing.
  ///
  /// - Source: pod conditions `DisruptionTarget` (1.26), and `status.reason` as kubelet, scheduler and controllers set it.
  private static func disruption(_ pod: PodFacts) -> (RunPhase, String, RunEndCause?)? {
    switch pod.reason {
    case "DeadlineExceeded":
      return (.failed, "the walltime has passed (DeadlineExceeded: Kubernetes ended the pod)", .timeLimit)
    case "Evicted":
      // Its own limits are its author's affair; a node that runs low is not.
      let isOwn =
        pod.message.contains("ephemeral local storage usage exceeds")
        || pod.message.contains("exceeds the limit")
        || pod.message.contains("exceeded its local ephemeral storage limit")
      return (isOwn ? .failed : .lost, "Evicted\(said(pod.message))", nil)
    case "NodeLost", "NodeShutdown", "Shutdown", "Terminated":
      return (.lost, pod.reason + said(pod.message), .nodeFailure)
    case "Preempting": return (.lost, pod.reason + said(pod.message), .preempted)
    case "NodeAffinity", "UnexpectedAdmissionError": return (.lost, pod.reason + said(pod.message), nil)
    case let reason where reason.hasPrefix("OutOf"): return (.lost, reason + said(pod.message), nil)
    default: break
    }
    guard let target = pod.conditions["DisruptionTarget"], target.isTrue else { return nil }
    let (what, cause): (String, RunEndCause?) =
      switch target.reason {
      case "PreemptionByScheduler", "PreemptionByKubeScheduler": ("preempted by a pod of higher priority", .preempted)
      case "DeletionByTaintManager": ("its node was lost or tainted", .nodeFailure)
      case "EvictionByEvictionAPI": ("evicted (its node is being drained)", nil)
      case "DeletionByPodGC": ("its node is gone", .nodeFailure)
      case "TerminationByKubelet": ("ended by its node", .nodeFailure)
      default: (target.reason, nil)
      }
    return (.lost, "\(what)\(said(target.message))", cause)
  }

  private static func isNodeSilent(_ pod: PodFacts) -> Bool {
    if pod.reason == "NodeLost" || pod.phase == "Unknown" { return true }
    guard let ready = pod.conditions["Ready"], !ready.isTrue else { return false }
    // The controller of nodes takes a pod's readiness away, and leaves what its node said of the containers.
    return ready.reason == "NodeStatusUnknown" || pod.isMainRunning && pod.conditions["ContainersReady"]?.isTrue == true
  }

  private static func cancelled(_ end: End) -> End {
    End(phase: .cancelled, message: "cancelled", exitCode: end.exitCode, wallTime: end.wallTime)
  }

  /// What the agent's program left in the termination message: `PodNotice`, and how long the command ran.
  private struct Notice {
    var kind: String
    var error: String?
    var wallTime: Duration?
  }

  private static func message(_ end: PodFacts.End) -> Notice? {
    guard end.message.utf8.first == 0x7b,
      let value = try? JSONDecoder().decode(JSONValue.self, from: Data(end.message.utf8)),
      let kind = value["fubini"]?.stringValue
    else { return nil }
    let error = value["error"]?.stringValue
    return Notice(
      kind: kind, error: error?.isEmpty == true ? nil : error,
      wallTime: value["wallMilliseconds"]?.integerValue.map { .milliseconds(max(0, $0)) })
  }

  private static func wallTime(_ end: PodFacts.End, _ said: Notice?) -> Duration? {
    if !end.isOfSet, let exact = said?.wallTime { return exact }
    guard let started = end.startedAt, let finished = end.finishedAt else { return nil }
    return max(.zero, finished - started)
  }

  private static let deletedJob = "its Job was deleted, not by the federation"
  private static let deleted = "its pod was deleted, not by the federation"
  private static let slice = "what was held for it has been used up"
  private static let superseded = "another pod of the run was there first, so that this one began nothing"
  private static let activeDeadline =
    "Pod was active on the node longer than the specified deadline: activeDeadlineSeconds has passed"

  static func said(_ text: String) -> String { text.isEmpty ? "" : ": \(text)" }
}
