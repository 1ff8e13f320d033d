import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import HTTPTypes
import Hummingbird
import Logging

extension APIServer {
  var datasetRoutes: [Route] {
    let datasets = "/v1/projects/:p/datasets"
    let dataset = "\(datasets)/:d"
    func move(
      _ verb: String, _ summary: String, _ command: @escaping @Sendable (Int32?, ClusterName) -> DatasetCommand
    ) -> Route {
      Route(.post, "\(dataset)/\(verb)", .project(.update, .dataset), summary) { request, context in
        let bytes = try await request.bytes()
        let body = try JSONBody.decode(PlacementRequest.self, from: bytes)
        return try await perform(command(body.version, ClusterName(body.cluster)), bytes, request, context)
      }
    }
    return [
      Route(.post, datasets, .project(.create, .dataset), "Declares a data set.") { try await createDataset($0, $1) },
      Route(.get, datasets, .project(.read, .dataset), "A project's data sets, by name.") {
        try await listDatasets($0, $1)
      },
      Route(.get, dataset, .project(.read, .dataset), "One data set.") { _, context in
        try .json(DatasetDocument(try await summary(context)))
      },
      Route(.put, dataset, .project(.update, .dataset), "Changes a data set's origin, residency and lifecycle.") {
        try await updateDataset($0, $1)
      },
      Route(.delete, dataset, .project(.delete, .dataset), "Removes a data set with its versions and replicas.") {
        request, context in
        let response = try await perform(.remove, [], request, context)
        sweepSoon(context)
        return response
      },
      Route(.get, "\(dataset)/usage", .project(.read, .dataset), "Where a data set is, and what it takes there.") {
        _, context in
        try await usage(context)
      },
      Route(.get, "\(dataset)/versions", .project(.read, .dataset), "A data set's versions, newest first.") {
        _, context in
        let rows = try await services.store.datasetVersions(of: try await summary(context).row.reference)
        return try .json(DatasetVersionList(items: rows.map(DatasetVersionDocument.init)))
      },
      Route(
        .post, "\(dataset)/versions", .project(.create, .dataset),
        "Makes a version of an upload, of the origin, or of another version."
      ) {
        try await addVersion($0, $1)
      },
      Route(
        .get, "\(dataset)/versions/:v", .project(.read, .dataset),
        "One version; `latest` is the newest that can be used."
      ) {
        _, context in
        try .json(DatasetVersionDocument(try await version(context)))
      },
      Route(.delete, "\(dataset)/versions/:v", .project(.delete, .dataset), "Removes a version with its replicas.") {
        request, context in
        guard let number = try Self.number(try context.parameter("v")) else {
          throw FederationError(.invalidArgument, "say which version is to be removed, by its number")
        }
        let response = try await perform(.removeVersion(number), [], request, context)
        sweepSoon(context)
        return response
      },
      Route(
        .post, "\(dataset)/versions/:v/store", .project(.update, .dataset),
        "Brings a version's files into the repository, to be fetched."
      ) { request, context in
        try await perform(.store(version: Self.number(try context.parameter("v"))), [], request, context)
      },
      move("pin", "Keeps a version in a cluster's cache, whatever else needs the room.") {
        .pin(version: $0, cluster: $1, true)
      },
      move("unpin", "Lets a pinned version leave a cluster's cache again.") { .pin(version: $0, cluster: $1, false) },
      move("prefetch", "Brings a version to a cluster before anybody asks for it.") {
        .prefetch(version: $0, cluster: $1)
      },
    ]
  }

  // MARK: Names

  private func reference(_ context: APIContext) throws -> DatasetReference {
    let reference = DatasetReference(project: ProjectName(try context.parameter("p")), name: try context.parameter("d"))
    // What documents' addresses are kept as has names that nobody can give.
    guard !reference.isForeign else {
      throw FederationError(
        .notFound,
        "there is no data set \(reference.name.prefix(80)) in project \(reference.project); `fubini dataset create` makes one"
      )
    }
    return reference
  }

  private func summary(_ context: APIContext) async throws -> DatasetSummary {
    try await summary(try reference(context))
  }

