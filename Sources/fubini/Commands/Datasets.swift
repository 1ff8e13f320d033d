internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOHTTP1

struct DatasetCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dataset", abstract: "Data sets: named, versioned bytes that runs read.",
    discussion:
      "A data set is named NAME, NAME@VERSION or PROJECT/NAME@VERSION; without a version the newest is meant.",
    subcommands: [
      Create.self, Update.self, Put.self, ListAll.self, Fetch.self, Versions.self, Files.self, CopyVersion.self,
      Remove.self, Pin.self, Unpin.self, Usage.self,
    ], aliases: ["ds"])

  /// What `create` and `update` declare.
  struct Declaration: ParsableArguments {
    @Option(help: "Where its versions come from: s3://, https://, sftp://, webdav:// or file://CLUSTER/PATH.")
    var origin: String?
    @Option(help: "The project's secret that opens the origin.") var secret: String?
    @Option(help: "k=v,k=v: only clusters with these labels may hold its bytes.") var allowedClusters: String?
    @Option(help: "Delete versions that no workflow has used for so long: 30d, 12h.") var expiresAfter: String?
    @Option(
      help: "Where uploads go that nobody uses: s3://, sftp://, webdavs:// or rclone:PATH. Takes --archive-after.")
    var archiveTo: String?
    @Option(help: "Move versions there that no workflow has used for so long: 30d.") var archiveAfter: String?
    @Option(help: "The project's secret that opens the archive.") var archiveSecret: String?

    func request(_ name: String?) throws -> DatasetRequest {
      guard secret == nil || origin != nil else { throw CommandFailure(.usage, "--secret opens an --origin.") }
      guard (archiveTo == nil) == (archiveAfter == nil), archiveSecret == nil || archiveTo != nil else {
        throw CommandFailure(
          .usage, "--archive-to and --archive-after go together; --archive-secret opens an --archive-to.")
      }
      let archive = try archiveTo.map {
        ArchiveDocument(uri: $0, secret: archiveSecret, afterSeconds: try Period.seconds(archiveAfter!))
      }
      return DatasetRequest(
        name: name, origin: origin.map { OriginDocument(uri: $0, secret: secret) },
        allowedClusters: try allowedClusters.map(ClusterText.labels),
        expiresAfterSeconds: try expiresAfter.map { try Period.seconds($0) },
        archive: archive)
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Declare a data set.")
    @Argument var name: String
    @OptionGroup var declaration: Declaration
    @OptionGroup var project: ProjectOption
    @OptionGroup var output: OutputOption
    func run() async throws {
      let request = try declaration.request(name)
      try await withClient(project: project.project) { client in
        let created: DatasetDocument = try await client.post(
          ["v1", "projects", client.connection.project, "datasets"], body: request)
        try output.format.print(created, names: [name]) { _ in
          let next =
            created.origin == nil ? "fubini dataset put \(name) PATH" : "fubini dataset put \(name) --from-origin"
          return "Created \(name). Its first version: \(next)\n"
        }
      }
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Change what was declared about a data set. What is left out stays as it is.",
      discussion:
        "Copies on clusters that --allowed-clusters excludes are removed, pinned or not, once no run reads them.")
    @Argument var name: String
    @OptionGroup var declaration: Declaration
    @Flag(help: "From now on versions are uploaded.") var noOrigin = false
    @Flag(help: "Every cluster may hold its bytes.") var noAllowedClusters = false
    @Flag(help: "Keep versions that nobody uses.") var noExpiry = false
    @Flag(help: "Keep uploads that nobody uses in the repository.") var noArchive = false
    @OptionGroup var project: ProjectOption
    @OptionGroup var output: OutputOption
    func run() async throws {
      let change = try declaration.request(nil)
      let path = try DatasetName(name).withoutVersion("update")
      let taken = [
        (noOrigin, change.origin != nil, "origin"),
        (noAllowedClusters, change.allowedClusters != nil, "allowed-clusters"),
        (noExpiry, change.expiresAfterSeconds != nil, "expires-after"),
        (noArchive, change.archive != nil, "archive-to"),
      ]
      if let both = taken.first(where: { $0.0 && $0.1 }) {
        throw CommandFailure(.usage, "--\(both.2) cannot be given and taken away at once.")
      }
      try await withClient(project: project.project) { client in
        let now: DatasetDocument = try await client.get(path.path(client))
        let document: DatasetDocument = try await client.post(
          path.path(client), body: request(change, over: now), method: .PUT)
        // All that may have changed is shown.
        try output.format.print(document, names: [name]) { _ in DatasetText.table([document], isWide: true) }
      }
    }

    /// The whole declaration, as the API takes it: what is not named stays.
    func request(_ change: DatasetRequest, over now: DatasetDocument) -> DatasetRequest {
      DatasetRequest(
        origin: noOrigin ? nil : change.origin ?? now.origin,
        allowedClusters: noAllowedClusters ? nil : change.allowedClusters ?? now.allowedClusters,
        expiresAfterSeconds: noExpiry ? nil : change.expiresAfterSeconds ?? now.expiresAfterSeconds,
        archive: noArchive ? nil : change.archive ?? now.archive)
    }
  }

  struct ListAll: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List a project's data sets.", aliases: ["ls"])
    @Option(help: "At most so many; 0 for all.") var limit = 100
    @OptionGroup var project: ProjectOption
    @OptionGroup var output: OutputOption
    func run() async throws {
      let limit = try ListLimit.checked(limit)
      try await withClient(project: project.project) { client in
        let found = try await client.pages(limit: limit) { query in
          let page: DatasetList = try await client.get(
            ["v1", "projects", client.connection.project, "datasets"], query)
          return (page.items, page.next)
        }
        let list = DatasetList(items: found.items)
        try output.format.print(list, names: list.items.map(\.name)) { DatasetText.table(list.items, isWide: $0) }
        if found.isCut { Terminal.note("There are more: --limit 0 lists all.") }
      }
    }
  }

  struct Versions: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List a data set's versions, newest first.")
    @Argument var name: String
    @OptionGroup var project: ProjectOption
    @OptionGroup var output: OutputOption
    func run() async throws {
      let name = try DatasetName(name)
      try await withClient(project: project.project) { client in
        var list: DatasetVersionList = try await client.get(name.path(client, "versions"))
        if name.hasVersion { list.items = try name.only(list.items) { $0.version } }
        try output.format.print(list, names: list.items.map { "\(name.name)@\($0.version)" }) {
          DatasetText.table(list.items, isWide: $0)
        }
      }
    }
  }

  /// The files of a version, as `-o json` and `-o yaml` tell them.
  struct FileList: Encodable {
    struct Item: Encodable {
      var path: String
      var size: Int64
      /// Octal, such as 644.
      var mode: String
      var sha256: String?
      /// Of a symbolic link: what it points at.
      var link: String?
    }
    var dataset: String
    var version: Int
    var items: [Item]
  }

  struct Files: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the files of a version, without fetching them.")
    @Argument var name: String
    @OptionGroup var project: ProjectOption
    @OptionGroup var output: OutputOption
    func run() async throws {
      let dataset = try DatasetName(name)
      try await withClient(project: dataset.project ?? project.project) { client in
        let version: DatasetVersionDocument = try await client.get(
          dataset.path(client, "versions", dataset.versionWord))
        guard let manifest = version.manifest else {
          throw CommandFailure(
            .error,
            "\(dataset.name)@\(version.version) is \(version.phase): its files are not listed. \(version.message)")
        }
        let download = DatasetDownload(client: client, project: client.connection.project, directory: "")
        let entries = try await download.manifest(manifest).entries
        let list = FileList(
          dataset: dataset.name, version: Int(version.version),
          items: entries.map {
            .init(path: $0.path, size: $0.size, mode: String($0.mode, radix: 8), sha256: $0.sha256, link: $0.link)
          })
        try output.format.print(list, names: list.items.map { Terminal.printable($0.path) }) {
          DatasetText.table(list.items, isWide: $0)
        }
      }
    }
  }

  struct Usage: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Where a data set is, what it takes there, what is pinned, and when it was used last.")
    @Argument var name: String
    @OptionGroup var project: ProjectOption
    @OptionGroup var output: OutputOption
    func run() async throws {
      let name = try DatasetName(name)
      try await withClient(project: project.project) { client in
        var usage: DatasetUsage = try await client.get(name.path(client, "usage"))
        if name.hasVersion {
          usage.versions = try name.only(usage.versions) { $0.version }
          usage.replicas = usage.replicas.filter { $0.version == usage.versions[0].version }
        }
        try output.format.print(usage, names: usage.replicas.map { "\(name.name)@\($0.version) \($0.cache)" }) { _ in
          DatasetText.usage(usage)
        }
      }
    }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "rm", abstract: "Remove a version (NAME@VERSION), or a data set with all its versions (NAME).")
    @Argument var name: String
    @Flag(name: .shortAndLong, help: "Do not ask.") var yes = false
    @OptionGroup var project: ProjectOption
    func run() async throws {
      let dataset = try DatasetName(name)
      let what = name.hasSuffix("@latest") ? "the newest version of \(dataset.name)" : name
      try Confirm.ask("Remove \(what), here and in every cache?", yes: yes)
      try await withClient(project: project.project) { client in
        var path = dataset.path(client)
        if dataset.hasVersion {
          var number = dataset.version
          if number == nil {
            let newest: DatasetVersionDocument = try await client.get(dataset.path(client, "versions", "latest"))
            number = newest.version
          }
          path += ["versions", String(number!)]
        }
        let list: DatasetVersionList = try await client.get(dataset.path(client, "versions"))
        let _: MovementDocument = try await client.decode(.init(method: .DELETE, path: path))
        Terminal.line("\(what): removed.")
        // A store of the user's own is the user's to clear.
        for version in list.items {
          guard let archive = version.archive, !dataset.hasVersion || path.last == String(version.version) else {
            continue
          }
          Terminal.note("What is in the archive stays: \(archive.uri). Delete it there.")
        }
      }
    }
  }

  static func move(_ text: String, _ verb: String, _ cluster: String, _ project: String?, _ past: String) async throws {
    let name = try DatasetName(text)
    try await withClient(project: project) { client in
      let answer: MovementDocument = try await client.post(
        name.path(client, verb), body: PlacementRequest(cluster: cluster, version: name.version))
      let version = answer.version ?? name.version
      Terminal.line("\(name.name)\(version.map { "@\($0)" } ?? ""): \(past) \(cluster).")
    }
  }

  struct Pin: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Keep a version in a cluster's cache, whatever else needs the room.",
      discussion: """
        Where the cluster asks money for it (`fubini price list`), a day is held ahead of the project's budget, and charged as it passes. \
        The pin lapses when the next day cannot be paid for; the audit log says so six hours before.
        """)
    @Argument var name: String
    @Option(help: "The cluster.") var cluster: String
    @OptionGroup var project: ProjectOption
    func run() async throws { try await move(name, "pin", cluster, project.project, "pinned on") }
  }

  struct Unpin: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Let a pinned version leave a cluster's cache again.")
    @Argument var name: String
    @Option(help: "The cluster.") var cluster: String
    @OptionGroup var project: ProjectOption
    func run() async throws { try await move(name, "unpin", cluster, project.project, "no longer pinned on") }
  }
}

