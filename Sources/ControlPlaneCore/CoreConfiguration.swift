public import FederationModel
public import SchedulerCore
public import WorkflowCore

/// What an operator may set about the core's behaviour. The same on every replica.
public struct CoreConfiguration: Hashable, Sendable {
  /// Silence after which an agent counts as away: nothing new is placed on its cluster.
  public var agentLease: Duration
  /// For `onDisconnect: replace`: silence after which the fence beside a run ends it.
  public var disconnectLimit: Duration
  /// Added to `disconnectLimit` before a run counts as ended: the supervisor's period, the kill itself, and clocks that drift.
  public var fenceMargin: Duration
  /// Added once to every disconnect limit while most agents are away at once (invariant I8).
  public var massLossExtension: Duration
  /// Runs of one task that the control plane starts by itself after losses, before the task ends in Error.
  public var epochLimit: Int32
  /// Expected where neither history nor walltime says anything.
  public var defaultRuntime: Duration
  /// Bytes per second assumed of a link that was neither declared nor measured.
  public var defaultBandwidth: Double
  /// How long a first answer is kept for a repeated write.
  public var idempotencyWindow: Duration
  /// Nodes that one input makes, begins or ends at most, and placements that it takes: what is left is done by `Input.proceed`, so
  /// that no input keeps the others waiting.
  public var sliceLimit: Int
  /// How often every group of waiting tasks is looked at when there are more of them than one pass sees.
  public var sweepPeriod: Duration
  /// How old the tails of a workflow may be that a placement pass looks at.
  public var tailPeriod: Duration
  /// Parts of workflows whose tails are computed for one pass, about: a few tens of nanoseconds each.
  public var tailLimit: Int
  public var weights: PlacementWeights
  /// How long a run waits in a cluster's own queue before its task may go elsewhere; at least three times what was promised.
  public var queuePatience: Duration
  /// How long the backlog of a class may take before no more of it is taken; a class that is not named takes all.
  public var backlogLimits: [PriorityClass: Duration]
  /// Whether room is held for realtime work that has not come yet.
  public var holdsHeadroom: Bool
  /// How long a run is left alone whose task was preempted once; twice as long each time.
  public var restartProtection: Duration
  /// The longest that it is left alone.
  public var restartProtectionMax: Duration
  /// How long an output of `stageOut: lazy` stays in caches alone.
  public var stageOutAfter: Duration
  /// Runs of a task whose outputs were lost again and again, before who reads them ends.
  public var remakeLimit: Int
  /// When a copy into the repository that failed is tried again.
  public var stageOutRetry: Duration
  /// After it what a project has used counts half in its share.
  public var shareHalfLife: Duration
  /// Memoized artifacts that nobody took for so long need not be there any more; nil: they are kept as long as their entry.
  public var memoAge: Duration?
  /// What `retryPolicy: OnTransientError` retries.
  public var transientErrors = TransientErrors()

  /// Realtime work that is a minute late is of no use; the others' queues are as long as people look ahead.
  public static let defaultBacklogLimits: [PriorityClass: Duration] = [
    .realtime: .seconds(60), .interruptible: .seconds(86_400), .offline: .seconds(7 * 86_400),
    .idle: .seconds(7 * 86_400),
  ]

  public init(
    agentLease: Duration = .seconds(15), disconnectLimit: Duration = .seconds(60), fenceMargin: Duration = .seconds(10),
    massLossExtension: Duration = .seconds(300), epochLimit: Int32 = 5, defaultRuntime: Duration = .seconds(10),
    defaultBandwidth: Double = 50_000_000, idempotencyWindow: Duration = .seconds(86_400),
    sliceLimit: Int = 128, sweepPeriod: Duration = .seconds(10), tailPeriod: Duration = .seconds(10),
    tailLimit: Int = 20_000,
    weights: PlacementWeights = PlacementWeights(), stageOutAfter: Duration = .seconds(300),
    stageOutRetry: Duration = .seconds(30), remakeLimit: Int = 3, queuePatience: Duration = .seconds(600),
    restartProtection: Duration = .seconds(30), restartProtectionMax: Duration = .seconds(3600),
    holdsHeadroom: Bool = true, backlogLimits: [PriorityClass: Duration] = CoreConfiguration.defaultBacklogLimits,
    shareHalfLife: Duration = .seconds(7 * 86_400), memoAge: Duration? = nil
  ) {
    self.memoAge = memoAge
    self.backlogLimits = backlogLimits
    self.holdsHeadroom = holdsHeadroom
    self.restartProtection = restartProtection
    self.restartProtectionMax = restartProtectionMax
    self.agentLease = agentLease
    self.disconnectLimit = disconnectLimit
    self.fenceMargin = fenceMargin
    self.massLossExtension = massLossExtension
    self.epochLimit = epochLimit
    self.defaultRuntime = defaultRuntime
    self.defaultBandwidth = defaultBandwidth
    self.idempotencyWindow = idempotencyWindow
    self.sliceLimit = sliceLimit
    self.sweepPeriod = sweepPeriod
    self.tailPeriod = tailPeriod
    self.tailLimit = tailLimit
    self.weights = weights
    self.stageOutAfter = stageOutAfter
    self.stageOutRetry = stageOutRetry
    self.remakeLimit = remakeLimit
    self.queuePatience = queuePatience
    self.shareHalfLife = shareHalfLife
  }

  var usageDecay: UsageDecay { UsageDecay(halfLife: shareHalfLife.seconds) }
}
