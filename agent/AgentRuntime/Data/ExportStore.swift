internal import FederationModel
internal import FederationPKI
internal import FoundationEssentials
internal import Rclone
internal import Synchronization

/// Reads other clusters' exports.
struct ExportAccess: ExportOpening {
  let secrets: any SecretAsking
  /// The federation's authorities as they are now.
  let trust: @Sendable () throws -> TrustBundle

  func open(_ neighbour: ClusterName, url: String, for key: DataKey) async throws -> any FileStore {
    let values = try await secrets.export(of: neighbour, for: key)
    guard let user = values["user"], let password = values["password"] else {
      throw FederationError(.unavailable, "cluster \(neighbour) exports nothing now", retryAfter: .seconds(10))
    }
    let (host, port) = try Self.address(url)
    return ExportStore(
      host: host, port: port, cluster: neighbour, trust: try trust(),
      authorization: "Basic " + Data("\(user):\(password)".utf8).base64EncodedString())
  }

  /// `https://host:port`, with or without a slash at the end.
  static func address(_ url: String) throws(FederationError) -> (host: String, port: Int) {
    let failure = FederationError(.invalidArgument, "\(url.prefix(100)) is no address of an export: https://HOST:PORT")
    guard url.hasPrefix("https://") else { throw failure }
    var rest = url.dropFirst(8)
    if rest.hasSuffix("/") { rest = rest.dropLast() }
    guard let colon = rest.lastIndex(of: ":"), let port = Int(rest[rest.index(after: colon)...]),
      (1...65535).contains(port)
    else { throw failure }
    var host = rest[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
    guard !host.isEmpty, !host.contains("/") else { throw failure }
    return (String(host), port)
  }
}

/// The export of one cluster.
struct ExportStore: FileStore {
  let host: String
  let port: Int
  let cluster: ClusterName
  let trust: TrustBundle
  let authorization: String
  var only: String? { nil }

  private struct Reader: FileReader {
    let connection: HTTPConnection
    let cluster: ClusterName

    /// What a neighbour has was verified there, and does not change.
    func modified(_ path: String) throws -> Int64? { nil }

    func read(_ path: String, from offset: Int64, _ take: (ArraySlice<UInt8>) throws -> Void) throws -> Int64? {
      let headers = offset > 0 ? [("Range", "bytes=\(offset)-")] : []
      let head = try connection.send("GET", "/" + RcloneReader.escaped(path), headers: headers)
      guard head.status == (offset > 0 ? 206 : 200) else {
        _ = try connection.body(head, limit: 1 << 20)
        switch head.status {
        case 416: return nil
        case 404:
          // Not yet, or not any more: not for this agent to know.
          throw FederationError(
            .unavailable, "cluster \(cluster) does not have it in its cache now", retryAfter: .seconds(2))
        default:
          throw FederationError(
            .unavailable, "another cluster's export answers \(head.status)", retryAfter: .seconds(5))
        }
      }
      try connection.read(head, take)
      return nil
    }
  }

  func reading<Result: Sendable>(_ body: @escaping @Sendable (any FileReader) throws -> Result) async throws -> Result {
    let isCancelled = CancellationFlag()
    return try await withTaskCancellationHandler {
      try await BlockingWork.run {
        let stream = try TLSByteStream(host: host, port: port, cluster: cluster, trust: trust)
        defer { stream.close() }
        let connection = HTTPConnection(stream, authorization: authorization)
        connection.isCancelled = { isCancelled.value.load(ordering: .relaxed) }
        return try body(Reader(connection: connection, cluster: cluster))
      }
    } onCancel: {
      isCancelled.value.store(true, ordering: .relaxed)
    }
  }

  private final class CancellationFlag: Sendable { let value = Atomic(false) }

  func list(_ body: @escaping @Sendable (RcloneClient.Listed) throws -> Void) async throws {
    throw FederationError(.failedPrecondition, "an export is not listed: its manifests say what it has")
  }

  func close() async {}
}
