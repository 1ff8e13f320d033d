import FederationModel

/// Paths, URLs and versions.
extension ExpressionEvaluator {
  func sprigPath(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    switch name {
    case "base", "osBase": return .string(GoPath.base(try a.string(0)))
    case "dir", "osDir": return .string(GoPath.directory(try a.string(0)))
    case "clean", "osClean": return .string(GoPath.clean(try a.string(0)))
    case "ext", "osExt": return .string(GoPath.ending(try a.string(0)))
    case "isAbs", "osIsAbs": return .bool(try a.string(0).hasPrefix("/"))
    case "urlParse": return .map(try Self.urlParts(try a.string(0)).mapValues { .string($0) })
    case "urlJoin": return .string(try Self.url(try a.map(0), a))
    case "semver":
      guard let version = SemanticVersion(try a.string(0)) else { throw a.failure("Invalid Semantic Version") }
      return .map([
        "Major": .integer(version.numbers[0]), "Minor": .integer(version.numbers[1]),
        "Patch": .integer(version.numbers[2]), "Prerelease": .string(version.prerelease),
        "Metadata": .string(version.metadata), "Original": .string(try a.string(0)), "String": .string(version.text),
      ])
    case "semverCompare":
      guard let version = SemanticVersion(try a.string(1)) else { throw a.failure("Invalid Semantic Version") }
      guard let constraint = SemanticVersion.Constraint(try a.string(0)) else {
        throw a.failure("improper constraint: \(try a.string(0).prefix(100))")
      }
      return .bool(constraint.holds(for: version))
    default: return nil
    }
  }

  private static func urlParts(_ text: String) throws -> [String: String] {
    var parts = [
      "scheme": "", "host": "", "hostname": "", "path": "", "query": "", "opaque": "", "fragment": "", "userinfo": "",
    ]
    var rest = Substring(text)
    if let mark = rest.firstIndex(of: "#") {
      parts["fragment"] = String(rest[rest.index(after: mark)...])
      rest = rest[..<mark]
    }
    let scheme = rest.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || "+-.".contains($0)) }
    if let first = scheme.first, first.isLetter, rest.dropFirst(scheme.count).first == ":" {
      parts["scheme"] = scheme.lowercased()
      rest = rest.dropFirst(scheme.count + 1)
    }
    if let mark = rest.firstIndex(of: "?") {
      parts["query"] = String(rest[rest.index(after: mark)...])
      rest = rest[..<mark]
    }
    guard rest.hasPrefix("//") else {
      let isOpaque = parts["scheme"] != "" && !rest.hasPrefix("/")
      parts[isOpaque ? "opaque" : "path"] = String(rest)
      return parts
    }
    rest = rest.dropFirst(2)
    var host = rest.prefix { $0 != "/" }
    parts["path"] = String(rest.dropFirst(host.count))
    if let mark = host.lastIndex(of: "@") {
      parts["userinfo"] = String(host[..<mark])
      host = host[host.index(after: mark)...]
    }
    parts["host"] = String(host)
    if host.hasPrefix("["), let close = host.firstIndex(of: "]") {
      parts["hostname"] = String(host[host.index(after: host.startIndex)..<close])
    } else {
      parts["hostname"] = String(host.prefix { $0 != ":" })
    }
    return parts
  }

  private static func url(_ parts: [String: ExprValue], _ a: ExpressionArguments) throws -> String {
    func part(_ name: String) throws -> String {
      guard let value = parts[name] else { return "" }
      guard case .string(let text) = value else { throw a.failure("the part '\(name)' is no text") }
      return text
    }
    let (scheme, host, user) = (try part("scheme"), try part("host"), try part("userinfo"))
    var url = scheme.isEmpty ? "" : scheme + ":"
    if try part("opaque") != "" {
      url += try part("opaque")
    } else {
      let path = try part("path")
      if !scheme.isEmpty || !host.isEmpty || !user.isEmpty, !host.isEmpty || !path.isEmpty || !user.isEmpty {
        url += "//"
      }
      url += (user.isEmpty ? "" : user + "@") + host
      if !path.isEmpty, !path.hasPrefix("/"), !host.isEmpty { url += "/" }
      url += path
    }
    if try part("query") != "" { url += "?" + (try part("query")) }
    if try part("fragment") != "" { url += "#" + (try part("fragment")) }
    return url
  }
}

/// Go's `path`: slashes only.
enum GoPath {
  static func clean(_ path: String) -> String {
    let isRooted = path.hasPrefix("/")
    var parts: [Substring] = []
    for part in path.split(separator: "/") where part != "." {
      if part != ".." {
        parts.append(part)
      } else if let last = parts.last, last != ".." {
        parts.removeLast()
      } else if !isRooted {
        parts.append(part)
      }
    }
    let joined = parts.joined(separator: "/")
    return isRooted ? "/" + joined : joined.isEmpty ? "." : joined
  }

  static func base(_ path: String) -> String {
    if path.isEmpty { return "." }
    return path.split(separator: "/").last.map(String.init) ?? "/"
  }

  static func directory(_ path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return clean(String(path[...slash]))
  }

  static func ending(_ path: String) -> String {
    let name = path[(path.lastIndex(of: "/").map { path.index(after: $0) } ?? path.startIndex)...]
    return name.lastIndex(of: ".").map { String(name[$0...]) } ?? ""
  }
}