  private func summary(_ reference: DatasetReference) async throws -> DatasetSummary {
    guard let found = try await services.store.datasets(of: reference.project, named: reference.name).first else {
      throw FederationError(
        .notFound,
        "there is no data set \(reference.name) in project \(reference.project); `fubini dataset create` makes one")
    }
    return found
  }

  /// nil: the newest.
  private static func number(_ text: String) throws -> Int32? {
    if text == "latest" || text == "@latest" { return nil }
    guard let number = Int32(text), number > 0 else {
      throw FederationError(.invalidArgument, "a version is a number from 1, or latest, not \"\(text.prefix(40))\"")
    }
    return number
  }

  private func version(_ context: APIContext) async throws -> DatasetVersionRow {
    try await version(Self.number(try context.parameter("v")), of: try reference(context))
  }

  private func version(_ number: Int32?, of reference: DatasetReference) async throws -> DatasetVersionRow {
    guard let row = try await services.store.datasetVersion(number, of: reference) else {
      _ = try await summary(reference)
      throw FederationError(
        .notFound,
        number.map { "data set \(reference.name) has no version \($0)" }
          ?? "data set \(reference.name) has no version that can be used yet")
    }
    return row
  }

  // MARK: Reading

  private func listDatasets(_ request: Request, _ context: APIContext) async throws -> Response {
    let project = ProjectName(try context.parameter("p"))
    let limit = try request.limit()
    let rows = try await services.store.datasets(of: project, after: request.query("continue") ?? "", limit: limit)
    return try .json(
      DatasetList(
        items: rows.map(DatasetDocument.init), next: rows.count == limit ? rows.last?.row.spec.name : nil))
  }

  private func usage(_ context: APIContext) async throws -> Response {
    let reference = try await summary(context).row.reference
    let versions = try await services.store.datasetVersions(of: reference)
    let numbers = Dictionary(uniqueKeysWithValues: versions.map { ($0.key, $0.number) })
    let replicas = try await services.store.replicas(of: versions.map(\.key)).map { row in
      ReplicaDocument(
        dataset: reference.name, version: numbers[row.key] ?? 0, cache: row.cache, bytes: row.size.bytes,
        readyAt: row.readyAt.wire, isPinned: row.isPinned)
    }
    return try .json(
      DatasetUsage(
        dataset: reference.name, versions: versions.map(DatasetVersionDocument.init),
        replicas: replicas.sorted { ($1.version, $0.cache) < ($0.version, $1.cache) },
        repositoryBytes: try await services.store.repositoryBytes(of: reference),
        lastUsedAt: versions.compactMap(\.usedAt).max()?.wire))
  }

  // MARK: Changing

  private func createDataset(_ request: Request, _ context: APIContext) async throws -> Response {
    let bytes = try await request.bytes()
    let body = try JSONBody.decode(DatasetRequest.self, from: bytes)
    guard let name = body.name else { throw FederationError(.invalidArgument, "name is missing") }
    let reference = DatasetReference(project: ProjectName(try context.parameter("p")), name: name)
    guard reference.project.isDNSLabel else {
      throw FederationError(.notFound, "there is no project \(reference.project)")
    }
    let spec = try body.spec(reference)
    try await checkSecrets(of: spec)
    try await send(.dataset(reference, .create(spec)), bytes, request, context)
    return try .json(DatasetDocument(try await summary(reference)), .created)
  }

  private func updateDataset(_ request: Request, _ context: APIContext) async throws -> Response {
    let bytes = try await request.bytes()
    let reference = try reference(context)
    let spec = try JSONBody.decode(DatasetRequest.self, from: bytes).spec(reference)
    try await checkSecrets(of: spec)
    try await send(.dataset(reference, .update(spec)), bytes, request, context)
    return try .json(DatasetDocument(try await summary(reference)))
  }

  /// A secret that is missing is told before an agent fails for want of it.
  private func checkSecrets(of spec: DatasetSpec) async throws {
    for name in [spec.origin?.secret, spec.archive?.target.secret].compactMap({ $0 }) {
      guard try await services.store.secret(name, of: spec.project) != nil else {
        throw FederationError(
          .notFound, "there is no secret \(name) in project \(spec.project); `fubini secret set \(name)` makes it")
      }
    }
  }

