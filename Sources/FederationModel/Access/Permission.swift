/// What is done to something. What a user may do is said in these words alone.
public enum AccessVerb: String, Hashable, Sendable, Codable, CaseIterable {
  case read, create, update, delete
}

/// What the API has. Its order is that of the table in the reference.
public enum AccessResource: String, Hashable, Sendable, Codable, CaseIterable {
  /// With nodes, events, logs and explanations.
  case workflow
  /// A forecast of a workflow that is not submitted.
  case plan
  case artifact
  /// Workflow templates of a project.
  case template
  /// Those of the federation, for every project.
  case clusterTemplate = "cluster-template"
  case cronWorkflow = "cron-workflow"
  case configMap = "config-map"
  case dataset
  case transfer
  /// Names and fields; values are never shown to anybody.
  case secret
  case organisation
  case project
  case member
  /// Tokens of others, and of a project's service accounts; one's own need no permission.
  case token
  case quota
  case budget
  case usage
  case cluster
  case price
  case link
  case ledger
  case audit
  /// Metrics, and what `doctor` finds.
  case server
}

/// A verb on a resource: what a route needs and what a role gives.
public struct Permission: Hashable, Sendable, CustomStringConvertible {
  public var verb: AccessVerb
  public var resource: AccessResource

  public init(_ verb: AccessVerb, _ resource: AccessResource) {
    self.verb = verb
    self.resource = resource
  }

  /// `read:workflow`; nil for anything else.
  public init?(text: String) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2, let verb = AccessVerb(rawValue: parts[0]),
      let resource = AccessResource(rawValue: parts[1])
    else { return nil }
    self.init(verb, resource)
  }

  public var description: String { "\(verb.rawValue):\(resource.rawValue)" }

  /// Every verb on every resource.
  public static let all: Set<Permission> = Set(
    AccessResource.allCases.flatMap { resource in AccessVerb.allCases.map { Permission($0, resource) } })
}
