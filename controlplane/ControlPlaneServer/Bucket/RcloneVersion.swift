import FederationAPI
import Rclone

/// Looks at the program that talks to buckets, for an operator who checks a machine before anything depends on it.
enum RcloneVersion {
  static func finding(_ program: String) async -> FindingDocument {
    judge(await RcloneRelease.output(of: program), program)
  }

  /// - Parameter output: of `rclone version`; nil when it could not be run.
  static func judge(_ output: String?, _ program: String) -> FindingDocument {
    let remedy = "install rclone \(RcloneRelease.least) or later, or name it as `rclone` of the bucket"
    guard let output else {
      return FindingDocument(.failed, "rclone", "\(program) cannot be run, and a bucket is configured: \(remedy)")
    }
    guard let release = RcloneRelease(output: output) else {
      return FindingDocument(.failed, "rclone", "\(program) does not say its version: \(remedy)")
    }
    let word = output.split(whereSeparator: \.isWhitespace).first { $0.hasPrefix("v") } ?? ""
    guard release >= .least else {
      return FindingDocument(.failed, "rclone", "\(word) is too old: \(remedy)")
    }
    return FindingDocument(.ok, "rclone", "\(program) \(word)")
  }
}
