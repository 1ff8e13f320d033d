import Crypto
import FederationAPI
import FederationModel
import FederationPKI
import FoundationEssentials
import SwiftProtobuf
import Synchronization
import Testing

@testable import AgentRuntime

@Suite struct ProxyTests {
  private static func bytes(_ path: String) throws -> [UInt8] {
    let file = try POSIXFile.open(path, 0)
    defer { POSIXFile.close(file) }
    return try POSIXFile.readAll(file, limit: 1 << 16)
  }

  @Test(
    "the proxy of an address is the configured one, else the environment's, unless the address is excepted",
    arguments: [
      ([:], "plane.example.org:1", nil),
      (["https_proxy": "http://p:3128"], "plane.example.org:1", "http://p:3128"),
      (["HTTPS_PROXY": "p"], "plane.example.org:1", "http://p:8080"),
      (["HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:1"], "a:1", "http://lower:1"),
      (["ALL_PROXY": "http://[2001:db8::1]:3128/"], "a:1", "http://[2001:db8::1]:3128"),
      (["https_proxy": "http://user:pass@p:3128"], "a:1", "http://p:3128"),
      (["http_proxy": "http://p:3128"], "a:1", nil),
      (["https_proxy": "http://p:1"], "127.0.0.1:7443", nil),
      (["https_proxy": "http://p:1"], "127.9.9.9:7443", nil),
      (["https_proxy": "http://p:1"], "localhost:7443", nil),
      (["https_proxy": "http://p:1"], "[::1]:7443", nil),
      (["https_proxy": "http://p:1", "no_proxy": "*"], "a:1", nil),
      (["https_proxy": "http://p:1", "NO_PROXY": "x, .Example.org"], "plane.example.org:1", nil),
      (["https_proxy": "http://p:1", "no_proxy": "example.org"], "plane.example.org:1", nil),
      (["https_proxy": "http://p:1", "no_proxy": "*.example.org"], "plane.example.org:1", nil),
      (["https_proxy": "http://p:1", "no_proxy": "example.org:1"], "plane.example.org:1", nil),
      (["https_proxy": "http://p:1", "no_proxy": "example.org:2"], "plane.example.org:1", "http://p:1"),
      (["https_proxy": "http://p:1", "no_proxy": "ample.org"], "plane.example.org:1", "http://p:1"),
      (["https_proxy": "http://p:1", "no_proxy": "10.0.0.7"], "10.0.0.7:1", nil),
      (["https_proxy": "http://p:1", "FUBINI_PROXY": "http://own:2"], "127.0.0.1:1", "http://own:2"),
      (["https_proxy": "http://p:1", "FUBINI_PROXY": "none"], "a:1", nil),
    ] as [([String: String], String, String?)])
  func choice(_ environment: [String: String], _ address: String, _ expected: String?) throws {
    var configuration = try ConfigurationParser.parse(yaml: "", environment: environment)
    configuration.controlPlane = [address]
    #expect(try configuration.addresses[0].proxy?.description == expected)
  }

  @Test(
    "a proxy that cannot be used is refused, and its password is not told",
    arguments: [
      "https://p:1", "socks5://u:canary@p:1", "http://u:canary@", "http://u:canary@p:0", "http://u:can\"ary@p:1",
      "http://u:canary@p:1\r\nX: y",
    ])
  func malformed(_ text: String) {
    let error = #expect(throws: FederationError.self) { try ForwardProxy(text) }
    #expect(error?.publicMessage.contains("canary") == false, "\(error?.publicMessage ?? "")")
  }