/// Tables of data sets.
enum DatasetText {
  static func table(_ datasets: [DatasetDocument], isWide: Bool) -> String {
    var table = Table(
      headings: ["NAME", "LATEST", "VERSIONS", "FILES", "SIZE"]
        + (isWide ? ["ALLOWED", "EXPIRES", "ARCHIVED", "BY", "AGE"] : [])
        + [
          "ORIGIN"
        ])
    for dataset in datasets {
      var row = [
        dataset.name, dataset.latest.map { String($0) } ?? "-", String(dataset.versions), String(dataset.files),
        ByteCount(dataset.bytes).description,
      ]
      if isWide {
        row += [
          Display.labels(dataset.allowedClusters),
          dataset.expiresAfterSeconds.map { Display.duration(Double($0)) } ?? "-",
          dataset.archive.map { "\(Display.duration(Double($0.afterSeconds))) \($0.uri)" } ?? "-", dataset.createdBy,
          Display.span(dataset.createdAt, nil, now: Display.now),
        ]
      }
      table.rows.append(row + [dataset.origin?.uri ?? "uploads"])
    }
    return table.render()
  }

  static func table(_ versions: [DatasetVersionDocument], isWide: Bool) -> String {
    var table = Table(
      headings: ["VERSION", "PHASE", "FILES", "SIZE", "WHERE", "AGE", "LAST USE", "BY"]
        + (isWide ? ["MANIFEST", "ORIGIN"] : [])
        + [
          "MESSAGE"
        ])
    for version in versions {
      var row = [
        String(version.version), version.phase, String(version.files), ByteCount(version.bytes).description,
        version.location ?? "-", Display.span(version.createdAt, nil, now: Display.now), age(version.usedAt),
        version.createdBy,
      ]
      if isWide { row += [version.manifest?.sha256 ?? "-", version.archive?.uri ?? version.origin?.uri ?? "-"] }
      table.rows.append(row + [version.message])
    }
    return table.render()
  }

