public import FederationModel

/// What the agent's programs in a pod shall do for a run (docs/adr/0033-kubernetes.md): JSON in a variable. It is part of the pod, where everybody who may look
/// at pods can read it: nothing in it is secret.
public struct PodPlan: Hashable, Sendable, Codable {
  /// Fetched into `filesDirectory` below `in/` and its number among the inputs, from where the pod mounts it.
  public struct Input: Hashable, Sendable, Codable {
    public var index: Int
    /// Absolute, as the run sees it.
    public var path: String
    public init(index: Int, path: String) {
      self.index = index
      self.path = path
    }
  }
  public enum Role: String, Hashable, Sendable, Codable {
    /// The run's own program: with its end the run ends.
    case main
    /// Ended when the main program has ended.
    case sidecar
    /// Of a container set: starts when those that it depends on have ended well. The run ends when all have.
    case member
  }
  public struct Container: Hashable, Sendable, Codable {
    public var name: String
    public var role: Role
    /// Names of members; nil: none.
    public var dependencies: [String]?
    public init(name: String, role: Role, dependencies: [String]? = nil) {
      self.name = name
      self.role = role
      self.dependencies = dependencies
    }
  }
  /// Where the pod has the agent's volumes.
  public struct Places: Hashable, Sendable, Codable {
    /// The agent's program, put there by `pod-init`.
    public var program = "/fubini"
    /// Inputs.
    public var files = "/fubini-files"
    /// What the containers of one pod tell each other.
    public var state = "/fubini-state"
    /// A file that Kubernetes makes.
    public var terminationLog = "/dev/termination-log"
    public init() {}

    public var agent: String { program + "/agent" }
    /// Appears when the main program has ended.
    public var ended: String { state + "/ended" }
    /// Appears when a member of a container set has ended: its exit code.
    public func ended(_ member: String) -> String { "\(state)/ended-\(member)" }
    /// When the first member of a container set began (CLOCK_BOOTTIME, nanoseconds).
    public var began: String { state + "/began" }
    /// A pipe for what the members of a container set write, which one of them passes on.
    public var output: String { state + "/output" }
  }

  /// The copies of a program that start together or not at all, each in a pod of its own (I6).
  public struct Gang: Hashable, Sendable, Codable {
    public var size: Int
    /// Of the Job, and of the Service by which members find each other.
    public var name: String
    /// So long a member that is ready waits for the others.
    public var waitMs: UInt64
    public init(size: Int, name: String, waitMs: UInt64 = 600_000) {
      self.size = size
      self.name = name
      self.waitMs = waitMs
    }

    /// As the cluster's DNS knows a member within its namespace.
    public func host(_ rank: Int) -> String { "\(name)-\(rank).\(name)" }
  }

  public var run: RunID
  /// nil: one pod is the run.
  public var gang: Gang?
  /// Of the agent's server: `https://HOST:PORT`.
  public var url: String
  public var inputs: [Input]
  /// Absolute, as the main program sees them.
  public var outputs: [String]
  /// Directories that the main program finds, as far as its user can make them in its image.
  public var directories: [String]
  /// Whether the end of the main program's standard output is sent.
  public var capturesResult: Bool
  /// Of the program's wall time, from its start; nil: none.
  public var walltimeMs: UInt64?
  public var activeDeadlineMs: UInt64?
  /// How much of its wall time is held for it at first: the agent is asked for more. nil: as long as its bounds allow.
  public var sliceMs: UInt64?
  /// From SIGTERM to SIGKILL.
  public var graceMs: UInt64
  /// Whether the program may have asked to be told in another way that it must leave: then the agent is asked, when SIGTERM comes. nil: no.
  public var hasFarewell: Bool?
  /// Without the agent's lease for so long, the program is killed, and it does not start before there is one. nil: never.
  public var disconnectLimitMs: UInt64?
  /// For so long files are tried to be moved, each time: an agent may be away for a while.
  public var transferMs: UInt64
  public var containers: [Container]
  /// Of each member that fails; nil: none.
  public var retries: UInt32?
  public var retryPauseMs: UInt64?
  public var places: Places

  public init(
    run: RunID, url: String, inputs: [Input] = [], outputs: [String] = [], directories: [String] = [],
    capturesResult: Bool = false, walltimeMs: UInt64? = nil, activeDeadlineMs: UInt64? = nil, graceMs: UInt64 = 30_000,
    disconnectLimitMs: UInt64? = nil, transferMs: UInt64 = 3_600_000,
    containers: [Container] = [Container(name: "main", role: .main)], places: Places = Places(),
    gang: Gang? = nil, sliceMs: UInt64? = nil
  ) {
    self.gang = gang
    self.sliceMs = sliceMs
    self.run = run
    self.url = url
    self.inputs = inputs
    self.outputs = outputs
    self.directories = directories
    self.capturesResult = capturesResult
    self.walltimeMs = walltimeMs
    self.activeDeadlineMs = activeDeadlineMs
    self.graceMs = graceMs
    self.disconnectLimitMs = disconnectLimitMs
    self.transferMs = transferMs
    self.containers = containers
    self.places = places
  }

