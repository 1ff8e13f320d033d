internal import Execution
internal import FederationModel

/// What the executor remembers of a run, from its submission to its being forgotten.
struct TrackedRun: Sendable {
  let id: RunID
  var namespace: String
  /// Its pods were asked for, and there are none.
  var isPodless = false
  /// They are being asked for.
  var isLookedFor = false
  var runsAs: String?
  /// Of its task: what a cancellation with no shorter one leaves it.
  var grace: Duration

  private(set) var job: JobFacts?
  /// Whether a watch or a list has shown its Job: then a list without it is the proof that it is gone.
  private(set) var isJobSeen = false
  var isJobGone = false
  /// Of its Secret; nil while nobody knows: of one that another process made.
  var secretUID: String?
  /// By UID; those that are gone as they were last.
  private(set) var pods: [String: PodFacts] = [:]
  private(set) var event: EventFacts?
  /// Of the Job, or of the moment in which it was taken up.
  var since: ContinuousClock.Instant

  /// Of a gang: the Service by which its members find each other is made, or is being made.
  var hasService = false
  /// Its Job's deletion was asked for here, so that it says nothing about what others want.
  var hasDeletedJob = false
  var isCancelRequested = false
  var cancelGrace: Duration?
  /// It ends like this as soon as nothing of it can begin any more.
  var stop: PodVerdict.End?
  /// When the API server is asked (again) to delete what is left of it.
  var deletionDue: ContinuousClock.Instant?
  /// Its log is being read to its end.
  var isEnding = false
  /// Its end was recorded before this agent began, which has still to find out that it is over.
  var isForgetDue = false

  /// What was told last; terminal: the run is over.
  var told: RunObservation
  var isOver: Bool { told.phase.isTerminal }

  init(id: RunID, namespace: String, runsAs: String?, grace: Duration, now: ContinuousClock.Instant) {
    self.id = id
    self.namespace = namespace
    self.runsAs = runsAs
    self.grace = grace
    since = now
    told = RunObservation(id: id, phase: .bound)
  }

  /// - Parameter isSeen: a watch or a list has it; false: the answer to its creation.
  mutating func saw(_ job: JobFacts, isSeen: Bool) {
    // Of a namesake that somebody made after ours nothing follows for the run.
    if let known = self.job, known.uid != job.uid { return }
    self.job = job
    isJobSeen = isJobSeen || isSeen
  }

  mutating func saw(_ pod: PodFacts) {
    // Kueue took its leave back before anything had begun: what comes later is as if it were the first.
    if pod.isGone, !pod.hasBegun, job?.isSuspended == true {
      pods[pod.uid] = nil
      return
    }
    if let known = pods[pod.uid], known.isGone, !pod.isGone { return }
    pods[pod.uid] = pod
  }

  mutating func saw(_ event: EventFacts) {
    if let known = self.event, known.at > event.at { return }
    self.event = event
  }

  /// Its Job is over, or is to go, and no pod of it is known.
  var lacksPods: Bool {
    pods.isEmpty && (isJobGone || job.map { $0.isComplete || $0.failure != nil || $0.isDeleting } ?? false)
  }

  func situation(now: ContinuousClock.Instant) -> PodSituation {
    var job = job
    if hasDeletedJob, !isCancelRequested { job?.isDeleting = false }
    return PodSituation(
      job: job, isJobGone: isJobGone, pods: pods.values.sorted { $0.uid < $1.uid }, event: event,
      isCancelRequested: isCancelRequested, isStopped: hasDeletedJob, age: now - since)
  }

  /// Pods that may have a program that runs, or that may start one.
  var livePods: [PodFacts] {
    pods.values.filter { !$0.isGone && !$0.isTerminal }.sorted { $0.uid < $1.uid }
  }

  /// Whether nothing of it can begin any more: its Job makes no pods, and none is left.
  var isQuiet: Bool { livePods.isEmpty && (isJobGone || job?.isDeleting ?? true) }

  /// Those by whose output it is known: of a gang one for each rank, else one.
  var logPods: [PodFacts] {
    Dictionary(grouping: pods.values.filter(\.hasStarted)) { $0.rank }.values.compactMap(PodVerdict.chosen)
      .sorted { ($0.rank ?? 0) < ($1.rank ?? 0) }
  }

  func logPod(_ rank: Int?) -> PodFacts? {
    PodVerdict.chosen(pods.values.filter { $0.hasStarted && $0.rank == rank })
  }
}
