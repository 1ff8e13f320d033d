internal import FederationModel

/// The paths of an API server, and addresses made of them.
///
/// - Source: Kubernetes documentation, "Kubernetes API Concepts", "Standard API terminology".
public enum KubernetesPath {
  /// All objects of one kind: `/apis/batch/v1/namespaces/NS/jobs`.
  ///
  /// - Parameters:
  ///   - version: `v1`, or a group with its version: `batch/v1`.
  ///   - resource: the plural, in small letters.
  ///   - namespace: nil for kinds without one, and for all namespaces.
  public static func collection(_ version: String, _ resource: String, namespace: String? = nil) -> String {
    let root = version.contains("/") ? "/apis/" : "/api/"
    let place = namespace.map { "namespaces/\(escaped($0))/" } ?? ""
    return "\(root)\(version)/\(place)\(escaped(resource))"
  }

  /// One object, or something below it: `/api/v1/namespaces/NS/pods/NAME/log`.
  public static func object(
    _ version: String, _ resource: String, namespace: String? = nil, name: String, _ below: String? = nil
  ) -> String {
    let path = collection(version, resource, namespace: namespace) + "/" + escaped(name)
    return below.map { path + "/" + escaped($0) } ?? path
  }

  /// An address for a request.
  ///
  /// - Parameters:
  ///   - server: with scheme and host, perhaps with a path, as a kubeconfig gives it.
  ///   - path: begins with a slash, and is escaped already.
  static func url(_ server: String, _ path: String, _ query: [(String, String)]) throws(FederationError) -> String {
    let isPath = path.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") }
    // A name that is empty would turn an object's path into that of its collection.
    guard path.hasPrefix("/"), isPath, !path.hasSuffix("/"), !path.contains("//"), !path.contains("/../") else {
      throw FederationError(.invalidArgument, "\(path.prefix(200)) is no path of an API server")
    }
    let base = server.hasSuffix("/") ? String(server.dropLast()) : server
    guard !query.isEmpty else { return base + path }
    return base + path + "?" + query.map { escaped($0.0) + "=" + escaped($0.1) }.joined(separator: "&")
  }

  /// Percent-encoded but for the unreserved characters of RFC 3986.
  static func escaped(_ text: String) -> String {
    var result = ""
    result.reserveCapacity(text.utf8.count)
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "~"):
        result.unicodeScalars.append(Unicode.Scalar(byte))
      default:
        let digits = String(byte, radix: 16, uppercase: true)
        result += byte < 16 ? "%0\(digits)" : "%\(digits)"
      }
    }
    return result
  }
}
