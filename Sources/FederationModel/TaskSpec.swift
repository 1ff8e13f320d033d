/// Everything that a run needs to know: a leaf template with every tag replaced.
///
/// The control plane derives it from the workflow's definition and the node's inputs, so it is never stored there; the agent
/// journals it with the assignment.
public struct TaskSpec: Hashable, Sendable, Codable {
  /// The image as the author wrote it; a cluster may map it to a root file system or to the host.
  public var image: String
  public var command: [String]
  public var arguments: [String]
  /// A `script` template's source: written to a file whose path is appended to `command`.
  public var script: String?
  public var environment: [EnvironmentVariable]
  /// Absolute; nil leaves the choice to the executor.
  public var workingDirectory: String?
  /// What is set aside for the run: it is placed by this.
  public var resources: Resources
  /// What the run may use at most (`resources.limits` of the template); 0 or nil: no limit. Clusters enforce memory and CPU
  /// where they can, and say where they cannot.
  public var limits: Resources?
  /// Empty directories of the run's own, as absolute paths inside the run.
  public var scratchPaths: [String]
  public var inputs: [InputArtifact]
  public var outputArtifacts: [OutputArtifact]
  public var outputParameters: [OutputParameter]
  /// Data sets to be put, read-only, at their paths; nil: none.
  public var datasets: [MountedDataset]?
  /// Whether standard output is wanted as `outputs.result`.
  public var capturesResult: Bool
  /// The author's limit (`activeDeadlineSeconds`), counted from the start of the program; enforced beside the run.
  public var activeDeadline: Duration?
  /// From SIGTERM to SIGKILL.
  public var terminationGrace: Duration
  public var federation: FederationHints
  /// `nodeSelector` of the template: labels that the cluster must have.
  public var nodeSelector: [String: String]
  /// `metadata.labels` of the workflow and, over them, of the template: a site's defaults go by them. nil: none.
  public var labels: [String: String]?
  /// What the environment takes from secrets and config maps; nil: nothing.
  public var environmentSources: [EnvironmentSource]?
  /// The run makes this request, and has no program of its author's; nil: it has.
  public var http: RunHTTP?
  /// nil: the run is one program, `command`.
  public var containers: RunContainers?
  /// nil: none.
  public var fileVolumes: [FileVolume]?
  /// Second paths of the run's own directories; nil: none.
  public var directoryMounts: [DirectoryMount]?
  /// The run has no program: its result is the names of the files at the origin of its one input, which is not fetched, each of these
  /// expressions applied to what the one before has made of them (`data` templates). nil: it has a program.
  public var transformations: [String]?
  /// Directories that outlive the run; nil: none.
  public var claims: [ClaimVolume]?
  /// What only Kubernetes can obey; nil: nothing.
  public var pod: PodSettings?
  /// The run does this to an object of the cluster's Kubernetes API, and has no program of its author's; nil: it has.
  public var resource: RunResource?
  /// It must run on this cluster, because of what is there already; nil: anywhere. Agents are not told.
  public var beside: Companion?

  public init(
    image: String = "", command: [String] = [], arguments: [String] = [], script: String? = nil,
    environment: [EnvironmentVariable] = [], workingDirectory: String? = nil, resources: Resources = .zero,
    limits: Resources? = nil, scratchPaths: [String] = [], inputs: [InputArtifact] = [],
    outputArtifacts: [OutputArtifact] = [],
    outputParameters: [OutputParameter] = [], datasets: [MountedDataset]? = nil, capturesResult: Bool = false,
    activeDeadline: Duration? = nil,
    terminationGrace: Duration = .seconds(30), federation: FederationHints = FederationHints(),
    nodeSelector: [String: String] = [:], labels: [String: String]? = nil
  ) {
    self.image = image
    self.command = command
    self.arguments = arguments
    self.script = script
    self.environment = environment
    self.workingDirectory = workingDirectory
    self.resources = resources
    self.limits = limits
    self.scratchPaths = scratchPaths
    self.inputs = inputs
    self.outputArtifacts = outputArtifacts
    self.outputParameters = outputParameters
    self.datasets = datasets
    self.capturesResult = capturesResult
    self.activeDeadline = activeDeadline
    self.terminationGrace = terminationGrace
    self.federation = federation
    self.nodeSelector = nodeSelector
    self.labels = labels
  }
}

public struct EnvironmentVariable: Hashable, Sendable, Codable {
  public var name: String
  public var value: String
  public init(name: String, value: String) {
    self.name = name
    self.value = value
  }
}

