public import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Where an API server is, whom to trust there, and as whom to come.
public struct KubernetesConnection: Sendable, Hashable {
  public enum Credential: Sendable, Hashable {
    case none
    case token(String)
    /// Read anew for each request: the kubelet renews it.
    case tokenFile(String)
    /// PEM. The chain begins with the client's own certificate.
    case certificate(chain: [UInt8], key: [UInt8])
  }

  /// With its scheme, without a slash at the end.
  public var server: String
  /// PEM; nil for those that the system trusts.
  public var certificateAuthority: [UInt8]?
  /// The name that the server's certificate is for, where it is not the address's.
  public var serverName: String?
  public var verifiesServer: Bool
  public var credential: Credential
  public var namespace: String?

  public init(
    server: String, certificateAuthority: [UInt8]? = nil, serverName: String? = nil, verifiesServer: Bool = true,
    credential: Credential = .none, namespace: String? = nil
  ) {
    self.server = server.hasSuffix("/") ? String(server.dropLast()) : server
    self.certificateAuthority = certificateAuthority
    self.serverName = serverName
    self.verifiesServer = verifiesServer
    self.credential = credential
    self.namespace = namespace
  }

  /// As a pod's service account, in the pod's own cluster.
  ///
  /// - Throws: `.failedPrecondition`, when this is no pod, or one without a service account's token.
  public static func inCluster() throws(FederationError) -> Self {
    try inCluster(
      directory: "/var/run/secrets/kubernetes.io/serviceaccount",
      host: environment("KUBERNETES_SERVICE_HOST"), port: environment("KUBERNETES_SERVICE_PORT"))
  }

  static func inCluster(directory: String, host: String?, port: String?) throws(FederationError) -> Self {
    guard let host, let port, let number = Int(port), (1...65_535).contains(number) else {
      throw FederationError(
        .failedPrecondition,
        "This is no pod of a Kubernetes cluster (KUBERNETES_SERVICE_HOST is not set): name a kubeconfig")
    }
    let token = directory + "/token"
    _ = try SmallFile.read(token)
    return Self(
      server: "https://\(host.contains(":") ? "[\(host)]" : host):\(number)",
      certificateAuthority: try SmallFile.read(directory + "/ca.crt"), credential: .tokenFile(token),
      namespace: (try? SmallFile.text(directory + "/namespace")).flatMap { $0.isEmpty ? nil : $0 })
  }

  /// As a context of a kubeconfig says.
  ///
  /// - Parameter context: nil for the file's current one.
  /// - Throws: `.invalidArgument` with what the file lacks, or with what is not taken: programs that make credentials
  ///   are refused by name.
  public static func kubeconfig(_ path: String, context: String?) throws(FederationError) -> Self {
    try Kubeconfig.connection(
      text: try SmallFile.text(path), context: context, path: path,
      read: { (file: String) throws(FederationError) -> [UInt8] in
        try SmallFile.read(file)
      })
  }

  private static func environment(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
  }
}

/// Files of at most a megabyte that an operator or a kubelet wrote.
enum SmallFile {
  static let sizeMax = 1 << 20

  /// - Throws: `.failedPrecondition` with the path and why it cannot be read.
  static func read(_ path: String) throws(FederationError) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure(path) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 16_384)
    while true {
      let count = recv(descriptor, &buffer)
      if count == 0 { return bytes }
      guard count > 0 else { throw failure(path) }
      bytes += buffer[..<count]
      guard bytes.count <= sizeMax else {
        throw FederationError(.failedPrecondition, "\(path) is larger than 1 MiB")
      }
    }
  }

  /// Without white space around it.
  static func text(_ path: String) throws(FederationError) -> String {
    let bytes = try read(path)
    let isSpace: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x0a || $0 == 0x0d || $0 == 0x09 }
    guard let first = bytes.firstIndex(where: { !isSpace($0) }), let last = bytes.lastIndex(where: { !isSpace($0) })
    else { return "" }
    return String(decoding: bytes[first...last], as: UTF8.self)
  }

  private static func recv(_ descriptor: Int32, _ buffer: inout [UInt8]) -> Int {
    while true {
      #if canImport(Glibc)
        let count = Glibc.read(descriptor, &buffer, buffer.count)
      #else
        let count = Musl.read(descriptor, &buffer, buffer.count)
      #endif
      if count >= 0 || errno != EINTR { return count }
    }
  }

  private static func failure(_ path: String) -> FederationError {
    FederationError(.failedPrecondition, "\(path) cannot be read: \(String(cString: strerror(errno)))")
  }
}
