/// Where a data set's bytes are outside the federation, and how they are reached.
public struct DataOrigin: Hashable, Sendable, Codable {
  /// `s3://bucket/prefix`, `https://host/path/`, `sftp://host/path`, `webdav://host/path`, `file://CLUSTER/path`; of documents'
  /// artifacts also `git+URL?revision=...` (`GitSource`).
  public var uri: String
  /// The secret of the data set's project that opens it; nil for what is open to all. The values never travel with this.
  public var secret: String?
  /// What the secret's values are called, by what agents call them; nil: the same.
  public var fields: [String: String]?
  public init(uri: String, secret: String? = nil, fields: [String: String]? = nil) {
    self.uri = uri
    self.secret = secret
    self.fields = fields
  }
}

extension DataOrigin {
  /// How an agent begins to say that there is nothing at an address: an optional input is then none.
  public static let nothingThere = "there are no files at"

  /// The URI of what lies below it at `path`; its query stays last.
  public func appending(_ path: String) -> String {
    let mark = uri.firstIndex(of: "?") ?? uri.endIndex
    let base = uri[..<mark]
    return base + (base.hasSuffix("/") ? "" : "/") + path + uri[mark...]
  }
}

/// What a project declares about a data set. Its bytes are those of its versions.
public struct DatasetSpec: Hashable, Sendable, Codable {
  public var project: ProjectName
  /// An RFC 1123 label, unique in its project.
  public var name: String
  /// Where versions come from that are not uploaded; nil for a data set of uploads.
  public var origin: DataOrigin?
  /// Labels that a cluster must have to hold a replica: data that may not leave a domain. A hard filter.
  public var allowedClusters: [String: String]
  /// Versions that no workflow has used for so long are deleted; nil keeps them.
  public var expiresAfter: Duration?
  /// Where versions of uploads go that nobody uses; nil: they stay in the repository.
  public var archive: ArchivePolicy?
  public init(
    project: ProjectName, name: String, origin: DataOrigin? = nil, allowedClusters: [String: String] = [:],
    expiresAfter: Duration? = nil, archive: ArchivePolicy? = nil
  ) {
    self.archive = archive
    self.project = project
    self.name = name
    self.origin = origin
    self.allowedClusters = allowedClusters
    self.expiresAfter = expiresAfter
  }
}

/// A store outside the federation that keeps what is rarely used.
public struct ArchivePolicy: Hashable, Sendable, Codable {
  /// Each version goes to a directory of its own below it.
  public var target: DataOrigin
  /// Without a use for so long, a version is moved there.
  public var after: Duration
  public init(target: DataOrigin, after: Duration) {
    self.target = target
    self.after = after
  }
}

/// `federation.datasets`: a data set that a run sees, read-only, at a path.
public struct DatasetMount: Hashable, Sendable, Codable {
  public var name: String
  /// nil in a document that names none; the submission fixes it, so that every task of a workflow reads the same bytes.
  public var version: Int32?
  /// Absolute, inside the run.
  public var mountPath: String
  public init(name: String, version: Int32? = nil, mountPath: String) {
    self.name = name
    self.version = version
    self.mountPath = mountPath
  }
}

/// Where a cluster may fetch bytes.
public enum DataSource: Hashable, Sendable, Codable {
  /// The project's artifact repository, through the control plane: the object of this key, or the objects that the manifest names.
  case repository(key: String?)
  case origin(DataOrigin)
  /// Packs of a version that were moved out of the repository: each is below this at `objects/SHA256`.
  case archive(DataOrigin)
  /// Another cluster's export, as that cluster's agent declared it. What opens it travels with the order to fetch.
  case export(ClusterName, url: String)
}

