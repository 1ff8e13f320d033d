import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import Hummingbird

extension APIServer {
  var transferRoutes: [Route] {
    let transfers = "/v1/projects/:p/transfers"
    return [
      Route(
        .get, transfers, .project(.read, .transfer),
        "A project's transfers, newest first, or their changes as a stream."
      ) {
        request, context in
        let project = ProjectName(try context.parameter("p"))
        guard request.wantsEventStream else { return try await list(of: project, request) }
        return EventStreamWriter.response(watchTransfers(of: project))
      },
      Route(.get, "\(transfers)/:t", .project(.read, .transfer), "One transfer.") { _, context in
        let project = ProjectName(try context.parameter("p"))
        return try .json(try await transfer(try transferID(context), of: project))
      },
      Route(.post, "\(transfers)/:t/cancel", .project(.delete, .transfer), "Ends a transfer that no run waits for.") {
        request, context in
        let project = ProjectName(try context.parameter("p"))
        let id = try transferID(context)
        // Another project's transfer is not there.
        _ = try await transfer(id, of: project)
        _ = try await services.commands.perform(
          .cancelTransfer(id), as: try context.signedIn().principal,
          idempotency: try Self.idempotency(request, []))
        return try .json(try await transfer(id, of: project))
      },
      Route(
        .get, "/v1/links", .anywhere(.read, .link), "How well bytes move to clusters, what waits, and what it costs."
      ) {
        _, context in
        try await links(context)
      },
    ]
  }

  private func transferID(_ context: APIContext) throws -> TransferID {
    let text = try context.parameter("t")
    guard let id = TransferID(hexadecimal: text) else {
      throw FederationError(.notFound, "there is no transfer \(text.prefix(40))")
    }
    return id
  }

  private func transfer(_ id: TransferID, of project: ProjectName) async throws -> TransferDocument {
    guard let row = try await services.store.transfers([id], of: project).first else {
      throw FederationError(.notFound, "there is no transfer \(id.hexadecimal) in project \(project)")
    }
    return try await documents([row], of: project)[0]
  }

  /// With how far they are, and what they move where their key does not say it.
  private func documents(_ rows: [TransferRow], of project: ProjectName) async throws -> [TransferDocument] {
    let progress = await services.commands.transferProgress(of: project)
    let origins = try await services.store.origins(
      of: Set(rows.map(\.key).filter { $0.text.hasPrefix("dataset:\(project)/.") }).sorted())
    return rows.map { TransferDocument($0, progress[$0.id], origins[$0.key]) }
  }

  private func list(of project: ProjectName, _ request: Request) async throws -> Response {
    let limit = try request.limit()
    let before = try request.query("continue").map { text in
      let parts = text.split(separator: "-").map(String.init)
      guard parts.count == 2 else {
        throw FederationError(.invalidArgument, "continue is what `next` of the page before said")
      }
      return (
        createdAt: Timestamp(milliseconds: try Cursor.number(parts[0])), id: TransferID(try Cursor.number(parts[1]))
      )
    }
    let rows = try await services.store.transfers(
      of: project, isOpen: request.query("active") == "true", before: before, limit: limit)
    return try .json(
      TransferList(
        items: try await documents(rows, of: project),
        next: rows.count == limit ? rows.last.map { "\($0.createdAt.milliseconds)-\($0.id.number)" } : nil))
  }

  // MARK: Watching

  /// Open transfers that one watcher is told of: the newest.
  private static let watchedMax = 500

  /// Everything that is under way, then what changes: level-triggered, at most once a second, and each end once.
  private func watchTransfers(of project: ProjectName) -> EventStreamWriter.Body {
    { events in
      try services.changes.enter()
      defer { services.changes.leave() }
      var told: [TransferID: TransferDocument] = [:]
      var quietSince = ContinuousClock.now
      while true {
        let version = services.changes.version
        let news = try await transferNews(of: project, &told)
        if !news.isEmpty || quietSince.duration(to: .now) >= .seconds(15) {
          if news.isEmpty {
            try await events.comment()
          } else {
            try await events.send("update", TransferUpdate(transfers: news))
          }
          quietSince = .now
        }
        if services.changes.isClosed { return try await events.end("shutdown") }
        try await Task.sleep(for: .seconds(1))
        // Progress changes without a commit.
        if told.isEmpty { await services.changes.wait(after: version, timeout: .seconds(14)) }
      }
    }
  }

  /// What a watcher does not know yet; `told` are the open transfers that it knows.
  private func transferNews(
    of project: ProjectName, _ told: inout [TransferID: TransferDocument]
  ) async throws -> [TransferDocument] {
    let open = try await services.store.transfers(of: project, isOpen: true, limit: Self.watchedMax)
    let names = Set(open.map(\.id))
    let ended = try await services.store.transfers(told.keys.filter { !names.contains($0) }, of: project)
    let documents = Array(zip(open + ended, try await documents(open + ended, of: project)))
    let news = documents.filter { told[$0.0.id] != $0.1 }.map(\.1)
    told = Dictionary(
      uniqueKeysWithValues: documents.filter { !$0.0.phase.isTerminal }.map { ($0.0.id, $0.1) })
    return news
  }

  // MARK: Links

  /// Of the clusters that the caller may see, from wherever it may know of.
  private func links(_ context: APIContext) async throws -> Response {
    let visible = Set(try await visibleClusters(to: context.signedIn(), for: Permission(.read, .link)).map(\.spec.name))
    let prices = Dictionary(
      uniqueKeysWithValues: try await services.store.clusters().map { ($0.spec.name, $0.spec.prices(at: .wallClock)) })
    let isSource: (LinkStatus) -> Bool = {
      ["repository", "origin"].contains($0.source) || visible.contains(ClusterName($0.source))
    }
    let items = await services.commands.links().filter { visible.contains($0.cluster) && isSource($0) }.map { link in
      // What leaves a cluster has that cluster's price; the repository and origins have none.
      let sheet = prices[ClusterName(link.source)] ?? nil
      return LinkDocument(
        source: link.source, cluster: link.cluster.text, bytesPerSecond: link.bandwidth, samples: link.samples,
        measuredAt: link.measuredAt?.wire, backlogBytes: link.backlog.bytes, egressGibibyte: sheet?.egressGibibyte,
        currency: sheet?.currency)
    }
    return try .json(LinkList(items: items))
  }
}

extension TransferDocument {
  fileprivate init(_ row: TransferRow, _ progress: TransferProgress?, _ origin: DataOrigin?) {
    let isOpen = !row.phase.isTerminal
    let moved = isOpen ? progress?.moved ?? row.moved : row.moved
    let rate = isOpen ? progress.flatMap { $0.rate > 0 ? $0.rate : nil } : nil
    let source = row.source.isEmpty ? progress?.source ?? "" : row.source
    self.init(
      id: row.id.hexadecimal, project: row.project.text, key: row.key.text, origin: origin?.uri,
      cluster: row.cluster.text,
      cause: row.cause.rawValue, phase: row.phase.rawValue, source: source, bytes: row.size.bytes,
      movedBytes: moved.bytes, bytesPerSecond: rate,
      etaSeconds: rate.map { Double(max(0, row.size.bytes - moved.bytes)) / Double($0) }, createdAt: row.createdAt.wire,
      startedAt: row.startedAt?.wire, finishedAt: row.finishedAt?.wire,
      message: isOpen ? progress?.waiting ?? row.message : row.message)
  }
}
