import CSupervisor
import FederationModel
import Synchronization
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// What the other end of a broker's socket may do to the agent: nothing but end the connection.
@Suite struct BrokerChannelTests {
  private final class Seen: Sendable {
    let frames = Mutex<[BrokerChannel.Frame]>([])
    let reason = Mutex<String?>(nil)

    func waitUntil(_ condition: (Seen) -> Bool) async throws {
      let end = ContinuousClock.now + .seconds(30)
      while !condition(self) {
        guard ContinuousClock.now < end else { throw FederationError(.deadlineExceeded, "not seen within 30 s") }
        try await Task.sleep(for: .milliseconds(2))
      }
    }
    func end() async throws -> String {
      try await waitUntil { $0.reason.withLock { $0 != nil } }
      return reason.withLock { $0! }
    }
  }

  private func channel(
    peer: UInt32? = nil, limits: BrokerChannel.Limits = .init()
  ) throws -> (BrokerChannel, Int32, Seen) {
    var ends: [Int32] = [-1, -1]
    #expect(csupervisor_socket_pair(&ends) == 0)
    let seen = Seen()
    let channel = BrokerChannel(
      socket: ends[0], peer: peer, limits: limits, received: { frame in seen.frames.withLock { $0.append(frame) } },
      closed: { reason in seen.reason.withLock { $0 = reason } })
    channel.start()
    return (channel, ends[1], seen)
  }

  private func header(_ count: Int, hasFile: Bool = false) -> [UInt8] {
    let value = UInt32(count) | (hasFile ? 1 << 31 : 0)
    return (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * UInt32($0))) }
  }

  private func send(_ socket: Int32, _ bytes: [UInt8], file: Int32 = -1) {
    #expect(csupervisor_send(socket, bytes, bytes.count, file) == bytes.count)
  }

  @Test("frames and descriptors arrive whole and in order, however they are cut")
  func frames() async throws {
    let directory = try TemporaryDirectory()
    try directory.write("content", to: "file")
    let (own, other, seen) = try channel(peer: geteuid())
    let file = try POSIXFile.open(directory.path + "/file", O_RDONLY)
    send(other, header(3))
    send(other, [1, 2])
    send(other, [3] + header(1, hasFile: true), file: file)
    send(other, [9])
    send(other, header(0))
    try await seen.waitUntil { $0.frames.withLock { $0.count == 3 } }
    let frames = seen.frames.withLock { $0 }
    #expect(frames.map(\.bytes) == [[1, 2, 3], [9], []])
    #expect(frames[0].file == nil && frames[2].file == nil)
    #expect(try POSIXFile.readAll(frames[1].file!.descriptor, limit: 100) == Array("content".utf8))
    close(file)
    close(other)
    #expect(try await seen.end() == "it ended")
    withExtendedLifetime(own) {}
  }

  @Test("both ends understand each other")
  func bothEnds() async throws {
    let (one, socket, seen) = try channel()
    let second = Seen()
    let other = BrokerChannel(
      socket: socket, received: { frame in second.frames.withLock { $0.append(frame) } },
      closed: { reason in second.reason.withLock { $0 = reason } })
    other.start()
    let large = [UInt8](repeating: 7, count: 5 << 20)
    one.send(large)
    other.send(BrokerMessage.reply(4, .done))
    try await second.waitUntil { $0.frames.withLock { $0.count == 1 } }
    try await seen.waitUntil { $0.frames.withLock { $0.count == 1 } }
    #expect(second.frames.withLock { $0[0].bytes } == large)
    guard case .reply(4, .done) = try BrokerMessage.decoded(seen.frames.withLock { $0[0].bytes }) else {
      Issue.record("another message")
      return
    }
    one.close()
    #expect(try await second.end() == "it ended")
  }

  @Test("a sender with another uid is not heard", .enabled(if: geteuid() == 0, "only root can pose as another user"))
  func stranger() async throws {
    let (own, other, seen) = try channel(peer: 61_234)
    send(other, header(1) + [1])
    #expect(try await seen.end() == "it is user 0, not 61234")
    #expect(seen.frames.withLock { $0.isEmpty })
    close(other)
    withExtendedLifetime(own) {}
  }

  @Test("a frame that is too long, a flood, and descriptors that nobody announced end the connection")
  func hostile() async throws {
    var limits = BrokerChannel.Limits()
    limits.frameBytesMax = 1000
    var (own, other, seen) = try channel(limits: limits)
    send(other, header(1001))
    #expect(try await seen.end() == "it sent what is no message")
    close(other)

    limits.framesPerSecond = 1
    (own, other, seen) = try channel(limits: limits)
    for _ in 0..<25 where csupervisor_send(other, [UInt8](repeating: 0, count: 4000), 4000, -1) < 0 { break }
    #expect(try await seen.end() == "it sends more than 1 messages a second")
    close(other)

    let null = try POSIXFile.open("/dev/null", O_RDONLY)
    (own, other, seen) = try channel()
    send(other, header(1, hasFile: true) + [1], file: null)
    #expect(try await seen.end() == "it sent a descriptor that is no regular file, or one too many")
    close(other)

    let directory = try TemporaryDirectory()
    try directory.write("content", to: "file")
    let file = try POSIXFile.open(directory.path + "/file", O_RDONLY)
    (own, other, seen) = try channel()
    send(other, header(9, hasFile: true), file: file)
    send(other, [1], file: file)
    #expect(try await seen.end() == "it sent a descriptor that is no regular file, or one too many")
    (own, other, seen) = try channel()
    send(other, header(1, hasFile: true) + [1])
    #expect(try await seen.end() == "it sent what is no message")
    for descriptor in [null, file, other] { close(descriptor) }
    withExtendedLifetime(own) {}
  }
}
