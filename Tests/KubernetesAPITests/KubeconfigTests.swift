import FederationModel
import Foundation
import Testing

@testable import KubernetesAPI

@Suite struct KubeconfigTests {
  private static func read(
    _ text: String, context: String? = nil, files: [String: String] = [:]
  ) throws(FederationError) -> KubernetesConnection {
    try Kubeconfig.connection(text: text, context: context, path: "/etc/k/config") {
      (path: String) throws(FederationError) -> [UInt8] in
      guard let text = files[path] else { throw FederationError(.failedPrecondition, "\(path) is not there") }
      return Array(text.utf8)
    }
  }

  private static func document(cluster: String = "", user: String = "") -> String {
    """
    current-context: one
    clusters:
    - {name: c, cluster: {server: "https://10.0.0.1:6443/", \(cluster)}}
    contexts:
    - {name: one, context: {cluster: c, user: u, namespace: work}}
    - {name: two, context: {cluster: c}}
    - {name: three, context: {cluster: missing}}
    users:
    - {name: u, user: {\(user)}}
    """
  }

  @Test func `A token, an authority in the file and a namespace`() throws {
    let authority = Data("PEM".utf8).base64EncodedString()
    let connection = try Self.read(
      Self.document(cluster: "certificate-authority-data: \(authority)", user: "token: abc"))
    #expect(connection.server == "https://10.0.0.1:6443")
    #expect(connection.certificateAuthority == Array("PEM".utf8))
    #expect(connection.credential == .token("abc"))
    #expect(connection.namespace == "work")
    #expect(connection.verifiesServer)
  }

  @Test func `Files are found beside the kubeconfig, and a token's file is named, not read once`() throws {
    let text = Self.document(cluster: "certificate-authority: pki/ca.crt", user: "tokenFile: token, token: old")
    let connection = try Self.read(text, files: ["/etc/k/pki/ca.crt": "PEM", "/etc/k/token": "t"])
    #expect(connection.certificateAuthority == Array("PEM".utf8))
    #expect(connection.credential == .tokenFile("/etc/k/token"))
  }

  @Test func `A client certificate with its key`() throws {
    let text = Self.document(user: "client-certificate: /c, client-key: /k")
    #expect(
      try Self.read(text, files: ["/c": "C", "/k": "K"]).credential
        == .certificate(chain: Array("C".utf8), key: Array("K".utf8)))
    #expect(throws: FederationError.self) { try Self.read(Self.document(user: "client-key: /k"), files: ["/k": "K"]) }
  }

  @Test func `A context by its name, without a user`() throws {
    let connection = try Self.read(Self.document(user: "token: abc"), context: "two")
    #expect(connection.credential == .none && connection.namespace == nil)
  }

  @Test func `JSON is YAML too, and what verifies nobody is taken by its word`() throws {
    let text = """
      {"current-context":"a","contexts":[{"name":"a","context":{"cluster":"c"}}],
      "clusters":[{"name":"c","cluster":{"server":"https://h","insecure-skip-tls-verify":true,"tls-server-name":"n"}}]}
      """
    let connection = try Self.read(text)
    #expect(!connection.verifiesServer && connection.serverName == "n")
  }

  @Test(arguments: [
    ("exec: {command: aws-iam}", "aws-iam"), ("auth-provider: {name: gcp}", "auth-provider"),
    ("username: a, password: b", "username"), ("as: somebody, token: t", "somebody else"),
  ])
  func `What is not taken is refused by its name`(user: String, named: String) {
    let error = #expect(throws: FederationError.self) { try Self.read(Self.document(user: user)) }
    #expect(error?.code == .invalidArgument)
    #expect(error?.publicMessage.contains(named) == true)
  }

  @Test(arguments: [
    ("nowhere", "there is no context nowhere; there are: one, two, three"), ("three", "there is no cluster missing"),
  ])
  func `What is missing is named, with what there is`(context: String, said: String) {
    let error = #expect(throws: FederationError.self) { try Self.read(Self.document(), context: context) }
    #expect(error?.publicMessage.contains(said) == true)
  }

  @Test(arguments: ["", "[", "just text", "current-context: a", "current-context: a\ncontexts: [{name: a}]"])
  func `What is no kubeconfig is refused`(text: String) {
    #expect(throws: FederationError.self) { try Self.read(text) }
  }

  @Test func `A proxy that would be needed is not left out in silence`() {
    #expect(throws: FederationError.self) { try Self.read(Self.document(cluster: "proxy-url: http://p")) }
  }

  @Test func `In a cluster: the service account's files, and an address of either kind`() throws {
    let directory = NSTemporaryDirectory() + "sa-\(UInt32.random(in: 0 ... .max))"
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    #expect(throws: FederationError.self) {
      try KubernetesConnection.inCluster(directory: directory, host: "10.96.0.1", port: "443")
    }
    for (name, text) in [("token", "t\n"), ("ca.crt", "PEM"), ("namespace", "system\n")] {
      try Data(text.utf8).write(to: URL(fileURLWithPath: directory + "/" + name))
    }
    let connection = try KubernetesConnection.inCluster(directory: directory, host: "fd00::1", port: "443")
    #expect(connection.server == "https://[fd00::1]:443")
    #expect(connection.credential == .tokenFile(directory + "/token"))
    #expect(connection.namespace == "system")
    #expect(throws: FederationError.self) {
      try KubernetesConnection.inCluster(directory: directory, host: nil, port: nil)
    }
  }
}
