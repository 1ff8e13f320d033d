public import FederationModel
internal import GRPCNIOTransportHTTP2Posix
internal import NIOCore

/// Where a control plane listens for agents: `host:port`, `[IPv6]:port`, or a host alone (port 8443).
public struct ControlPlaneAddress: Hashable, Sendable, CustomStringConvertible {
  public let host: String
  public let port: Int
  /// How it is reached; nil: directly. No part of what it is: two addresses that differ in this alone are equal.
  var proxy: ForwardProxy?

  public static func == (a: Self, b: Self) -> Bool { a.host == b.host && a.port == b.port }
  public func hash(into hasher: inout Hasher) {
    hasher.combine(host)
    hasher.combine(port)
  }

  public static let defaultPort = 8443

  /// - Throws: `.invalidArgument` when it is no address.
  public init(_ text: String) throws(FederationError) {
    let refused = FederationError(
      .invalidArgument, "\(text.prefix(80)) is not an address: write host:port, 192.0.2.1:8443 or [2001:db8::1]:8443.")
    var host = text[...]
    var port: Int? = Self.defaultPort
    if text.hasPrefix("[") {
      guard let end = text.firstIndex(of: "]") else { throw refused }
      let rest = text[text.index(after: end)...]
      host = text[..<end].dropFirst()
      if !rest.isEmpty { port = rest.hasPrefix(":") ? Self.port(rest.dropFirst()) : nil }
      guard (try? NIOCore.SocketAddress(ipAddress: String(host), port: 0))?.protocol == .inet6 else { throw refused }
    } else if let colon = text.lastIndex(of: ":") {
      host = text[..<colon]
      port = Self.port(text[text.index(after: colon)...])
    }
    guard let port, (1...253).contains(host.utf8.count), text.hasPrefix("[") || host.utf8.allSatisfy(Self.isNameByte)
    else {
      throw refused
    }
    self.host = String(host)
    self.port = port
  }

  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

  /// What is dialled: the place itself, or the proxy before it.
  var target: any ResolvableTarget {
    let (host, port) = proxy.map { ($0.host, $0.port) } ?? (host, port)
    return switch try? NIOCore.SocketAddress(ipAddress: host, port: port) {
    case .some(.v4): .ipv4(address: host, port: port)
    case .some(.v6): .ipv6(address: host, port: port)
    default: .dns(host: host, port: port)
    }
  }

  private static func port(_ text: Substring) -> Int? {
    guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = Int(text), (1...65535).contains(port) else {
      return nil
    }
    return port
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    (0x61...0x7a).contains(byte) || (0x41...0x5a).contains(byte) || (0x30...0x39).contains(byte) || byte == 0x2d
      || byte == 0x2e
  }
}

/// The order in which an agent dials its control planes: each in turn, and a growing pause after every full round.
public struct AddressCycle: Hashable, Sendable {
  public private(set) var addresses: [ControlPlaneAddress]
  private var index = 0
  private var failuresInRound = 0
  private var rounds = 0

  static let limit = 16
  static let pauseMin: Duration = .milliseconds(250)
  static let pauseMax: Duration = .seconds(30)

  /// - Throws: `.invalidArgument` when there is none, or more than 16.
  public init(_ addresses: [ControlPlaneAddress]) throws(FederationError) {
    guard (1...Self.limit).contains(addresses.count) else {
      throw FederationError(
        .invalidArgument, "Give 1 to \(Self.limit) control-plane addresses, not \(addresses.count).")
    }
    self.addresses = addresses
  }

  public var current: ControlPlaneAddress { addresses[index] }

  /// The current address did not serve: moves to the next, and returns how long to wait before it is dialled.
  ///
  /// - Parameter jitter: in 0..<1; takes away up to half of a pause, so that agents do not come back all at once.
  public mutating func attemptFailed(jitter: Double) -> Duration {
    index = (index + 1) % addresses.count
    failuresInRound += 1
    guard failuresInRound >= addresses.count else { return .zero }
    failuresInRound = 0
    let pause = min(Self.pauseMin * (1 << min(rounds, 10)), Self.pauseMax)
    rounds += 1
    return pause * (1 - 0.5 * min(max(jitter, 0), 1))
  }

  /// The current address served: it stays, and the pauses start over.
  public mutating func attemptSucceeded() {
    failuresInRound = 0
    rounds = 0
  }

  /// A control plane said where the leader is. An address that the operator did not configure is not followed: whom to dial
  /// is the operator's decision.
  public mutating func prefer(_ address: ControlPlaneAddress) {
    if let known = addresses.firstIndex(of: address) { index = known }
  }
}
