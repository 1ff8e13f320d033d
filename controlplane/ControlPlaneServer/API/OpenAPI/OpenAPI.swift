import FederationAPI
import FederationModel
import HTTPTypes
import Hummingbird

/// The API's OpenAPI document, made of the route table and of the documents' types.
///
/// - Source: OpenAPI Specification 3.1.0.
enum OpenAPI {
  /// What the table of routes does not say: parameters and bodies.
  struct Operation: Sendable {
    var query: [String] = []
    var request: (any (Decodable & Sendable).Type)?
    /// nil with another content type than JSON, or where the document is Argo's.
    var response: (any (Decodable & Sendable).Type)?
    var status = 200
    var contentType = "application/json"
  }

  static func document(_ routes: [Route]) throws -> JSONValue {
    let book = SchemaBook()
    let error = try book.reference(ErrorDocument.self)
    var paths: [String: [String: JSONValue]] = [:]
    for route in routes {
      let operation = operations["\(route.method.rawValue) \(route.path)"] ?? Operation()
      paths[path(route.path), default: [:]][route.method.rawValue.lowercased()] = try describe(route, operation, book)
    }
    return [
      "openapi": "3.1.0",
      "info": [
        "title": "Fubini", "version": .string(ProductVersion.current),
        "description": "Workflows over federated clusters. The routes below /api/v1 have Argo's own documents.",
      ],
      "paths": .object(paths.mapValues { .object($0) }),
      "components": [
        "schemas": .object(book.schemas),
        "responses": ["Error": ["description": "Not a success.", "content": ["application/json": ["schema": error]]]],
        "securitySchemes": ["token": ["type": "http", "scheme": "bearer"]],
      ],
    ]
  }

  private static func describe(_ route: Route, _ operation: Operation, _ book: SchemaBook) throws -> JSONValue {
    var content: [String: JSONValue] = [:]
    if let response = operation.response { content["schema"] = try book.reference(response) }
    var object: [String: JSONValue] = [
      "summary": .string(route.summary), "operationId": .string(identifier(route)),
      "tags": [route.path.hasPrefix("/api/v1") ? "argo" : "native"],
      "responses": [
        String(operation.status): [
          "description": "Success.", "content": [operation.contentType: .object(content)],
        ], "default": ["$ref": "#/components/responses/Error"],
      ],
      "security": route.access == .open ? [] : [["token": []]],
    ]
    let parameters = parameters(route, operation)
    if !parameters.isEmpty { object["parameters"] = .array(parameters) }
    if let request = operation.request {
      object["requestBody"] = ["content": ["application/json": ["schema": try book.reference(request)]]]
    } else if route.path.hasSuffix("/workflows"), route.method == .post {
      object["requestBody"] = [
        "required": true,
        "content": [
          "application/yaml": ["schema": ["type": "string"]],
          SubmitRequest.contentType: ["schema": try book.reference(SubmitRequest.self)],
        ],
      ]
    } else if route.method == .put || route.method == .post,
      route.path.hasPrefix("/api/v1") || route.path.hasSuffix("**")
    {
      let type = route.path.hasSuffix("**") ? "application/octet-stream" : "application/json"
      object["requestBody"] = ["content": [type: [:]]]
    }
    return .object(object)
  }

  private static func parameters(_ route: Route, _ operation: Operation) -> [JSONValue] {
    let names = path(route.path).split(separator: "/").filter { $0.first == "{" }.map { $0.dropFirst().dropLast() }
    var parameters: [JSONValue] = names.map {
      ["name": .string(String($0)), "in": "path", "required": true, "schema": ["type": "string"]]
    }
    parameters += operation.query.map {
      ["name": .string($0), "in": "query", "schema": ["type": $0 == "limit" ? "integer" : "string"]]
    }
    if route.method != .get, route.access != .open {
      parameters.append([
        "name": "Idempotency-Key", "in": "header", "schema": ["type": "string", "maxLength": 128],
      ])
    }
    return parameters
  }

  /// `/v1/clusters/:c` as `/v1/clusters/{c}`; the rest of a path as `{key}`.
  private static func path(_ route: String) -> String {
    route.split(separator: "/").map { part in
      part == "**" ? "/{key}" : part.first == ":" ? "/{\(part.dropFirst())}" : "/\(part)"
    }.joined()
  }

  private static func identifier(_ route: Route) -> String {
    let words = route.path.split(whereSeparator: { !$0.isLetter && !$0.isNumber })
    return route.method.rawValue.lowercased() + words.map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined()
  }

