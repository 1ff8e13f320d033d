import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import FoundationEssentials
import HTTPTypes
import Hummingbird
import WorkflowCore

/// The limits of semaphores, as Argo's clients set them: values of config maps, and keys of the database.
///
/// - Source: Argo Workflows v4.1, `pkg/apiclient/sync/sync.proto`.
extension APIServer {
  var argoSyncRoutes: [Route] {
    let (all, one) = ("/api/v1/sync/:namespace", "/api/v1/sync/:namespace/:key")
    return [
      Route(.post, all, .project(.create, .configMap), "Makes the limit of a semaphore.") { request, context in
        let limit = try await SyncLimit(of: request, context)
        guard try await value(of: limit) == nil else {
          throw FederationError(.alreadyExists, "\(limit.words) has a limit already: change it by PUT")
        }
        return try await set(limit, limit.value, context)
      },
      Route(.get, one, .project(.read, .configMap), "The limit of a semaphore.") { request, context in
        var limit = try SyncLimit(query: request, context)
        limit.value = try await known(limit)
        return .json(limit.rendered)
      },
      Route(.put, one, .project(.update, .configMap), "Changes the limit of a semaphore.") { request, context in
        let limit = try await SyncLimit(of: request, context)
        _ = try await known(limit)
        return try await set(limit, limit.value, context)
      },
      Route(.delete, one, .project(.delete, .configMap), "Removes the limit of a semaphore.") { request, context in
        let limit = try SyncLimit(query: request, context)
        _ = try await known(limit)
        _ = try await set(limit, nil, context)
        return .json([:])
      },
    ]
  }

  private func value(of limit: SyncLimit) async throws -> Int? {
    try await services.store.semaphoreLimit(
      limit.lock.kind.rawValue, limit.lock.name, key: limit.lock.key, in: limit.project)
  }

  private func known(_ limit: SyncLimit) async throws -> Int {
    guard let value = try await value(of: limit) else {
      throw FederationError(.notFound, "\(limit.words) has no limit")
    }
    return value
  }

  /// - Parameter value: nil: there is none any more.
  private func set(_ limit: SyncLimit, _ value: Int?, _ context: APIContext) async throws -> Response {
    let author = try context.signedIn().principal
    guard limit.lock.kind == .configMap else {
      _ = try await services.commands.perform(
        .project(limit.project, .setSemaphore(key: limit.lock.name, limit: value)), as: author, idempotency: nil)
      return .json(limit.rendered)
    }
    let change: JSONValue = ["data": [limit.lock.key: value.map { .string(String($0)) } ?? .null]]
    do { _ = try await patchConfigMap(limit.lock.name, change, in: limit.project, as: author) } catch let error
      as FederationError where error.code == .notFound && value != nil
    {
      let draft = try Self.configMap(change, named: limit.lock.name)
      _ = try await services.objects.create(
        draft, in: limit.project, uid: WorkflowName.uuid(Self.randomBytes()), as: author)
    }
    return .json(limit.rendered)
  }
}

/// One limit, as requests name it.
private struct SyncLimit {
  var project: ProjectName
  var lock: LockName
  var value = 0

  private struct Body: Decodable {
    var type: JSONValue?
    var cmName: String?
    var key: String?
    var limit: Int?
  }

  /// The path's key counts before the body's.
  init(of request: Request, _ context: APIContext) async throws {
    let body = try JSONBody.decode(Body.self, from: try await request.bytes(limit: APIContext.sizeLimit))
    try self.init(
      type: body.type?.stringValue ?? body.type?.integerValue.map(String.init), map: body.cmName,
      key: context.parameters.get("key") == nil ? body.key : try context.parameter("key"), context)
    guard let limit = body.limit, limit > 0 else {
      throw FederationError(.invalidArgument, "limit is a whole number from 1")
    }
    value = limit
  }

  init(query request: Request, _ context: APIContext) throws {
    try self.init(
      type: request.query("type"), map: request.query("cmName"), key: try context.parameter("key"), context)
  }

  private init(type: String?, map: String?, key: String?, _ context: APIContext) throws {
    project = ProjectName(try context.parameter("namespace"))
    guard let key, !key.isEmpty else { throw FederationError(.invalidArgument, "key is missing") }
    switch type ?? "" {
    case "DATABASE", "1": lock = LockName(kind: .database, name: key)
    case "CONFIGMAP", "0", "":
      guard let map, !map.isEmpty else {
        throw FederationError(.invalidArgument, "cmName is missing: the config map that has the limit")
      }
      lock = LockName(kind: .configMap, name: map, key: key)
    case let other:
      throw FederationError(.invalidArgument, "type is CONFIGMAP or DATABASE, not \(other.prefix(40))")
    }
  }

  var words: String { "the semaphore \(lock.text(in: project.text).prefix(200))" }

  var rendered: JSONValue {
    let isMap = lock.kind == .configMap
    return [
      "type": isMap ? "CONFIGMAP" : "DATABASE", "namespace": .string(project.text),
      "cmName": .string(isMap ? lock.name : ""), "key": .string(isMap ? lock.key : lock.name),
      "limit": .integer(Int64(value)),
    ]
  }
}
