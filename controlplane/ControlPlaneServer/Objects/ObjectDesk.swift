import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import FoundationEssentials
import WorkflowCore

/// Stored objects as users change them, and what submissions take from them (ADR 25).
struct ObjectDesk: Sendable {
  let store: ControlPlaneStore
  let commands: any CommandPort

  // MARK: Changing

  /// - Parameter uid: of a new object; the same again answers as the first time.
  /// - Throws: `.alreadyExists`, `DocumentErrors` for templates that are referred to and missing.
  func create(
    _ draft: ObjectDraft, in project: ProjectName, uid: String, as author: Principal,
    beside others: [WorkflowTemplateDefinition] = []
  ) async throws -> StoredObject {
    try await check(draft, in: project, beside: others)
    let object = StoredObject(
      kind: draft.kind, project: project, name: draft.name, uid: uid, labels: draft.labels, document: draft.document,
      createdAt: .wallClock, createdBy: author.user)
    do {
      let made = try await store.create(object, limits: Self.limits(of: object), from: author.address)
      await tellLimits(of: made, as: author)
      try await keepMemos(of: made, as: author)
      return made
    } catch let refusal as ObjectRefusal {
      if case .exists(let there) = refusal, there.uid == uid { return there }
      throw Self.error(refusal, draft.kind, draft.name, project)
    }
  }

  /// Replaces what there is, unless the draft names another version of it.
  func update(
    _ draft: ObjectDraft, in project: ProjectName, as author: Principal
  ) async throws -> StoredObject {
    try await check(draft, in: project)
    do {
      let changed = try await store.replace(
        draft.kind, draft.name, in: project, labels: draft.labels, document: draft.document,
        limits: Self.limits(draft.kind, draft.document), revision: draft.revision, uid: draft.uid, by: author.user,
        from: author.address, at: .wallClock)
      await tellLimits(of: changed, as: author)
      try await keepMemos(of: changed, as: author)
      return changed
    } catch let refusal as ObjectRefusal { throw Self.error(refusal, draft.kind, draft.name, project) }
  }

  /// Makes it, or replaces what there is.
  func apply(
    _ draft: ObjectDraft, in project: ProjectName, uid: String, as author: Principal,
    beside others: [WorkflowTemplateDefinition] = []
  ) async throws -> (object: StoredObject, isNew: Bool) {
    try await check(draft, in: project, beside: others)
    let object = StoredObject(
      kind: draft.kind, project: project, name: draft.name, uid: uid, labels: draft.labels, document: draft.document,
      createdAt: .wallClock, createdBy: author.user)
    // Between looking and writing somebody may have made or removed it: then it is looked at again.
    for _ in 0..<3 {
      do {
        if try await store.object(draft.kind, draft.name, in: project) == nil {
          let made = try await store.create(object, limits: Self.limits(of: object), from: author.address)
          await tellLimits(of: made, as: author)
          try await keepMemos(of: made, as: author)
          return (made, true)
        }
        let changed = try await store.replace(
          draft.kind, draft.name, in: project, labels: draft.labels, document: draft.document,
          limits: Self.limits(draft.kind, draft.document), revision: draft.revision, uid: draft.uid, by: author.user,
          from: author.address, at: .wallClock)
        await tellLimits(of: changed, as: author)
        try await keepMemos(of: changed, as: author)
        return (changed, false)
      } catch ObjectRefusal.exists, ObjectRefusal.missing {
        continue
      } catch let refusal as ObjectRefusal { throw Self.error(refusal, draft.kind, draft.name, project) }
    }
    throw FederationError(
      .unavailable, "\(draft.kind.word) \(draft.name) is being changed by others; try again", retryAfter: .seconds(1))
  }

  func remove(
    _ kind: StoredObjectKind, _ name: String, in project: ProjectName, revision: Int64? = nil, uid: String? = nil,
    as author: Principal
  ) async throws {
    let last: Int64
    do {
      last = try await store.removeObject(
        kind, name, in: project, revision: revision, uid: uid, by: author.user, from: author.address, at: .wallClock)
    } catch let refusal as ObjectRefusal { throw Self.error(refusal, kind, name, project) }
    guard kind == .configMap else { return }
    // After the last change, and before the first one of another of the same name.
    await tell(.setSemaphores(configMap: name, limits: [:], change: Self.change(last) + 1), project, author)
  }

  // MARK: Semaphores

  /// The whole numbers of a config map: how many may hold the semaphores that are named by its keys.
  static func limits(of object: StoredObject) -> [String: Int] { limits(object.kind, object.document) }

