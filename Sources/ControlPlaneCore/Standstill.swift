public import FederationModel

/// What a workflow of which nothing runs waits for (invariant I10).
public struct Standstill: Hashable, Sendable {
  public var node: NodeID
  /// The node's full name.
  public var name: String
  public var displayName: String
  /// For people.
  public var reason: String
  /// Every cluster rejects the node's task, and none only for now.
  public var isUnplaceable: Bool
  public init(node: NodeID, name: String, displayName: String, reason: String, isUnplaceable: Bool = false) {
    self.node = node
    self.name = name
    self.displayName = displayName
    self.reason = reason
    self.isUnplaceable = isUnplaceable
  }
}
