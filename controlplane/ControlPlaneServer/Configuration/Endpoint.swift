import FederationModel
import NIOCore

/// A host with or without a port, as configurations write it: `name`, `name:443`, `192.0.2.1`, `[2001:db8::1]:443`, `::`.
struct Endpoint: Sendable, Hashable {
  /// Without brackets.
  var host: String
  var port: Int?

  init(_ text: String) {
    if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
      host = String(text[text.index(after: text.startIndex)..<end])
      let rest = text[text.index(after: end)...]
      port = rest.hasPrefix(":") ? Int(rest.dropFirst()) : nil
    } else if text.split(separator: ":", omittingEmptySubsequences: false).count == 2,
      let colon = text.firstIndex(of: ":")
    {
      host = String(text[..<colon])
      port = Int(text[text.index(after: colon)...])
    } else {
      // A name, an IPv4 address, or a bare IPv6 address: with several colons none of them begins a port.
      host = text
      port = nil
    }
  }

  /// `host:port`, an IPv6 address in brackets.
  func text(defaultPort: Int) -> String {
    "\(host.contains(":") ? "[\(host)]" : host):\(port ?? defaultPort)"
  }

  var isWildcard: Bool { host == "0.0.0.0" || host == "::" }
  var isLoopback: Bool { host == "::1" || host == "localhost" || host.hasPrefix("127.") }

  /// What to bind. A name stands for the first address that it resolves to.
  ///
  /// `::` takes IPv4 as well where the system allows it (Linux: `net.ipv6.bindv6only=0`, the default).
  /// - Throws: `.invalidArgument` for a name that does not resolve.
  func resolved(port: Int) throws -> SocketAddress {
    do {
      return try (try? SocketAddress(ipAddress: host, port: port))
        ?? SocketAddress.makeAddressResolvingHost(host, port: port)
    } catch {
      throw FederationError(
        .invalidArgument, "\(host) is no address of this machine: give an IPv4 or IPv6 address, 0.0.0.0 or ::",
        cause: error)
    }
  }
}
