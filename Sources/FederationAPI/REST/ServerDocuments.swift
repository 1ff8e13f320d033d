public import FederationModel

/// What answers at this URL.
public struct VersionDocument: Hashable, Sendable, Codable {
  public var version: String
  public var federationID: String
  /// The agent protocol versions that it speaks.
  public var agentProtocolMin: UInt32
  public var agentProtocolMax: UInt32
  public var isLeader: Bool
  public var leaderURL: String?
  /// The control plane's wall clock; nil from an earlier release.
  public var time: WireTime?
  public init(
    version: String, federationID: String, agentProtocolMin: UInt32, agentProtocolMax: UInt32, isLeader: Bool,
    leaderURL: String?, time: WireTime? = nil
  ) {
    self.version = version
    self.federationID = federationID
    self.agentProtocolMin = agentProtocolMin
    self.agentProtocolMax = agentProtocolMax
    self.isLeader = isLeader
    self.leaderURL = leaderURL
    self.time = time
  }
}

/// One thing that a `doctor` looked at.
public struct FindingDocument: Hashable, Sendable, Codable {
  public enum Level: String, Hashable, Sendable, Codable, CaseIterable {
    case ok
    /// It works, and may not go on to.
    case warning
    case failed
  }
  public var level: Level
  /// What was looked at, in a few words.
  public var check: String
  /// What was found and, unless it is `ok`, what to do.
  public var message: String
  public init(_ level: Level, _ check: String, _ message: String) {
    self.level = level
    self.check = check
    self.message = message
  }
}

/// What the control plane that was asked finds about itself, its database and its files.
public struct DoctorDocument: Hashable, Sendable, Codable {
  public var findings: [FindingDocument]
  public init(findings: [FindingDocument]) { self.findings = findings }
}

/// Who a token speaks for, and what it may do.
public struct UserDocument: Hashable, Sendable, Codable {
  public var user: String
  /// Of the whole federation.
  public var isAdmin: Bool
  /// Projects in which it has a role of its own, or that it is bound to; an administrator may use all.
  public var projects: [String]
  /// In the federation; nil, as the following ones, from an earlier release.
  public var roles: [Role]?
  /// By project.
  public var projectRoles: [String: [Role]]?
  /// Of the token: it may do nothing else, whatever the roles.
  public var scopes: [String]?
  /// The token's id.
  public var token: String?
  public var expiresAt: WireTime?
  /// By organisation, of those that are not the federation's; nil: none.
  public var organisationRoles: [String: [Role]]?
  public init(
    user: String, isAdmin: Bool, projects: [String], roles: [Role]? = nil, projectRoles: [String: [Role]]? = nil,
    scopes: [String]? = nil, token: String? = nil, expiresAt: WireTime? = nil,
    organisationRoles: [String: [Role]]? = nil
  ) {
    self.organisationRoles = organisationRoles
    self.user = user
    self.isAdmin = isAdmin
    self.projects = projects
    self.roles = roles
    self.projectRoles = projectRoles
    self.scopes = scopes
    self.token = token
    self.expiresAt = expiresAt
  }
}

/// The answer to a write that has nothing else to say.
public struct AcceptedDocument: Hashable, Sendable, Codable {
  /// The workflow or cluster that was changed.
  public var name: String
  public var project: String?
  public var uid: String?
  public init(name: String, project: String? = nil, uid: String? = nil) {
    self.name = name
    self.project = project
    self.uid = uid
  }
}

/// The body of `/readyz`.
public struct ReadinessDocument: Hashable, Sendable, Codable {
  public var ready: Bool
  /// What is missing, for people; empty when ready.
  public var reason: String
  public init(ready: Bool, reason: String) {
    self.ready = ready
    self.reason = reason
  }
}
