internal import FederationModel
internal import FoundationEssentials
internal import LocalProcess
internal import Yams

/// The control planes that a person works with: `~/.config/fubini/contexts.yaml`, readable by its owner alone.
struct ContextFile: Codable, Sendable, Equatable {
  struct Context: Codable, Sendable, Equatable {
    var url: String
    var token: String?
    var certificateAuthority: String?
    var project: String?
  }

  var current: String?
  var contexts: [String: Context] = [:]

  /// - Throws: usage, when the current context is not there.
  var selected: Context? {
    get throws {
      guard let current else { return nil }
      guard let context = contexts[current] else {
        throw CommandFailure(.usage, "The context \"\(current)\" does not exist: see `fubini context list`.")
      }
      return context
    }
  }

  static func path(environment: [String: String]) -> String {
    let base = environment["XDG_CONFIG_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
    return (base ?? (environment["HOME"] ?? "/root") + "/.config") + "/fubini/contexts.yaml"
  }

  /// A file that is not there is an empty one.
  static func load(path: String) throws -> ContextFile {
    guard let data = FileManager.default.contents(atPath: path) else { return ContextFile() }
    guard data.count <= 1 << 20 else { throw CommandFailure(.error, "\(path) is larger than 1 MiB.") }
    do { return try YAMLDecoder().decode(ContextFile.self, from: data) } catch {
      throw CommandFailure(.error, "\(path) cannot be read as contexts; mend or remove it. (\(error))")
    }
  }

  func save(path: String) throws {
    let directory = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    try PrivateFile.write(try YAMLEncoder().encode(self), to: path)
  }
}
