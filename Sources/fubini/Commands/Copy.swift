internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials

struct Copy: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cp", abstract: "Fetch an output artifact, unpacked.",
    discussion: """
      A copy that was interrupted goes on where it broke when the same command is given again. An output that is still on the cluster
      that made it is copied into the repository first; the command says what it waits for.
      """)
  @Argument(help: "WORKFLOW/NODE:ARTIFACT") var source: String
  @Argument(help: "A file, or an existing directory.") var destination: String
  @Flag(help: "Keep a packed artifact packed, as it is stored.") var raw = false
  @OptionGroup var project: ProjectOption

  func run() async throws {
    guard let colon = source.lastIndex(of: ":"), case let (workflow, node?) = Target.split(String(source[..<colon]))
    else {
      throw CommandFailure(.usage, "cp takes WORKFLOW/NODE:ARTIFACT and a destination.")
    }
    let artifact = String(source[source.index(after: colon)...])
    try await withClient(project: project.project) { client in
      // Once, so that a download that goes on does so with the same workflow.
      let uid = try await client.detail(workflow).summary.uid
      let path = client.workflow(client.connection.project, uid, "nodes", node, "artifacts", artifact)
      try await TransferWait.untilStored(path, client)
      let download = ArtifactDownload(client: client, path: path)
      let target = isDirectory(destination) ? destination + "/" + Self.fileName(artifact) : destination
      let stored = try await download.fetch(to: target + ".part")
      if stored.archive == "none" || raw {
        let suffix = isDirectory(destination) ? stored.suffix : ""
        try ArtifactArchive.move(target + ".part", to: target + suffix)
        return Terminal.line("\(target + suffix): \(ByteCount(stored.size))")
      }
      defer { ArtifactArchive.remove(target + ".part") }
      let unpacked = try await ArtifactArchive(path: target + ".part", format: stored.archive).unpack(
        to: destination, intoDirectory: isDirectory(destination))
      for path in unpacked { Terminal.line(path) }
    }
  }

  private func isDirectory(_ path: String) -> Bool {
    var isDirectory = false
    return FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) && isDirectory
  }

  /// A name comes from a workflow: it must not lead out of the directory that was asked for.
  static func fileName(_ artifact: String) -> String {
    let name = artifact.replacing("/", with: "_")
    return name.isEmpty || name == "." || name == ".." ? "artifact" : name
  }
}
