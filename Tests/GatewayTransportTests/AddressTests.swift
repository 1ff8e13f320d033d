import AgentRuntime
import FederationModel
import Testing

@Suite("ControlPlaneAddress and AddressCycle")
struct AddressTests {
  @Test(
    "addresses are read and written alike",
    arguments: [
      ("a.example:1", "a.example:1"), ("a.example", "a.example:8443"), ("127.0.0.1:65535", "127.0.0.1:65535"),
      ("[::1]:80", "[::1]:80"), ("[::1]", "[::1]:8443"),
    ])
  func valid(text: String, written: String) throws {
    #expect(try ControlPlaneAddress(text).description == written)
  }

  @Test(
    "what is no address is refused",
    arguments: [
      "", ":1", "a:", "a:0", "a:65536", "a:+1", "a b:1", "::1", "[::1", "[x]:1", "[::1]1", "https://a:1", "a:1:2",
    ])
  func invalid(text: String) {
    #expect(throws: FederationError.self) { try ControlPlaneAddress(text) }
  }

  @Test("each address is tried in turn, with a growing and bounded pause after every round")
  func cycle() throws {
    var cycle = try AddressCycle([ControlPlaneAddress("a:1"), ControlPlaneAddress("b:1"), ControlPlaneAddress("c:1")])
    var hosts: [String] = []
    var pauses: [Duration] = []
    for _ in 0..<9 {
      hosts.append(cycle.current.host)
      pauses.append(cycle.attemptFailed(jitter: 0))
    }
    #expect(hosts == ["a", "b", "c", "a", "b", "c", "a", "b", "c"])
    #expect(pauses == [.zero, .zero, .milliseconds(250), .zero, .zero, .milliseconds(500), .zero, .zero, .seconds(1)])
    for _ in 0..<300 { #expect(cycle.attemptFailed(jitter: 0.999) <= .seconds(30)) }
    cycle.attemptSucceeded()
    #expect(cycle.attemptFailed(jitter: 0) == .zero)
    cycle.prefer(try ControlPlaneAddress("c:1"))
    #expect(cycle.current.host == "c")
    cycle.prefer(try ControlPlaneAddress("evil:1"))
    #expect(cycle.current.host == "c")
    #expect(throws: FederationError.self) { try AddressCycle([]) }
  }
}
