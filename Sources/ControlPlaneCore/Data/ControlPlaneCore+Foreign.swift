public import FederationModel
import HeapModule
import WorkflowCore

/// Inputs of which a document knows only where they are: objects of foreign buckets and servers, and keys of the project's own
/// repository. What is there is asked once, shared by all that ask at the same time, and written into the task's inputs: placement
/// then counts them as it counts every other input, and every run of a task reads the same bytes.
///
/// A foreign object is kept as a version of a hidden data set (docs/adr/0015-data-plane.md): an agent lists its origin, and as long as
/// the list stays the same so does the version, with all its replicas.
extension ControlPlaneCore {
  /// How long an answer serves those who begin to wait.
  private static var fresh: Duration { .seconds(60) }
  /// Unused for so long, what was found is forgotten, with its replicas.
  private static var life: Duration { .seconds(7 * 86_400) }
  private static var looksMax: Int { 10_000 }

  /// Finds out what a task's inputs are that nobody has looked at.
  ///
  /// - Returns: false while something is still being asked; the task is put into its queue when the answer has come.
  /// - Throws: what is wrong with one of them.
  mutating func lookUpInputs(of task: TaskID, _ spec: TaskSpec) throws -> Bool {
    guard let project = workflows[task.workflow]?.row.project else { return true }
    var isComplete = true
    for input in spec.inputs {
      let found: InputArtifact.Source?
      do { found = try look(input.source, of: project, for: task) } catch let error as FederationError
        where error.code == .notFound && workflows[task.workflow]!.machine.isOptional(input.name, of: task.node)
      { found = .absent }
      guard let found else {
        isComplete = false
        continue
      }
      // What was known already is as the spec has it, which may be newer than the node's own record (`remade`).
      if found != input.source { workflows[task.workflow]!.machine.found(input.name, of: task.node, to: found) }
    }
    output.workflows.insert(task.workflow)
    return isComplete
  }

  /// What an input is, as far as anybody has to look; nil while it is being looked at.
  ///
  /// - Throws: `.notFound` when nothing is there.
  private mutating func look(
    _ source: InputArtifact.Source, of project: ProjectName, for task: TaskID
  ) throws -> InputArtifact.Source? {
    switch source {
    case .stored(let stored) where stored.sha256.isEmpty:
      guard var found = try look(stored, of: project, for: task) else { return nil }
      found.subPath = stored.subPath
      return .stored(found)
    case .foreign(var foreign) where foreign.object == nil:
      foreign.object = try look(foreign.origin, of: project, for: task)
      return foreign.object.map { _ in .foreign(foreign) }
    case .raw, .stored, .foreign, .absent: return source
    }
  }

  // MARK: The project's own repository

  /// nil while it is being looked at.
  ///
  /// - Parameter task: waits for the answer; nil: nobody does.
  mutating func look(_ stored: StoredArtifact, of project: ProjectName, for task: TaskID?) throws
    -> StoredArtifact?
  {
    let name = RepositoryName(project: project, key: stored.key)
    if let known = unstored(stored.key, in: project)?.stored { return known }
    if let look = looks[name], let answer = look.answer, now < look.at + Self.fresh {
      guard let object = try answer.get() else {
        throw FederationError(.notFound, "there is no object \(stored.key) in the repository of project \(project)")
      }
      return StoredArtifact(key: stored.key, size: object.size, sha256: object.sha256, archive: stored.archive)
    }
    if looks[name]?.answer != nil || looks[name] == nil {
      if looks.count >= Self.looksMax { looks = looks.filter { $0.value.answer == nil } }
      looks[name] = RepositoryLook(at: now)
      output.add(.look(project, key: stored.key))
    }
    if let task { looks[name]!.tasks.insert(task) }
    return nil
  }

  /// The repository has answered.
  mutating func looked(
    _ key: String, of project: ProjectName, _ answer: Result<RepositoryObject?, FederationError>
  ) {
    let name = RepositoryName(project: project, key: key)
    guard let tasks = looks[name]?.tasks else { return }
    looks[name] = RepositoryLook(at: now, answer: answer)
    goOn(tasks)
  }

  // MARK: Foreign objects

