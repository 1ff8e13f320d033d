internal import Subprocess

/// The release of the program, as it says.
public struct RcloneRelease: Comparable, Hashable, Sendable, CustomStringConvertible {
  public var major: Int
  public var minor: Int

  public init(major: Int, minor: Int) {
    self.major = major
    self.minor = minor
  }

  /// The first whose remote control has what we ask for.
  public static let least = RcloneRelease(major: 1, minor: 60)
  /// The first whose remote control listens on a unix socket.
  public static let unixSockets = RcloneRelease(major: 1, minor: 75)

  public static func < (a: Self, b: Self) -> Bool { (a.major, a.minor) < (b.major, b.minor) }
  public var description: String { "\(major).\(minor)" }

  /// Out of `rclone version`, whose first line is like `rclone v1.60.1-DEV`; nil when it says something else.
  public init?(output: String) {
    let word = output.split(whereSeparator: \.isWhitespace).first { $0.hasPrefix("v") }
    let numbers = (word?.dropFirst() ?? "").split(separator: ".", maxSplits: 2).compactMap { Int($0) }
    guard word != nil, numbers.count >= 2 else { return nil }
    self.init(major: numbers[0], minor: numbers[1])
  }

  /// What the program prints as its version; nil when it cannot be run, or says nothing for ten seconds.
  @concurrent
  public static func output(of program: String) async -> String? {
    await withTaskGroup(of: String?.self) { group in
      group.addTask {
        // Should this process be killed, the kernel ends the program, as it ends the daemon.
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
  }
}
