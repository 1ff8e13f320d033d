internal import FederationModel
internal import FoundationEssentials

/// What an origin's URI means to those who read it. Pure.
enum OriginLocation: Hashable, Sendable {
  /// A backend of rclone's, its parameters (credentials among them), and the directory in it.
  ///
  /// - `only`: the one file of it that is meant; nil for all.
  /// - `knownHosts`: lines for a file that rclone is to be given; of `sftp` alone.
  case rclone(type: String, parameters: [String: String], root: String, only: String?, knownHosts: String?)
  /// A directory of this cluster's own.
  case directory(ClusterName, path: String, only: String?)

  static let uriBytesMax = 4096
  /// Backends that read this machine's files, or wrap one that may.
  static let refusedTypes: Set<String> = [
    "local", "alias", "archive", "cache", "chunker", "combine", "compress", "crypt", "hasher", "memory", "union",
  ]

  /// - Parameters:
  ///   - secret: the values of the secret that the origin names; empty without one.
  ///   - file: the name of the only file, where one is known to be all; then an address without a slash at its end may be that file's.
  /// - Throws: `.invalidArgument`, saying what is wrong. No message holds a value of the secret.
  static func parse(_ uri: String, secret: [String: String] = [:], file: String? = nil) throws(FederationError) -> Self
  {
    guard uri.utf8.count <= uriBytesMax, !uri.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) else {
      throw invalid("the address is too long, or has control characters")
    }
    if uri.hasPrefix("rclone:") { return try backend(String(uri.dropFirst(7)), secret, file) }
    guard let scheme = uri.firstRange(of: "://") else { throw unknown(uri) }
    let address = try Address(String(uri[scheme.upperBound...]))
    switch uri[..<scheme.lowerBound] {
    case "s3": return try s3(address, secret, file)
    case "http", "https":
      return try http(String(uri[..<scheme.lowerBound]), address, secret, file)
    case "webdav", "webdavs", "dav", "davs":
      return try webdav(uri[..<scheme.lowerBound].hasSuffix("s") ? "https" : "http", address, secret, file)
    case "sftp": return try sftp(address, secret, file)
    case "file": return try directory(address, file)
    default: throw unknown(uri)
    }
  }

  static func invalid(_ what: String) -> FederationError {
    FederationError(.invalidArgument, "The origin cannot be used: \(what)")
  }

  private static func unknown(_ uri: String) -> FederationError {
    invalid(
      "\(uri.prefix(40)) is none of s3://BUCKET/PREFIX, https://HOST/PATH/, sftp://HOST/PATH, webdavs://HOST/PATH, "
        + "file://CLUSTER/PATH and rclone:PATH")
  }

  // MARK: Addresses

  /// What follows `://`.
  private struct Address {
    var host: String
    var port: Int?
    var user: String?
    /// Decoded, without `.` and `..`.
    var components: [String]
    var endsWithSlash: Bool
    var query: [String: String]
    /// `header=NAME:VALUE`, as often as there are headers.
    var headers: [(name: String, value: String)] = []

    init(_ text: String) throws(FederationError) {
      guard !text.contains("#") else { throw invalid("an address cannot have a fragment (`#`); write %23") }
      let parts = text.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
      let slash = parts[0].firstIndex(of: "/") ?? parts[0].endIndex
      var authority = parts[0][..<slash]
      if let at = authority.lastIndex(of: "@") {
        guard !authority[..<at].contains(":") else {
          throw invalid("a password belongs into the secret, not the address")
        }
        user = try decoded(authority[..<at])
        authority = authority[authority.index(after: at)...]
      }
      if let colon = authority.lastIndex(of: ":"), !authority.hasSuffix("]") {
        guard let number = Int(authority[authority.index(after: colon)...]), (1...65535).contains(number) else {
          throw invalid("the port is no number from 1 to 65535")
        }
        port = number
        authority = authority[..<colon]
      }
      host = String(authority)
      guard !host.isEmpty, host.utf8.count <= 255, !host.contains("%"), !host.contains("\\") else {
        throw invalid("the address names no host")
      }
      guard host.utf8.allSatisfy({ $0 < 0x80 }) else {
        throw invalid("a host is written in ASCII; an international name in its xn-- form")
      }
      components = []
      for component in parts[0][slash...].split(separator: "/") {
        let component = try decoded(component)
        guard component != ".", component != "..", !component.contains("/") else {
          throw invalid("a path cannot have `.` or `..`")
        }
        components.append(component)
      }
      endsWithSlash = parts[0].hasSuffix("/") || components.isEmpty
      query = [:]
      for pair in parts.count > 1 ? parts[1].split(separator: "&") : [] {
        let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        if sides[0] == "header", sides.count > 1 {
          let parts = try decoded(sides[1]).split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
          headers.append((String(parts[0]), parts.count > 1 ? String(parts[1]) : ""))
          continue
        }
        query[try decoded(sides[0])] = sides.count > 1 ? try decoded(sides[1]) : ""
      }
    }

    var hostAndPort: String { host + (port.map { ":\($0)" } ?? "") }

    /// The directory, and the file in it that is meant; `isFile`: whether an address without a slash at its end is a file's.
    func split(isFile: Bool) -> (directory: [String], only: String?) {
      guard isFile, !endsWithSlash, let last = components.last else { return (components, nil) }
      return (components.dropLast(), last)
    }

    func split(_ file: String?) -> (directory: [String], only: String?) {
      split(isFile: file != nil && components.last == file)
    }

    func allow(_ names: Set<String>) throws(FederationError) {
      if let other = query.keys.sorted().first(where: { !names.contains($0) }) {
        throw invalid("the address has the unknown parameter \(other.prefix(40))")
      }
    }
  }

  private static func decoded(_ text: Substring) throws(FederationError) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16),
        value >= 0x20
      else { throw invalid("the address has a broken %-escape") }
      bytes.append(value)
      rest = rest.dropFirst(2)
    }
    guard let string = String(validating: bytes, as: UTF8.self) else { throw invalid("the address is no UTF-8") }
    return string
  }

  private static func encoded(_ components: [String]) -> String {
    var text = ""
    for component in components {
      text += "/"
      for byte in component.utf8 {
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e: text.append(Character(Unicode.Scalar(byte)))
        default: text += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
      }
    }
    return text
  }

  /// The machine's own metadata service hands out credentials to whoever asks from it.
  private static func refuseMetadata(_ host: String) throws(FederationError) {
    guard !MetadataService.isNamed(host) else {
      throw FederationError(.permissionDenied, "The origin cannot be used: \(host.prefix(80)) is no place for data")
    }
  }

  // MARK: Kinds

  private static func s3(_ address: Address, _ secret: [String: String], _ file: String?) throws(FederationError)
    -> Self
  {
    try address.allow(["endpoint", "region", "provider"])
    var parameters = [
      "provider": address.query["provider"] ?? (address.query["endpoint"] == nil ? "AWS" : "Other"),
      "no_check_bucket": "true", "env_auth": "false",
    ]
    if let endpoint = address.query["endpoint"] {
      guard let scheme = endpoint.firstRange(of: "://"), ["http", "https"].contains(endpoint[..<scheme.lowerBound])
      else {
        throw invalid("the endpoint must begin with https:// or http://")
      }
      try refuseMetadata(try Address(String(endpoint[scheme.upperBound...])).host)
      parameters["endpoint"] = endpoint
      parameters["force_path_style"] = "true"
    }
    if let region = address.query["region"] ?? secret["region"] {
      // It becomes a part of a host's name.
      guard region.utf8.count <= 64, region.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-") })
      else {
        throw invalid("a region has letters, digits and `-` only")
      }
      parameters["region"] = region
    }
    for (name, parameter) in [
      ("accessKeyId", "access_key_id"), ("secretAccessKey", "secret_access_key"), ("sessionToken", "session_token"),
    ] {
      if let value = secret[name] { parameters[parameter] = value }
    }
    guard (parameters["access_key_id"] == nil) == (parameters["secret_access_key"] == nil) else {
      throw invalid("its secret needs both accessKeyId and secretAccessKey")
    }
    let (directory, only) = address.split(file)
    let root = ([address.host] + directory).joined(separator: "/")
    return .rclone(type: "s3", parameters: parameters, root: root, only: only, knownHosts: nil)
  }

  private static func http(
    _ scheme: String, _ address: Address, _ secret: [String: String], _ file: String?
  ) throws(FederationError) -> Self {
    try refuseMetadata(address.host)
    guard address.user == nil else { throw invalid("a user belongs into the secret, not the address") }
    guard address.query.isEmpty else {
      throw invalid("an address with a query (`?`) cannot be listed or fetched again")
    }
    let (directory, only) = address.split(isFile: true)
    var parameters = ["url": "\(scheme)://\(address.hostAndPort)\(encoded(directory))/"]
    let headers = try headers(address, secret)
    if !headers.isEmpty {
      // A list of rclone's, as CSV has it.
      parameters["headers"] = headers.flatMap { [$0.name, $0.value] }
        .map { $0.contains(",") ? "\"\($0)\"" : $0 }.joined(separator: ",")
    }
    return .rclone(type: "http", parameters: parameters, root: "", only: only, knownHosts: nil)
  }

  /// Of an http origin: what its address and its secret say.
  static func headers(
    of uri: String, secret: [String: String]
  ) throws(FederationError) -> [(name: String, value: String)] {
    guard let scheme = uri.firstRange(of: "://") else { throw unknown(uri) }
    return try headers(try Address(String(uri[scheme.upperBound...])), secret)
  }

  private static func headers(
    _ address: Address, _ secret: [String: String]
  ) throws(FederationError) -> [(name: String, value: String)] {
    var headers = address.headers
    if let token = secret["token"] {
      headers.append(("Authorization", "Bearer \(token)"))
    } else if let user = secret["user"], let password = secret["password"] {
      headers.append(("Authorization", "Basic \(Data("\(user):\(password)".utf8).base64EncodedString())"))
    }
    for header in headers where (header.name + header.value).contains(where: { $0 == "\"" || $0.isNewline }) {
      throw invalid("a header, or its secret, has a quotation mark or a line break")
    }
    for header in headers where RcloneSecret.asksForIdentity("headers", header.name) {
      throw FederationError(.permissionDenied, "The origin cannot be used: the header \(header.name) is not sent")
    }
    return headers
  }

  private static func webdav(
    _ scheme: String, _ address: Address, _ secret: [String: String], _ file: String?
  ) throws(FederationError) -> Self {
    try refuseMetadata(address.host)
    try address.allow(["vendor"])
    let (directory, only) = address.split(file)
    var parameters = [
      "url": "\(scheme)://\(address.hostAndPort)\(encoded(directory))", "vendor": address.query["vendor"] ?? "other",
    ]
    if let user = secret["user"] ?? address.user { parameters["user"] = user }
    if let password = secret["password"] { parameters["pass"] = password }
    if let token = secret["token"] { parameters["bearer_token"] = token }
    return .rclone(type: "webdav", parameters: parameters, root: "", only: only, knownHosts: nil)
  }

  private static func sftp(_ address: Address, _ secret: [String: String], _ file: String?) throws(FederationError)
    -> Self
  {
    try refuseMetadata(address.host)
    try address.allow([])
    var parameters = [
      "host": address.host, "port": String(address.port ?? 22), "disable_hashcheck": "true", "shell_type": "none",
      "use_insecure_cipher": "false",
    ]
    guard let user = secret["user"] ?? address.user else {
      throw invalid("sftp needs a user, in the address or its secret")
    }
    parameters["user"] = user
    if let password = secret["password"] { parameters["pass"] = password }
    if let key = secret["privateKey"] {
      let lines = key.split(whereSeparator: \.isNewline).map(String.init)
      parameters["key_pem"] = lines.joined(separator: "\\n") + "\\n"
    }
    guard secret["password"] != nil || secret["privateKey"] != nil else {
      throw invalid("its secret needs password or privateKey: the cluster's own keys are not used")
    }
    guard secret["knownHosts"] != nil || secret["insecureHostKey"] == "true" else {
      throw invalid(
        "its secret has no `knownHosts` (the lines of `ssh-keyscan \(address.host)`), so the host cannot be told from an impostor; "
          + "`insecureHostKey: true` does without")
    }
    let (directory, only) = address.split(file)
    return .rclone(
      type: "sftp", parameters: parameters, root: "/" + directory.joined(separator: "/"), only: only,
      knownHosts: secret["knownHosts"])
  }

  private static func directory(_ address: Address, _ file: String?) throws(FederationError) -> Self {
    guard address.query.isEmpty, address.port == nil, address.user == nil else {
      throw invalid("file:// takes a cluster and a path, and nothing else")
    }
    let (directory, only) = address.split(file)
    return .directory(ClusterName(address.host), path: "/" + directory.joined(separator: "/"), only: only)
  }

  /// Whatever else rclone knows: its backend and parameters are the secret's values.
  private static func backend(_ path: String, _ secret: [String: String], _ file: String?) throws(FederationError)
    -> Self
  {
    guard let type = secret["type"], !type.isEmpty else {
      throw invalid("rclone:PATH needs a secret with `type`, rclone's name of the backend, and its parameters")
    }
    guard !refusedTypes.contains(type) else {
      throw invalid("the backend \(type.prefix(40)) reads the cluster's own files; use file://CLUSTER/PATH")
    }
    guard RcloneSecret.isKnown(type) else {
      throw invalid(
        "\(type.prefix(40)) is none of rclone's backends that this agent knows to take all they need from a secret")
    }
    var parameters = secret
    parameters["type"] = nil
    if let other = parameters.keys.sorted().first(where: { !RcloneSecret.isParameter($0) }) {
      throw invalid("\(other.prefix(40)) in its secret is no parameter of rclone's: those have a-z, 0-9 and _ only")
    }
    if let forbidden = parameters.keys.sorted().first(where: RcloneSecret.reachesIntoTheMachine) {
      throw invalid("its secret cannot set \(forbidden.prefix(40)), which reaches into the cluster")
    }
    if let missing = RcloneSecret.missing(type, parameters) {
      throw invalid("without \(missing) in its secret, the backend \(type.prefix(40)) asks the machine that it runs on")
    }
    for (name, value) in parameters.sorted(by: { $0.key < $1.key })
    where MetadataService.isIn(value, isText: RcloneSecret.isText(name)) || RcloneSecret.asksForIdentity(name, value) {
      throw FederationError(.permissionDenied, "The origin cannot be used: \(name.prefix(40)) names no place for data")
    }
    let components = path.split(separator: "/").map(String.init)
    guard !components.contains(".."), !components.contains(".") else { throw invalid("a path cannot have `.` or `..`") }
    let isFile = file != nil && components.last == file && !path.hasSuffix("/")
    let directory = isFile ? Array(components.dropLast()) : components
    return .rclone(
      type: type, parameters: parameters, root: (path.hasPrefix("/") ? "/" : "") + directory.joined(separator: "/"),
      only: isFile ? file : nil, knownHosts: nil)
  }
}