  /// nil while an agent looks at it.
  ///
  /// - Parameter task: waits for the answer; nil: nobody does.
  mutating func look(_ origin: DataOrigin, of project: ProjectName, for task: TaskID?) throws -> DataObject? {
    let name = ForeignName(project: project, origin: origin)
    let reference = data.foreign[name] ?? hide(name)
    let entry = data.datasets[reference]!
    if let newest = entry.newest, origin.isImmutable || entry.checkedAt.map({ now < $0 + Self.fresh }) == true {
      let row = entry.versions[newest]!
      used(row.key)
      return DataObject(
        key: row.key, project: project, size: row.size, files: row.files, manifest: row.manifest)
    }
    if let failure = entry.failure, now < failure.at + Self.fresh / 10 {
      throw FederationError(
        failure.message.hasPrefix(DataOrigin.nothingThere) ? .notFound : .failedPrecondition,
        "\(origin.uri): \(failure.message)")
    }
    if let task {
      if entry.isOutdated {
        data.datasets[reference]!.lateAskers.insert(task)
      } else {
        data.datasets[reference]!.askers.insert(task)
      }
    }
    if !entry.versions.values.contains(where: { $0.phase == .indexing }) { ask(reference, origin) }
    return nil
  }

  /// A data set of which only the addresses of documents know.
  private mutating func hide(_ name: ForeignName) -> DatasetReference {
    let number = TransferID(incarnation: incarnation, counter: nextTransferCounter()).hexadecimal
    let reference = DatasetReference(project: name.project, name: ".\(number)")
    let spec = DatasetSpec(
      project: name.project, name: reference.name, origin: name.origin, expiresAfter: Self.life)
    let row = DatasetRow(spec: spec, createdAt: now, createdBy: "control-plane")
    data.datasets[reference] = DatasetEntry(row: row)
    data.foreign[name] = reference
    output.datasets[reference] = row
    return reference
  }

  private mutating func ask(_ reference: DatasetReference, _ origin: DataOrigin) {
    let number = data.datasets[reference]!.row.lastVersion + 1
    data.datasets[reference]!.row.lastVersion = number
    output.datasets[reference] = data.datasets[reference]!.row
    let row = DatasetVersionRow(
      dataset: reference, number: number, phase: .indexing, origin: origin, createdAt: now, createdBy: "control-plane")
    keep(row)
    expect(row)
    data.unlisted.insert(row.key)
    assignIndexing(of: row.key)
  }

  /// An agent has looked at a foreign object.
  ///
  /// - Parameter isValidated: every file of it has a checksum, or the time of its last change: the same list means the same bytes.
  mutating func foundForeign(
    _ row: DatasetVersionRow, failure: String, _ manifest: StoredArtifact?, _ files: Int64, _ size: ByteCount,
    isValidated: Bool
  ) {
    let reference = row.dataset
    let askers = data.datasets[reference]!.askers
    data.datasets[reference]!.askers = []
    data.datasets[reference]!.failure = nil
    let entry = data.datasets[reference]!
    let newest = entry.newest.flatMap { entry.versions[$0] }
    if !failure.isEmpty || manifest == nil {
      data.datasets[reference]!.failure = (failure.isEmpty ? "no list of its files came" : failure, now)
      drop(reference, row.number)
    } else if isValidated, let newest, newest.manifest?.sha256 == manifest?.sha256 {
      data.datasets[reference]!.checkedAt = now
      drop(reference, row.number)
    } else {
      var row = row
      (row.phase, row.manifest, row.files, row.size) = (.ready, manifest, files, size)
      data.datasets[reference]!.checkedAt = now
      keep(row)
    }
    goOn(askers)
    // Without a validator nobody but those who asked for it may take it for what is there.
    if !isValidated { data.datasets[reference]?.checkedAt = nil }
    guard data.datasets[reference]?.isOutdated == true, let origin = row.origin else { return }
    let late = data.datasets[reference]!.lateAskers
    data.datasets[reference]!.isOutdated = false
    data.datasets[reference]!.lateAskers = []
    forgetLook(at: reference)
    data.datasets[reference]!.askers.formUnion(late)
    if !late.isEmpty { ask(reference, origin) }
  }

  // MARK: What runs write elsewhere

