internal import FederationModel
internal import FoundationEssentials
internal import Yams

/// What is taken of a kubeconfig: one context's server, trust, credential and namespace.
///
/// - Source: Kubernetes reference, "kubeconfig (v1)".
enum Kubeconfig {
  /// - Parameters:
  ///   - path: of the file: what it names is relative to its directory.
  ///   - read: reads a file that it names.
  static func connection(
    text: String, context: String?, path: String, read: @escaping (String) throws(FederationError) -> [UInt8]
  ) throws(FederationError) -> KubernetesConnection {
    let file = try File(text: text, path: path, read: read)
    guard let name = context ?? file.root["current-context"]?.text, !name.isEmpty else {
      throw file.invalid("it has no current-context: name one")
    }
    let chosen = try file.entry("contexts", name, "context")
    guard let clusterName = chosen["cluster"]?.text else { throw file.invalid("context \(name) names no cluster") }
    let cluster = try file.entry("clusters", clusterName, "cluster")
    guard let server = cluster["server"]?.text, isAddress(server) else {
      throw file.invalid("cluster \(clusterName) has no server with http:// or https://")
    }
    if cluster["proxy-url"]?.text != nil {
      throw file.invalid("cluster \(clusterName) is behind a proxy (proxy-url), which is not supported")
    }
    var connection = KubernetesConnection(
      server: server, certificateAuthority: try file.bytes(cluster, "certificate-authority"),
      serverName: cluster["tls-server-name"]?.text,
      verifiesServer: cluster["insecure-skip-tls-verify"]?.text != "true", namespace: chosen["namespace"]?.text)
    if let user = chosen["user"]?.text {
      connection.credential = try credential(try file.entry("users", user, "user"), user, file)
    }
    return connection
  }

  private static func isAddress(_ server: String) -> Bool {
    for scheme in ["https://", "http://"] where server.hasPrefix(scheme) {
      let rest = server.dropFirst(scheme.count)
      return !rest.isEmpty && !rest.contains { $0 == "?" || $0 == "#" || $0 == "@" || $0.isWhitespace }
    }
    return false
  }

  private static func credential(_ user: Tree, _ name: String, _ file: File) throws(FederationError)
    -> KubernetesConnection.Credential
  {
    if let program = user["exec"]?["command"]?.text {
      throw file.invalid(
        "user \(name) gets its credentials from the program \(program) (exec), which is not supported: make a token of a"
          + " service account for the agent")
    }
    for key in ["auth-provider", "username", "password"] where user[key] != nil {
      throw file.invalid(
        "user \(name) has \(key), which is not supported: use a token, a token file or a client certificate")
    }
    for key in ["as", "as-uid", "as-groups"] where user[key] != nil {
      throw file.invalid("user \(name) acts as somebody else (\(key)), which is not supported")
    }
    // As client-go does: the file, where there are both.
    if let path = user["tokenFile"]?.text {
      let path = file.absolute(path)
      _ = try file.read(path)
      return .tokenFile(path)
    }
    if let token = user["token"]?.text { return .token(token) }
    let chain = try file.bytes(user, "client-certificate"), key = try file.bytes(user, "client-key")
    switch (chain, key) {
    case (let chain?, let key?): return .certificate(chain: chain, key: key)
    case (nil, nil): return .none
    case (_?, nil): throw file.invalid("user \(name) has a client-certificate without its client-key")
    case (nil, _?): throw file.invalid("user \(name) has a client-key without its client-certificate")
    }
  }

  // MARK: The document

  /// YAML as far as it matters here.
  private indirect enum Tree {
    case text(String)
    case list([Tree])
    case map([String: Tree])

    init(_ node: Node) {
      if let mapping = node.mapping {
        var members: [String: Tree] = [:]
        for (key, value) in mapping where value.null == nil {
          if let key = key.scalar?.string { members[key] = Tree(value) }
        }
        self = .map(members)
      } else if let sequence = node.sequence {
        self = .list(sequence.map(Tree.init))
      } else {
        self = .text(node.scalar?.string ?? "")
      }
    }

    subscript(key: String) -> Tree? { if case .map(let members) = self { members[key] } else { nil } }
    var text: String? { if case .text(let text) = self, !text.isEmpty { text } else { nil } }
    var list: [Tree] { if case .list(let elements) = self { elements } else { [] } }
  }

  private struct File {
    let root: Tree
    let path: String
    let readFile: (String) throws(FederationError) -> [UInt8]

    init(text: String, path: String, read: @escaping (String) throws(FederationError) -> [UInt8])
      throws(FederationError)
    {
      let node: Node?
      do { node = try Yams.compose(yaml: text) } catch {
        throw FederationError(.invalidArgument, "The kubeconfig \(path) is no YAML: \(error)")
      }
      guard let node, node.mapping != nil else {
        throw FederationError(.invalidArgument, "The kubeconfig \(path) is no mapping")
      }
      root = Tree(node)
      self.path = path
      readFile = read
    }

    func invalid(_ problem: String) -> FederationError {
      FederationError(.invalidArgument, "The kubeconfig \(path) cannot be used: \(problem)")
    }

    func entry(_ list: String, _ name: String, _ kind: String) throws(FederationError) -> Tree {
      let elements = root[list]?.list ?? []
      guard let found = elements.first(where: { $0["name"]?.text == name }) else {
        let known = elements.compactMap { $0["name"]?.text }.prefix(20).joined(separator: ", ")
        throw invalid("there is no \(kind) \(name)" + (known.isEmpty ? "" : "; there are: \(known)"))
      }
      return found[kind] ?? .map([:])
    }

    func absolute(_ name: String) -> String {
      if name.hasPrefix("/") { return name }
      guard let slash = path.lastIndex(of: "/") else { return name }
      return path[...slash] + name
    }

    func read(_ path: String) throws(FederationError) -> [UInt8] { try readFile(path) }

    /// A file's, or those beside `KEY-data`, which win.
    func bytes(_ tree: Tree, _ key: String) throws(FederationError) -> [UInt8]? {
      if let text = tree[key + "-data"]?.text {
        guard let data = Data(base64Encoded: text) else { throw invalid("\(key)-data is no base64") }
        return Array(data)
      }
      guard let name = tree[key]?.text else { return nil }
      return try readFile(absolute(name))
    }
  }
}
