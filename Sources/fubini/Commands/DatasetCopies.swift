internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials

/// The commands that move a data set's bytes, or seem to.
extension DatasetCommand {
  struct Put: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make a new version: of a file or directory here, or of what is at the origin now.",
      discussion: """
        What the project's repository has already is not sent. A put that was cut goes on where it broke when the same command is given
        again; the version exists once everything of it is there.
        """)
    @Argument var name: String
    @Argument(help: "A file or a directory.") var path: String?
    @Flag(help: "Make the data set first if it does not exist.") var create = false
    @Flag(help: "Take what is at the data set's origin now.") var fromOrigin = false
    @Option(help: "With --from-origin: only what is below this path there.") var subpath: String?
    @Option(help: "With --from-origin: the cluster whose agent lists the files.") var via: String?
    @Flag(help: "With --from-origin: wait until the files are listed.") var wait = false
    @Option(help: "Packs that are sent at once, 1 to 32.") var parallel = 4
    @OptionGroup var project: ProjectOption
    @OptionGroup var output: OutputOption

    func run() async throws {
      let dataset = try DatasetName(name)
      guard !dataset.hasVersion else {
        throw CommandFailure(.usage, "A put makes the next version by itself: name the data set alone.")
      }
      guard fromOrigin != (path != nil) else {
        throw CommandFailure(.usage, "put takes a path, or --from-origin.")
      }
      guard fromOrigin || (subpath == nil && via == nil && !wait) else {
        throw CommandFailure(.usage, "--subpath, --via and --wait go with --from-origin.")
      }
      guard (1...32).contains(parallel) else { throw CommandFailure(.usage, "--parallel is 1 to 32.") }
      try await withClient(project: dataset.project ?? project.project) { client in
        let version =
          if let path { try await upload(path, to: dataset, client) } else { try await index(dataset, client) }
        try output.format.print(version, names: ["\(dataset.name)@\(version.version)"]) { _ in
          "\(dataset.name)@\(version.version): \(version.phase), \(version.files) files, \(ByteCount(version.bytes))\n"
        }
        guard version.phase != "failed" else { throw CommandFailure(.error, version.message) }
      }
    }

    private func upload(_ path: String, to dataset: DatasetName, _ client: APIClient) async throws
      -> DatasetVersionDocument
    {
      // Before anything is read: a name that does not exist should not cost an hour. What cannot be put makes no data set.
      if !create { let _: DatasetDocument = try await client.get(dataset.path(client)) }
      let tree = try FileTree(scanning: path)
      if create { try await dataset.declare(DatasetRequest(name: dataset.name), client) }
      let meter = ProgressMeter(dataset.name, bytes: tree.bytes, files: tree.files.count)
      let upload = DatasetUpload(
        client: client, project: client.connection.project, tree: tree, meter: meter, parallel: parallel)
      let manifest = try await meter.showing { try await upload.run() }
      let version = try await client.addVersion(
        DatasetVersionRequest(manifest: manifest), to: dataset.path(client, "versions"))
      let rate = Double(meter.movedBytes) / max(0.001, meter.seconds)
      Terminal.note(
        "Sent \(ByteCount(meter.movedBytes)) of \(ByteCount(tree.bytes)) in \(Display.duration(meter.seconds)) "
          + "(\(ByteCount(Int64(rate)))/s).")
      return version
    }

    private func index(_ dataset: DatasetName, _ client: APIClient) async throws -> DatasetVersionDocument {
      if create { try await dataset.declare(DatasetRequest(name: dataset.name), client) }
      var version: DatasetVersionDocument = try await client.post(
        dataset.path(client, "versions"),
        body: DatasetVersionRequest(origin: DatasetVersionRequest.OriginPart(path: subpath, via: via)))
      var said = ""
      while wait, version.phase == "indexing" {
        if version.message != said, !version.message.isEmpty {
          Terminal.note("\(dataset.name)@\(version.version): \(version.message)")
          said = version.message
        }
        try await Task.sleep(for: .milliseconds(500))
        version = try await client.get(dataset.path(client, "versions", String(version.version)))
      }
      return version
    }
  }

  struct Fetch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "get", abstract: "Fetch a version's files into a directory, verified.",
      discussion: """
        Files that are there already are not fetched, so a get that was cut goes on when it is given again. What is in an archive or at
        an origin is brought into the repository first, by a cluster that reaches it, and stays there.
        """)
    @Argument var name: String
    @Argument(help: "A directory; made if it is not there.") var directory: String
    @Flag(help: "Replace files of the same name and other content.") var overwrite = false
    @Option(help: "Packs that are fetched at once, 1 to 32.") var parallel = 4
    @OptionGroup var project: ProjectOption

    func run() async throws {
      let dataset = try DatasetName(name)
      guard (1...32).contains(parallel) else { throw CommandFailure(.usage, "--parallel is 1 to 32.") }
      try await withClient(project: dataset.project ?? project.project) { client in
        let version: DatasetVersionDocument = try await client.get(
          dataset.path(client, "versions", dataset.versionWord))
        guard version.phase == "ready" else {
          throw CommandFailure(.error, "\(dataset.name)@\(version.version) is \(version.phase). \(version.message)")
        }
        let manifest = try await Self.stored(version, of: dataset, client)
        var download = DatasetDownload(client: client, project: client.connection.project, directory: directory)
        download.overwrites = overwrite
        download.parallel = parallel
        let ready = download
        let (header, entries) = try await ready.manifest(manifest)
        let meter = ProgressMeter(dataset.name, bytes: header.bytes, files: entries.count)
        let fetched = try await meter.showing { try await ready.run(header, entries, meter) }
        let rate = Double(meter.movedBytes) / max(0.001, meter.seconds)
        Terminal.line(
          "\(directory): \(dataset.name)@\(version.version), \(entries.count) files, \(ByteCount(header.bytes)); fetched "
            + "\(fetched) of them, \(ByteCount(meter.movedBytes)) in \(Display.duration(meter.seconds)) "
            + "(\(ByteCount(Int64(rate)))/s)")
      }
    }
  }

}

