public import FederationModel

/// The name of a trust domain: the authority part of every SPIFFE id of one federation.
///
/// - Source: SPIFFE-ID specification, section 2.1: lower-case letters, digits, `.`, `-`, `_`; at most 255 bytes.
public struct TrustDomain: Hashable, Sendable, CustomStringConvertible {
  public let text: String

  /// - Throws: `.invalidArgument` when the name is not one that a SPIFFE id can carry.
  public init(_ text: String) throws(FederationError) {
    func isAllowed(_ byte: UInt8) -> Bool {
      (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte) || [0x2e, 0x2d, 0x5f].contains(byte)
    }
    guard (1...255).contains(text.utf8.count), text.utf8.allSatisfy(isAllowed) else {
      throw FederationError(
        .invalidArgument,
        "A trust domain is 1 to 255 lower-case letters, digits, dots, dashes or underscores, such as fubini.example.org."
      )
    }
    self.text = text
  }

  public var description: String { text }
}

/// Who a certificate speaks for, within one trust domain.
public enum SPIFFEID: Hashable, Sendable {
  case agent(ClusterName)
  case controlPlane

  /// `spiffe://<trust domain>/agent/<cluster>` or `spiffe://<trust domain>/controlplane`.
  public func uri(in domain: TrustDomain) -> String {
    switch self {
    case .agent(let cluster): "spiffe://\(domain.text)/agent/\(cluster.text)"
    case .controlPlane: "spiffe://\(domain.text)/controlplane"
    }
  }

  /// Reads a URI strictly: no other scheme, no port, query, fragment or percent-encoding, no empty path segment.
  ///
  /// - Throws: `.malformedName` when it is no id of ours, `.wrongTrustDomain` when it is one of another federation.
  init(uri: String, in domain: TrustDomain) throws(PeerRefusal) {
    let scheme = "spiffe://"
    guard uri.hasPrefix(scheme), uri.utf8.count <= 2048 else { throw .malformedName }
    let rest = uri.dropFirst(scheme.count)
    guard let slash = rest.firstIndex(of: "/") else { throw .malformedName }
    guard rest[..<slash] == domain.text[...] else { throw .wrongTrustDomain }
    let path = rest[rest.index(after: slash)...]
    if path == "controlplane" {
      self = .controlPlane
      return
    }
    let prefix = "agent/"
    guard path.hasPrefix(prefix) else { throw .malformedName }
    let cluster = ClusterName(String(path.dropFirst(prefix.count)))
    guard cluster.isDNSLabel else { throw .malformedName }
    self = .agent(cluster)
  }
}
