import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import FederationPKI
import Hummingbird

extension APIServer {
  var clusterRoutes: [Route] {
    let cluster = "/v1/clusters/:c"
    func action(
      _ verb: String, _ summary: String, _ command: @escaping @Sendable (ClusterName, ClusterActionRequest) -> Command
    ) -> Route {
      Route(.post, "\(cluster)/\(verb)", .federation(verb == "forget" ? .delete : .update, .cluster), summary) {
        request, context in
        let body = try await request.document(ClusterActionRequest.self, orElse: ClusterActionRequest())
        let name = ClusterName(try context.parameter("c"))
        return try await accepted(command(name, body), name, request, context)
      }
    }
    return [
      Route(.get, "/v1/clusters", .anywhere(.read, .cluster), "The clusters that the caller may see.") { _, context in
        try await clusters(context)
      },
      Route(.post, "/v1/clusters", .federation(.create, .cluster), "Adds a cluster, and makes a join token for it.") {
        try await create($0, $1)
      },
      Route(.get, cluster, .anywhere(.read, .cluster), "One cluster.") { _, context in
        try .json(try await document(of: ClusterName(try context.parameter("c")), context))
      },
      Route(.put, cluster, .federation(.update, .cluster), "Changes a cluster's labels, prices or project.") {
        try await update($0, $1)
      },
      action("cordon", "Places nothing new there.") { .cordon($0, reason: $1.reason ?? "cordoned by an operator") },
      Route(.post, "\(cluster)/uncordon", .federation(.update, .cluster), "Opens a cordoned or draining cluster.") {
        try await uncordon($0, $1)
      },
      action("drain", "Places nothing new there, and lets what runs end.") {
        .drain($0, true, reason: $1.reason ?? "")
      },
      Route(
        .post, "\(cluster)/revoke", .federation(.update, .cluster),
        "Voids the agent's certificates and ends its session."
      ) {
        try await revoke($0, $1)
      },
      Route(
        .put, "\(cluster)/spot", .federation(.update, .cluster),
        "Declares a part of a cluster spot capacity, or changes it; what does not fit any more leaves after its notice."
      ) { request, context in
        let name = ClusterName(try context.parameter("c"))
        let body = try await request.document(SpotDocument.self)
        return try await accepted(.spot(name, body.command), name, request, context)
      },
      Route(
        .delete, "\(cluster)/spot", .federation(.update, .cluster),
        "Ends a cluster's spot capacity; what runs on it leaves after its notice."
      ) { request, context in
        let name = ClusterName(try context.parameter("c"))
        return try await accepted(.spot(name, .withdraw), name, request, context)
      },
      action("forget", "Removes a cluster that will not come back.") {
        .forgetCluster($0, confirmStopped: $1.confirmStopped ?? false)
      },
      action("recover", "Ends the adoption after a restored database.") { name, _ in .recover(name) },
      Route(.post, "/v1/recover", .federation(.update, .cluster), "Ends the adoption on every cluster.") {
        request, context in
        try await accepted(.recover(nil), "all", request, context)
      },
      Route(.post, "\(cluster)/join-token", .federation(.update, .cluster), "Makes a new join token.") {
        try await joinToken($0, $1)
      },
    ]
  }

  // MARK: Reading

  private func clusters(_ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    let statuses = await services.commands.clusterStatuses()
    let rows = try await visibleClusters(to: caller, for: Permission(.read, .cluster), statuses)
    return try .json(ClusterList(items: rows.map { document($0, statuses[$0.spec.name], caller) }))
  }

  private func document(of name: ClusterName, _ context: APIContext) async throws -> ClusterDocument {
    let caller = try context.signedIn()
    let statuses = await services.commands.clusterStatuses()
    let rows = try await visibleClusters(to: caller, for: Permission(.read, .cluster), statuses)
    guard let row = rows.first(where: { $0.spec.name == name }) else {
      throw FederationError(.notFound, "there is no cluster \(name)")
    }
    return document(row, statuses[name], caller)
  }

  /// - Parameter caller: is not told which other projects there are on the cluster.
  private func document(_ row: ClusterRow, _ status: ClusterStatus?, _ caller: Caller) -> ClusterDocument {
    var document = ClusterDocument(row, status, status.flatMap { _ in services.sessions.view(of: row.spec.name) })
    if let projects = document.live?.tenancy?.projects {
      document.live?.tenancy?.projects = projects.filter { caller.rights.knows(ProjectName($0)) }
    }
    return document
  }

  // MARK: Changing

  private func create(_ request: Request, _ context: APIContext) async throws -> Response {
    let body = try await request.document(ClusterRequest.self)
    guard let name = body.name else { throw FederationError(.invalidArgument, "name is missing") }
    try await perform(.createCluster(try body.spec(ClusterName(name))), request, context)
    let join = try await makeToken(ClusterName(name), lifetime: body.tokenLifetimeSeconds, context)
    return try .json(ClusterCreated(cluster: try await document(of: ClusterName(name), context), join: join), .created)
  }

  private func update(_ request: Request, _ context: APIContext) async throws -> Response {
    let name = ClusterName(try context.parameter("c"))
    let body = try await request.document(ClusterRequest.self)
    return try await accepted(.updateCluster(try body.spec(name)), name, request, context)
  }