  /// What a run has made, with the places of what it has put elsewhere; who reads there from now on looks anew.
  mutating func placed(_ artifacts: [String: StoredArtifact], by run: RunRow) -> [String: StoredArtifact] {
    guard !artifacts.isEmpty, let workflow = workflows[run.task.workflow] else { return artifacts }
    let placed = workflow.machine.placed(artifacts, madeBy: run.task.node)
    for artifact in placed.values {
      guard let origin = artifact.origin else { continue }
      // An agent that has put a directory there tells no size of it.
      written(at: origin, of: workflow.row.project, isTree: artifact.size == .zero)
    }
    return placed
  }

  /// Somebody has written at an address: what was seen there, and in the directories that it is in, no longer counts.
  private mutating func written(at origin: DataOrigin, of project: ProjectName, isTree: Bool) {
    var reference = origin
    let end = origin.uri.firstIndex(of: "?") ?? origin.uri.endIndex
    let query = origin.uri[end...]
    var base = origin.uri[..<end]
    while base.last == "/" { base.removeLast() }
    let root = base
    while let slash = base.lastIndex(of: "/"), !base.hasSuffix("/") {
      for ending in ["", "/"] {
        reference.uri = base + ending + query
        if let known = data.foreign[ForeignName(project: project, origin: reference)] { forgetLook(at: known) }
      }
      base = base[..<slash]
    }
    guard isTree else { return }
    for (name, known) in data.foreign where name.project == project && name.origin.uri.hasPrefix(root + "/") {
      forgetLook(at: known)
    }
  }

  private mutating func forgetLook(at reference: DatasetReference) {
    guard let entry = data.datasets[reference] else { return }
    data.datasets[reference]!.checkedAt = nil
    data.datasets[reference]!.failure = nil
    if entry.versions.values.contains(where: { $0.phase == .indexing }) { data.datasets[reference]!.isOutdated = true }
  }

  /// Tasks that waited for an answer go on.
  private mutating func goOn(_ tasks: Set<TaskID>) {
    for task in tasks.sorted() {
      guard let entry = workflows[task.workflow]?.tasks[task.node], entry.isLooking else { continue }
      enqueue(task, epoch: entry.epoch)
    }
  }

  /// What a task that looks for its inputs waits for (invariant I10).
  func lookingReason(_ task: TaskID) -> String {
    let spec = try? workflows[task.workflow]?.machine.taskSpec(for: task.node)
    for input in spec?.inputs ?? [] {
      if case .stored(let stored) = input.source, stored.sha256.isEmpty {
        return "waits for the size of its input \(input.name), \(stored.key) in the project's repository"
      }
      guard case .foreign(let foreign) = input.source, foreign.object == nil,
        let project = workflows[task.workflow]?.row.project
      else { continue }
      let uri = foreign.origin.uri.prefix { $0 != "?" }
      let reference = data.foreign[ForeignName(project: project, origin: foreign.origin)]
      let version = reference.flatMap { data.datasets[$0] }?.versions.values.first { $0.phase == .indexing }
      if let version, let cluster = data.indexing[version.key] {
        return "waits until the agent of \(cluster) has looked at its input \(input.name), \(uri)"
      }
      return
        "waits for an agent that can look at its input \(input.name), \(uri): no cluster that keeps a cache answers"
    }
    return "about to wait for a placement"
  }
}

/// An object of the repository as somebody has looked at it.
public struct RepositoryObject: Hashable, Sendable {
  public var size: ByteCount
  public var sha256: String
  public init(size: ByteCount, sha256: String) {
    self.size = size
    self.sha256 = sha256
  }
}

/// A question to the repository.
struct RepositoryLook: Sendable {
  var at: Timestamp
  /// nil while it is not answered; an answer of nil: there is no such object.
  var answer: Result<RepositoryObject?, FederationError>?
  /// Who waits for it.
  var tasks: Set<TaskID> = []
}

/// A foreign object as documents of a project name it.
struct ForeignName: Hashable, Sendable {
  var project: ProjectName
  var origin: DataOrigin
}

extension InputArtifact {
  /// Whether nobody has looked yet what it is.
  var isUnseen: Bool { unseen != nil }
}