extension DatasetCommand.Fetch {
  /// The list of a version's files in the repository. What is elsewhere, in an archive or at an origin, is brought there first, by an
  /// agent; this waits for it.
  static func stored(
    _ version: DatasetVersionDocument, of dataset: DatasetName, _ client: APIClient,
    pause: Duration = .milliseconds(500)
  ) async throws -> ObjectDocument {
    let path = dataset.path(client, "versions", String(version.version))
    var version = version
    if version.stored == nil {
      Terminal.note(
        "\(dataset.name)@\(version.version) is not in the repository but "
          + (version.archive.map { "in its archive, \($0.uri)" } ?? "at its origin, \(version.origin?.uri ?? "-")")
          + ": a cluster brings its \(ByteCount(version.bytes)) first. What the store charges for reading them is charged."
      )
    }
    // At most: into a cache, from there into the repository, and once more should the cache have lost it meanwhile.
    for _ in 0..<6 where version.stored == nil {
      let answer: MovementDocument = try await client.post(path + ["store"], body: [String: String]())
      if let id = answer.transfer {
        _ = try await TransferWait.finished(id, client, pause: pause) {
          "\(dataset.name) by cluster \($0.cluster)\($0.cause == "stage-out" ? " into the repository" : "")"
        }
      }
      version = try await client.get(path)
    }
    guard let stored = version.stored else {
      throw CommandFailure(.error, "\(dataset.name)@\(version.version) does not stay where it is brought; try again.")
    }
    return stored
  }
}

extension DatasetCommand {
  struct CopyVersion: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "cp", abstract: "Make a version of another one's files, also between projects. No bytes are sent.")
    @Argument(help: "[PROJECT/]NAME[@VERSION]") var source: String
    @Argument(help: "[PROJECT/]NAME; made if it does not exist.") var target: String
    @OptionGroup var project: ProjectOption
    @OptionGroup var output: OutputOption

    func run() async throws {
      let (source, target) = (try DatasetName(source), try DatasetName(target))
      guard !target.hasVersion else {
        throw CommandFailure(.usage, "A copy makes the next version by itself: name the target alone.")
      }
      try await withClient(project: project.project) { client in
        let owner = source.project ?? client.connection.project
        var request = DatasetRequest(name: target.name)
        // Where data may be is not lost by copying it.
        let original: DatasetDocument = try await client.get(source.path(client))
        request.allowedClusters = original.allowedClusters
        try await target.declare(request, client)
        let version = try await client.addVersion(
          DatasetVersionRequest(
            copyOf: DatasetVersionRequest.VersionName(project: owner, dataset: source.name, version: source.version)),
          to: target.path(client, "versions"))
        try output.format.print(version, names: ["\(target.name)@\(version.version)"]) { _ in
          "\(target.name)@\(version.version): \(version.files) files, \(ByteCount(version.bytes))\n"
        }
      }
    }
  }
}

extension APIClient {
  /// Makes a version. The server may take minutes to look at everything that it needs, so this waits for longer than other calls: one
  /// that gave up earlier would make it begin again.
  func addVersion(_ request: DatasetVersionRequest, to path: [String]) async throws -> DatasetVersionDocument {
    let retry = retry
    return try await APIClient.with(connection, silence: DatasetVersionRequest.answerLimit + .seconds(30)) { client in
      var client = client
      client.retry = retry
      return try await client.post(path, body: request)
    }
  }
}
