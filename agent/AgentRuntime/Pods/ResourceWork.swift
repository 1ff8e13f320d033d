internal import FederationModel
internal import KubernetesAPI
internal import KubernetesExecutor
internal import WorkflowCore

/// Does to an object what a `resource` template says, and waits until that is as it must be.
///
/// - Source: Argo Workflows v3.7, workflow/executor/resource.go (`ExecResource`, `WaitResource`), and what kubectl does for it.
struct ResourceWork: Sendable {
  let order: RunResource
  let client: KubernetesClient
  /// Of the pod.
  let namespace: String
  let owner: ResourceOwner?
  /// Into the run's log.
  let say: @Sendable (String) -> Void
  /// Between two looks: it grows from the one to the other, which is Argo's.
  var pauses: (first: Duration, most: Duration) = (.seconds(1), .seconds(5))

  /// Of `fieldManager`, where the flags name none.
  private static let manager = "fubini"

  /// An object that there is, or shall be.
  struct Place: Hashable, Sendable {
    var kind: KubernetesKind
    var namespace: String
    var name: String

    var path: String { kind.path(of: name, in: namespace) }
    var title: String { kind.title(of: name) }
  }

  /// As kubectl says it.
  static func text(of error: any Error) -> String {
    guard let error = error as? FederationError else { return "\(error)" }
    guard let status = error.kubernetesStatus, !status.reason.isEmpty else { return error.publicMessage }
    return "Error from server (\(status.reason)): \(status.message)"
  }

  /// - Returns: the object as it is at the end; nil where there is none.
  /// - Throws: the API server's errors, and `FederationError` for an order that makes no sense, and for a failure condition that is met.
  func perform() async throws(FederationError) -> JSONValue? {
    let flags = try KubectlFlags(order.flags, action: order.action)
    let objects = try ObjectManifest.objects(order.manifest)
    if order.action == .delete {
      try await delete(objects, flags)
      return nil
    }
    let place: Place
    var object: JSONValue
    switch order.action {
    case .create: (place, object) = try await create(try only(objects), flags)
    case .apply: (place, object) = try await apply(try only(objects), flags)
    case .replace: (place, object) = try await replace(try only(objects), flags)
    case .patch: (place, object) = try await patch(objects, flags)
    case .get, .delete:
      place = try await self.place(objects, flags)
      do throws(FederationError) { object = try await client.get(place.path) } catch {
        guard error.code == .notFound, flags.ignoresAbsence == true else { throw error }
        say("\(place.title) is not there")
        return nil
      }
    }
    say("\(place.title) \(Self.done(order.action))")
    object = try await settle(place, object)
    return object
  }

  /// What the template wants to know of it.
  ///
  /// - Throws: for a path that is none.
  func values(of object: JSONValue?) throws(FederationError) -> [String] {
    var values: [String] = []
    for output in order.outputs {
      var text = ""
      if let object { text = try KubectlPath.text(output.jsonPath, of: object) }
      values.append(text.isEmpty ? output.defaultValue ?? "" : text)
    }
    return values
  }

  private static func done(_ action: RunResource.Action) -> String {
    switch action {
    case .create: "created"
    case .apply: "applied"
    case .replace: "replaced"
    case .patch: "patched"
    case .delete: "deleted"
    case .get: "found"
    }
  }

  // MARK: What is meant

  private func only(_ objects: [JSONValue]) throws(FederationError) -> JSONValue {
    guard objects.count == 1, let object = objects.first, object.objectValue != nil else {
      throw FederationError(
        .invalidArgument, "\(order.action.rawValue) takes one object, and the manifest has \(objects.count)")
    }
    return object
  }

  /// What the flags name, or else the manifest.
  private func place(_ objects: [JSONValue], _ flags: KubectlFlags) async throws(FederationError) -> Place {
    guard let type = flags.type else { return try await place(try only(objects), flags, isNamed: true) }
    guard objects.isEmpty || order.action == .patch else {
      throw FederationError(.invalidArgument, "flags and manifest each name an object: one of them may")
    }
    return Place(
      kind: try await client.kind(named: type), namespace: flags.namespace ?? namespace, name: flags.names[0])
  }

