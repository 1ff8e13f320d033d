public import FederationModel
internal import FoundationEssentials
internal import NIOCore

/// An HTTP proxy through which a control plane is dialled by `CONNECT`. The TLS session goes through it end to end, so the proxy
/// sees the address that is dialled and nothing else.
public struct ForwardProxy: Hashable, Sendable, CustomStringConvertible {
  public let host: String
  public let port: Int
  /// The value of `Proxy-Authorization`; a secret.
  let authorization: String?

  /// - Parameter text: `http://[USER:PASSWORD@]HOST[:PORT]`, or without the scheme. The port is 8080 when none is given, because
  ///   that is where such proxies listen.
  /// - Throws: `.invalidArgument`, without the password.
  public init(_ text: String) throws(FederationError) {
    guard text.utf8.count <= 1024, text.utf8.allSatisfy({ (0x21...0x7e).contains($0) && $0 != 0x22 && $0 != 0x5c })
    else {
      throw FederationError(
        .invalidArgument, "a proxy is like http://proxy.example.org:3128; write other characters of a password as %XX")
    }
    var rest = text[...]
    if let scheme = rest.firstRange(of: "://") {
      guard rest[..<scheme.lowerBound].lowercased() == "http" else {
        throw FederationError(
          .invalidArgument,
          "a proxy is reached by http:// and not by \(rest[..<scheme.lowerBound].prefix(16))://; the connection through it "
            + "is encrypted all the same")
      }
      rest = rest[scheme.upperBound...]
    }
    var authorization: String?
    if let at = rest.lastIndex(of: "@") {
      let words = rest[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      let user = Self.decoded(words[0]) + ":" + (words.count > 1 ? Self.decoded(words[1]) : "")
      authorization = "Basic " + Data(user.utf8).base64EncodedString()
      rest = rest[rest.index(after: at)...]
    }
    if let slash = rest.firstIndex(of: "/") { rest = rest[..<slash] }
    let hasPort = rest.hasSuffix("]") ? false : rest.contains(":")
    do throws(FederationError) {
      let address = try ControlPlaneAddress(hasPort ? String(rest) : "\(rest):8080")
      (host, port) = (address.host, address.port)
    } catch {
      throw FederationError(.invalidArgument, "a proxy is like http://proxy.example.org:3128")
    }
    self.authorization = authorization
  }

  /// Never shows the password.
  public var description: String { "http://\(host.contains(":") ? "[\(host)]" : host):\(port)" }

  /// What is sent to it first.
  ///
  /// - Source: RFC 9110, section 9.3.6.
  func request(for target: String) -> String {
    "CONNECT \(target) HTTP/1.1\r\nHost: \(target)\r\n"
      + (authorization.map { "Proxy-Authorization: \($0)\r\n" } ?? "") + "\r\n"
  }

  /// `%41` is A; what is no such escape stays as it is.
  private static func decoded(_ text: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == 0x25, rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) {
        bytes.append(value)
        rest = rest.dropFirst(2)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// Which proxy leads to an address: the configuration's key `proxy`, else the variables that other programs read too.
public struct ProxySettings: Hashable, Sendable {
  /// `proxy`: `none`, or one for every address.
  public var configured: String?
  /// `https_proxy` or `all_proxy`, in either case.
  public var inherited: String?
  /// `no_proxy`: names, which stand for what is below them too, addresses, and `*`.
  public var exceptions: [String] = []

  public init() {}

  /// Lower case goes before upper case, as in curl.
  public init(environment: [String: String]) {
    func value(_ name: String) -> String? {
      [name, name.uppercased()].lazy.compactMap { environment[$0] }.first { !$0.isEmpty }
    }
    inherited = value("https_proxy") ?? value("all_proxy")
    exceptions = (value("no_proxy") ?? "").split(whereSeparator: { $0 == "," || $0 == " " }).map { $0.lowercased() }
  }

  /// nil: dial it directly. What is on this machine is never reached through a proxy of the environment.
  ///
  /// - Throws: `.invalidArgument` for a proxy that cannot be used.
  public func proxy(for address: ControlPlaneAddress) throws(FederationError) -> ForwardProxy? {
    if let configured { return configured == "none" ? nil : try ForwardProxy(configured) }
    guard let inherited, !isExcepted(address) else { return nil }
    return try ForwardProxy(inherited)
  }

  private func isExcepted(_ address: ControlPlaneAddress) -> Bool {
    let host = address.host.lowercased()
    if host == "localhost" || host == "::1" { return true }
    if host.hasPrefix("127."), case .some(.v4) = try? SocketAddress(ipAddress: host, port: 0) { return true }
    return exceptions.contains { exception in
      var name = exception[...]
      if name == "*" { return true }
      if let colon = name.lastIndex(of: ":"), let port = Int(name[name.index(after: colon)...]) {
        guard port == address.port || name[..<colon].contains(":") else { return false }
        if port == address.port { name = name[..<colon] }
      }
      if name.hasPrefix("*.") { name = name.dropFirst() }
      let suffix = name.hasPrefix(".") ? name.dropFirst() : name
      return !suffix.isEmpty && (host == suffix || host.hasSuffix("." + suffix))
    }
  }
}

/// The first handler of a connection through a proxy: asks for the tunnel, and lets the others begin once it is there.
final class ProxyConnectHandler: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private enum State {
    case idle
    /// Asked; what has been answered so far. Can transition to `open`, `failed`.
    case asked(ByteBuffer)
    case open, failed
  }
  private static let answerBytesMax = 16 << 10
  private static let patience = TimeAmount.seconds(20)

  private let proxy: ForwardProxy
  private let target: String
  private let refused: (FederationError) -> Void
  private var state = State.idle
  private var deadline: Scheduled<Void>?

  /// - Parameter refused: is told why there is no tunnel.
  init(proxy: ForwardProxy, target: String, refused: @escaping (FederationError) -> Void) {
    self.proxy = proxy
    self.target = target
    self.refused = refused
  }

  func channelActive(context: ChannelHandlerContext) {
    state = .asked(ByteBuffer())
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: proxy.request(for: target))), promise: nil)
    deadline = context.eventLoop.assumeIsolated().scheduleTask(in: Self.patience) {
      self.fail(context, "did not answer within 20 s")
    }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard case .asked(var answer) = state else {
      if case .open = state { context.fireChannelRead(data) }
      return
    }
    var bytes = unwrapInboundIn(data)
    answer.writeBuffer(&bytes)
    state = .asked(answer)
    let text = answer.readableBytesView
    guard let end = text.firstRange(of: Array("\r\n\r\n".utf8)) else {
      if answer.readableBytes > Self.answerBytesMax { fail(context, "answered at too great a length") }
      return
    }
    let line = String(decoding: text.prefix { $0 != 0x0d }, as: UTF8.self)
    let words = line.split(separator: " ", maxSplits: 2)
    guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let code = Int(words[1]) else {
      return fail(context, "gave an answer that is none of HTTP's")
    }
    guard (200..<300).contains(code) else {
      let printable = line.prefix(120).filter { $0.isASCII && ($0.asciiValue ?? 0) >= 0x20 }
      return fail(
        context,
        "refused: \(printable)" + (code == 407 ? " (give user and password: http://USER:PASSWORD@HOST:PORT)" : ""))
    }
    deadline?.cancel()
    state = .open
    context.fireChannelActive()
    let rest = answer.getSlice(at: end.upperBound, length: answer.writerIndex - end.upperBound)
    if let rest, rest.readableBytes > 0 { context.fireChannelRead(wrapInboundOut(rest)) }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    if case .open = state { context.fireChannelReadComplete() }
  }

  func channelInactive(context: ChannelHandlerContext) {
    deadline?.cancel()
    if case .asked = state { fail(context, "hung up") }
    context.fireChannelInactive()
  }

  private func fail(_ context: ChannelHandlerContext, _ what: String) {
    guard case .asked = state else { return }
    state = .failed
    deadline?.cancel()
    refused(FederationError(.unavailable, "The proxy \(proxy) \(what). Ask for CONNECT to \(target) to be allowed."))
    context.close(promise: nil)
  }
}