  private static func limits(_ kind: StoredObjectKind, _ document: String) -> [String: Int] {
    guard kind == .configMap else { return [:] }
    let limits = data(ofConfigMap: document).compactMapValues { Int($0) }.filter { (0...1_000_000).contains($0.value) }
    // So many are data, not limits.
    return limits.count <= 1000 ? limits : [:]
  }

  // MARK: Caches

  /// What says that a config map is a cache of memoized templates.
  private static let cacheLabel = "workflows.argoproj.io/configmap-type"

  /// A cache that a client fills by itself becomes ours, entry by entry: what memoized nodes ask for is in the database.
  ///
  /// - Throws: `.invalidArgument` for entries that are none.
  private func keepMemos(of object: StoredObject, as author: Principal) async throws {
    guard object.kind == .configMap, object.labels[Self.cacheLabel] == "Cache" else { return }
    let data = Self.data(of: object)
    guard !data.isEmpty else { return }
    let repository = try await repository(ArtifactRepositoryReference(), isNamed: false, in: object.project)
    let entries = try data.mapValues { try MemoEntry.outputs($0, in: repository) }
    _ = try await commands.perform(
      .project(object.project, .keepMemos(configMap: object.name, entries)), as: author, idempotency: nil)
  }

  /// What orders changes of config maps for the core; the number after it is that of the removal of this revision.
  static func change(_ revision: Int64) -> Int64 { revision * 2 }

  /// The limits are rows of the change itself. The core decides by what it is told: by whoever makes the change, at once, and should that
  /// fail, by `SemaphoreLimits` within a second.
  private func tellLimits(of object: StoredObject, as author: Principal) async {
    guard object.kind == .configMap else { return }
    let limits = Self.limits(of: object)
    await tell(
      .setSemaphores(configMap: object.name, limits: limits, change: Self.change(object.revision)), object.project,
      author)
  }

  private func tell(_ command: ProjectCommand, _ project: ProjectName, _ author: Principal) async {
    _ = try? await commands.perform(.project(project, command), as: author, idempotency: nil)
  }

  /// - Throws: `.notFound`.
  func object(_ kind: StoredObjectKind, _ name: String, in project: ProjectName) async throws -> StoredObject {
    guard let object = try await store.object(kind, name, in: project) else {
      throw Self.error(.missing, kind, name, project)
    }
    return object
  }

  /// Everything that is wrong with a draft beyond what it says by itself.
  func check(
    _ draft: ObjectDraft, in project: ProjectName, beside others: [WorkflowTemplateDefinition] = []
  ) async throws {
    if !draft.kind.isFederal, let namespace = draft.namespace, namespace != project.text {
      throw FederationError(
        .invalidArgument,
        "the \(draft.kind.word)'s metadata.namespace is \(namespace), but it was sent to namespace \(project)")
    }
    switch draft.content {
    case .template(let definition):
      let known = others.filter { $0.reference != definition.reference } + [definition]
      try definition.check(with: try await templates(for: definition.references, in: project, beside: known))
    case .cron(let definition):
      _ = try CronPlan(definition.spec)
      try definition.check(with: try await templates(for: definition.references, in: project, beside: others))
    case .configMap: break
    }
  }

  private static func error(
    _ refusal: ObjectRefusal, _ kind: StoredObjectKind, _ name: String, _ project: ProjectName
  ) -> FederationError {
    let place = kind.isFederal ? "" : " in project \(project)"
    return switch refusal {
    case .exists: FederationError(.alreadyExists, "\(kind.word) \(name) exists already\(place)")
    case .missing: FederationError(.notFound, "there is no \(kind.word) \(name)\(place)")
    case .stale(let there):
      FederationError(
        .failedPrecondition,
        "\(kind.word) \(name) has changed meanwhile: it has resourceVersion \(there.revision) and uid \(there.uid); "
          + "read it and apply your change to that")
    case .tooMany:
      FederationError(
        .failedPrecondition,
        "there are \(kind.countMax) \(kind.word)s\(place) already; remove one first")
    case .noProject: FederationError(.notFound, "there is no project \(project) that takes anything new")
    }
  }

  // MARK: Taking