  private func place(
    _ object: JSONValue, _ flags: KubectlFlags, isNamed: Bool
  ) async throws(FederationError) -> Place {
    guard let version = object["apiVersion"]?.stringValue, let kind = object["kind"]?.stringValue, !kind.isEmpty else {
      throw FederationError(.invalidArgument, "the manifest's object has no apiVersion or no kind")
    }
    let name = object["metadata"]?["name"]?.stringValue ?? ""
    guard !isNamed || !name.isEmpty else {
      throw FederationError(
        .invalidArgument,
        "Kind and name are both required but at least one of them is missing from the manifest")
    }
    let own = object["metadata"]?["namespace"]?.stringValue
    if let own, let wanted = flags.namespace, own != wanted {
      throw FederationError(
        .invalidArgument,
        "the namespace from the provided object \"\(own)\" does not match the namespace \"\(wanted)\"")
    }
    return Place(
      kind: try await client.kind(kind, of: version), namespace: own ?? flags.namespace ?? namespace, name: name)
  }

  /// The object with its workflow as an owner, where that is wanted.
  private func owned(_ object: JSONValue, _ place: Place) throws(FederationError) -> JSONValue {
    guard order.setsOwner else { return object }
    guard let owner else { throw FederationError(.internal, "nobody has said what the object's owner is") }
    guard place.kind.isNamespaced, place.namespace == owner.namespace else {
      throw FederationError(
        .invalidArgument,
        "setOwnerReference: an owner is of its objects' own namespace, and the workflow's is \(owner.namespace)")
    }
    var members = object.objectValue ?? [:]
    var metadata = members["metadata"]?.objectValue ?? [:]
    metadata["ownerReferences"] = .array((metadata["ownerReferences"]?.arrayValue ?? []) + [owner.reference])
    members["metadata"] = .object(metadata)
    return .object(members)
  }

  // MARK: What is done

  private func query(_ flags: KubectlFlags) -> [(String, String)] {
    [("fieldManager", flags.fieldManager ?? Self.manager), ("fieldValidation", flags.validation.rawValue)]
  }

  private func create(
    _ object: JSONValue, _ flags: KubectlFlags
  ) async throws(FederationError) -> (Place, JSONValue) {
    var place = try await place(object, flags, isNamed: false)
    let path = place.kind.collection(in: place.namespace)
    let before = client.requestCount
    var made: JSONValue
    do throws(FederationError) {
      made = try await client.create(path, try owned(object, place), query: query(flags))
    } catch {
      // Sent more than once, it may be its own namesake.
      guard error.code == .alreadyExists, client.requestCount - before > 1 else { throw error }
      made = try await client.get(place.path)
    }
    place.name = made["metadata"]?["name"]?.stringValue ?? place.name
    return (place, made)
  }

  /// Server-side, as `kubectl apply` decides without `--server-side`: what is written here counts, whoever has written it before.
  private func apply(
    _ object: JSONValue, _ flags: KubectlFlags
  ) async throws(FederationError) -> (Place, JSONValue) {
    let place = try await place(object, flags, isNamed: true)
    let query = query(flags) + [("force", flags.forcesConflicts ?? true ? "true" : "false")]
    return (place, try await client.patch(place.path, try owned(object, place), type: .apply, query: query))
  }

  private func replace(
    _ object: JSONValue, _ flags: KubectlFlags
  ) async throws(FederationError) -> (Place, JSONValue) {
    let place = try await place(object, flags, isNamed: true)
    var members = try owned(object, place).objectValue ?? [:]
    var metadata = members["metadata"]?.objectValue ?? [:]
    if metadata["resourceVersion"] == nil {
      metadata["resourceVersion"] = try await client.get(place.path)["metadata"]?["resourceVersion"]
    }
    members["metadata"] = .object(metadata)
    return (place, try await client.replace(place.path, .object(members), query: query(flags)))
  }

  private func patch(
    _ objects: [JSONValue], _ flags: KubectlFlags
  ) async throws(FederationError) -> (Place, JSONValue) {
    guard objects.count == 1 else {
      throw FederationError(.invalidArgument, "a patch is one document, and the manifest has \(objects.count)")
    }
    // A list of operations names no object.
    guard flags.type != nil || order.mergeStrategy != .json else {
      throw FederationError(
        .invalidArgument, "a JSON patch names no object: name it by flags, for example [configmap, NAME]")
    }
    let place = try await place(objects, flags)
    let type: PatchType =
      switch order.mergeStrategy {
      case .strategic: .strategic
      case .merge: .merge
      case .json: .json
      }
    let patch = order.mergeStrategy == .json ? objects[0] : try owned(objects[0], place)
    let query = [("fieldManager", flags.fieldManager ?? Self.manager)]
    return (place, try await client.patch(place.path, patch, type: type, query: query))
  }

