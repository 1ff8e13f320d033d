internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// Stands between an agent and its control plane, counts what passes, and cuts the connection in the middle of it.
///
/// It reads no more than it has written on, so that what it counts is what the other side's kernel has taken.
public final class CuttingProxy: Sendable {
  /// Seen from the side that dialled.
  public enum Direction: Sendable { case sent, received }

  fileprivate struct State {
    var sent: Int64 = 0
    var received: Int64 = 0
    /// Bytes in that direction after which the next cut comes.
    var cut: (direction: Direction, after: Int64)?
    var cuts = 0
    var connections = 0
  }

  private let state: StateBox
  private let listener: any Channel
  public var port: Int { listener.localAddress?.port ?? 0 }

  /// - Parameter target: a port of the loopback.
  public init(to target: Int) async throws {
    let state = StateBox()
    self.state = state
    listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .childChannelOption(.autoRead, value: false)
      .childChannelInitializer { near in
        state.value.withLock { $0.connections += 1 }
        return ClientBootstrap(group: near.eventLoop).channelOption(.autoRead, value: false)
          .channelInitializer { far in
            far.eventLoop.makeCompletedFuture {
              try far.pipeline.syncOperations.addHandler(Relay(to: near, .received, state))
            }
          }.connect(host: "127.0.0.1", port: target).flatMap { far in
            near.eventLoop.makeCompletedFuture {
              try near.pipeline.syncOperations.addHandler(Relay(to: far, .sent, state))
            }
          }
      }.bind(host: "127.0.0.1", port: 0).get()
  }

  /// Cuts the connection once, as soon as so many more bytes have passed in a direction.
  public func cut(_ direction: Direction, after bytes: Int64) {
    state.value.withLock { $0.cut = (direction, (direction == .sent ? $0.sent : $0.received) + bytes) }
  }

  public var cuts: Int { state.value.withLock { $0.cuts } }
  public var connections: Int { state.value.withLock { $0.connections } }
  public func bytes(_ direction: Direction) -> Int64 {
    state.value.withLock { direction == .sent ? $0.sent : $0.received }
  }

  public func close() async { try? await listener.close() }

  fileprivate final class StateBox: Sendable {
    let value = Mutex(State())

    /// Whether the connection that these bytes passed on is to be cut now.
    func passed(_ bytes: Int, _ direction: Direction) -> Bool {
      value.withLock { state in
        if direction == .sent { state.sent += Int64(bytes) } else { state.received += Int64(bytes) }
        guard let cut = state.cut, cut.direction == direction else { return false }
        guard (direction == .sent ? state.sent : state.received) >= cut.after else { return false }
        state.cut = nil
        state.cuts += 1
        return true
      }
    }
  }
}

private final class Relay: ChannelInboundHandler, Sendable {
  typealias InboundIn = ByteBuffer
  private let other: any Channel
  private let direction: CuttingProxy.Direction
  private let state: CuttingProxy.StateBox

  init(to other: any Channel, _ direction: CuttingProxy.Direction, _ state: CuttingProxy.StateBox) {
    self.other = other
    self.direction = direction
    self.state = state
  }

  func channelActive(context: ChannelHandlerContext) { context.read() }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let bytes = unwrapInboundIn(data)
    let (own, other, direction, state) = (context.channel, other, direction, state)
    other.writeAndFlush(bytes).whenComplete { result in
      guard case .success = result, !state.passed(bytes.readableBytes, direction) else {
        own.close(promise: nil)
        other.close(promise: nil)
        return
      }
      own.read()
    }
  }

  func channelInactive(context: ChannelHandlerContext) { other.close(promise: nil) }
}
