import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import HTTPTypes
import Hummingbird
import NIOCore
import WorkflowCore

/// Artifacts where Argo's clients fetch them.
///
/// - Source: Argo Workflows v3.7, `server/artifacts/artifact_server.go`, and its `swagger.json`.
extension APIServer {
  var argoArtifactRoutes: [Route] {
    let summary = "An artifact's bytes as they are stored."
    let named: [(String, Bool)] = [("artifacts", false), ("input-artifacts", true)]
    var routes: [Route] = []
    for (root, isInput) in named {
      routes.append(
        Route(.get, "/\(root)/:namespace/:name/:node/:artifact", .project(.read, .artifact), summary) {
          request, context in
          try await argoArtifact(try await argoLoaded(context), isInput: isInput, context)
        })
      routes.append(
        Route(.get, "/\(root)-by-uid/:uid/:node/:artifact", .anywhere(.read, .artifact), summary) { request, context in
          let caller = try context.signedIn()
          let uid = try context.parameter("uid")
          guard let loaded = try await services.store.workflow(uid: uid), caller.rights.knows(loaded.row.project) else {
            throw FederationError(.notFound, "there is no workflow with uid \(uid.prefix(80))")
          }
          try Authorisation.require(Permission(.read, .artifact), in: loaded.row.project, caller)
          return try await argoArtifact(loaded, isInput: isInput, context)
        })
    }
    routes.append(
      Route(
        .get, "/artifact-files/:namespace/:discriminator/:name/:node/:direction/:artifact", .project(.read, .artifact),
        summary
      ) { request, context in
        let kind = try context.parameter("discriminator")
        let direction = try context.parameter("direction")
        guard ["workflow", "workflows", "archived-workflows"].contains(kind), ["inputs", "outputs"].contains(direction)
        else {
          throw FederationError(
            .invalidArgument, "the path is /artifact-files/NAMESPACE/workflows/WORKFLOW/NODE/outputs/ARTIFACT")
        }
        return try await argoArtifact(try await argoLoaded(context), isInput: direction == "inputs", context)
      })
    return routes
  }

  private func argoArtifact(
    _ loaded: LoadedWorkflow, isInput: Bool, _ context: APIContext
  ) async throws -> Response {
    let (workflow, id) = (loaded.row.name, try context.parameter("node"))
    let name = try context.parameter("artifact")
    let node = loaded.nodes.first { node in
      !node.isSuperseded && (ArgoNames.nodeID(workflow: workflow, node: node.name) == id || node.name == id)
    }
    guard let node else { throw FederationError(.notFound, "workflow \(workflow) has no node \(id.prefix(200))") }
    if !isInput, name == "main-logs", node.type.isTask { return try await mainLog(of: node, in: loaded.row) }
    let missing = FederationError(
      .notFound, "node \(id.prefix(200)) has no \(isInput ? "input" : "output") artifact \(name.prefix(200))")
    guard isInput else {
      guard let artifact = node.outputs.artifacts[name] else { throw missing }
      return try await download(artifact, named: name, of: loaded.row.project, isAttachment: true)
    }
    switch node.inputs.artifact(name) {
    case .raw(let text)?:
      return Response(
        status: .ok, headers: [.contentType: "application/octet-stream"],
        body: .init(byteBuffer: ByteBuffer(string: text)))
    case .stored(let artifact)?:
      return try await download(artifact, named: name, of: loaded.row.project, isAttachment: true)
    case .foreign(let foreign)?:
      throw Self.elsewhere(name, foreign.origin)
    case .absent?, nil: throw missing
    }
  }

  /// What the node's last run wrote, as Argo's archive of logs has it.
  private func mainLog(of node: NodeRecord, in row: WorkflowRow) async throws -> Response {
    guard let run = try await services.store.latestRuns(of: [node.id], in: row.id)[node.id] else {
      throw FederationError(.notFound, "node \(node.displayName) has no run")
    }
    let logs = services.logs
    return Response(
      status: .ok, headers: [.contentType: "text/plain; charset=utf-8"],
      body: ResponseBody { writer in
        var offset: Int64 = 0
        while true {
          let slice = try await logs.read(run.id, from: offset, count: 64 << 10)
          guard !slice.bytes.isEmpty else { break }
          offset = slice.offset + Int64(slice.bytes.count)
          try await writer.write(ByteBuffer(bytes: slice.bytes))
        }
        try await writer.finish(nil)
      })
  }
}
