internal import FederationModel

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The services by which clouds hand credentials to whoever asks from one of their machines: never an origin of data.
///
/// This looks at what is written. Where a name leads, and where a server sends its callers on to, rclone alone sees
/// (docs/adr/0015-data-plane.md).
enum MetadataService {
  /// As long as a secret's value may be.
  static let valueBytesMax = 16 << 10
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

  /// Whether a parameter's value names one: alone, in a URL, or in one of several URLs (a connection string, a document). True as well
  /// for what is too long to be looked at, and for hosts whose spelling hides another one.
  ///
  /// - Parameter isText: it is somebody's name or password, which may be of any language.
  static func isIn(_ value: String, isText: Bool = false) -> Bool {
    guard value.utf8.count <= valueBytesMax else { return true }
    // A document as it is written, and as its reader sees it.
    for text in value.contains("\\") ? [value, unescaped(value)] : [value] {
      // The whole first: a host may be followed by anything.
      if names(text[...], isText) || text.split(whereSeparator: isSeparator).contains(where: { names($0, isText) }) {
        return true
      }
    }
    return false
  }

  /// With JSON's `\/` and `\u0031` as what they stand for.
  private static func unescaped(_ text: String) -> String {
    var result = String.UnicodeScalarView()
    var rest = text.unicodeScalars[...]
    while let scalar = rest.popFirst() {
      if scalar == "\\", rest.first == "/" { continue }
      if scalar == "\\", rest.first == "u", rest.count > 4,
        let code = UInt32(String(rest.dropFirst().prefix(4)), radix: 16), let other = Unicode.Scalar(code)
      {
        result.append(other)
        rest = rest.dropFirst(5)
      } else {
        result.append(scalar)
      }
    }
    return String(result)
  }

  /// What stands between the parts of connection strings, lists and documents, and in no host.
  private static func isSeparator(_ character: Character) -> Bool {
    character.isWhitespace || ";,=\"'`<>(){}|\\".contains(character)
  }

  /// Whether the text as a host, or the host of a URL in it, is refused.
  private static func names(_ text: Substring, _ isText: Bool) -> Bool {
    var rest = text
    var isURL = false
    while true {
      if isRefused(authority: rest, isURL: isURL, isText: isText) { return true }
      // Another URL may be in the first one's path or query.
      guard let scheme = rest.firstRange(of: "://") else { return false }
      rest = rest[scheme.upperBound...]
      isURL = true
    }
  }

  private static func isRefused(authority text: Substring, isURL: Bool, isText: Bool) -> Bool {
    var host = text.drop { $0 == "/" }.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
    if let at = host.lastIndex(of: "@") { host = host[host.index(after: at)...] }
    if isNamed(String(host)) || (isURL || !isText) && hides(host, isURL: isURL) { return true }
    guard let colon = host.lastIndex(of: ":"), host[host.index(after: colon)...].allSatisfy(\.isNumber) else {
      return false
    }
    return isNamed(String(host[..<colon]))
  }

  /// Whether readers of URLs take a host for another one than is written: they decode it, and map what looks like ASCII to that
  /// (`１６９。２５４`). An international name is written in its `xn--` form.
  ///
  /// - Parameter isURL: it is a host for sure; else it may be a word of any language.
  /// - Source: Unicode Technical Standard 46, section 4.
  private static func hides(_ host: Substring, isURL: Bool) -> Bool {
    if isURL, !host.hasPrefix("["), host.contains(where: { $0 == "%" || $0 == "\\" || !$0.isASCII }) { return true }
    return host.unicodeScalars.contains { scalar in
      guard !scalar.isASCII else { return false }
      if scalar == "\u{3002}" { return true }
      let properties = scalar.properties
      let isCapital =
        properties.lowercaseMapping != String(scalar) && !properties.lowercaseMapping.allSatisfy(\.isASCII)
      return properties.changesWhenNFKCCaseFolded && !isCapital
    }
  }

  private static func version6(_ text: String) -> [UInt8]? {
    var address = in6_addr()
    guard inet_pton(AF_INET6, text, &address) == 1 else { return nil }
    return withUnsafeBytes(of: &address) { Array($0) }
  }

  /// Link-local, and those that clouds serve in IPv6.
  private static func isRefused(_ bytes: [UInt8]) -> Bool {
    let last = UInt32(bytes[12]) << 24 | UInt32(bytes[13]) << 16 | UInt32(bytes[14]) << 8 | UInt32(bytes[15])
    if bytes[..<10].allSatisfy({ $0 == 0 }), bytes[10] == bytes[11] { return isRefused(last) }
    // IPv4 addresses behind a translator (RFC 6052).
    if bytes[..<12].elementsEqual([0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0]) { return isRefused(last) }
    if bytes[0] == 0xfe, bytes[1] & 0xc0 == 0x80 { return true }
    // fd00:ec2::254 (Amazon) and fd20:ce::254 (Google).
    return bytes.elementsEqual([0xfd, 0, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54])
      || bytes.elementsEqual([0xfd, 0x20, 0, 0xce, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54])
  }

  private static func isRefused(_ address: UInt32) -> Bool {
    // 169.254.0.0/16, and the addresses of Alibaba and Oracle clouds beside it.
    address >> 16 == 0xa9fe || address == 0x6464_64c8 || address == 0xc000_00c0
  }
}
