internal import FederationModel
internal import Yams

extension ConfigurationParser {
  static let cacheKeys = [
    "directory", "capacity", "name", "writer", "scrubInterval", "scrubRate", "origins", "rclone",
  ]

  static let exportKeys = ["listen", "url"]

  static func export(_ node: Node) throws -> CacheConfiguration.Export {
    guard let mapping = node.mapping else { throw invalid("export", "a mapping of listen and url", node) }
    var export = CacheConfiguration.Export()
    for (key, value) in mapping {
      let key = try name(key, in: exportKeys, of: "export.")
      if key == "listen" {
        export.listen = try text("export.listen", value)
        guard let colon = export.listen.lastIndex(of: ":"),
          let port = Int(export.listen[export.listen.index(after: colon)...]), (1...65535).contains(port)
        else { throw invalid("export.listen", "ADDRESS:PORT", value) }
      } else {
        export.url = try text("export.url", value)
        do { _ = try ExportAccess.address(export.url) } catch {
          throw invalid("export.url", "https://HOST:PORT", value)
        }
      }
    }
    guard !export.listen.isEmpty, !export.url.isEmpty else {
      throw invalid("export", "a mapping of listen and url", node)
    }
    return export
  }

  static func setCache(_ node: Node, in cache: inout CacheConfiguration) throws {
    guard let mapping = node.mapping else {
      throw invalid("cache", "a mapping of \(cacheKeys.joined(separator: ", "))", node)
    }
    for (key, value) in mapping {
      let key = try name(key, in: cacheKeys, of: "cache.")
      let full = "cache.\(key)"
      switch key {
      case "directory":
        let path = try text(full, value)
        guard path.hasPrefix("/"), !path.contains("/../"), !path.hasSuffix("/..") else {
          throw invalid(full, "an absolute path", value)
        }
        cache.directory = path
      case "capacity": cache.capacityBytes = try size(full, value)
      case "name":
        let name = try text(full, value)
        guard ClusterName(name).isDNSLabel else {
          throw invalid(full, "lower-case letters, digits and dashes, at most 63", value)
        }
        cache.name = name
      case "writer":
        guard let isWriter = value.bool else { throw invalid(full, "true or false", value) }
        cache.isWriter = isWriter
      case "scrubInterval":
        let text = try text(full, value)
        guard text != "off" else {
          cache.scrubInterval = nil
          continue
        }
        guard let interval = span(text) else {
          throw invalid(full, "a time like 7d, 12h or 30s, or off", value)
        }
        cache.scrubInterval = interval
      case "scrubRate": cache.scrubBytesPerSecond = try rate(full, value)
      case "origins":
        cache.origins = try list(full, value) { node in
          let path = try text(full, node)
          guard path.hasPrefix("/") else { throw invalid(full, "absolute directories", node) }
          return path
        }
      default: cache.rclone = try text(full, value)
      }
    }
  }

  /// `30s`, `90m`, `12h`, `7d`.
  private static func span(_ text: String) -> Duration? {
    let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86400]
    guard let last = text.last, let unit = units[last], let count = Int64(text.dropLast()),
      (1...100_000).contains(count)
    else { return nil }
    return .seconds(count * unit)
  }
}
