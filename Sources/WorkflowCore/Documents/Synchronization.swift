/// `synchronization` of a workflow or a template: the locks that it holds while it runs, all of them or none.
public struct Synchronization: Hashable, Sendable, Codable {
  /// In the document's order; at least one.
  public var locks: [LockReference]
  public init(locks: [LockReference]) { self.locks = locks }
}

/// What a lock is, in Argo's words.
public enum LockKind: String, Hashable, Sendable, Codable, CaseIterable {
  case mutex = "Mutex"
  /// A mutex with `database: true`, which is another one than that of the same name without.
  case databaseMutex = "DatabaseMutex"
  /// A semaphore whose limit is in a config map.
  case configMap = "ConfigMap"
  /// A semaphore whose limit is in the database.
  case database = "Database"

  public var isMutex: Bool { self == .mutex || self == .databaseMutex }
}

/// One lock as a document names it. Texts may hold tags.
public struct LockReference: Hashable, Sendable, Codable {
  public var kind: LockKind
  /// The mutex, the config map, or the key in the database.
  public var name: String
  /// In the config map; else empty.
  public var key: String
  /// nil: the workflow's own.
  public var namespace: String?
  public init(kind: LockKind, name: String, key: String = "", namespace: String? = nil) {
    self.kind = kind
    self.name = name
    self.key = key
    self.namespace = namespace
  }
}

/// A lock of a project.
public struct LockName: Hashable, Sendable, Codable, Comparable {
  public var kind: LockKind
  public var name: String
  public var key: String
  public init(kind: LockKind, name: String, key: String = "") {
    self.kind = kind
    self.name = name
    self.key = key
  }

  /// As Argo writes it: `science/Mutex/welcome`, `science/ConfigMap/limits/gpu`.
  public func text(in namespace: String) -> String {
    let kind = kind == .databaseMutex ? LockKind.database.rawValue : kind.rawValue
    return "\(namespace)/\(kind)/\(name)" + (key.isEmpty ? "" : "/\(key)")
  }

  public static func < (a: Self, b: Self) -> Bool {
    (a.kind.rawValue, a.name, a.key) < (b.kind.rawValue, b.name, b.key)
  }
}

/// `memoize` of a template: its outputs are kept by a key, and taken instead of running it again. Texts may hold tags.
public struct Memoization: Hashable, Sendable, Codable {
  public var key: String
  /// The cache's name (`cache.configMap.name`).
  public var cache: String
  /// A Go duration; nil: outputs are never too old.
  public var maxAge: String?
  public init(key: String, cache: String, maxAge: String? = nil) {
    self.key = key
    self.cache = cache
    self.maxAge = maxAge
  }
}
