internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The services by which clouds hand credentials to whoever asks from one of their machines: never an origin of data.
enum MetadataService {
  private static let names: Set<String> = [
    "metadata", "metadata.google.internal", "metadata.goog", "metadata.azure.com", "metadata.tencentyun.com",
    "instance-data", "instance-data.ec2.internal",
  ]

  /// - Parameter host: as a URL has it: a name, or an address in any of the forms that resolvers take, without a port.
  static func isNamed(_ host: String) -> Bool {
    var name = host.lowercased()
    while name.hasSuffix(".") { name.removeLast() }
    if names.contains(name) { return true }
    if name.hasPrefix("["), name.hasSuffix("]") { name = String(name.dropFirst().dropLast()) }
    if let zone = name.firstIndex(of: "%") { name = String(name[..<zone]) }
    if let address = version6(name) { return isRefused(address) }
    // One number, octal and hexadecimal parts included, as every C library reads it.
    var address = in_addr()
    guard inet_aton(name, &address) != 0 else { return false }
    return isRefused(UInt32(bigEndian: address.s_addr))
  }

  /// Whether a parameter's value names one, alone or in a URL.
  static func isIn(_ value: String) -> Bool {
    guard value.utf8.count <= 4096 else { return false }
    var rest = value[...]
    if let scheme = rest.firstRange(of: "://") { rest = rest[scheme.upperBound...] }
    rest = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
    if let at = rest.lastIndex(of: "@") { rest = rest[rest.index(after: at)...] }
    if isNamed(String(rest)) { return true }
    guard let colon = rest.lastIndex(of: ":"), rest[rest.index(after: colon)...].allSatisfy(\.isNumber) else {
      return false
    }
    return isNamed(String(rest[..<colon]))
  }

  private static func version6(_ text: String) -> [UInt8]? {
    var address = in6_addr()
    guard inet_pton(AF_INET6, text, &address) == 1 else { return nil }
    return withUnsafeBytes(of: &address) { Array($0) }
  }

  /// Link-local, and the one that a cloud serves in IPv6.
  private static func isRefused(_ bytes: [UInt8]) -> Bool {
    let last = UInt32(bytes[12]) << 24 | UInt32(bytes[13]) << 16 | UInt32(bytes[14]) << 8 | UInt32(bytes[15])
    if bytes[..<10].allSatisfy({ $0 == 0 }), bytes[10] == bytes[11] { return isRefused(last) }
    // IPv4 addresses behind a translator (RFC 6052).
    if bytes[..<12].elementsEqual([0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0]) { return isRefused(last) }
    if bytes[0] == 0xfe, bytes[1] & 0xc0 == 0x80 { return true }
    return bytes.elementsEqual([0xfd, 0, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54])
  }

  private static func isRefused(_ address: UInt32) -> Bool {
    // 169.254.0.0/16, and the addresses of Alibaba and Oracle clouds beside it.
    address >> 16 == 0xa9fe || address == 0x6464_64c8 || address == 0xc000_00c0
  }
}

/// What the parameters of a backend of rclone's may say: all that it needs, and nothing about the machine that it runs on.
enum RcloneSecret {
  /// - Parameter name: of a parameter.
  static func reachesIntoTheMachine(_ name: String) -> Bool {
    let exact: Set<String> = [
      "ssh", "remote", "upstreams", "profile", "ask_password", "key_use_agent", "use_emulator", "config_profile",
      "server_command", "subsystem", "iam_role", "iam_role_arn", "role_arn", "impersonate_service_account",
    ]
    let parts = [
      "env_auth", "use_msi", "use_az", "kerberos", "credentials_file", "socket", "proxy", "instance_principal",
    ]
    return exact.contains(name) || name.hasPrefix("msi_") || name.hasPrefix("override") || name.hasPrefix("imds")
      || name.hasSuffix("_file") || name.hasSuffix("_command") || name.hasSuffix("_path")
      || parts.contains { name.contains($0) }
  }

  /// Backends that fall back on the machine's own identity when they are given none.
  ///
  /// - Returns: what has to be given; nil when it is, or nothing has to be.
  static func missing(_ type: String, _ parameters: [String: String]) -> String? {
    func isGiven(_ name: String) -> Bool { parameters[name]?.isEmpty == false }
    switch type {
    case "google cloud storage", "gcs":
      let isOpen = parameters["anonymous"] == "true"
      return isOpen || isGiven("service_account_credentials") || isGiven("token") || isGiven("access_token")
        ? nil : "service_account_credentials"
    case "azureblob", "azurefiles":
      let isNamed = isGiven("tenant") && isGiven("client_id") && isGiven("client_secret")
      return isGiven("key") || isGiven("sas_url") || isGiven("connection_string") || isNamed
        ? nil : "key, sas_url or client_secret"
    case "oracleobjectstorage": return parameters["provider"] == "no_auth" ? nil : "provider = no_auth"
    case "hdfs": return isGiven("username") ? nil : "username"
    case "sftp": return isGiven("pass") || isGiven("key_pem") ? nil : "pass or key_pem"
    default: return nil
    }
  }
}