  @Test(
    "joining, the session, renewal and artifacts go through the proxy that the environment names, and nothing goes past it"
  )
  func wholeSession() async throws {
    let plane = try FakeControlPlane()
    let content = Data("an artifact".utf8)
    let sha256 = ArtifactPacking.hexadecimal(SHA256.hash(data: content))
    plane.state.withLock { state in
      state.artifacts["in"] = content
      state.asksToRotate = true
      state.assignments = [
        assignment(7) {
          $0.spec.inputs = [
            .with {
              $0.name = "in"
              $0.path = "/in"
              $0.stored = .with {
                $0.key = "in"
                $0.size = Int64(content.count)
                $0.sha256 = sha256
              }
            }
          ]
        }
      ]
    }
    let directory = try TemporaryDirectory()
    let path = directory.path
    try await plane.serving { address in
      let port = try ControlPlaneAddress(address).port
      try await ConnectProxy.serving(requiring: "Basic " + Data("agent:s3cret".utf8).base64EncodedString()) { proxy in
        // No resolver knows this name: only the proxy leads there.
        var configuration = try ConfigurationParser.parse(
          yaml: "controlPlane: [\"plane.test:\(port)\"]\nstateDirectory: \(path)\nexecutor: \"null\"",
          environment: ["HTTPS_PROXY": "http://agent:s3cret@127.0.0.1:\(proxy.port)", "NO_PROXY": "other.test"])
        var random = SystemRandomNumberGenerator()
        let token = JoinToken(pin: plane.authority.pin, using: &random)
        #expect(try await Joining.join(configuration, token: token.text, configurationFile: nil) == "edge-1")
        // A service has another environment: what `join` wrote is enough.
        configuration = try ConfigurationParser.parse(
          yaml: String(decoding: Self.bytes(path + "/agent.yaml"), as: UTF8.self))
        configuration.executor = .null
        // The executor that runs nothing makes no place for inputs either.
        try POSIXFile.makeDirectories("\(path)/null/\(RunID(7).hexadecimal)/root")
        let agent = try await AgentProcess(configuration: configuration, logger: silentLogger())
        let work = Task { try await agent.run() }
        defer { work.cancel() }
        try await waitUntil {
          plane.ends(of: 7).first?.phase == .succeeded && plane.state.withLock { $0.renewals } >= 1
        }
        #expect(Set(proxy.requests.map(\.target)) == ["plane.test:\(port)"])
        // Joining, session, renewal.
        #expect(proxy.requests.count >= 3)
        work.cancel()
        _ = try? await work.value
      }
    }
    withExtendedLifetime(directory) {}
  }

  @Test("a token is not spent on a file that `run` could not start from, and a name without an address is told as such")
  func refusesBeforeDialling() async throws {
    let directory = try TemporaryDirectory()
    let path = directory.path
    let configuration = try ConfigurationParser.parse(
      yaml: "controlPlane: [\"plane.invalid\"]\nstateDirectory: \(path)", environment: [:])
    var random = SystemRandomNumberGenerator()
    let token = JoinToken(pin: try FakeControlPlane().authority.pin, using: &random).text
    try directory.write("stateDirectory: \(path)\n", to: "other.yaml")
    let file = await #expect(throws: FederationError.self) {
      try await Joining.join(configuration, token: token, configurationFile: path + "/other.yaml")
    }
    #expect(file?.publicMessage.contains("controlPlane: [\"plane.invalid:8443\"]") == true)
    // RFC 6761: no resolver gives a name below `.invalid` an address.
    let address = try ControlPlaneAddress("plane.invalid")
    #expect(await Enrollment.unknownName(of: address)?.contains("plane.invalid has no address here") == true)
    #expect(await Enrollment.unknownName(of: try ControlPlaneAddress("127.0.0.1:1")) == nil)
  }

  @Test(
    "a proxy that refuses is told with its own words",
    arguments: [
      ("plane.test:1", "407 Proxy Authentication Required"), ("elsewhere.test:1", "403 Forbidden"),
    ])
  func refusal(_ target: String, _ words: String) async throws {
    let directory = try TemporaryDirectory()
    let path = directory.path
    try await ConnectProxy.serving(requiring: "Basic nobody") { proxy in
      let configuration = try ConfigurationParser.parse(
        yaml: "controlPlane: [\"\(target)\"]\nstateDirectory: \(path)",
        environment: ["https_proxy": "http://127.0.0.1:\(proxy.port)"])
      var random = SystemRandomNumberGenerator()
      let token = JoinToken(pin: try FakeControlPlane().authority.pin, using: &random)
      let error = await #expect(throws: FederationError.self) {
        try await Joining.join(configuration, token: token.text, configurationFile: nil)
      }
      #expect(error?.publicMessage.contains(words) == true, "\(error?.publicMessage ?? "")")
    }
    withExtendedLifetime(directory) {}
  }
}