  /// The member of a container set whose output is the run's: it passes on what the others write, and ends last.
  public var speaker: String? {
    guard containers.contains(where: { $0.role == .member }) else { return nil }
    return containers.first { $0.name == RunContainers.resultName }?.name ?? containers.last?.name
  }

  /// The variables by which the programs are told: this plan, and of the run's Secret the token and the authority.
  public static let variable = "FUBINI_POD_PLAN"
  public static let tokenVariable = "FUBINI_POD_TOKEN"
  public static let authorityVariable = "FUBINI_POD_CA"
  /// The pod's own UID. Of two pods of one run the first that asks for its files is the run's (I1).
  public static let podVariable = "FUBINI_POD_UID"
  /// Which copy of a gang the pod has, from 0: Kubernetes sets it in every container of an Indexed Job.
  public static let rankVariable = "JOB_COMPLETION_INDEX"
  /// What `pod-init` and `pod-step` exit with when files could not be moved, or another pod was there first.
  public static let filesFailed: Int32 = 64
}

/// What `pod-init` and `pod-step` leave in the termination log of a container, as JSON on one line.
public struct PodNotice: Hashable, Sendable, Codable {
  public enum Kind: String, Hashable, Sendable, Codable {
    /// The program has ended: by itself, or by a signal.
    case ended
    /// Inputs, or outputs, could not be moved.
    case inputs, outputs
    /// The program was ended at this limit.
    case walltime, activeDeadline
    /// The program was ended because what was held for it was used up.
    case slice
    /// The program was killed, or did not start, because the agent's lease had run out.
    case fenced
    /// The program could not be started.
    case start
    /// Another pod of the same run was there first: nothing was started.
    case superseded
    /// Other members of its gang were not there in time: nothing was started.
    case incomplete
    /// A member of a container set that was not started, because one that it depends on has failed.
    case skipped
  }
  public var fubini: Kind
  public var error: String?
  /// Of the program, from its start to its end.
  public var wallMilliseconds: UInt64?
  public init(_ kind: Kind, error: String? = nil, wallMilliseconds: UInt64? = nil) {
    fubini = kind
    self.error = error
    self.wallMilliseconds = wallMilliseconds
  }
}

/// How a pod reaches its files.
public struct PodAccess: Hashable, Sendable {
  /// `https://HOST:PORT`.
  public var url: String
  /// Of the agent's own authority, PEM: the only one that the pod trusts.
  public var certificateAuthorityPEM: String
  /// For the files of one run.
  public var token: String
  public init(url: String, certificateAuthorityPEM: String, token: String) {
    self.url = url
    self.certificateAuthorityPEM = certificateAuthorityPEM
    self.token = token
  }
}

/// Which of a run's files its pod gets, and may send. Kept beside the run's files, so that an agent which starts anew knows it.
public struct SharedPodFiles: Hashable, Sendable, Codable {
  public enum Source: Hashable, Sendable, Codable {
    /// In the run's root, as the run sees it. What is not there is left out.
    case root(String)
    /// On the agent's host: a data set of its cache.
    case host(String)
  }
  /// The first is `in/0`.
  public var inputs: [Source]
  /// Absolute, as the run sees them. Nothing else is taken.
  public var outputs: [String]
  /// Of a gang: so many pods have the inputs, each under its rank. nil: one pod is the run.
  public var gangSize: Int?
  public init(inputs: [Source], outputs: [String], gangSize: Int? = nil) {
    self.inputs = inputs
    self.outputs = outputs
    self.gangSize = gangSize
  }
}

/// Moves the files of pods: the agent's server for them.
public protocol PodFiles: Sendable {
  /// What the pod of a run must be told. Derived from the run's id: nothing is stored, and the same is said each time.
  func access(for run: RunID) throws -> PodAccess

  /// From now on the run's pod gets these. A second call replaces the first.
  ///
  /// - Parameter workspace: its directory exists.
  func share(_ files: SharedPodFiles, of run: RunID, in workspace: RunWorkspace) throws

  /// Nothing of a gang runs any more: what its members have sent becomes the run's, as if all had written into one root. Where two have
  /// sent the same file, the lower rank's counts. Lines of standard output begin with their rank, as those of its log do.
  func gather(_ run: RunID) async throws

  /// The agent's session with the control plane was alive at that moment (CLOCK_BOOTTIME).
  func renewLease(boottimeNanoseconds: UInt64)
}