/// An artifact to be put at `path` before the program starts.
public struct InputArtifact: Hashable, Sendable, Codable {
  public enum Source: Hashable, Sendable, Codable {
    /// The bytes themselves, from the document.
    case raw(String)
    /// An object in the artifact repository. With an empty checksum nobody has looked yet what it is.
    case stored(StoredArtifact)
    /// Somebody else's.
    case foreign(ForeignArtifact)
    /// An optional input that nobody supplied: nothing is put at `path`.
    case absent
  }
  public var name: String
  public var path: String
  public var source: Source
  /// POSIX permission bits; nil keeps what the artifact has.
  public var mode: Int32?
  /// Whether `mode` is for everything in a directory; nil: for the directory alone.
  public var isModeRecursive: Bool?
  public init(name: String, path: String, source: Source, mode: Int32? = nil, isModeRecursive: Bool? = nil) {
    self.name = name
    self.path = path
    self.source = source
    self.mode = mode
    self.isModeRecursive = isModeRecursive
  }
}

extension InputArtifact {
  /// The part of it that is meant; nil: all of it.
  public var subPath: String? {
    switch source {
    case .stored(let stored): stored.subPath
    case .foreign(let foreign): foreign.subPath
    case .raw, .absent: nil
    }
  }
}

/// An input that is somebody else's: a file, or a directory of files, of a bucket or a web server.
public struct ForeignArtifact: Hashable, Sendable, Codable {
  public var origin: DataOrigin
  /// How a file is packed; a directory is not.
  public var archive: ArchiveFormat
  /// What is there, as an agent has found it; nil while nobody has looked. Its key is that of a hidden data set's version.
  public var object: DataObject?
  /// Of what is packed in it, the part that is meant; nil: all of it.
  public var subPath: String?
  public init(origin: DataOrigin, archive: ArchiveFormat = .none, object: DataObject? = nil) {
    self.origin = origin
    self.archive = archive
    self.object = object
  }

  /// The name of the file that is meant, should there be one file alone; nil for a directory.
  public var fileName: String? { origin.fileName }
}

extension DataOrigin {
  /// The last part of the address, decoded: the name of the one file that may be there; nil for an address that is a directory's.
  public var fileName: String? {
    if isGit { return DataOrigin.gitArchive }
    let path = uri.prefix { $0 != "?" && $0 != "#" }
    guard !path.hasSuffix("/"), let name = path.split(separator: "/").last else { return nil }
    return Self.decoded(name)
  }

  /// Without `%` escapes; as it is when one is broken.
  public static func unescaped(_ text: Substring) -> String { decoded(text) ?? String(text) }

  /// Without `%` escapes; nil when one is broken, or the whole is no UTF-8.
  static func decoded(_ text: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else { return nil }
      bytes.append(value)
      rest = rest.dropFirst(2)
    }
    return String(validating: bytes, as: UTF8.self)
  }
}

/// Where an artifact's bytes are, and how to know that they are the right ones.
public struct StoredArtifact: Hashable, Sendable, Codable {
  /// The object's key in its project's artifact repository.
  public var key: String
  /// Of the stored bytes (after packing).
  public var size: ByteCount
  /// Of the stored bytes, lower-case hexadecimal.
  public var sha256: String
  public var archive: ArchiveFormat
  /// The cluster whose run made it; nil for what a user uploaded.
  public var producedOn: ClusterName?
  /// True while it is nowhere but in caches: it goes to the repository, under `key`, when somebody needs it there. nil: false.
  public var isUnstored: Bool?
  /// Where it can be had, the best first; nil: from the repository.
  public var sources: [DataSource]?
  /// Where its run has put it instead of the repository, as its document says: `key` is then its key there. What is there is looked at
  /// anew by whoever reads it, and has no checksum here. nil: it is the repository's.
  public var origin: DataOrigin?
  /// Of what is packed in it, the part that is meant; nil: all of it.
  public var subPath: String?
  public init(
    key: String, size: ByteCount, sha256: String, archive: ArchiveFormat, producedOn: ClusterName? = nil,
    isUnstored: Bool? = nil, sources: [DataSource]? = nil, origin: DataOrigin? = nil
  ) {
    self.origin = origin
    self.key = key
    self.size = size
    self.sha256 = sha256
    self.archive = archive
    self.producedOn = producedOn
    self.isUnstored = isUnstored
    self.sources = sources
  }
}

