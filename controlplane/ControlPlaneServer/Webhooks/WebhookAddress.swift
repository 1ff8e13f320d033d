import FederationModel
import NIOCore
import NIOPosix

/// A URL that the control plane may be told to call, and the one address that it calls.
///
/// Who sets one could otherwise make the control plane, which stands inside, talk to what outsiders cannot reach: a cloud's metadata
/// service, or a database without a password. So the host is resolved once, the address is looked at, and that very address is called.
struct WebhookAddress: Hashable, Sendable {
  /// Scheme and host in lower case, so that whoever calls it names the host as `host` does.
  let url: String
  let host: String
  let port: Int
  let isSecure: Bool

  static let bytesMax = 2000

  /// - Throws: `.invalidArgument`.
  init(_ text: String, privateHosts: Set<String>) throws {
    guard (1...Self.bytesMax).contains(text.utf8.count), text.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
      throw Self.wrong("has at most \(Self.bytesMax) printable ASCII characters")
    }
    // What another parser might read as another host.
    guard !text.utf8.contains(where: { Self.unsafe.contains($0) }) else {
      throw Self.wrong("has no backslash, quote, angle bracket, brace, caret or bar")
    }
    guard let scheme = text.firstRange(of: "://") else { throw Self.wrong("begins with https://") }
    isSecure = text[..<scheme.lowerBound].lowercased() == "https"
    let authority = text[scheme.upperBound...].prefix { !"/?#\\".contains($0) }
    guard !authority.isEmpty, !authority.contains("@"), !text.contains("#") else {
      throw Self.wrong("names a host, has no user, and no fragment")
    }
    let (name, portText) = try Self.parts(authority)
    host = name.lowercased()
    let isAddress = authority.first == "["
    guard host.utf8.allSatisfy({ Self.ofHosts.contains($0) || isAddress && $0 == UInt8(ascii: ":") }) else {
      throw Self.wrong("has a host of letters, digits, dots and hyphens")
    }
    url = text[..<scheme.upperBound].lowercased() + authority.lowercased() + text[authority.endIndex...]
    guard let number = portText.map({ Int($0) }) ?? (isSecure ? 443 : 80), (1...65535).contains(number) else {
      throw Self.wrong("has a port from 1 to 65535")
    }
    port = number
    let isPlain = text[..<scheme.lowerBound].lowercased() == "http" && privateHosts.contains(host)
    guard isSecure || isPlain else {
      throw Self.wrong("begins with https://; http:// only where the control plane's configuration names the host")
    }
  }

  private static let unsafe = Set("\\\"'<>{}^`|".utf8)
  private static let ofHosts = Set("abcdefghijklmnopqrstuvwxyz0123456789.-".utf8)

  private static func parts(_ authority: Substring) throws -> (host: Substring, port: Substring?) {
    if authority.first == "[" {
      guard let end = authority.firstIndex(of: "]") else { throw wrong("has an IPv6 address in brackets") }
      let rest = authority[authority.index(after: end)...]
      guard rest.isEmpty || rest.first == ":" else { throw wrong("names a host and perhaps a port") }
      return (authority[authority.index(after: authority.startIndex)..<end], rest.isEmpty ? nil : rest.dropFirst())
    }
    let parts = authority.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard !parts[0].isEmpty else { throw wrong("names a host") }
    return (parts[0], parts.count > 1 ? parts[1] : nil)
  }

  private static func wrong(_ what: String) -> FederationError {
    FederationError(.invalidArgument, "a webhook's URL \(what)")
  }

  /// The address to call.
  ///
  /// - Throws: `.unavailable` where the name has none; `.permissionDenied` for one inside, unless `privateHosts` has the host.
  func resolve(privateHosts: Set<String>) async throws -> String {
    let (host, port) = (host, port)
    let address: SocketAddress
    do {
      address = try await NIOThreadPool.singleton.runIfActive {
        try SocketAddress.makeAddressResolvingHost(host, port: port)
      }
    } catch { throw FederationError(.unavailable, "\(host) has no address", cause: error) }
    guard let text = address.ipAddress else { throw FederationError(.unavailable, "\(host) has no IP address") }
    guard privateHosts.contains(host) || Self.isPublic(address) else {
      throw FederationError(
        .permissionDenied,
        "\(host) has the address \(text), which is not of the public internet: an operator allows it with webhooks.privateHosts"
      )
    }
    return text
  }

  /// Whether an address belongs to the public internet.
  ///
  /// - Source: the IANA IPv4 and IPv6 special-purpose address registries.
  static func isPublic(_ address: SocketAddress) -> Bool {
    switch address {
    // `sockaddr_in` has the address behind family and port; `sockaddr_in6` has the flow's number between.
    case .v4(let v4): return withUnsafeBytes(of: v4.address) { isPublic(v4: Array($0[4..<8])) }
    case .v6(let v6): return withUnsafeBytes(of: v6.address) { isPublic(v6: Array($0[8..<24])) }
    case .unixDomainSocket: return false
    }
  }

  static func isPublic(v4 bytes: [UInt8]) -> Bool {
    switch (bytes[0], bytes[1]) {
    case (0, _), (10, _), (127, _), (224...255, _): false
    case (100, 64...127), (169, 254), (172, 16...31), (192, 168), (198, 18...19): false
    case (192, 0): bytes[2] != 0 && bytes[2] != 2
    case (198, 51): bytes[2] != 100
    case (203, 0): bytes[2] != 113
    default: true
    }
  }

  /// Global unicast alone, and of that nothing that leads to an IPv4 address by a tunnel or a translation.
  static func isPublic(v6 bytes: [UInt8]) -> Bool {
    guard bytes[0] & 0xe0 == 0x20 else { return false }
    switch (bytes[0], bytes[1]) {
    // 6to4; Teredo and the other protocol assignments; documentation.
    case (0x20, 0x02): return false
    case (0x20, 0x01): return bytes[2] > 1 && !(bytes[2] == 0x0d && bytes[3] == 0xb8)
    default: return true
    }
  }
}