  static let operations: [String: Operation] = {
    let page = ["limit", "continue"]
    let list = ["phase", "labelSelector", "since"] + page
    let workflow = "/v1/projects/:p/workflows/:w"
    var all: [String: Operation] = [
      "GET /healthz": Operation(contentType: "text/plain"), "GET /metrics": Operation(contentType: "text/plain"),
      "GET /readyz": Operation(response: ReadinessDocument.self),
      "GET /v1/version": Operation(response: VersionDocument.self),
      "GET /v1/userinfo": Operation(response: UserDocument.self),
      "GET /v1/doctor": Operation(response: DoctorDocument.self),
      "GET /v1/audit": Operation(query: ["since", "actor", "denied"] + page, response: AuditList.self),
      "GET /openapi.json": Operation(),
      "POST /v1/workflows": Operation(
        query: ["project", "strict", "dryRun"], response: SubmitResponse.self, status: 201),
      "POST /v1/projects/:p/workflows": Operation(
        query: ["strict", "dryRun"], response: SubmitResponse.self, status: 201),
      "POST /v1/plan": Operation(query: ["project", "strict", "fanOut"], response: PlanDocument.self),
      "POST /v1/projects/:p/plan": Operation(query: ["strict", "fanOut"], response: PlanDocument.self),
      "GET /v1/workflows": Operation(query: ["project"] + list, response: WorkflowList.self),
      "GET /v1/projects/:p/workflows": Operation(query: list, response: WorkflowList.self),
      "GET \(workflow)": Operation(response: WorkflowDetail.self),
      "DELETE \(workflow)": Operation(response: AcceptedDocument.self),
      "GET \(workflow)/nodes": Operation(query: page, response: NodeList.self),
      "GET \(workflow)/explain": Operation(query: ["node"], response: ExplanationDocument.self),
      "GET \(workflow)/events": Operation(query: page, response: EventList.self),
      "GET \(workflow)/logs": Operation(query: ["node", "run", "follow", "offset"], contentType: "text/plain"),
      "GET \(workflow)/nodes/:node/artifacts/:name": Operation(
        query: ["offset"], contentType: "application/octet-stream"),
      "PUT /v1/projects/:p/artifacts/**": Operation(response: ArtifactDocument.self, status: 201),
      "GET /v1/clusters": Operation(response: ClusterList.self),
      "POST /v1/clusters": Operation(request: ClusterRequest.self, response: ClusterCreated.self, status: 201),
      "GET /v1/clusters/:c": Operation(response: ClusterDocument.self),
      "PUT /v1/clusters/:c": Operation(request: ClusterRequest.self, response: AcceptedDocument.self),
      "PUT /v1/clusters/:c/spot": Operation(request: SpotDocument.self, response: AcceptedDocument.self),
      "DELETE /v1/clusters/:c/spot": Operation(response: AcceptedDocument.self),
      "POST /v1/clusters/:c/join-token": Operation(
        request: ClusterActionRequest.self, response: JoinDocument.self, status: 201),
      "POST /v1/recover": Operation(response: AcceptedDocument.self),
    ]
    for verb in ["suspend", "resume", "stop", "terminate", "retry"] {
      all["POST \(workflow)/\(verb)"] = Operation(request: WorkflowActionRequest.self, response: AcceptedDocument.self)
      all["PUT /api/v1/workflows/:namespace/:name/\(verb)"] = Operation()
    }
    all["POST \(workflow)/set"] = Operation(request: SetNodesRequest.self, response: AcceptedDocument.self)
    all["POST \(workflow)/resubmit"] = Operation(
      request: ResubmitRequest.self, response: SubmitResponse.self, status: 201)
    for verb in ["cordon", "uncordon", "drain", "revoke", "forget", "recover"] {
      all["POST /v1/clusters/:c/\(verb)"] = Operation(
        request: ClusterActionRequest.self, response: AcceptedDocument.self)
    }
    all.merge(dataOperations) { first, _ in first }
    all.merge(projectOperations) { first, _ in first }
    all.merge(accessOperations) { first, _ in first }
    all.merge(objectOperations) { first, _ in first }
    let argo = "/api/v1/workflows/:namespace"
    let options = ["listOptions.labelSelector", "listOptions.fieldSelector", "fields"]
    let argoList =
      options + ["listOptions.limit", "listOptions.continue", "nameFilter", "createdAfter", "finishedBefore"]
    let stream = "text/event-stream"
    for path in ["/api/v1/info", "/api/v1/version", "/api/v1/userinfo"] { all["GET \(path)"] = Operation() }
    all["POST \(argo)"] = Operation(query: ["strict"])
    all["POST \(argo)/lint"] = Operation(query: ["strict"])
    all["GET \(argo)"] = Operation(query: argoList)
    all["GET \(argo)/:name"] = Operation(query: ["fields"])
    all["DELETE \(argo)/:name"] = Operation()
    all["GET \(argo)/:name/log"] = Operation(query: argoLogOptions, contentType: stream)
    all["GET /api/v1/workflow-events/:namespace"] = Operation(query: options, contentType: stream)
    return all
  }()
}

extension APIServer {
  /// The route of the document, which describes itself, too.
  func documentRoute(describing routes: [Route]) -> Route {
    var route = Route(.get, "/openapi.json", .open, "This document.") { _, _ in .json([:]) }
    let document = Result { try OpenAPI.document(routes + [route]) }
    route.handler = { _, _ in .json(try document.get()) }
    return route
  }
}
