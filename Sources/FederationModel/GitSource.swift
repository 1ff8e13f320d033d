/// A git repository that an artifact is taken from, as an origin's address: `git+URL?revision=...`.
///
/// - Source: Argo Workflows v3.7, docs/fields.md, `GitArtifact`.
public struct GitSource: Hashable, Sendable, Codable {
  /// `https://`, `http://`, `ssh://`, `git://` or `user@host:path`. Without a user's password.
  public var url: String
  /// A commit, tag or branch to check out; nil: the branch, or the repository's own.
  public var revision: String?
  public var branch: String?
  /// Commits of history; nil: all.
  public var depth: Int?
  /// Refspecs that are fetched besides.
  public var fetch: [String] = []
  public var isSingleBranch = false
  public var skipsSubmodules = false
  /// Whether any certificate is taken.
  public var skipsVerification = false
  /// Whether any host key is taken.
  public var ignoresHostKey = false

  public init(url: String) { self.url = url }

  private static let prefix = "git+"

  /// - Throws: `.invalidArgument`, saying what is wrong.
  public func origin(secret: String?, fields: [String: String]) throws(FederationError) -> DataOrigin {
    try check()
    var parameters: [(String, String)] = []
    if let revision { parameters.append(("revision", revision)) }
    if let branch { parameters.append(("branch", branch)) }
    if let depth { parameters.append(("depth", String(depth))) }
    for refspec in fetch { parameters.append(("fetch", refspec)) }
    for (name, isSet) in [
      ("singleBranch", isSingleBranch), ("noSubmodules", skipsSubmodules), ("insecureTLS", skipsVerification),
      ("anyHostKey", ignoresHostKey),
    ] where isSet {
      parameters.append((name, "true"))
    }
    let query = parameters.map { "\($0.0)=\(Self.escaped($0.1))" }.joined(separator: "&")
    return DataOrigin(
      uri: Self.prefix + url + (query.isEmpty ? "" : "?" + query), secret: secret,
      fields: fields.isEmpty ? nil : fields)
  }

  /// Reads what `origin` wrote; nil for an address of another kind.
  ///
  /// - Throws: `.invalidArgument`.
  public init?(_ uri: String) throws(FederationError) {
    guard uri.hasPrefix(Self.prefix) else { return nil }
    let parts = uri.dropFirst(Self.prefix.count).split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    url = String(parts[0])
    for pair in parts.count > 1 ? parts[1].split(separator: "&") : [] {
      let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard sides.count == 2, let value = DataOrigin.decoded(sides[1]) else { throw Self.invalid("it is damaged") }
      switch sides[0] {
      case "revision": revision = value
      case "branch": branch = value
      case "depth": depth = Int(value)
      case "fetch": fetch.append(value)
      case "singleBranch": isSingleBranch = true
      case "noSubmodules": skipsSubmodules = true
      case "insecureTLS": skipsVerification = true
      case "anyHostKey": ignoresHostKey = true
      default: throw Self.invalid("it has the unknown parameter \(sides[0].prefix(40))")
      }
    }
    try check()
  }

  /// The host, for whoever looks whether it is a place for data; nil when there is none.
  public var host: String? {
    let rest: Substring
    if let scheme = url.firstRange(of: "://") {
      rest = url[scheme.upperBound...].prefix { $0 != "/" }
    } else {
      rest = url.prefix { $0 != ":" }
    }
    var host = rest.split(separator: "@", omittingEmptySubsequences: false).last ?? rest
    if !host.hasSuffix("]"), let colon = host.lastIndex(of: ":") { host = host[..<colon] }
    return host.isEmpty ? nil : String(host)
  }

  /// Of `https` and `http`: scheme and host, which credentials are for.
  public var site: String? {
    guard url.hasPrefix("https://") || url.hasPrefix("http://"), let scheme = url.firstRange(of: "://") else {
      return nil
    }
    return url[..<scheme.upperBound] + url[scheme.upperBound...].prefix { $0 != "/" } + "/"
  }

  /// Whether it names a commit by its whole hash: what that is never changes.
  public var isImmutable: Bool { revision.map(Self.isCommit) == true && fetch.isEmpty }

  public static func isCommit(_ text: some StringProtocol) -> Bool {
    text.utf8.count == 40 && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
  }

  private func check() throws(FederationError) {
    let isScp = !url.contains("://") && url.contains("@") && url.contains(":")
    guard isScp || ["https://", "http://", "ssh://", "git://"].contains(where: { url.hasPrefix($0) }) else {
      throw Self.invalid("a repository is https://, http://, ssh://, git:// or user@host:path")
    }
    guard !url.utf8.contains(where: { $0 <= 0x20 || $0 >= 0x7f || $0 == 0x3f || $0 == 0x23 }), !url.hasPrefix("-"),
      let host, !host.hasPrefix("-")
    else { throw Self.invalid("a repository's address has no spaces, `?`, `#` or other letters than ASCII's") }
    let authority = url.firstRange(of: "://").map { url[$0.upperBound...].prefix { $0 != "/" } } ?? ""
    if let at = authority.lastIndex(of: "@"), authority[..<at].contains(":") || site != nil {
      throw Self.invalid("a user and a password belong into secrets (usernameSecret, passwordSecret), not the address")
    }
    for (name, text) in [("revision", revision), ("branch", branch)] + fetch.map({ ("fetch", Optional($0)) }) {
      guard let text else { continue }
      guard !text.isEmpty, !text.hasPrefix("-"), text.utf8.count <= 1024,
        !text.utf8.contains(where: { $0 <= 0x20 || $0 == 0x7f })
      else { throw Self.invalid("\(name) is no name of git's") }
    }
    if let depth, !(1...1_000_000_000).contains(depth) { throw Self.invalid("depth is no positive number") }
  }

  private static func escaped(_ text: String) -> String {
    var result = ""
    for byte in text.utf8 {
      switch byte {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e, 0x2f:
        result.unicodeScalars.append(Unicode.Scalar(byte))
      default: result += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
      }
    }
    return result
  }

  private static func invalid(_ what: String) -> FederationError {
    FederationError(.invalidArgument, "The git repository cannot be used: \(what)")
  }
}

extension DataOrigin {
  /// The one file that a git repository becomes: its checkout, `.git` included, packed.
  public static let gitArchive = "repository.tgz"
  public var isGit: Bool { uri.hasPrefix("git+") }
  /// Whether what is there never changes.
  public var isImmutable: Bool { isGit && (try? GitSource(uri))?.isImmutable == true }
}
