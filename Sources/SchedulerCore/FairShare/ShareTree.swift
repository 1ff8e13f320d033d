public import FederationModel

/// Who shares: a tree whose leaves are projects and whose inner nodes are organisations. Node 0 is the whole.
///
/// Of the children of a node that goes first whose dominant share, divided by its weight, is least. A child's share counts what its
/// whole part of the tree has used, so an organisation does not get more by having more projects.
///
/// - Source: A. Ghodsi et al., NSDI 2011 (dominant resources); A. Demers et al.: Analysis and simulation of a fair queueing algorithm,
///   SIGCOMM 1989 (least normalised service first).
public struct ShareTree: Sendable {
  public struct Node: Sendable {
    /// nil: the root.
    public var parent: Int?
    /// Compared with its siblings'. Above zero.
    public var weight: Double
    /// Of a leaf.
    public var project: ProjectName?
    /// What it was charged, with all that is below it.
    public var charged: ResourceSeconds
    /// `charged`, as its dominant part of the capacity and divided by the weight: seconds.
    public fileprivate(set) var key: Double
  }

  /// Of all clusters that are ready.
  public let capacity: ResourceSeconds
  public private(set) var nodes: [Node]
  private var leaves: [ProjectName: Int] = [:]

  public init(capacity: ResourceSeconds) {
    self.capacity = capacity
    nodes = [Node(parent: nil, weight: 1, project: nil, charged: .zero, key: 0)]
  }

  /// Adds a node below another; what it was charged counts for all above it, too.
  ///
  /// - Precondition: `weight` is above zero, and `parent` is a node without a project.
  @discardableResult
  public mutating func add(
    to parent: Int = 0, weight: Double, project: ProjectName? = nil, charged: ResourceSeconds = .zero
  ) -> Int {
    precondition(weight > 0 && nodes[parent].project == nil, "a weight is above zero, and a project has no parts")
    let node = nodes.count
    nodes.append(Node(parent: parent, weight: weight, project: project, charged: .zero, key: 0))
    if let project { leaves[project] = node }
    charge(charged, to: node)
    return node
  }

  public func leaf(of project: ProjectName) -> Int? { leaves[project] }

  /// O(depth).
  public mutating func charge(_ use: ResourceSeconds, to leaf: Int) {
    var next: Int? = leaf
    while let node = next {
      nodes[node].charged += use
      nodes[node].key = nodes[node].charged.dominant(of: capacity).share / nodes[node].weight
      next = nodes[node].parent
    }
  }

  /// The part of everything that belongs to a leaf by weight, of the leaves that are in the tree: from 0 to 1.
  public func entitlements() -> [Double] {
    var sums = nodes.map { _ in 0.0 }
    for node in nodes.dropFirst() { sums[node.parent!] += node.weight }
    // A parent comes before its children.
    var parts = nodes.map { _ in 1.0 }
    for index in nodes.indices.dropFirst() {
      parts[index] = parts[nodes[index].parent!] * nodes[index].weight / sums[nodes[index].parent!]
    }
    return parts
  }
}