/// Bytes that a cluster is to have, with all that it needs to get them and to know that they are whole.
public struct DataObject: Hashable, Sendable, Codable {
  public var key: DataKey
  /// Whose they are.
  public var project: ProjectName
  /// Of all its files.
  public var size: ByteCount
  public var files: Int64
  /// The list of its files, an object of the repository (`DatasetManifest`); nil for one file named by its content.
  public var manifest: StoredArtifact?
  /// In order of preference, as the control plane chose them.
  public var sources: [DataSource]
  public init(
    key: DataKey, project: ProjectName, size: ByteCount, files: Int64 = 1, manifest: StoredArtifact? = nil,
    sources: [DataSource] = []
  ) {
    self.key = key
    self.project = project
    self.size = size
    self.files = files
    self.manifest = manifest
    self.sources = sources
  }
}

/// A data set version, found and described for a run.
public struct MountedDataset: Hashable, Sendable, Codable {
  public var object: DataObject
  public var mountPath: String
  public init(object: DataObject, mountPath: String) {
    self.object = object
    self.mountPath = mountPath
  }
}

/// When an output goes from its project's repository (Argo's `artifactGC.strategy`).
///
/// - Source: Argo Workflows v3.7, docs/walk-through/artifacts.md, "Artifact garbage collection".
public enum ArtifactGCStrategy: String, Hashable, Sendable, Codable, CaseIterable {
  /// When its workflow is over, however it ended.
  case onWorkflowCompletion = "OnWorkflowCompletion"
  /// When its workflow is deleted, also when its key is its author's.
  case onWorkflowDeletion = "OnWorkflowDeletion"
  /// Not with its workflow, also when its key was made for it.
  case never = "Never"
}

/// When an output is copied to its project's repository.
public enum StageOutPolicy: String, Hashable, Sendable, Codable, CaseIterable {
  /// Before its run counts as ended.
  case eager
  /// When a placement needs it elsewhere, when somebody asks for it, or at its deadline.
  case lazy
  /// Only when a placement needs it elsewhere or somebody asks for it.
  case never
}

/// What becomes of who reads an output whose last replica was lost before it was stored.
public enum RecomputePolicy: String, Hashable, Sendable, Codable, CaseIterable {
  /// Its producer runs again.
  case always
  /// Who reads it ends in Error, "input lost".
  case never
}

/// What an agent's cache of data is. Soft.
public struct CacheInventory: Hashable, Sendable, Codable {
  /// Clusters of the same name share one storage place; an agent's own is called as its cluster.
  public var name: String
  public var capacity: ByteCount
  public var used: ByteCount
  /// Whether this agent writes it: exactly one of those that share it does.
  public var isWriter: Bool
  /// Where other clusters can read it (`https://host:port`); nil when nobody can.
  public var exportURL: String?
  public init(
    name: String, capacity: ByteCount, used: ByteCount = .zero, isWriter: Bool = true, exportURL: String? = nil
  ) {
    self.name = name
    self.capacity = capacity
    self.used = used
    self.isWriter = isWriter
    self.exportURL = exportURL
  }
}

/// A data set as a user names it.
public struct DatasetReference: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
  public var project: ProjectName
  public var name: String
  public init(project: ProjectName, name: String) {
    self.project = project
    self.name = name
  }
  public static func < (a: Self, b: Self) -> Bool { (a.project, a.name) < (b.project, b.name) }
  public var description: String { "\(project)/\(name)" }

  /// Whether nobody declared it: it holds what was found at an address that a document names.
  public var isForeign: Bool { name.hasPrefix(".") }

  /// Whether a text may name a data set or a secret: an RFC 1123 label.
  public static func isName(_ text: String) -> Bool { ProjectName(text).isDNSLabel }
}

/// One movement of bytes into a cache, or out of one into the repository. Unique for the life of the database.
public struct TransferID: NumberValue {
  public let number: Int64
  public init(_ number: Int64) { self.number = number }
  /// Numbered as runs are, and apart from them.
  public init(incarnation: UInt32, counter: UInt32) {
    self.init(RunID(incarnation: incarnation, counter: counter).number)
  }
  /// 16 lower-case hexadecimal digits: what users see.
  public var hexadecimal: String { RunID(number).hexadecimal }
  /// Reads what `hexadecimal` wrote; nil for anything else.
  public init?(hexadecimal text: some StringProtocol) {
    guard let run = RunID(hexadecimal: text) else { return nil }
    number = run.number
  }
}