public enum ArchiveFormat: String, Hashable, Sendable, Codable, CaseIterable {
  /// The file as it is. Directories cannot be stored so.
  case none
  /// A gzip-compressed tar archive with one top-level entry. Argo's default.
  case tar
  case zip
}

public struct OutputArtifact: Hashable, Sendable, Codable {
  public var name: String
  public var path: String
  public var archive: ArchiveFormat
  /// When false, a missing file ends the task in Error.
  public var optional: Bool
  /// The key that the author asked for; nil lets the control plane name it.
  public var key: String?
  /// The run may end before the copy in the repository is made; nil: it may not.
  public var mayStayUnstored: Bool?
  /// Where it goes instead of the repository: an object of somebody's bucket, or an address to which it is PUT. nil: it is the
  /// repository's.
  public var target: DataOrigin?
  /// Of gzip, 1 to 9; nil: the agent's own.
  public var compressionLevel: Int32?
  public init(
    name: String, path: String, archive: ArchiveFormat = .tar, optional: Bool = false, key: String? = nil,
    mayStayUnstored: Bool? = nil, target: DataOrigin? = nil, compressionLevel: Int32? = nil
  ) {
    self.target = target
    self.compressionLevel = compressionLevel
    self.name = name
    self.path = path
    self.archive = archive
    self.optional = optional
    self.key = key
    self.mayStayUnstored = mayStayUnstored
  }
}

public struct OutputParameter: Hashable, Sendable, Codable {
  public var name: String
  public var path: String
  /// Used when the file is missing; without it a missing file ends the task in Error.
  public var defaultValue: String?
  public init(name: String, path: String, defaultValue: String? = nil) {
    self.name = name
    self.path = path
    self.defaultValue = defaultValue
  }
}

/// The `federation:` block: where a task may run and on which terms.
public struct FederationHints: Hashable, Sendable, Codable {
  public var kinds: [ClusterKind]
  public var labels: [String: String]
  public var exclude: [ClusterName]
  /// The upper bound of a run's wall time.
  public var walltime: Duration?
  public var priorityClass: PriorityClass
  public var onDisconnect: DisconnectPolicy
  public var maxPrice: Money?
  /// Copies of the program that start together or not at all (I6); 1 for no gang.
  public var gangSize: Int
  /// nil: the best score alone decides.
  public var placementPolicy: PlacementPolicy?
  public var slurm: SlurmHints?
  /// What must be there; nil: nothing.
  public var datasets: [DatasetMount]?
  /// nil: lazy.
  public var stageOut: StageOutPolicy?
  /// nil: always.
  public var recompute: RecomputePolicy?
  /// nil: SIGTERM, the template's grace, and no checkpoint.
  public var onPreempt: PreemptionHook?
  /// Whether it takes capacity that may be taken back, with `maxPrice` as its bid; nil: never.
  public var spot: SpotPolicy?

  public init(
    kinds: [ClusterKind] = [], labels: [String: String] = [:], exclude: [ClusterName] = [], walltime: Duration? = nil,
    priorityClass: PriorityClass = .interruptible, onDisconnect: DisconnectPolicy = .wait, maxPrice: Money? = nil,
    gangSize: Int = 1, placementPolicy: PlacementPolicy? = nil, slurm: SlurmHints? = nil,
    datasets: [DatasetMount]? = nil, stageOut: StageOutPolicy? = nil, recompute: RecomputePolicy? = nil,
    onPreempt: PreemptionHook? = nil, spot: SpotPolicy? = nil
  ) {
    self.spot = spot
    self.onPreempt = onPreempt
    self.kinds = kinds
    self.labels = labels
    self.exclude = exclude
    self.walltime = walltime
    self.priorityClass = priorityClass
    self.onDisconnect = onDisconnect
    self.maxPrice = maxPrice
    self.gangSize = gangSize
    self.placementPolicy = placementPolicy
    self.slurm = slurm
    self.datasets = datasets
    self.stageOut = stageOut
    self.recompute = recompute
  }
}

/// Order of precedence, highest first.
public enum PriorityClass: String, Hashable, Sendable, Codable, CaseIterable, Comparable {
  case realtime, interruptible, offline, idle
  private var rank: Int { Self.allCases.firstIndex(of: self)! }
  /// A class is *less* than another when it goes first.
  public static func < (a: Self, b: Self) -> Bool { a.rank < b.rank }
}
