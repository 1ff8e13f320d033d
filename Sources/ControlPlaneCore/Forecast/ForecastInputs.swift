public import FederationModel
import SchedulerCore

/// An input of which a document knows only where it is.
public enum UnseenInput: Hashable, Sendable {
  case foreign(DataOrigin)
  /// A key of the project's own repository.
  case stored(key: String)

  /// As users know it. What follows a question mark may be a signature.
  var address: String {
    switch self {
    case .foreign(let origin): String(origin.uri.prefix { $0 != "?" })
    case .stored(let key): "\(key) in the project's repository"
    }
  }
}

/// What somebody who looked there has found.
public enum SeenInput: Hashable, Sendable {
  case foreign(DataObject)
  case stored(StoredArtifact)
  /// Why it cannot be read.
  case unreadable(String)

  var key: DataKey? {
    switch self {
    case .foreign(let object): object.key
    case .stored(let artifact): DataKey(sha256: artifact.sha256)
    case .unreadable: nil
    }
  }
}

extension ControlPlaneCore {
  /// A plan asks about so many inputs at most; it says which others it does not know.
  public static var looksAheadMax: Int { 100 }

  /// Has inputs looked at for which no task waits yet, as `lookUpInputs` does it for tasks: whoever submits the workflow afterwards
  /// finds the answers.
  mutating func lookAhead(at inputs: [UnseenInput], of project: ProjectName) -> Reply {
    for input in inputs.prefix(Self.looksAheadMax) {
      // What could not be read a moment ago is not asked again; `seen` says why it could not.
      switch input {
      case .foreign(let origin): _ = try? look(origin, of: project, for: nil)
      case .stored(let key):
        _ = try? look(StoredArtifact(key: key, size: .zero, sha256: "", archive: .none), of: project, for: nil)
      }
    }
    return .looking
  }

  /// Which of these inputs somebody has looked at. Reads alone.
  public func seen(_ inputs: [UnseenInput], of project: ProjectName) -> [UnseenInput: SeenInput] {
    var found: [UnseenInput: SeenInput] = [:]
    for input in inputs {
      switch input {
      case .foreign(let origin): found[input] = seen(origin, of: project)
      case .stored(let key): found[input] = seen(key, of: project)
      }
    }
    return found
  }

  private func seen(_ origin: DataOrigin, of project: ProjectName) -> SeenInput? {
    let name = ForeignName(project: project, origin: origin)
    guard let entry = data.foreign[name].flatMap({ data.datasets[$0] }) else { return nil }
    if let failure = entry.failure { return .unreadable(failure.message) }
    guard let row = entry.newest.flatMap({ entry.versions[$0] }), row.phase == .ready else { return nil }
    return .foreign(
      DataObject(key: row.key, project: project, size: row.size, files: row.files, manifest: row.manifest))
  }

  private func seen(_ key: String, of project: ProjectName) -> SeenInput? {
    if let stored = unstored(key, in: project)?.stored { return .stored(stored) }
    switch looks[RepositoryName(project: project, key: key)]?.answer {
    case .success(let object?):
      return .stored(StoredArtifact(key: key, size: object.size, sha256: object.sha256, archive: .none))
    case .success(nil): return .unreadable("there is no such object")
    case .failure(let error): return .unreadable(error.publicMessage)
    case nil: return nil
    }
  }

  /// Where the bytes are that a forecast's inputs name.
  func dataViews(of inputs: [UnseenInput: SeenInput]) -> [DataKey: DataView] {
    var views: [DataKey: DataView] = [:]
    for input in inputs.values {
      switch input {
      case .foreign(let object): views[object.key] = dataView(object.key)
      case .stored(let artifact):
        let key = DataKey(sha256: artifact.sha256)
        views[key] = dataView(key) ?? DataView(size: artifact.size, copies: copies(of: key), origin: .infinity)
      case .unreadable: continue
      }
    }
    return views
  }
}

extension ForecastSimulation {
  /// Puts what is known of a task's inputs in their place, and notes what is not.
  mutating func see(_ inputs: inout [InputArtifact]) {
    for index in inputs.indices {
      guard let unseen = inputs[index].unseen else { continue }
      switch (inputs[index].source, basis.seen[unseen]) {
      case (.foreign(var foreign), .foreign(let object)):
        foreign.object = object
        inputs[index].source = .foreign(foreign)
      case (.stored(let named), .stored(var found)):
        found.archive = named.archive
        inputs[index].source = .stored(found)
      case (_, .unreadable(let message)):
        trace.note("input \(inputs[index].name), \(unseen.address), cannot be read: \(message); it is taken as nothing")
      default:
        trace.unseen.append(unseen)
        trace.note(
          "the size of input \(inputs[index].name), \(unseen.address): nobody has looked at it yet; it is taken as nothing"
        )
      }
    }
  }
}

extension InputArtifact {
  /// What is to be looked at; nil when there is nothing, or somebody has.
  var unseen: UnseenInput? {
    switch source {
    case .stored(let stored): stored.sha256.isEmpty ? .stored(key: stored.key) : nil
    case .foreign(let foreign): foreign.object == nil ? .foreign(foreign.origin) : nil
    case .raw, .absent: nil
    }
  }
}