  private func addVersion(_ request: Request, _ context: APIContext) async throws -> Response {
    let bytes = try await request.bytes()
    let body = try JSONBody.decode(DatasetVersionRequest.self, from: bytes)
    let reference = try reference(context)
    let target = try await summary(reference).row.spec
    let content: VersionContent
    switch (body.manifest, body.origin, body.copyOf) {
    case (let manifest?, nil, nil):
      let stat = ArtifactStat(size: manifest.size, sha256: manifest.sha256)
      let header = try await inTime { [services] in
        try await services.datasets.check(stat, of: reference.project, at: .wallClock)
      }
      content = Self.uploaded(stat, header)
    case (nil, let origin?, nil):
      let path = origin.path ?? ""
      if !path.isEmpty { try DatasetManifest.check(path: path) }
      content = .origin(path: path, via: origin.via.map { ClusterName($0) })
    case (nil, nil, let source?): content = try await copied(source, to: target, context)
    default:
      throw FederationError(.invalidArgument, "a version is made of one of manifest, origin and copyOf")
    }
    if case .uploaded(_, _, let size) = content { try await admitStorage(size, to: reference.project) }
    let reply = try await send(.dataset(reference, .addVersion(content)), bytes, request, context)
    guard case .dataset(_, let number?) = reply else {
      throw FederationError(.internal, "the new version was answered with something else")
    }
    return try .json(DatasetVersionDocument(try await version(number, of: reference)), .created)
  }

  /// Whether what is uploaded fits beside what the project keeps, outputs of runs included. The core looks again at data sets alone.
  ///
  /// - Throws: `.resourceExhausted` with what there is and who can allow more.
  private func admitStorage(_ size: ByteCount, to project: ProjectName) async throws {
    guard let limit = try await services.store.storageLimit(of: project) else { return }
    let used = try await services.store.storage(of: project)
    guard used.datasets + used.outputs + size.bytes > limit else { return }
    throw FederationError(
      .resourceExhausted,
      "project \(project) may keep \(ByteCount(limit)) and has \(ByteCount(used.datasets)) in data sets and "
        + "\(ByteCount(used.outputs)) in outputs of runs; \(size) more do not fit: remove versions or delete workflows, or let "
        + "an administrator allow more: fubini project quota set \(project) --storage SIZE")
  }

  private static func uploaded(_ manifest: ArtifactStat, _ header: DatasetManifest.Header) -> VersionContent {
    .uploaded(
      manifest: StoredArtifact(
        key: DatasetManifest.path(of: manifest.sha256), size: ByteCount(manifest.size), sha256: manifest.sha256,
        archive: .none), files: header.files, size: ByteCount(header.bytes))
  }

  /// The content of another version, by reference to the same objects.
  private func copied(
    _ source: DatasetVersionRequest.VersionName, to target: DatasetSpec, _ context: APIContext
  ) async throws -> VersionContent {
    let project = target.project
    let owner = source.project.map { ProjectName($0) } ?? project
    try Authorisation.require(Permission(.read, .dataset), in: owner, try context.signedIn())
    let reference = DatasetReference(project: owner, name: source.dataset)
    let row = try await version(source.version, of: reference)
    let allowed = try await summary(reference).row.spec.allowedClusters
    guard allowed.allSatisfy({ target.allowedClusters[$0.key] == $0.value }) else {
      let labels = allowed.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
      throw FederationError(
        .failedPrecondition,
        "\(source.dataset) may only be on clusters with \(labels), and \(target.name) may be elsewhere: let it allow the same"
      )
    }
    guard row.archive == nil else {
      throw FederationError(
        .failedPrecondition,
        "version \(row.number) of \(source.dataset) is in its archive: bring it back first with `fubini dataset get`, or POST "
          + ".../versions/\(row.number)/store")
    }
    guard row.phase == .ready, let manifest = row.manifest, row.origin == nil else {
      throw FederationError(
        .failedPrecondition,
        row.phase == .ready
          ? "the files of \(source.dataset) are at \(row.origin?.uri ?? "an origin"): create a data set with that origin instead"
          : "version \(row.number) of \(source.dataset) is \(row.phase.rawValue), so it cannot be copied")
    }
    let stat = ArtifactStat(size: manifest.size.bytes, sha256: manifest.sha256)
    let header = try await inTime { [services] in
      owner == project
        ? try await services.datasets.check(stat, of: project, at: .wallClock)
        : try await services.datasets.copy(stat, from: owner, to: project, at: .wallClock)
    }
    return Self.uploaded(stat, header)
  }

