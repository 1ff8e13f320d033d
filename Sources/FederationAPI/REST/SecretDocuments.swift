/// The body of `PUT /v1/projects/{project}/secrets/{secret}`. Secret.
public struct SecretRequest: Hashable, Sendable, Codable {
  /// All of them: what the secret had before is replaced.
  public var values: [String: String]
  public init(values: [String: String]) { self.values = values }
}

/// What may be shown of a secret: never a value.
public struct SecretDocument: Hashable, Sendable, Codable {
  public var project: String
  public var name: String
  /// The names of its values, in order.
  public var fields: [String]
  public var changedAt: WireTime
  public var changedBy: String
  public init(project: String, name: String, fields: [String], changedAt: WireTime, changedBy: String) {
    self.project = project
    self.name = name
    self.fields = fields
    self.changedAt = changedAt
    self.changedBy = changedBy
  }
}

public struct SecretList: Hashable, Sendable, Codable {
  /// By name.
  public var items: [SecretDocument]
  public init(items: [SecretDocument]) { self.items = items }
}
