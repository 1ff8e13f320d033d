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
        if create { try await dataset.declare(DatasetRequest(name: dataset.name), client) }
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
      // Before anything is read: a name that does not exist should not cost an hour.
      let _: DatasetDocument = try await client.get(dataset.path(client))
      let tree = try FileTree(scanning: path)
      let meter = ProgressMeter(dataset.name, bytes: tree.bytes, files: tree.files.count)
      let upload = DatasetUpload(
        client: client, project: client.connection.project, tree: tree, meter: meter, parallel: parallel)
      let manifest = try await meter.showing { try await upload.run() }
      let version: DatasetVersionDocument = try await client.post(
        dataset.path(client, "versions"), body: DatasetVersionRequest(manifest: manifest))
      let rate = Double(meter.movedBytes) / max(0.001, meter.seconds)
      Terminal.note(
        "Sent \(ByteCount(meter.movedBytes)) of \(ByteCount(tree.bytes)) in \(Display.duration(meter.seconds)) "
          + "(\(ByteCount(Int64(rate)))/s).")
      return version
    }

    private func index(_ dataset: DatasetName, _ client: APIClient) async throws -> DatasetVersionDocument {
      var version: DatasetVersionDocument = try await client.post(
        dataset.path(client, "versions"),
        body: DatasetVersionRequest(origin: DatasetVersionRequest.OriginPart(path: subpath, via: via)))
      while wait, version.phase == "indexing" {
        try await Task.sleep(for: .milliseconds(500))
        version = try await client.get(dataset.path(client, "versions", String(version.version)))
      }
      return version
    }
  }

  struct Fetch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "get", abstract: "Fetch a version's files into a directory, verified.",
      discussion: "Files that are there already are not fetched, so a get that was cut goes on when it is given again.")
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
        guard version.phase == "ready", let manifest = version.manifest else {
          throw CommandFailure(.error, "\(dataset.name)@\(version.version) is \(version.phase). \(version.message)")
        }
        if let origin = version.origin {
          throw CommandFailure(
            .error,
            "The files of \(dataset.name)@\(version.version) are at \(origin.uri) and in caches, not in the repository: fetch "
              + "them from there, or let a workflow that mounts it hand them out as an artifact.")
        }
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
        let version: DatasetVersionDocument = try await client.post(
          target.path(client, "versions"),
          body: DatasetVersionRequest(
            copyOf: DatasetVersionRequest.VersionName(project: owner, dataset: source.name, version: source.version)))
        try output.format.print(version, names: ["\(target.name)@\(version.version)"]) { _ in
          "\(target.name)@\(version.version): \(version.files) files, \(ByteCount(version.bytes))\n"
        }
      }
    }
  }
}
