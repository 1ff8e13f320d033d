internal import AsyncHTTPClient
internal import Execution
internal import FederationModel
internal import Foundation
internal import NIOCore
internal import NIOHTTP1
internal import NIOSSL

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Puts outputs where their documents say: into somebody's bucket, or by PUT onto a web server.
struct OutputDelivery: Sendable {
  /// Of what may pass; then it is the run's end to tell.
  static let attemptsMax = 5

  let asking: any ObjectAsking
  let mover: RcloneMover
  let meters: LinkMeters

  /// One file, under the target's own name.
  ///
  /// - Throws: `.failedPrecondition` when it cannot be put there, with the server's words; none of them holds a value of the secret.
  func put(_ file: PackedFile, to target: DataOrigin, for run: RunID) async throws {
    try await persistently { values in
      if target.uri.hasPrefix("s3://") {
        let store = try await open(target, values, file: target.fileName)
        try await Self.closing(store) { store in
          guard let name = store.only else { throw Self.unusable(target, "its key names a directory") }
          try await meters[.archive(target)].take(Int(file.size))
          try await store.put(file.path, as: name)
        }
      } else {
        try await upload(file, to: target, values)
      }
    } values: {
      try await values(of: target, for: run)
    }
  }

  /// All files of a directory, each under its own path below the target.
  ///
  /// - Returns: their bytes.
  func put(tree directory: String, to target: DataOrigin, for run: RunID) async throws -> Int64 {
    guard target.uri.hasPrefix("s3://") else { throw Self.unusable(target, "a directory can only go into a bucket") }
    let names = try await BlockingWork.run { try Self.files(below: directory) }
    var bytes: Int64 = 0
    try await persistently { values in
      let store = try await open(target, values, file: nil)
      try await Self.closing(store) { store in
        for name in names {
          try Task.checkCancellation()
          try await meters[.archive(target)].take(Int(name.size))
          try await store.put(directory + "/" + name.path, as: name.path)
        }
      }
    } values: {
      try await values(of: target, for: run)
    }
    bytes = names.reduce(0) { $0 + $1.size }
    return bytes
  }

  private static func files(below directory: String) throws -> [(path: String, size: Int64)] {
    var files: [(path: String, size: Int64)] = []
    let tree = try RootedTree(directory)
    for name in try POSIXFile.entries(of: tree.descriptor) {
      _ = try TreeWalk.visit(tree, path: name, limits: ArchiveLimits(entriesMax: Int(DatasetManifest.filesMax))) {
        guard case .file = $0.kind else { return }
        files.append(($0.name, POSIXFile.size(directory + "/" + $0.name) ?? 0))
      }
    }
    return files
  }

  // MARK: Parts

  private func persistently(
    _ body: ([String: String]) async throws -> Void, values: () async throws -> [String: String]
  ) async throws {
    var attempt = 0
    while true {
      do { return try await body(try await values()) } catch let error as FederationError {
        attempt += 1
        guard error.isRetryable, attempt < Self.attemptsMax else {
          // Collected again and again, it would keep its run from ending.
          throw FederationError(.failedPrecondition, error.publicMessage, cause: error)
        }
        try await Task.sleep(for: RunDriver.pause(attempt + 1))
      }
    }
  }

  private func values(of target: DataOrigin, for run: RunID) async throws -> [String: String] {
    guard let secret = target.secret else { return [:] }
    let known: [String: String]
    do { known = try await asking.values(of: ProjectObject(.secret, secret), for: run).texts } catch let error
      as FederationError where error.code == .notFound
    {
      throw FederationError(.failedPrecondition, "there is no secret \(secret): `fubini secret set \(secret)`")
    }
    guard let fields = target.fields else { return known }
    return try Dictionary(
      uniqueKeysWithValues: fields.map { field, name in
        guard let value = known[name] else {
          throw FederationError(
            .failedPrecondition, "secret \(secret) has no value \(name): set it with `fubini secret set \(secret)`")
        }
        return (field, value)
      })
  }

  private func open(_ target: DataOrigin, _ values: [String: String], file: String?) async throws -> any FileStore {
    guard
      case .rclone(let type, let parameters, let root, let only, let knownHosts) = try OriginLocation.parse(
        target.uri, secret: values, file: file)
    else { throw Self.unusable(target, "it is no store") }
    return try await mover.open(
      type: type, parameters: parameters, root: root, only: only, knownHosts: knownHosts, secrets: Array(values.values))
  }

  private static func closing(_ store: any FileStore, _ body: (any FileStore) async throws -> Void) async throws {
    do { try await body(store) } catch {
      await store.close()
      throw error
    }
    await store.close()
  }

  private static func unusable(_ target: DataOrigin, _ why: String) -> FederationError {
    FederationError(.invalidArgument, "nothing can be put to \(target.uri.prefix { $0 != "?" }): \(why)")
  }

  /// - Source: Argo Workflows v3.7, `workflow/artifacts/http/http.go`, `Save`: a PUT; every status of 200 to 299 is a success.
  private func upload(_ file: PackedFile, to target: DataOrigin, _ values: [String: String]) async throws {
    // Checks the address, and knows its credentials and headers.
    guard case .rclone("http", _, _, _, _) = try OriginLocation.parse(target.uri, secret: values) else {
      throw Self.unusable(target, "it is no web server")
    }
    let address = String(target.uri.prefix { $0 != "?" })
    var request = HTTPClientRequest(url: address)
    request.method = .PUT
    for header in try OriginLocation.headers(of: target.uri, secret: values) {
      request.headers.add(name: header.name, value: header.value)
    }
    request.body = .stream(FileChunks(path: file.path, meter: meters[.archive(target)]), length: .known(file.size))
    var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
    configuration.connectionPool.retryConnectionEstablishment = false
    let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    do {
      let response = try await client.execute(request, timeout: .hours(24))
      try? await client.shutdown()
      let status = Int(response.status.code)
      guard !(200..<300).contains(status) else { return }
      let message = "\(address): the server answered \(status) to a PUT"
      throw status >= 500
        ? FederationError(.unavailable, message, retryAfter: .seconds(2))
        : FederationError(.failedPrecondition, message)
    } catch {
      try? await client.shutdown()
      if error is FederationError || error is CancellationError { throw error }
      throw FederationError(
        .unavailable, "\(address): \((error as? HTTPClientError)?.description ?? "\(error)")", retryAfter: .seconds(2))
    }
  }
}

/// A file's bytes, read as they are taken.
private struct FileChunks: AsyncSequence, Sendable {
  let path: String
  let meter: TransferMeter

  final class AsyncIterator: AsyncIteratorProtocol {
    private let chunks: FileChunks
    private var descriptor: Int32 = -1

    init(_ chunks: FileChunks) { self.chunks = chunks }
    deinit { if descriptor >= 0 { POSIXFile.close(descriptor) } }

    func next() async throws -> ByteBuffer? {
      if descriptor < 0 { descriptor = try POSIXFile.open(chunks.path, O_RDONLY) }
      let descriptor = descriptor
      let bytes = try await BlockingWork.run { try POSIXFile.read(descriptor, upTo: 1 << 18) }
      guard !bytes.isEmpty else { return nil }
      try await chunks.meter.take(bytes.count)
      return ByteBuffer(bytes: bytes)
    }
  }

  func makeAsyncIterator() -> AsyncIterator { AsyncIterator(self) }
}
