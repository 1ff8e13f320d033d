internal import ArgumentParser
internal import AsyncHTTPClient
internal import Crypto
internal import FederationModel
internal import FoundationEssentials
internal import NIOCore
internal import NIOHTTP1

#if canImport(Glibc)
  internal import Glibc
#endif

struct Copy: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cp", abstract: "Fetch an output artifact as it is stored (a packed one as its archive).")
  @Argument(help: "WORKFLOW/NODE:ARTIFACT") var source: String
  @Argument(help: "A file or an existing directory.") var destination: String
  @OptionGroup var project: ProjectOption

  func run() async throws {
    guard let colon = source.lastIndex(of: ":"), case let (workflow, node?) = Target.split(String(source[..<colon]))
    else {
      throw CommandFailure(.usage, "cp takes WORKFLOW/NODE:ARTIFACT and a destination.")
    }
    let artifact = String(source[source.index(after: colon)...])
    try await withClient(project: project.project) { client in
      let response = try await client.response(
        .init(path: client.workflow(client.connection.project, workflow, "nodes", node, "artifacts", artifact)))
      let archive = response.headers.first(name: "X-Artifact-Archive") ?? "none"
      let suffix = archive == "tar" ? ".tgz" : archive == "zip" ? ".zip" : ""
      var isDirectory = false
      let exists = FileManager.default.fileExists(atPath: destination, isDirectory: &isDirectory)
      let path = exists && isDirectory ? destination + "/" + artifact.replacing("/", with: "_") + suffix : destination
      let size = try await store(response, at: path, client)
      Terminal.line("\(path): \(ByteCount(size))\(archive == "none" ? "" : ", packed: tar -xf or unzip opens it")")
    }
  }

  /// Writes beside the destination and renames when size and checksum are right, so that half a file never looks whole.
  private func store(_ response: HTTPClientResponse, at path: String, _ client: APIClient) async throws -> Int64 {
    let partial = "\(path).\(getpid()).part"
    let descriptor = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw CommandFailure(.error, "Cannot write \(path): \(String(cString: strerror(errno)))")
    }
    defer {
      close(descriptor)
      unlink(partial)
    }
    var hash = SHA256()
    var size: Int64 = 0
    do {
      for try await chunk in response.body {
        var rest = Array(chunk.readableBytesView)[...]
        hash.update(data: rest)
        size += Int64(rest.count)
        while !rest.isEmpty {
          let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
          if count < 0, errno == EINTR { continue }
          guard count > 0 else {
            throw CommandFailure(.error, "Cannot write \(path): \(String(cString: strerror(errno)))")
          }
          rest = rest.dropFirst(count)
        }
      }
    } catch let failure as CommandFailure { throw failure } catch { throw client.unreachable(error) }
    let digest = hash.finalize().map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    if let expected = response.headers.first(name: "X-Artifact-SHA256"), expected.lowercased() != digest {
      throw CommandFailure(
        .error, "The artifact arrived damaged: its SHA-256 is \(digest), not \(expected). Try again.")
    }
    guard rename(partial, path) == 0 else {
      throw CommandFailure(.error, "Cannot write \(path): \(String(cString: strerror(errno)))")
    }
    return size
  }
}