  private func perform(
    _ command: DatasetCommand, _ body: [UInt8], _ request: Request, _ context: APIContext
  ) async throws -> Response {
    let reference = try reference(context)
    let reply = try await send(.dataset(reference, command), body, request, context)
    var document = MovementDocument(dataset: reference.name)
    switch reply {
    case .dataset(_, let version): document.version = version
    case .transfer(let id): document.transfer = id.hexadecimal
    default: break
    }
    return try .json(document)
  }

  @discardableResult
  private func send(
    _ command: Command, _ body: [UInt8], _ request: Request, _ context: APIContext
  ) async throws -> Reply {
    try await services.commands.perform(
      command, as: try context.signedIn().principal, idempotency: try Self.idempotency(request, body))
  }

  /// What was deleted may have been the last to need its objects.
  private func sweepSoon(_ context: APIContext) {
    if let project = try? context.parameter("p") { services.sweeps.add(ProjectName(project)) }
  }

  /// A version of many packs takes as long as the repository takes to answer for each.
  private func inTime<Value: Sendable>(
    _ body: @escaping @concurrent @Sendable () async throws -> Value
  ) async throws -> Value {
    try await Deadline.run(
      DatasetRepository.requestLimit,
      "the repository has not looked at all of it in \(DatasetRepository.requestLimit.seconds) s; ask again: what was done is "
        + "not done again", body)
  }
}

// MARK: Documents

extension DatasetRequest {
  /// - Throws: `.invalidArgument` naming the field.
  fileprivate func spec(_ reference: DatasetReference) throws -> DatasetSpec {
    guard DatasetReference.isName(reference.name) else {
      throw FederationError(
        .invalidArgument,
        "a data set's name is 1 to 63 lower-case letters, digits and hyphens, not \"\(reference.name.prefix(80))\"")
    }
    let labels = allowedClusters ?? [:]
    guard labels.count <= 64, labels.allSatisfy({ (1...253).contains($0.key.utf8.count) && $0.value.utf8.count <= 253 })
    else { throw FederationError(.invalidArgument, "allowedClusters: at most 64 labels of at most 253 bytes") }
    func period(_ seconds: Int64?, _ name: String) throws -> Duration? {
      guard let seconds else { return nil }
      guard (60...Self.periodSecondsMax).contains(seconds) else {
        throw FederationError(.invalidArgument, "\(name) is 60 to \(Self.periodSecondsMax) seconds, not \(seconds)")
      }
      return .seconds(seconds)
    }
    return DatasetSpec(
      project: reference.project, name: reference.name, origin: try origin?.value("origin"), allowedClusters: labels,
      expiresAfter: try period(expiresAfterSeconds, "expiresAfterSeconds"), archive: try archivePolicy(period))
  }

  private func archivePolicy(_ period: (Int64?, String) throws -> Duration?) throws -> ArchivePolicy? {
    guard let archive else { return nil }
    guard let after = try period(archive.afterSeconds, "archive.afterSeconds") else {
      throw FederationError(.invalidArgument, "archive.afterSeconds is missing")
    }
    let target = try OriginDocument(uri: archive.uri, secret: archive.secret).value("archive")
    let scheme = target.uri.prefix { $0 != ":" }
    guard !["file", "http", "https"].contains(scheme) else {
      throw FederationError(
        .invalidArgument, "archive.uri must be a store that can be written: s3://, sftp://, webdavs:// or rclone:")
    }
    if let expires = expiresAfterSeconds, expires <= archive.afterSeconds {
      throw FederationError(
        .invalidArgument, "expiresAfterSeconds must be longer than archive.afterSeconds, or nothing is ever archived")
    }
    return ArchivePolicy(target: target, after: after)
  }

  /// A hundred years.
  private static let periodSecondsMax: Int64 = 3_155_760_000
}