  static func table(_ files: [DatasetCommand.FileList.Item], isWide: Bool) -> String {
    var table = Table(headings: ["SIZE", "MODE"] + (isWide ? ["SHA256"] : []) + ["PATH"])
    for file in files {
      let place = file.link.map { "\(file.path) -> \($0)" } ?? file.path
      table.rows.append(
        [ByteCount(file.size).description, file.mode] + (isWide ? [file.sha256 ?? "-"] : [])
          + [Terminal.printable(place)])
    }
    return table.render()
  }

  private static func age(_ moment: WireTime?) -> String {
    moment.map { "\(Display.span($0, nil, now: Display.now)) ago" } ?? "never"
  }

  static func usage(_ usage: DatasetUsage) -> String {
    var table = Table(headings: ["VERSION", "WHERE", "SIZE", "PINNED", "SINCE"])
    for replica in usage.replicas {
      table.rows.append([
        String(replica.version), replica.cache, ByteCount(replica.bytes).description, replica.isPinned ? "yes" : "",
        age(replica.readyAt),
      ])
    }
    let origin = usage.versions.contains { $0.origin != nil } ? " (versions of an origin are there alone)" : ""
    return """
      \(usage.dataset): \(usage.versions.count) version\(usage.versions.count == 1 ? "" : "s"), \(ByteCount(usage.repositoryBytes)) in the repository\(origin), \
      last used \(age(usage.lastUsedAt))

      """ + (usage.replicas.isEmpty ? "In no cache.\n" : table.render())
  }
}