  /// The workflow with all that it takes from stored objects in it: templates of others and values of config maps. What is changed
  /// there later does not touch it.
  ///
  /// - Parameter known: templates that are about to be stored.
  /// - Throws: `DocumentErrors` for what is not there.
  func resolved(
    _ definition: WorkflowDefinition, in project: ProjectName, beside known: [WorkflowTemplateDefinition] = []
  ) async throws -> WorkflowDefinition {
    var definition = definition
    if !definition.references.isEmpty {
      let templates = try await templates(for: definition.references, in: project, beside: known)
      definition = try definition.resolved(with: templates)
    }
    let references = definition.configMapReferences
    if !references.isEmpty {
      var maps: [String: [String: String]] = [:]
      for name in Set(references.map(\.name)).sorted() {
        maps[name] = try await configMap(name, in: project)
      }
      definition = try definition.withConfigMaps(maps)
    }
    guard definition.mentionsArtifacts else { return definition }
    let named = definition.artifactRepositoryReference
    guard
      let repository = try await repository(
        named ?? ArtifactRepositoryReference(), isNamed: named != nil, in: project)
    else { return definition }
    return try definition.withArtifactRepository(repository)
  }

  /// The description of the bucket that a project's artifacts go to; nil: they go to the project's own repository.
  ///
  /// - Parameter isNamed: a document asks for it: then it has to be there.
  private func repository(
    _ reference: ArtifactRepositoryReference, isNamed: Bool, in project: ProjectName
  ) async throws -> String? {
    func missing(_ what: String) -> DocumentErrors {
      DocumentErrors(problems: [DocumentProblem(path: "spec.artifactRepositoryRef", message: "there is no \(what)")])
    }
    guard let object = try await store.object(.configMap, reference.configMap, in: project) else {
      if isNamed { throw missing("config map \(reference.configMap) in project \(project)") }
      return nil
    }
    let value = try? JSONDecoder().decode(JSONValue.self, from: Data(object.document.utf8))
    let annotation = value?["metadata"]?["annotations"]?[ArtifactRepositoryReference.defaultAnnotation]?.stringValue
    guard let key = reference.key ?? annotation else {
      if isNamed { throw missing("key named, and no annotation of config map \(reference.configMap) that names one") }
      return nil
    }
    guard let text = Self.data(of: object)[key] else { throw missing("\(key) in config map \(reference.configMap)") }
    return text
  }

  /// The documents behind mentions, and those behind these.
  func templates(
    for mentions: [TemplateMention], in project: ProjectName, beside known: [WorkflowTemplateDefinition] = []
  ) async throws -> LoadedTemplates {
    var templates = LoadedTemplates(known)
    while case let missing = templates.missing(for: mentions), !missing.isEmpty {
      for reference in missing { templates.note(reference, try await template(reference, in: project)) }
    }
    return templates
  }

  func template(
    _ reference: TemplateReference, in project: ProjectName
  ) async throws -> WorkflowTemplateDefinition? {
    let kind: StoredObjectKind = reference.isClusterScope ? .clusterWorkflowTemplate : .workflowTemplate
    return try await store.object(kind, reference.name, in: project).map {
      try WorkflowTemplateDefinition(json: $0.document)
    }
  }

  /// Its texts; nil: there is none.
  func configMap(_ name: String, in project: ProjectName) async throws -> [String: String]? {
    guard let object = try await store.object(.configMap, name, in: project) else { return nil }
    return Self.data(of: object)
  }

  static func data(of configMap: StoredObject) -> [String: String] { data(ofConfigMap: configMap.document) }

  private static func data(ofConfigMap document: String) -> [String: String] {
    let value = try? JSONDecoder().decode(JSONValue.self, from: Data(document.utf8))
    return (value?["data"]?.objectValue ?? [:]).compactMapValues(\.stringValue)
  }
}

extension StoredObject {
  /// As Argo and Kubernetes show it.
  ///
  /// - Parameter status: what the system knows of it; nil: nothing.
  func rendered(status: JSONValue? = nil) -> JSONValue {
    let value = (try? JSONDecoder().decode(JSONValue.self, from: Data(document.utf8))) ?? [:]
    var object = value.objectValue ?? [:]
    object["apiVersion"] = .string(kind.apiVersion)
    object["kind"] = .string(kind.rawValue)
    var metadata = object["metadata"]?.objectValue ?? [:]
    metadata["name"] = .string(name)
    if !kind.isFederal { metadata["namespace"] = .string(project.text) }
    metadata["uid"] = .string(uid)
    metadata["resourceVersion"] = .string(String(revision))
    metadata["generation"] = .integer(generation)
    metadata["creationTimestamp"] = .string(RFC3339.format(createdAt))
    object["metadata"] = .object(metadata)
    if let status { object["status"] = status }
    return .object(object)
  }
}