  private func delete(_ objects: [JSONValue], _ flags: KubectlFlags) async throws(FederationError) {
    // All of them first: one may be kept until another is gone, as a claim is for its pod.
    var deleted: [(place: Place, uid: String?)] = []
    for place in try await placesToDelete(objects, flags) {
      var options: [String: JSONValue] = [
        "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": .string(flags.propagationPolicy),
      ]
      if let seconds = flags.graceSeconds { options["gracePeriodSeconds"] = .integer(seconds) }
      let left: JSONValue
      do throws(FederationError) { left = try await client.delete(place.path, options: .object(options)) } catch {
        // As Argo calls kubectl.
        guard error.code == .notFound, flags.ignoresAbsence != false else { throw error }
        say("\(place.title) is not there")
        continue
      }
      // Of an object that ends at once its server answers with a Status that names it.
      deleted.append((place, left["metadata"]?["uid"]?.stringValue ?? left["details"]?["uid"]?.stringValue))
    }
    for (place, uid) in deleted {
      if flags.waits { try await awaitAbsence(of: place, uid: uid) }
      say("\(place.title) deleted")
    }
  }

  private func placesToDelete(
    _ objects: [JSONValue], _ flags: KubectlFlags
  ) async throws(FederationError) -> [Place] {
    var places: [Place] = []
    guard let type = flags.type else {
      guard !objects.isEmpty else { throw FederationError(.invalidArgument, "nothing says what is to be deleted") }
      for object in objects { places.append(try await place(object, flags, isNamed: true)) }
      return places
    }
    guard objects.isEmpty else {
      throw FederationError(.invalidArgument, "flags and manifest each name an object: one of them may")
    }
    let kind = try await client.kind(named: type)
    let there = flags.namespace ?? namespace
    guard flags.selects else { return flags.names.map { Place(kind: kind, namespace: there, name: $0) } }
    var query: [(String, String)] = []
    if let selector = flags.labelSelector { query.append(("labelSelector", selector)) }
    if let selector = flags.fieldSelector { query.append(("fieldSelector", selector)) }
    var names: [String] = []
    _ = try await client.list(kind.collection(in: there), query: query) {
      if let name = $0["metadata"]?["name"]?.stringValue { names.append(name) }
    }
    if names.isEmpty { say("No resources found") }
    return names.map { Place(kind: kind, namespace: there, name: $0) }
  }

  // MARK: Waiting

  private func pause(_ pause: inout Duration) async throws(FederationError) {
    do { try await Task.sleep(for: pause) } catch { throw FederationError(.cancelled, "it was given up") }
    pause = min(pause + pauses.first, pauses.most)
  }

  /// Who may delete need not be allowed to look.
  private func awaitAbsence(of place: Place, uid: String?) async throws(FederationError) {
    var pause = pauses.first
    while true {
      do throws(FederationError) {
        let object = try await client.get(place.path)
        if let uid, object["metadata"]?["uid"]?.stringValue != uid { return }
      } catch {
        if [.notFound, .permissionDenied, .unauthenticated].contains(error.code) { return }
        guard error.isRetryable else { throw error }
      }
      try await self.pause(&pause)
    }
  }

  /// Until one of the failure's requirements is met, or all of the success's are. Without conditions it is done.
  ///
  /// A walltime, a deadline and a cancellation end it from outside, like any program.
  private func settle(_ place: Place, _ object: JSONValue) async throws(FederationError) -> JSONValue {
    guard order.successCondition != nil || order.failureCondition != nil else { return object }
    var success: ResourceCondition?
    var failure: ResourceCondition?
    if let text = order.successCondition { success = try ResourceCondition(text) }
    if let text = order.failureCondition { failure = try ResourceCondition(text) }
    var pause = pauses.first
    var object: JSONValue? = object
    var problem: String?
    while true {
      if let object {
        if let met = failure?.firstMet(by: object) {
          throw FederationError(.failedPrecondition, "failure condition '\(met)' evaluated true")
        }
        if success?.holds(object) ?? true { return object }
      }
      try await self.pause(&pause)
      do throws(FederationError) {
        object = try await client.get(place.path)
        problem = nil
      } catch {
        // It will not come back, or nothing may be known of it: more looks change nothing.
        guard error.isRetryable else { throw error }
        object = nil
        if problem == nil { say("\(place.title) cannot be looked at now: \(error.publicMessage)") }
        problem = error.publicMessage
      }
    }
  }
}
