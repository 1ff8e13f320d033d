public import FederationModel

/// Room of a cluster that is held for realtime work to come.
public struct Headroom: Hashable, Sendable {
  public var resources: Resources
  public var slots: Int
  public init(resources: Resources, slots: Int) {
    self.resources = resources
    self.slots = slots
  }
}
