public import FederationModel

/// The body of `POST .../members` and `POST .../members/remove`.
public struct MemberRequest: Hashable, Sendable, Codable {
  /// A person, or a service account of the project as `PROJECT/NAME`.
  public var user: String
  public var role: Role
  public init(user: String, role: Role) {
    self.user = user
    self.role = role
  }
}

/// A person or a service account.
public struct KnownUserDocument: Hashable, Sendable, Codable {
  /// Of a service account `PROJECT/NAME`.
  public var name: String
  /// Of a service account; nil: a person.
  public var project: String?
  public var createdAt: WireTime
  /// Since when no token of theirs is taken; nil: they are.
  public var disabledAt: WireTime?
  /// Tokens that are neither revoked nor expired.
  public var tokens: Int64
  public init(name: String, project: String?, createdAt: WireTime, disabledAt: WireTime?, tokens: Int64) {
    self.name = name
    self.project = project
    self.createdAt = createdAt
    self.disabledAt = disabledAt
    self.tokens = tokens
  }
}

public struct KnownUserList: Hashable, Sendable, Codable {
  /// By name.
  public var items: [KnownUserDocument]
  /// Pass as `continue` for the next page; nil: there is none.
  public var next: String?
  public init(items: [KnownUserDocument], next: String?) {
    self.items = items
    self.next = next
  }
}

public struct KnownUserRequest: Hashable, Sendable, Codable {
  public var disabled: Bool
  public init(disabled: Bool) { self.disabled = disabled }
}

/// A role that a user has.
public struct MemberDocument: Hashable, Sendable, Codable {
  public var user: String
  public var role: Role
  public var createdAt: WireTime
  public var createdBy: String
  public init(user: String, role: Role, createdAt: WireTime, createdBy: String) {
    self.user = user
    self.role = role
    self.createdAt = createdAt
    self.createdBy = createdBy
  }
}

public struct MemberList: Hashable, Sendable, Codable {
  /// By user and role.
  public var items: [MemberDocument]
  public init(items: [MemberDocument]) { self.items = items }
}

/// The body of `POST /v1/tokens`.
public struct TokenRequest: Hashable, Sendable, Codable {
  /// Whose; nil: the caller's own.
  public var user: String?
  /// The only project that it is for; nil: all of its user's.
  public var project: String?
  /// `all`, `read`, `submit`, or permissions such as `read:workflow`; nil: `all`.
  public var scopes: [String]?
  /// For people: where it is used.
  public var label: String?
  /// nil: it does not end by itself.
  public var expiresInSeconds: Int64?
  public init(
    user: String? = nil, project: String? = nil, scopes: [String]? = nil, label: String? = nil,
    expiresInSeconds: Int64? = nil
  ) {
    self.user = user
    self.project = project
    self.scopes = scopes
    self.label = label
    self.expiresInSeconds = expiresInSeconds
  }
}

/// A token, without what it is: that is shown once, when it is made.
public struct TokenDocument: Hashable, Sendable, Codable {
  public var id: String
  public var user: String
  public var project: String?
  public var scopes: [String]
  public var label: String
  public var createdAt: WireTime
  public var createdBy: String
  public var expiresAt: WireTime?
  /// Give or take a minute; nil: not yet.
  public var lastUsedAt: WireTime?
  public var revokedAt: WireTime?
  public init(
    id: String, user: String, project: String?, scopes: [String], label: String, createdAt: WireTime, createdBy: String,
    expiresAt: WireTime?, lastUsedAt: WireTime?, revokedAt: WireTime?
  ) {
    self.id = id
    self.user = user
    self.project = project
    self.scopes = scopes
    self.label = label
    self.createdAt = createdAt
    self.createdBy = createdBy
    self.expiresAt = expiresAt
    self.lastUsedAt = lastUsedAt
    self.revokedAt = revokedAt
  }
}

/// The answer that holds the token itself, once.
public struct TokenCreated: Hashable, Sendable, Codable {
  public var id: String
  public var user: String
  public var token: String
  public var expiresAt: WireTime?
  public init(id: String, user: String, token: String, expiresAt: WireTime?) {
    self.id = id
    self.user = user
    self.token = token
    self.expiresAt = expiresAt
  }
}

public struct TokenList: Hashable, Sendable, Codable {
  /// Newest first.
  public var items: [TokenDocument]
  public init(items: [TokenDocument]) { self.items = items }
}

/// What a project may use at once, and where, and what it uses.
public struct QuotaDocument: Hashable, Sendable, Codable {
  public var project: String
  public var limits: ProjectLimits
  /// Of its runs that are not over, on all clusters together.
  public var used: ResourceUse
  /// By cluster.
  public var usedByCluster: [String: ResourceUse]
  /// Of uploaded versions of its data sets, and of its outputs in the repository.
  public var storageBytes: Int64
  /// What an administrator should know: more is guaranteed than there is. nil: nothing.
  public var warnings: [String]?
  public init(
    project: String, limits: ProjectLimits, used: ResourceUse, usedByCluster: [String: ResourceUse],
    storageBytes: Int64,
    warnings: [String]? = nil
  ) {
    self.warnings = warnings
    self.project = project
    self.limits = limits
    self.used = used
    self.usedByCluster = usedByCluster
    self.storageBytes = storageBytes
  }
}
