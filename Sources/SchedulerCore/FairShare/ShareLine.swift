public import FederationModel
import HeapModule

/// Those leaves of a tree that have something to place, the one that goes first first.
///
/// What is charged meanwhile only raises keys, so an entry that is not up to date stands too far in front and is put right when it
/// comes up: O(depth x log of the siblings) for each question.
struct ShareLine {
  private struct Entry: Comparable {
    var key: Double
    var node: Int
    static func < (a: Self, b: Self) -> Bool { (a.key, a.node) < (b.key, b.node) }
  }

  /// By inner node: its children that have something.
  private var waiting: [Int: Heap<Entry>] = [:]
  private var isClosed: Set<Int> = []

  init(_ leaves: some Sequence<Int>, of tree: ShareTree) {
    var seen: Set<Int> = []
    for leaf in leaves {
      var node = leaf
      while let parent = tree.nodes[node].parent, seen.insert(node).inserted {
        waiting[parent, default: Heap()].insert(Entry(key: tree.nodes[node].key, node: node))
        node = parent
      }
    }
  }

  /// nil when none has anything left.
  mutating func first(of tree: ShareTree) -> Int? {
    while true {
      var node = 0
      while let child = firstChild(of: node, tree) {
        guard tree.nodes[child].project == nil else { return child }
        node = child
      }
      guard node != 0 else { return nil }
      // An organisation all of whose projects are through.
      isClosed.insert(node)
    }
  }

  private mutating func firstChild(of node: Int, _ tree: ShareTree) -> Int? {
    guard waiting[node] != nil else { return nil }
    while let entry = waiting[node]!.min {
      if isClosed.contains(entry.node) {
        waiting[node]!.removeMin()
      } else if entry.key < tree.nodes[entry.node].key {
        waiting[node]!.replaceMin(with: Entry(key: tree.nodes[entry.node].key, node: entry.node))
      } else {
        return entry.node
      }
    }
    return nil
  }

  /// It has nothing left.
  mutating func close(_ leaf: Int) { isClosed.insert(leaf) }
}

extension ShareTree {
  /// Some of the leaves, whose turn it is first: an organisation with all of its own at once. O(projects x log projects).
  public func order(of projects: [ProjectName]) -> [ProjectName] {
    let leaves = projects.compactMap { leaf(of: $0) }
    var line = ShareLine(leaves, of: self)
    var order: [ProjectName] = []
    while let leaf = line.first(of: self) {
      order.append(nodes[leaf].project!)
      line.close(leaf)
    }
    return order
  }
}
