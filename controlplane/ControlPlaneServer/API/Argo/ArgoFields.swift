import FederationModel

/// The `fields` parameter of Argo's API: which parts of an answer are wanted (`items.metadata.name,items.status.phase`), or, with a
/// leading minus, which are not (`-items.status.nodes`). Arrays are looked through.
struct ArgoFields: Sendable {
  private indirect enum Tree: Sendable {
    case leaf
    case branches([String: Tree])
  }
  private var tree = Tree.branches([:])
  private var isExclusion = false
  private var isEverything = true
  static let pathsMax = 64

  /// nil or empty: everything.
  /// - Throws: `.invalidArgument` for more than `pathsMax` paths.
  init(_ text: String?) throws {
    guard var text = text?[...], !text.isEmpty else { return }
    isEverything = false
    if text.first == "-" {
      isExclusion = true
      text.removeFirst()
    }
    let paths = text.split(separator: ",")
    guard paths.count <= Self.pathsMax else {
      throw FederationError(.invalidArgument, "fields names at most \(Self.pathsMax) paths")
    }
    for path in paths { tree = Self.inserting(path.split(separator: ".").prefix(16), into: tree) }
  }

  func apply(_ value: JSONValue) -> JSONValue { isEverything ? value : pruned(value, tree) }

  /// - Parameter path: Where `value` stands in the answer that the parameter's paths begin in (`result`, `object` in a stream).
  func apply(_ value: JSONValue, at path: [String]) -> JSONValue {
    let wrapped = path.reversed().reduce(value) { .object([$1: $0]) }
    return path.reduce(apply(wrapped)) { $0[$1] ?? .object([:]) }
  }

  private static func inserting(_ path: ArraySlice<Substring>, into tree: Tree) -> Tree {
    guard let first = path.first, case .branches(var branches) = tree else { return .leaf }
    let name = String(first)
    branches[name] = inserting(path.dropFirst(), into: branches[name] ?? .branches([:]))
    return .branches(branches)
  }

  private func pruned(_ value: JSONValue, _ tree: Tree) -> JSONValue {
    guard case .branches(let branches) = tree else { return value }
    switch value {
    case .array(let elements): return .array(elements.map { pruned($0, tree) })
    case .object(let members):
      var kept: [String: JSONValue] = [:]
      for (key, member) in members {
        switch (branches[key], isExclusion) {
        case (nil, true), (.leaf, false): kept[key] = member
        case (nil, false), (.leaf, true): continue
        case (let branch?, _): kept[key] = pruned(member, branch)
        }
      }
      return .object(kept)
    default: return value
    }
  }
}
