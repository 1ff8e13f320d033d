import FederationAPI
import FederationModel
import LocalProcess
import Testing

@testable import fubini

#if canImport(Glibc)
  import Glibc
#endif

@Suite struct CommandLineTests {
  @Test("a reused process id is never signalled")
  func pidReuse() throws {
    var identity = try #require(ProcessIdentity(pid: getpid()))
    #expect(identity.isAlive)
    identity.startTicks += 1
    #expect(!identity.isAlive)
    // Were it delivered, this would end the test process.
    #expect(!identity.signal(SIGKILL))
  }

  @Test("a process of an earlier boot is never signalled")
  func earlierBoot() throws {
    var identity = try #require(ProcessIdentity(pid: getpid()))
    identity.bootID = "another"
    #expect(!identity.signal(SIGKILL))
  }

  @Test("a process name with parentheses and spaces does not shift the fields, and a zombie is dead")
  func stat() {
    let fields = Array(repeating: "0", count: 18).joined(separator: " ")
    #expect(ProcessIdentity.parse(stat: "7 (a) b (c) S \(fields) 4711 0") == 4711)
    #expect(ProcessIdentity.parse(stat: "7 (a) Z \(fields) 4711 0") == nil)
  }

  @Test("event streams are cut into messages however their bytes are split", arguments: 1...9)
  func events(size: Int) throws {
    let bytes = Array(": hi\r\n\r\nid: 7\nevent: update\ndata: a\ndata: b\n\ndata:c\n\n".utf8)
    var parser = ServerSentEventParser()
    var events: [ServerSentEvent] = []
    for start in stride(from: 0, to: bytes.count, by: size) {
      events += try parser.append(bytes[start..<min(bytes.count, start + size)])
    }
    #expect(
      events == [
        ServerSentEvent(event: "update", id: "7", data: "a\nb"), ServerSentEvent(event: "message", id: "7", data: "c"),
      ])
  }

  @Test("a message that grows beyond the bound is refused")
  func eventBound() {
    var parser = ServerSentEventParser(sizeMax: 10)
    #expect(throws: ServerSentEventParser.TooLarge.self) { _ = try parser.append(Array("data: 0123456789".utf8)) }
  }

  @Test("waits grow, stay below the cap, and follow Retry-After")
  func retries() {
    let policy = RetryPolicy()
    #expect(policy.delay(afterAttempt: 1, retryAfter: nil, random: 1) == .milliseconds(200))
    #expect(policy.delay(afterAttempt: 3, retryAfter: nil, random: 1) == .milliseconds(800))
    #expect(policy.delay(afterAttempt: 5, retryAfter: .seconds(7), random: 0) == .seconds(7))
    #expect(policy.delay(afterAttempt: 1, retryAfter: .seconds(3600), random: 0) == nil)
    #expect(policy.delay(afterAttempt: 6, retryAfter: nil, random: 1) == nil)
  }

  @Test(
    "refusals end with the code of their kind",
    arguments: [
      (ErrorCode.unplaceable, Int32(3)), (.budgetDenied, 4), (.unavailable, 5), (.invalidArgument, 2), (.notFound, 1),
    ])
  func exitCodes(code: ErrorCode, expected: Int32) {
    #expect(CommandFailure(ErrorDocument(reason: code, message: "no")).code.rawValue == expected)
  }

  @Test("problems are printed as file:line:column")
  func problems() {
    let document = ErrorDocument(
      reason: .invalidArgument, message: "invalid",
      problems: [ProblemDocument(path: "spec.x", line: 3, column: 5, message: "unknown field", suggestion: "y")])
    #expect(
      CommandFailure(document, file: "a.yaml").message == "a.yaml:3:5: spec.x: unknown field (did you mean \"y\"?)")
  }

  @Test(
    "plain HTTP stays on this machine",
    arguments: [
      ("127.0.0.1:80", true), ("localhost", true), ("[::1]:8080", true), ("127.0.0.1.evil.example", false),
      ("example.org", false), ("127.0.0.1@evil.example", false),
    ])
  func loopback(host: String, expected: Bool) { #expect(Connection.isLoopback(host) == expected) }

  @Test("the environment wins over the context, whose token goes to its own server alone")
  func contexts() throws {
    let file = ContextFile(current: "a", contexts: ["a": .init(url: "https://a", token: "secret", project: "p")])
    let own = try Connection.resolve(environment: [:], contexts: file)
    #expect(own.token == "secret" && own.project == "p")
    let other = try Connection.resolve(environment: ["FUBINI_URL": "https://b"], contexts: file)
    #expect(other.token == nil)
  }

  @Test("an agent is described in one argument")
  func agents() throws {
    let agent = try AgentSpecification.parse(
      "name=cloud,labels=kind=cloud;region=a,slots=4,transfer=50MB/s,price=core-hour=4 CNY")
    #expect(agent.labels == ["kind": "cloud", "region": "a"] && agent.slots == 4 && agent.transfer == "50MB/s")
    #expect(try ClusterText.prices("core-hour=4 CNY").coreHour == 400)
    #expect(throws: CommandFailure.self) { try AgentSpecification.parse("name=a,slot=4") }
  }

  @Test("what would steer a terminal is not printed")
  func printable() { #expect(Terminal.printable("a\u{1b}[2Jb") == "a?[2Jb") }

  @Test("I9: the token of a join command is no argument")
  func joinLine() {
    let join = JoinDocument(
      cluster: "edge", token: "fbj1_a.b", expiresAt: WireTime(Timestamp(milliseconds: 0)), server: "cp:8443",
      command: ["fubini-agent", "join", "--control-plane", "cp:8443"])
    #expect(ClusterText.joinLine(join) == "FUBINI_JOIN_TOKEN=fbj1_a.b fubini-agent join --control-plane cp:8443")
    var earlier = join
    earlier.command += ["--token", "fbj1_a.b"]
    #expect(ClusterText.joinLine(earlier) == "fubini-agent join --control-plane cp:8443 --token fbj1_a.b")
  }

  @Test("--since takes a length of time or a moment", arguments: [("30m", 1800), ("2h", 7200), ("7d", 604_800)])
  func since(text: String, seconds: Int64) throws {
    let now = Timestamp(milliseconds: 1_790_000_000_000)
    #expect(try Since.moment(text, now: now).timestamp == now + .seconds(-seconds))
    #expect(try Since.moment("2026-03-01T12:00:00Z", now: now).description == "2026-03-01T12:00:00.000Z")
    for wrong in ["", "h", "-1h", "1y", "yesterday"] {
      #expect(throws: CommandFailure.self, "\(wrong)") { try Since.moment(wrong, now: now) }
    }
  }

  @Test("a join command is one line that a shell reads as the same words")
  func shell() { #expect(ClusterText.shell(["a", "b c", "d'e"]) == "a 'b c' 'd'\\''e'") }
}
