import FederationModel
import NIOCore

#if canImport(Glibc)
  import Glibc
#endif

/// Where a request came from: the other end of its connection or, behind proxies that are trusted, the last address before them.
struct ClientAddress: Sendable, Hashable {
  /// Proxies that say truly whom they speak for.
  var trusted: [AddressRange] = []
  /// More hops than anybody has are not read.
  private static let hopsMax = 32

  /// - Parameters:
  ///   - peer: nil: not known (a test, or a socket without an address).
  ///   - forwarded: the values of `X-Forwarded-For`, as they came.
  func client(peer: SocketAddress?, forwarded: [String]) -> String {
    guard let peer, let address = peer.ipAddress else { return "" }
    guard isTrusted(peer) else { return address }
    let hops = forwarded.joined(separator: ",").split(separator: ",").suffix(Self.hopsMax)
    var last = address
    // From the nearest: what stands before the first that is not trusted could have been written by anybody.
    for hop in hops.reversed() {
      let text = String(hop.drop { $0 == " " }.prefix { $0 != " " })
      guard let parsed = try? SocketAddress(ipAddress: text, port: 0), let ip = parsed.ipAddress else { break }
      last = ip
      if !isTrusted(parsed) { break }
    }
    return last
  }

  private func isTrusted(_ address: SocketAddress) -> Bool { trusted.contains { $0.contains(address) } }
}

/// Addresses that begin alike: `10.1.0.0/16`, `fd00::/8`, or one address.
struct AddressRange: Sendable, Hashable {
  private var bytes: [UInt8]
  private var bits: Int

  /// nil for anything else.
  init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
    guard (1...2).contains(parts.count), let bytes = (try? SocketAddress(ipAddress: parts[0], port: 0))?.addressBytes
    else { return nil }
    self.bytes = bytes
    bits = bytes.count * 8
    guard parts.count == 2 else { return }
    guard let length = Int(parts[1]), (0...bits).contains(length) else { return nil }
    bits = length
  }

  func contains(_ address: SocketAddress) -> Bool {
    guard let other = address.addressBytes, other.count == bytes.count else { return false }
    for index in 0..<bytes.count where bits > index * 8 {
      let mask = bits - index * 8 >= 8 ? UInt8.max : UInt8.max << (8 - UInt8(bits - index * 8))
      if bytes[index] & mask != other[index] & mask { return false }
    }
    return true
  }
}

extension SocketAddress {
  /// In network order. An IPv4 address that an IPv6 socket received is the IPv4 address.
  fileprivate var addressBytes: [UInt8]? {
    guard let text = ipAddress else { return nil }
    var bytes = [UInt8](repeating: 0, count: 16)
    switch self {
    case .v4:
      guard inet_pton(AF_INET, text, &bytes) == 1 else { return nil }
      return Array(bytes[..<4])
    case .v6:
      guard inet_pton(AF_INET6, text, &bytes) == 1 else { return nil }
      let isMapped = bytes[..<10].allSatisfy { $0 == 0 } && bytes[10] == 0xff && bytes[11] == 0xff
      return isMapped ? Array(bytes[12...]) : bytes
    case .unixDomainSocket: return nil
    }
  }
}
