import HTTP2Framing
import NIOCore
import Testing

@Suite("Cutting HTTP/2 where frames end")
struct FrameSplitterTests {
  private static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

  private static func frame(_ length: Int, _ fill: UInt8) -> [UInt8] {
    [UInt8(length >> 16), UInt8(length >> 8 & 255), UInt8(length & 255), 0, 0, 0, 0, 0, 1]
      + [UInt8](repeating: fill, count: length)
  }

  /// Gives the bytes in pieces that a seed cuts.
  private static func received(_ bytes: [UInt8], isServer: Bool, seed: UInt64) -> [[UInt8]] {
    var state = seed
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % UInt64(bound))
    }
    var splitter = FrameSplitter(isServer: isServer)
    var found: [[UInt8]] = []
    var rest = bytes[...]
    while !rest.isEmpty {
      let piece = rest.prefix(1 + random([3, 100, 40_000][random(3)]))
      rest = rest.dropFirst(piece.count)
      found += splitter.receive(ByteBuffer(bytes: piece)).map { Array($0.readableBytesView) }
    }
    return found
  }

  @Test(
    "however the bytes come, what goes on are whole frames, all of them, in order",
    arguments: 1...50 as ClosedRange<UInt64>)
  func whole(seed: UInt64) {
    let frames = [0, 1, 8, 16_384, 5, 9_999, 16_383, 0, 16_384, 100].enumerated().map { Self.frame($1, UInt8($0)) }
    #expect(Self.received(frames.flatMap { $0 }, isServer: false, seed: seed) == frames, "seed \(seed)")
    let all = [Self.preface] + frames
    #expect(Self.received(all.flatMap { $0 }, isServer: true, seed: seed) == all, "seed \(seed)")
  }

  @Test("the beginning of a frame waits, and is given when the rest has come")
  func partial() {
    var splitter = FrameSplitter(isServer: false)
    let frame = Self.frame(100, 7)
    #expect(splitter.receive(ByteBuffer(bytes: frame[..<50])).isEmpty)
    #expect(
      splitter.receive(ByteBuffer(bytes: frame[50...] + frame[..<9])).map { Array($0.readableBytesView) } == [frame])
  }

  @Test(
    "what is no HTTP/2, and a frame that is too long, go on as they come, so that the parser refuses them",
    arguments: 1...20 as ClosedRange<UInt64>)
  func foreign(seed: UInt64) {
    let http1 = Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8)
    #expect(Self.received(http1, isServer: true, seed: seed).flatMap { $0 } == http1, "seed \(seed)")
    let long = Self.frame(3, 1) + Self.frame(16_385, 2)
    #expect(Self.received(long, isServer: false, seed: seed).flatMap { $0 } == long, "seed \(seed)")
    var splitter = FrameSplitter(isServer: false)
    #expect(splitter.receive(ByteBuffer(bytes: Self.frame(20_000, 1)[..<20])).count == 1)
  }
}
