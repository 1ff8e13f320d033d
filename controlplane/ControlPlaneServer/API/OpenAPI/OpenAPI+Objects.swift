import FederationAPI
import FederationModel

extension OpenAPI {
  /// Templates, cron workflows, config maps, and what Argo's and Kubernetes' clients call beside workflows.
  static let objectOperations: [String: Operation] = {
    var all: [String: Operation] = [
      "POST /v1/documents": Operation(
        query: ["project", "kinds", "create", "strict", "dryRun"], response: AppliedList.self),
      "PUT /v1/projects/:p/config-maps/:name": Operation(
        request: ConfigMapRequest.self, response: StoredDocument.self),
    ]
    let page = ["labelSelector", "fieldSelector", "nameFilter", "limit", "continue"]
    for path in [
      "/v1/projects/:p/templates", "/v1/cluster-templates", "/v1/projects/:p/cron-workflows",
      "/v1/projects/:p/config-maps",
    ] {
      all["GET \(path)"] = Operation(query: page, response: StoredDocumentList.self)
      all["GET \(path)/:name"] = Operation(response: StoredDocument.self)
      all["DELETE \(path)/:name"] = Operation(query: ["uid"], response: AcceptedDocument.self)
    }
    for verb in ["suspend", "resume"] {
      all["POST /v1/projects/:p/cron-workflows/:name/\(verb)"] = Operation(response: StoredDocument.self)
      all["PUT /api/v1/cron-workflows/:namespace/:name/\(verb)"] = Operation()
    }
    let argoPage = [
      "listOptions.labelSelector", "listOptions.fieldSelector", "nameFilter", "listOptions.limit",
      "listOptions.continue", "fields",
    ]
    for path in [
      "/api/v1/workflow-templates/:namespace", "/api/v1/cluster-workflow-templates",
      "/api/v1/cron-workflows/:namespace",
    ] {
      all["POST \(path)"] = Operation(query: ["strict"])
      all["POST \(path)/lint"] = Operation(query: ["strict"])
      all["GET \(path)"] = Operation(query: argoPage)
      all["GET \(path)/:name"] = Operation(query: ["fields"])
      all["PUT \(path)/:name"] = Operation(query: ["strict"])
      all["DELETE \(path)/:name"] = Operation(query: ["deleteOptions.preconditions.uid"])
    }
    all.merge(archiveOperations) { first, _ in first }
    all.merge(kubernetesOperations) { first, _ in first }
    return all
  }()

  private static let archiveOperations: [String: Operation] = {
    let (workflows, archive) = ("/api/v1/workflows/:namespace/:name", "/api/v1/archived-workflows")
    let bytes = "application/octet-stream"
    return [
      "POST /api/v1/workflows/:namespace/submit": Operation(),
      "PUT \(workflows)/resubmit": Operation(), "PUT \(workflows)/set": Operation(),
      "GET \(workflows)/:pod/log": Operation(query: argoLogOptions, contentType: "text/event-stream"),
      "GET /api/v1/stream/events/:namespace": Operation(
        query: ["listOptions.fieldSelector"], contentType: "text/event-stream"),
      "GET \(archive)": Operation(
        query: [
          "namespace", "namePrefix", "nameFilter", "listOptions.labelSelector", "listOptions.fieldSelector",
          "listOptions.limit", "listOptions.continue", "fields", "createdAfter", "finishedBefore",
        ]),
      "GET \(archive)-label-keys": Operation(query: ["namespace"]),
      "GET \(archive)-label-values": Operation(query: ["namespace", "listOptions.labelSelector"]),
      "GET \(archive)/:uid": Operation(query: ["fields"]), "DELETE \(archive)/:uid": Operation(),
      "PUT \(archive)/:uid/resubmit": Operation(), "PUT \(archive)/:uid/retry": Operation(),
      "POST /api/v1/sync/:namespace": Operation(),
      "GET /api/v1/sync/:namespace/:key": Operation(query: ["type", "cmName"]),
      "PUT /api/v1/sync/:namespace/:key": Operation(),
      "DELETE /api/v1/sync/:namespace/:key": Operation(query: ["type", "cmName"]),
      "GET /artifacts/:namespace/:name/:node/:artifact": Operation(contentType: bytes),
      "GET /input-artifacts/:namespace/:name/:node/:artifact": Operation(contentType: bytes),
      "GET /artifacts-by-uid/:uid/:node/:artifact": Operation(contentType: bytes),
      "GET /input-artifacts-by-uid/:uid/:node/:artifact": Operation(contentType: bytes),
      "GET /artifact-files/:namespace/:discriminator/:name/:node/:direction/:artifact": Operation(contentType: bytes),
    ]
  }()

  static let argoLogOptions = [
    "podName", "grep", "selector", "logOptions.container", "logOptions.follow", "logOptions.tailLines",
    "logOptions.limitBytes", "logOptions.previous", "logOptions.sinceSeconds", "logOptions.sinceTime",
    "logOptions.sinceTime.seconds", "logOptions.sinceTime.nanos", "logOptions.timestamps",
  ]

  private static let kubernetesOperations: [String: Operation] = {
    let namespace = "/api/v1/namespaces/:namespace"
    var all: [String: Operation] = [
      "POST \(namespace)/configmaps": Operation(status: 201),
      "GET \(namespace)/configmaps": Operation(query: ["labelSelector", "fieldSelector", "limit", "continue"]),
      "PATCH \(namespace)/configmaps/:name": Operation(),
      "POST \(namespace)/secrets": Operation(status: 201), "GET \(namespace)/secrets": Operation(),
      "GET \(namespace)/pods/:name": Operation(),
      "GET \(namespace)/pods/:name/log": Operation(
        query: [
          "container", "follow", "limitBytes", "previous", "sinceSeconds", "sinceTime", "tailLines", "timestamps",
        ], contentType: "text/plain"),
    ]
    for kind in ["configmaps", "secrets"] {
      for verb in ["GET", "PUT", "DELETE"] { all["\(verb) \(namespace)/\(kind)/:name"] = Operation() }
    }
    return all
  }()
}
