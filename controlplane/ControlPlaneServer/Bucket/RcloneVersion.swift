import FederationAPI
import FederationModel
import Foundation
import Subprocess

/// Looks at the program that talks to buckets, for an operator who checks a machine before anything depends on it.
enum RcloneVersion {
  /// The first release whose remote control has what `ObjectBucket` asks for.
  static let least = (major: 1, minor: 60)

  /// Starts the program as `RcloneDaemon` does.
  /// - Parameter program: a path, or a name that is looked up in PATH.
  static func finding(_ program: String) async -> FindingDocument {
    let output: String? = await withTaskGroup(of: String?.self) { group in
      group.addTask {
        let result = try? await Subprocess.run(
          .name("setpriv"), arguments: ["--pdeathsig", "KILL", "--", program, "version"], input: .none,
          output: .string(limit: 65_536), error: .discarded)
        guard let result, result.terminationStatus.isSuccess else { return nil }
        return result.standardOutput
      }
      group.addTask {
        try? await Task.sleep(for: .seconds(10))
        return nil
      }
      let first = await group.next() ?? nil
      group.cancelAll()
      return first
    }
    return judge(output, program)
  }

  /// - Parameter output: of `rclone version`; nil when it could not be run.
  static func judge(_ output: String?, _ program: String) -> FindingDocument {
    let remedy = "install rclone \(least.major).\(least.minor) or later, or name it as `rclone` of the bucket"
    guard let output else {
      return FindingDocument(.failed, "rclone", "\(program) cannot be run, and a bucket is configured: \(remedy)")
    }
    // "rclone v1.60.1-DEV"
    let word = output.split(whereSeparator: \.isWhitespace).first { $0.hasPrefix("v") }
    let numbers = (word?.dropFirst() ?? "").split(separator: ".", maxSplits: 2).compactMap { Int($0) }
    guard let word, numbers.count == 2 || numbers.count == 3 else {
      return FindingDocument(.failed, "rclone", "\(program) does not say its version: \(remedy)")
    }
    guard (numbers[0], numbers[1]) >= least else {
      return FindingDocument(.failed, "rclone", "\(word) is too old: \(remedy)")
    }
    return FindingDocument(.ok, "rclone", "\(program) \(word)")
  }
}
