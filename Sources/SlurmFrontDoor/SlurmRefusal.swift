/// What one of Slurm's commands says when it will not do what it was asked, in Slurm's own style and with its own exit codes.
public struct SlurmRefusal: Error, Hashable, Sendable, CustomStringConvertible {
  /// Without the command's name, which stands before each line but those that begin with U+0001.
  public var lines: [String]
  public var exitCode: Int32

  public init(lines: [String], exitCode: Int32) {
    self.lines = lines
    self.exitCode = exitCode
  }

  /// `sbatch: error: Invalid --time specification`.
  public static func error(_ text: String, exitCode: Int32 = 1) -> SlurmRefusal {
    SlurmRefusal(lines: ["error: " + text], exitCode: exitCode)
  }

  /// Without the program's name before it, as scontrol and some others say it.
  public static func plain(_ text: String, exitCode: Int32 = 1) -> SlurmRefusal {
    SlurmRefusal(lines: ["\u{1}" + text], exitCode: exitCode)
  }

  /// What getopt says, and then where help is.
  static func usage(_ text: String, _ program: String, exitCode: Int32) -> SlurmRefusal {
    SlurmRefusal(lines: [text], exitCode: exitCode).trying(program)
  }

  private func trying(_ program: String) -> SlurmRefusal {
    // Slurm says this without its name before it.
    SlurmRefusal(lines: lines + ["\u{1}Try \"\(program) --help\" for more information"], exitCode: exitCode)
  }

  /// The lines as a person sees them.
  public func text(of program: String) -> String {
    lines.map { $0.hasPrefix("\u{1}") ? String($0.dropFirst()) : "\(program): \($0)" }.joined(separator: "\n")
  }

  public var description: String { text(of: "fubini") }
}
