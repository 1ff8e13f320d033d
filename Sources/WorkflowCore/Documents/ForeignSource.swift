public import FederationModel

/// An input that is somebody else's: in a bucket that is not the project's repository, or on a web server. Its texts may hold tags.
public struct ForeignSource: Hashable, Sendable, Codable {
  public enum Place: Hashable, Sendable, Codable {
    /// - Parameters:
    ///   - endpoint: host and port; nil: Amazon's.
    ///   - key: of one object, or, with a slash at its end, of all below it.
    case s3(endpoint: String?, bucket: String, key: String, region: String?, isInsecure: Bool)
    case http(url: String, headers: [RunHTTP.Header])
    case git(GitSource)
  }
  public var place: Place
  /// The project's secret that opens it; nil: it is open to all.
  public var secret: String?
  /// What the secret's values are called, by what they are called here: `accessKeyId`, `secretAccessKey`, `user`, ...
  public var fields: [String: String]
  public init(place: Place, secret: String? = nil, fields: [String: String] = [:]) {
    self.place = place
    self.secret = secret
    self.fields = fields
  }

  /// Everything in it that may hold tags.
  var texts: [String] {
    switch place {
    case .s3(let endpoint, let bucket, let key, let region, _): [endpoint, bucket, key, region].compactMap { $0 }
    case .http(let url, let headers): [url] + headers.flatMap { [$0.name, $0.value] }
    case .git(let git): [git.url, git.revision, git.branch].compactMap { $0 } + git.fetch
    }
  }

  /// The document's word for it.
  var field: String {
    switch place {
    case .s3: "s3"
    case .http: "http"
    case .git: "git"
    }
  }

  /// Of a bucket's object: its key, as written; nil of anything else.
  var bucketKey: String? { if case .s3(_, _, let key, _, _) = place { key } else { nil } }

  /// Where agents find it.
  ///
  /// - Parameter text: replaces a text's tags.
  /// - Throws: `.invalidArgument` for what is no address, and what `text` throws.
  func origin(_ text: (String) throws -> String) throws -> DataOrigin {
    let uri =
      switch place {
      case .s3(let endpoint, let bucket, let key, let region, let isInsecure):
        try Self.s3(
          try endpoint.map(text), try text(bucket), try text(key), try region.map(text), isInsecure: isInsecure)
      case .http(let url, let headers):
        try Self.http(try text(url), try headers.map { RunHTTP.Header(name: $0.name, value: try text($0.value)) })
      case .git(var git):
        try {
          git.url = try text(git.url)
          git.revision = try git.revision.map(text)
          git.branch = try git.branch.map(text)
          git.fetch = try git.fetch.map(text)
          return try git.origin(secret: nil, fields: [:]).uri
        }()
      }
    guard uri.utf8.count <= 4000 else { throw Self.invalid("its address has more than 4000 bytes") }
    return DataOrigin(uri: uri, secret: secret, fields: fields.isEmpty ? nil : fields)
  }

  private static func s3(
    _ endpoint: String?, _ bucket: String, _ key: String, _ region: String?, isInsecure: Bool
  ) throws -> String {
    guard isPlain(bucket), isPlain(endpoint ?? "-"), isPlain(region ?? "-") else {
      throw invalid("a bucket, an endpoint (HOST or HOST:PORT) and a region are words without / ? # @ & %")
    }
    let components = key.split(separator: "/", omittingEmptySubsequences: true)
    guard !components.contains("."), !components.contains("..") else {
      throw invalid("a key cannot have . or .. between slashes")
    }
    let path = components.map { escaped(String($0)) }.joined(separator: "/") + (key.hasSuffix("/") ? "/" : "")
    var query: [String] = []
    if let endpoint, endpoint != "s3.amazonaws.com",
      !(endpoint.hasPrefix("s3.") && endpoint.hasSuffix(".amazonaws.com"))
    {
      query.append("endpoint=\(isInsecure ? "http" : "https")://\(endpoint)")
    }
    if let region { query.append("region=\(region)") }
    return "s3://\(bucket)/\(path)" + (query.isEmpty ? "" : "?" + query.joined(separator: "&"))
  }

  /// The headers become the address's query, which addresses of documents cannot have.
  private static func http(_ url: String, _ headers: [RunHTTP.Header]) throws -> String {
    let rest = url.hasPrefix("https://") ? url.dropFirst(8) : url.hasPrefix("http://") ? url.dropFirst(7) : ""
    let host = rest.prefix { $0 != "/" }
    guard !host.isEmpty, !host.contains("@"), !url.utf8.contains(where: { $0 <= 0x20 || $0 == 0x7f }) else {
      throw invalid("an address is http://HOST/PATH or https://HOST/PATH, without a user and without spaces")
    }
    guard !rest.contains("?"), !rest.contains("#") else {
      throw invalid("an address with a query (?) or a fragment (#) cannot be asked what it holds")
    }
    for header in headers where header.value.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f || $0 == 0x22 }) {
      throw invalid("the header \(header.name) has a line break or a quotation mark in its value")
    }
    let query = headers.map { "header=\(escaped("\($0.name):\($0.value)"))" }.joined(separator: "&")
    return url + (query.isEmpty ? "" : "?" + query)
  }

  private static func isPlain(_ text: String) -> Bool {
    !text.isEmpty && text.utf8.count <= 255
      && text.utf8.allSatisfy { byte in byte > 0x20 && byte < 0x7f && !"/?#@&%=\\".utf8.contains(byte) }
  }

  private static func escaped(_ text: String) -> String {
    var result = ""
    for byte in text.utf8 {
      switch byte {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e:
        result.unicodeScalars.append(Unicode.Scalar(byte))
      default: result += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
      }
    }
    return result
  }

  private static func invalid(_ what: String) -> FederationError { FederationError(.invalidArgument, what) }
}
