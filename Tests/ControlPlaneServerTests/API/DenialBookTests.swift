import ControlPlaneCore
import FederationModel
import NIOCore
import Testing

@testable import ControlPlaneServer

@Suite struct DenialBookTests {
  private static func kind(_ actor: String, _ address: String = "1.1.1.1", _ action: String = "GET /v1/audit")
    -> DenialBook.Kind
  {
    DenialBook.Kind(actor: actor, address: address, action: action, reason: "no")
  }
  private static let start = Timestamp(milliseconds: 1_000_000)

  @Test("The first denial of a kind is a line at once, its repetitions are one more when the minute is over")
  func repetitions() {
    var book = DenialBook()
    let first = book.note(Self.kind("eve"), object: "/v1/audit", at: Self.start)
    #expect(first.map(\.actor) == ["eve"] && first[0].isDenied && first[0].object == "/v1/audit")
    for second in 1...5 {
      #expect(book.note(Self.kind("eve"), object: "/x", at: Self.start + .seconds(second)).isEmpty)
    }
    #expect(book.close(at: Self.start + .seconds(59)).isEmpty)
    let end = book.close(at: Self.start + .seconds(60))
    #expect(end.map(\.detail) == ["5 more times within a minute: no"])
    #expect(book.close(at: Self.start + .seconds(120)).isEmpty)
    #expect(book.note(Self.kind("eve"), object: "/x", at: Self.start + .seconds(121)).count == 1)
  }

  @Test("A flood has a bounded number of lines, and none of its denials is lost from the count")
  func flood() {
    var book = DenialBook()
    var lines = 0
    for index in 0..<100_000 {
      let address = "10.0.\(index / 256 % 256).\(index % 256)"
      lines += book.note(Self.kind("u\(index % 999)", address), object: "/", at: Self.start).count
    }
    #expect(lines == DenialBook.linesMax)
    let end = book.close(at: Self.start + .seconds(60))
    #expect(end.count <= DenialBook.linesMax + 1)
    let counted = end.compactMap { $0.detail.split(separator: " ").first.flatMap { Int($0) } }.reduce(0, +)
    #expect(counted + lines == 100_000)
  }

  @Test("One address that knocks at every door leaves lines for the others")
  func fairness() {
    var book = DenialBook()
    for index in 0..<1000 {
      _ = book.note(Self.kind("", "6.6.6.6", "GET /\(index)"), object: "/", at: Self.start)
    }
    #expect(book.note(Self.kind("bob", "2.2.2.2"), object: "/", at: Self.start).count == 1)
  }

  // MARK: Addresses

  struct Case: Sendable {
    var peer: String
    var forwarded: [String]
    var client: String
    init(_ peer: String, _ forwarded: [String], _ client: String) {
      (self.peer, self.forwarded, self.client) = (peer, forwarded, client)
    }
  }

  @Test(
    "A forwarded address is believed only from trusted proxies, and only as far as they reach",
    arguments: [
      Case("9.9.9.9", ["1.2.3.4"], "9.9.9.9"), Case("10.1.2.3", [], "10.1.2.3"),
      Case("10.1.2.3", ["1.2.3.4"], "1.2.3.4"), Case("10.1.2.3", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
      Case("10.1.2.3", ["6.6.6.6, 1.2.3.4, 10.9.9.9"], "1.2.3.4"),
      Case("10.1.2.3", ["6.6.6.6", "1.2.3.4", "10.9.9.9"], "1.2.3.4"), Case("10.1.2.3", ["nonsense"], "10.1.2.3"),
      Case("10.1.2.3", ["1.2.3.4, nonsense"], "10.1.2.3"), Case("10.1.2.3", ["10.4.4.4"], "10.4.4.4"),
      Case("11.1.2.3", ["1.2.3.4"], "11.1.2.3"), Case("fd00::5", ["2001:db8::1"], "2001:db8::1"),
      Case("fe00::5", ["2001:db8::1"], "fe00::5"), Case("::ffff:10.1.2.3", ["1.2.3.4"], "1.2.3.4"),
    ])
  func forwarded(_ example: Case) throws {
    let addresses = ClientAddress(trusted: ["10.0.0.0/8", "fd00::/9"].compactMap { AddressRange($0) })
    let peer = try SocketAddress(ipAddress: example.peer, port: 1)
    #expect(addresses.client(peer: peer, forwarded: example.forwarded) == example.client)
    #expect(ClientAddress().client(peer: peer, forwarded: example.forwarded) == peer.ipAddress)
  }

  @Test(
    "A range is an address with or without a length",
    arguments: ["10.0.0.0/33", "10.0.0", "a/8", "", "::/129", "1.1.1.1/-1"])
  func ranges(_ text: String) {
    #expect(AddressRange(text) == nil)
  }
}