extension OriginDocument {
  fileprivate init(_ origin: DataOrigin) { self.init(uri: origin.uri, secret: origin.secret) }

  private static let schemes = ["s3", "https", "http", "sftp", "webdav", "webdavs", "file"]

  /// - Throws: `.invalidArgument`, without quoting what may be a password.
  fileprivate func value(_ field: String) throws -> DataOrigin {
    func refused(_ why: String) -> FederationError { FederationError(.invalidArgument, "\(field).uri \(why)") }
    guard uri.utf8.count <= 2048, uri.unicodeScalars.allSatisfy({ $0.value > 0x20 && $0.value != 0x7f }) else {
      throw refused("has more than 2048 bytes, or spaces or control characters")
    }
    if let secret, !DatasetReference.isName(secret) {
      throw FederationError(.invalidArgument, "\(field).secret must be the name of a secret")
    }
    if uri.hasPrefix("rclone:") {
      // The backend and all that it is told are in the secret.
      guard secret != nil else {
        throw refused("of rclone:PATH needs \(field).secret: rclone's `type` of the backend, and its parameters")
      }
      return DataOrigin(uri: uri, secret: secret)
    }
    let parts = uri.split(separator: "/", maxSplits: 3, omittingEmptySubsequences: false)
    guard parts.count >= 3, parts[0].hasSuffix(":"), parts[1].isEmpty, !parts[2].isEmpty else {
      throw refused(
        "must be like s3://bucket/prefix, https://host/path, sftp://host/path, webdav://host/path, file://CLUSTER/path or "
          + "rclone:path"
      )
    }
    guard Self.schemes.contains(String(parts[0].dropLast())) else {
      throw refused("has a scheme that is none of \(Self.schemes.joined(separator: ", "))")
    }
    // The URI is shown to everybody in the project, and to every cluster that may hold the data.
    let query = (uri.split(separator: "?", maxSplits: 1).dropFirst().first ?? "").lowercased()
    let words = ["signature", "token", "password", "secret", "credential", "sig=", "key="]
    guard !parts[2].contains("@") || parts[0] == "sftp:" && !parts[2].contains(":"),
      !words.contains(where: { query.contains($0) })
    else {
      throw refused(
        "holds credentials: put them into a secret (`fubini secret set NAME`) and name it in \(field).secret")
    }
    return DataOrigin(uri: uri, secret: secret)
  }
}

extension DatasetDocument {
  fileprivate init(_ summary: DatasetSummary) {
    let spec = summary.row.spec
    self.init(
      project: spec.project.text, name: spec.name, origin: spec.origin.map { OriginDocument($0) },
      allowedClusters: spec.allowedClusters, expiresAfterSeconds: spec.expiresAfter.map { $0.milliseconds / 1000 },
      archive: spec.archive.map {
        ArchiveDocument(uri: $0.target.uri, secret: $0.target.secret, afterSeconds: $0.after.milliseconds / 1000)
      },
      createdAt: summary.row.createdAt.wire,
      createdBy: summary.row.createdBy, latest: summary.latest?.number, versions: summary.versions,
      files: summary.latest?.files ?? 0, bytes: summary.latest?.size.bytes ?? 0)
  }
}

extension DatasetVersionDocument {
  fileprivate init(_ row: DatasetVersionRow) {
    self.init(
      dataset: row.dataset.name, version: row.number, phase: row.phase.rawValue, files: row.files,
      bytes: row.size.bytes, manifest: row.manifest.map { ObjectDocument($0) },
      origin: row.origin.map { OriginDocument($0) }, location: row.location,
      archive: row.archive.map { OriginDocument($0) },
      stored: row.isInRepository ? (row.stored ?? row.manifest).map { ObjectDocument($0) } : nil,
      indexedVia: row.indexedVia?.text, message: row.message,
      createdAt: row.createdAt.wire, createdBy: row.createdBy, usedAt: row.usedAt?.wire)
  }
}

extension ObjectDocument {
  fileprivate init(_ object: StoredArtifact) { self.init(sha256: object.sha256, size: object.size.bytes) }
}

extension DatasetVersionRow {
  /// Where its files are besides caches.
  fileprivate var location: String { archive != nil ? "archive" : isInRepository ? "repository" : "origin" }
}
