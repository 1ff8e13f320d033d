internal import FederationModel
internal import FoundationEssentials
internal import SlurmFrontDoor

#if canImport(Glibc)
  internal import Glibc
#endif

/// What Slurm's commands know of the machine and the person they run for.
enum SlurmHost {
  static var environment: [String: String] { ProcessInfo.processInfo.environment }

  static var user: String {
    guard let entry = getpwuid(getuid()) else { return environment["USER"] ?? "\(getuid())" }
    return String(cString: entry.pointee.pw_name)
  }

  /// Without its domain.
  static var name: String {
    var buffer = [CChar](repeating: 0, count: 256)
    gethostname(&buffer, 255)
    let bytes = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    return String(String(decoding: bytes, as: UTF8.self).prefix { $0 != "." })
  }

  /// In octal: `0022`.
  static var umask: String {
    let mask = Glibc.umask(0o077)
    _ = Glibc.umask(mask)
    return "0" + String(mask, radix: 8)
  }

  static var directory: String { FileManager.default.currentDirectoryPath }

  static func absolute(_ path: String, in directory: String) -> String {
    if path.hasPrefix("/") { return path }
    return path == "." ? directory : directory + "/" + path
  }

  /// Now, and the zone's distance from UTC.
  static var moment: DisplayMoment {
    let now = Display.now
    var seconds = time_t(now.milliseconds / 1000)
    var parts = tm()
    localtime_r(&seconds, &parts)
    return DisplayMoment(now: now, offset: Int64(parts.tm_gmtoff))
  }
}
