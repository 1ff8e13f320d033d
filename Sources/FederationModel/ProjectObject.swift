/// A secret or a config map of a run's project, as a document names it.
public struct ProjectObject: Hashable, Sendable, Codable {
  public enum Kind: String, Hashable, Sendable, Codable {
    case secret
    case configMap
  }
  public var kind: Kind
  public var name: String
  public init(_ kind: Kind, _ name: String) {
    self.kind = kind
    self.name = name
  }
}

/// What a run takes from objects of its project. It is read when the run starts, as Kubernetes does it: a change made before that counts,
/// and none made later.
public enum EnvironmentSource: Hashable, Sendable, Codable {
  /// One variable. When `isOptional` neither the object nor the key need be there: then there is no such variable.
  case value(variable: String, key: String, of: ProjectObject, isOptional: Bool)
  /// One variable for each key, its name behind `prefix`. What the document sets itself goes before, and of two sources the later.
  case all(of: ProjectObject, prefix: String, isOptional: Bool)

  public var object: ProjectObject {
    switch self {
    case .value(_, _, let object, _), .all(let object, _, _): object
    }
  }
}

/// A read-only directory of small files that are made when the run starts: a volume of kind `secret`, `configMap`, `downwardAPI` or
/// `projected`.
public struct FileVolume: Hashable, Sendable, Codable {
  /// A key's file, where it is not simply named by the key.
  public struct Item: Hashable, Sendable, Codable {
    public var key: String
    /// Below the volume; neither absolute nor with `..`.
    public var path: String
    public var mode: Int32?
    public init(key: String, path: String, mode: Int32? = nil) {
      self.key = key
      self.path = path
      self.mode = mode
    }
  }
  public enum Source: Hashable, Sendable, Codable {
    /// - Parameter items: nil: every key is a file.
    case object(ProjectObject, items: [Item]?, isOptional: Bool)
    case text(String, path: String, mode: Int32?)
  }
  /// The volume's name in the document, for messages.
  public var name: String
  /// Of two sources that make the same file the later counts.
  public var sources: [Source]
  /// POSIX permission bits.
  public var mode: Int32
  /// Where it appears, and which part of it.
  public var mounts: [Mount]

  public struct Mount: Hashable, Sendable, Codable {
    /// Absolute, as the run sees it.
    public var path: String
    /// A file or directory of the volume; nil: all of it.
    public var subPath: String?
    public init(path: String, subPath: String? = nil) {
      self.path = path
      self.subPath = subPath
    }
  }

  public init(name: String, sources: [Source], mode: Int32 = 0o644, mounts: [Mount]) {
    self.name = name
    self.sources = sources
    self.mode = mode
    self.mounts = mounts
  }

  public var objects: [ProjectObject] {
    sources.compactMap { if case .object(let object, _, _) = $0 { object } else { nil } }
  }
}

/// A directory of the run's own that it sees at a second path, or may not write in: `volumeMounts` of an `emptyDir` volume beyond the
/// first, with a `subPath`, or `readOnly`.
public struct DirectoryMount: Hashable, Sendable, Codable {
  /// Absolute, as the run sees it.
  public var path: String
  /// Absolute, in the run's root: where the bytes are.
  public var directory: String
  public var isReadOnly: Bool
  public init(path: String, directory: String, isReadOnly: Bool = false) {
    self.path = path
    self.directory = directory
    self.isReadOnly = isReadOnly
  }
}

extension TaskSpec {
  /// Every object that the run may read: what is not named here, it is not given.
  public var objects: Set<ProjectObject> {
    var objects = Set((environmentSources ?? []).map(\.object) + (fileVolumes ?? []).flatMap(\.objects))
    for container in containers?.list ?? [] {
      objects.formUnion((container.environmentSources ?? []).map(\.object))
    }
    objects.formUnion((http?.secretHeaders ?? []).map(\.object))
    objects.formUnion(outputArtifacts.compactMap { $0.target?.secret.map { ProjectObject(.secret, $0) } })
    return objects
  }

  /// Where a program begins whose template names no directory.
  public static let defaultWorkingDirectory = "/workspace"

  /// The path at which a file of the run lies below its root: what it sees at a second path is kept at one alone.
  public func storedPath(of path: String) -> String {
    let mount = (directoryMounts ?? []).filter { path == $0.path || path.hasPrefix($0.path + "/") }
      .max { $0.path.utf8.count < $1.path.utf8.count }
    guard let mount else { return path }
    return mount.directory + path.dropFirst(mount.path.count)
  }
}
