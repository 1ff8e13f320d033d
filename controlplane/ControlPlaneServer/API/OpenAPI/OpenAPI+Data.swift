import FederationAPI

extension OpenAPI {
  /// Data sets, transfers, secrets and prices.
  static let dataOperations: [String: Operation] = {
    let page = ["limit", "continue"]
    let datasets = "/v1/projects/:p/datasets"
    let objects = "/v1/projects/:p/dataset-objects"
    let transfers = "/v1/projects/:p/transfers"
    let secrets = "/v1/projects/:p/secrets"
    var all: [String: Operation] = [
      "POST \(datasets)": Operation(request: DatasetRequest.self, response: DatasetDocument.self, status: 201),
      "GET \(datasets)": Operation(query: page, response: DatasetList.self),
      "GET \(datasets)/:d": Operation(response: DatasetDocument.self),
      "PUT \(datasets)/:d": Operation(request: DatasetRequest.self, response: DatasetDocument.self),
      "DELETE \(datasets)/:d": Operation(response: MovementDocument.self),
      "GET \(datasets)/:d/usage": Operation(response: DatasetUsage.self),
      "GET \(datasets)/:d/versions": Operation(response: DatasetVersionList.self),
      "POST \(datasets)/:d/versions": Operation(
        request: DatasetVersionRequest.self, response: DatasetVersionDocument.self, status: 201),
      "GET \(datasets)/:d/versions/:v": Operation(response: DatasetVersionDocument.self),
      "DELETE \(datasets)/:d/versions/:v": Operation(response: MovementDocument.self),
      "POST \(datasets)/:d/versions/:v/store": Operation(response: MovementDocument.self),
      "POST \(objects)": Operation(request: ObjectsRequest.self, response: ObjectsDocument.self),
      "PUT \(objects)/:sha256": Operation(query: ["size", "offset"], response: ObjectDocument.self, status: 201),
      "GET \(objects)/:sha256": Operation(query: ["offset", "length"], contentType: "application/octet-stream"),
      "GET \(transfers)": Operation(query: ["active"] + page, response: TransferList.self),
      "GET \(transfers)/:t": Operation(response: TransferDocument.self),
      "POST \(transfers)/:t/cancel": Operation(response: TransferDocument.self),
      "POST /v1/projects/:p/jobs": Operation(
        query: ["dryRun"], request: JobRequest.self, response: JobAccepted.self, status: 201),
      "GET /v1/jobs": Operation(
        query: ["project", "ids", "name", "user", "since", "open"] + page, response: JobList.self),
      "POST /v1/projects/:p/jobs/:j/cancel": Operation(
        request: JobCancelRequest.self, response: AcceptedDocument.self),
      "POST /v1/projects/:p/jobs/:j/hold": Operation(response: AcceptedDocument.self),
      "POST /v1/projects/:p/jobs/:j/release": Operation(response: AcceptedDocument.self),
      "GET /v1/machine-types": Operation(response: MachineTypeList.self),
      "PUT /v1/machine-types/:type": Operation(request: MachineTypeRequest.self, response: AcceptedDocument.self),
      "DELETE /v1/machine-types/:type": Operation(response: AcceptedDocument.self),
      "GET /v1/links": Operation(response: LinkList.self),
      "GET \(secrets)": Operation(response: SecretList.self),
      "PUT \(secrets)/:s": Operation(request: SecretRequest.self, response: SecretDocument.self),
      "DELETE \(secrets)/:s": Operation(response: AcceptedDocument.self),
      "GET /v1/prices": Operation(response: PriceList.self),
      "GET /v1/clusters/:c/prices": Operation(response: PriceList.self),
      "PUT /v1/clusters/:c/prices": Operation(request: PriceRequest.self, response: AcceptedDocument.self),
      "POST /v1/projects/:p/workflows/:w/nodes/:node/artifacts/:name/store": Operation(
        response: MovementDocument.self),
    ]
    for verb in ["pin", "unpin", "prefetch"] {
      all["POST \(datasets)/:d/\(verb)"] = Operation(request: PlacementRequest.self, response: MovementDocument.self)
    }
    return all
  }()
}