  private func uncordon(_ request: Request, _ context: APIContext) async throws -> Response {
    let name = ClusterName(try context.parameter("c"))
    try await perform(.drain(name, false, reason: ""), request, context)
    return try await accepted(.cordon(name, reason: nil), name, nil, context)
  }

  /// Durable first: the certificates, then the cluster; then the open streams end.
  private func revoke(_ request: Request, _ context: APIContext) async throws -> Response {
    let name = ClusterName(try context.parameter("c"))
    let moment = Timestamp.wallClock
    guard try await services.store.clusters().contains(where: { $0.spec.name == name }) else {
      throw FederationError(.notFound, "there is no cluster \(name)")
    }
    _ = try await services.store.revokeCertificates(of: name, at: moment)
    services.closeStreams(name, moment)
    return try await accepted(.revokeAgent(name), name, request, context)
  }

  private func joinToken(_ request: Request, _ context: APIContext) async throws -> Response {
    let name = ClusterName(try context.parameter("c"))
    let body = try await request.document(ClusterActionRequest.self, orElse: ClusterActionRequest())
    _ = try await document(of: name, context)
    return try .json(try await makeToken(name, lifetime: body.tokenLifetimeSeconds, context), .created)
  }

  private func makeToken(_ name: ClusterName, lifetime: Int?, _ context: APIContext) async throws -> JoinDocument {
    let seconds = lifetime ?? 3600
    guard (60...86_400).contains(seconds) else {
      throw FederationError(.invalidArgument, "a join token lives 60 to 86400 seconds")
    }
    var random = SystemRandomNumberGenerator()
    let token = JoinToken(pin: services.authority.current.pin, using: &random)
    let now = Timestamp.wallClock
    let expiry = now + .seconds(seconds)
    try await services.store.createJoinToken(
      hash: token.record(cluster: name, expiresAt: expiry).secretHash.bytes, cluster: name, at: now, expiresAt: expiry)
    try await services.store.appendAudit(
      context.signedIn().auditing("cluster.token", name.text, "token \(token.id)"))
    let address = try await services.agentAddress()
    return JoinDocument(
      cluster: name.text, token: token.text, expiresAt: expiry.wire, server: address,
      command: ["fubini-agent", "join", "--control-plane", address])
  }

  @discardableResult
  private func perform(_ command: Command, _ request: Request?, _ context: APIContext) async throws -> Reply {
    try await services.commands.perform(
      command, as: try context.signedIn().principal,
      idempotency: try request.flatMap { try Self.idempotency($0, []) })
  }

  private func accepted(_ command: Command, _ name: ClusterName, _ request: Request?, _ context: APIContext)
    async throws -> Response
  {
    try await perform(command, request, context)
    return try .json(AcceptedDocument(name: name.text))
  }
}

extension ClusterRequest {
  func spec(_ name: ClusterName) throws -> ClusterSpec {
    guard (labels ?? [:]).count <= 64 else {
      throw FederationError(.invalidArgument, "a cluster has at most 64 labels")
    }
    return ClusterSpec(
      name: name, kind: kind, labels: labels ?? [:], prices: prices, project: project.map { ProjectName($0) })
  }
}

extension SpotDocument {
  fileprivate init(_ offer: SpotOffer) {
    self.init(percent: offer.percent, noticeSeconds: Int64(offer.notice.seconds), reason: offer.reason)
  }

  fileprivate var command: SpotCommand {
    // Beyond what is allowed anyway, and within what a duration holds.
    let notice = noticeSeconds.map { Duration.seconds(max(-1, min($0, 86_400))) }
    return .offer(percent: percent, notice: notice, reason: reason)
  }
}

extension ClusterDocument {
  init(_ row: ClusterRow, _ status: ClusterStatus?, _ session: SessionRegistry.View?) {
    let state =
      if row.isAdopting { "Adopting" } else if row.isDraining { "Draining" } else if row.cordonReason != nil {
        "Cordoned"
      } else if let status, status.isConnected {
        status.closedBecause.isEmpty ? "Ready" : "NotReady"
      } else if row.journal == nil {
        "NeverJoined"
      } else if row.revokedAt != nil {
        "Revoked"
      } else { "Offline" }
    self.init(
      name: row.spec.name.text, kind: row.spec.kind, labels: row.spec.labels, prices: row.spec.prices,
      project: row.spec.project?.text,
      createdAt: row.createdAt.wire, state: state, reason: status?.closedBecause ?? "", cordonReason: row.cordonReason,
      isDraining: row.isDraining, isAdopting: row.isAdopting, revokedAt: row.revokedAt?.wire,
      live: status.map {
        ClusterLiveDocument(
          isConnected: $0.isConnected, agentVersion: $0.agentVersion, activeRuns: $0.activeRuns,
          cpuMillicores: $0.inventory.capacity.cpuMillicores, memoryBytes: $0.inventory.capacity.memory.bytes,
          gpus: $0.inventory.capacity.gpus, gpuTypes: $0.inventory.gpuTypes, slots: $0.inventory.slots,
          measuredBandwidth: $0.measuredBandwidth, notices: $0.inventory.notices,
          agentProtocol: session?.agreement.version, clockSkewMilliseconds: session?.clockSkew?.milliseconds,
          tenancy: $0.inventory.tenancy.map(TenancyDocument.init),
          partitions: $0.inventory.partitions.isEmpty ? nil : $0.inventory.partitions.map(\.name).sorted())
      }, spot: row.spec.spot.map(SpotDocument.init))
  }
}
