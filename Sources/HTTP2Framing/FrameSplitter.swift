public import NIOCore

/// Cuts a stream of HTTP/2 bytes where frames end. Pure.
///
/// The parser of swift-nio-http2 keeps what is left of its input behind a frame, and appends to it: as long as frames and reads do
/// not end together its buffer grows, up to 16 MiB, and is copied whole each time somebody still holds a slice of it, which every
/// frame that waits for its reader does. A few slow readers then cost hundreds of megabytes. Given whole frames it begins with an
/// empty buffer each time.
public struct FrameSplitter: Sendable {
  /// Of a frame's payload, as long as nobody announces more: `SETTINGS_MAX_FRAME_SIZE`.
  public static let payloadBytesMax = 1 << 14
  /// Before the payload. - Source: RFC 9113, section 4.1.
  private static let headerBytes = 9
  /// What a client sends first. - Source: RFC 9113, section 3.4.
  static let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

  private var rest = ByteBuffer()
  private var awaitsPreface: Bool
  /// Bytes that are no HTTP/2, or a frame that nobody may send: the parser says so, and gets everything as it comes.
  private var isTransparent = false

  /// - Parameter isServer: whether the client's preface comes first.
  public init(isServer: Bool) { awaitsPreface = isServer }

  /// What is whole now, in order; the beginning of a frame waits for the rest of it. Holds at most one frame.
  public mutating func receive(_ bytes: ByteBuffer) -> [ByteBuffer] {
    guard !isTransparent else { return [bytes] }
    var input = bytes
    let isContinued = rest.readableBytes > 0
    if isContinued {
      rest.writeImmutableBuffer(bytes)
      input = rest
      rest = ByteBuffer()
    }
    var whole: [ByteBuffer] = []
    while let length = nextLength(input), let frame = input.readSlice(length: length) { whole.append(frame) }
    if isTransparent {
      if input.readableBytes > 0 { whole.append(input) }
    } else if input.readableBytes > 0 {
      // A buffer of its own: a slice would hold all that has been read with it.
      rest = isContinued && whole.isEmpty ? input : ByteBuffer(bytes: input.readableBytesView)
    }
    return whole
  }

  /// nil while that is not known.
  private mutating func nextLength(_ input: ByteBuffer) -> Int? {
    if awaitsPreface {
      let count = Self.preface.utf8.count
      guard input.readableBytesView.prefix(count).elementsEqual(Self.preface.utf8.prefix(input.readableBytes)) else {
        isTransparent = true
        return nil
      }
      guard input.readableBytes >= count else { return nil }
      awaitsPreface = false
      return count
    }
    guard input.readableBytes >= Self.headerBytes else { return nil }
    let length = input.readableBytesView.prefix(3).reduce(0) { $0 << 8 | Int($1) }
    guard length <= Self.payloadBytesMax else {
      isTransparent = true
      return nil
    }
    return Self.headerBytes + length
  }
}

/// Gives the handlers behind it whole HTTP/2 frames; see `FrameSplitter`. Belongs behind TLS and before HTTP/2.
public final class WholeFramesHandler: ChannelInboundHandler {
  public typealias InboundIn = ByteBuffer
  public typealias InboundOut = ByteBuffer

  private var splitter: FrameSplitter
  public init(isServer: Bool) { splitter = FrameSplitter(isServer: isServer) }

  public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    for frame in splitter.receive(unwrapInboundIn(data)) { context.fireChannelRead(wrapInboundOut(frame)) }
  }
}
