internal import ArgumentParser
internal import FederationModel
internal import SlurmFrontDoor

#if canImport(Glibc)
  internal import Glibc
#endif

/// Slurm's commands, which the program is by its own name or by its first argument.
enum SlurmProgram: String, CaseIterable {
  case sbatch, squeue, scancel, sinfo, sacct, srun, scontrol, sacctmgr, sshare

  /// The program that these words start; nil for one of ours.
  ///
  /// - Parameter words: as the process was given them, its own name first.
  static func called(_ words: [String]) -> (program: SlurmProgram, arguments: [String])? {
    guard let own = words.first?.split(separator: "/").last else { return nil }
    if let program = SlurmProgram(rawValue: String(own)) { return (program, Array(words.dropFirst())) }
    guard words.count > 1, let program = SlurmProgram(rawValue: words[1]) else { return nil }
    return (program, Array(words.dropFirst(2)))
  }

  /// - Returns: the exit code.
  func run(_ arguments: [String]) async -> Int32 {
    do {
      switch self {
      case .sbatch: return try await SbatchCommand.run(arguments)
      case .squeue: return try await SqueueCommand.run(arguments)
      case .scancel: return try await ScancelCommand.run(arguments)
      case .sinfo: return try await SinfoCommand.run(arguments)
      case .sacct: return try await SacctCommand.run(arguments)
      case .srun: return try await SrunCommand.run(arguments)
      case .scontrol: return try await ScontrolCommand.run(arguments)
      case .sacctmgr: return try await SacctmgrCommand.run(arguments)
      case .sshare: return try await SshareCommand.run(arguments)
      }
    } catch let refusal as SlurmRefusal {
      Terminal.note(Terminal.printable(refusal.text(of: rawValue)))
      return refusal.exitCode
    } catch let failure as CommandFailure {
      for line in failure.message.split(separator: "\n") { Terminal.note("\(rawValue): error: \(line)") }
      return 1
    } catch let error as FederationError {
      Terminal.note("\(rawValue): error: \(error.publicMessage)")
      return 1
    } catch {
      Terminal.note("\(rawValue): error: \(error)")
      return 1
    }
  }
}

/// What is the same for each of these commands in the list of ours.
struct SlurmArguments: ParsableArguments {
  @Argument(parsing: .captureForPassthrough, help: "As that command of Slurm takes them.") var words: [String] = []
}

struct Sbatch: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Submit a batch script, as Slurm's command does.")
  @OptionGroup var arguments: SlurmArguments
}
struct Squeue: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Show jobs that are not over, as Slurm's command does.")
  @OptionGroup var arguments: SlurmArguments
}
struct Scancel: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "End jobs, as Slurm's command does.")
  @OptionGroup var arguments: SlurmArguments
}
struct Sinfo: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Show clusters as partitions, as Slurm's command does.")
  @OptionGroup var arguments: SlurmArguments
}
struct Sacct: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Show jobs that are over, too, as Slurm's command does.")
  @OptionGroup var arguments: SlurmArguments
}
struct Srun: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Run a command as a job, as Slurm's command does.")
  @OptionGroup var arguments: SlurmArguments
}
struct Scontrol: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show, hold and release jobs, as Slurm's command does.")
  @OptionGroup var arguments: SlurmArguments
}

struct Sacctmgr: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show the accounts that one may submit to, as Slurm's command does.")
  @OptionGroup var arguments: SlurmArguments
}
struct Sshare: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show one's accounts, as Slurm's command does.")
  @OptionGroup var arguments: SlurmArguments
}

struct InstallSlurmShims: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Make links named sbatch, squeue and so on that are this program.")
  @Option(help: "The directory, which is made if it is not there; put it first in PATH.") var dir: String

  func run() throws {
    let own = try Self.ownPath()
    guard mkdir(dir, 0o755) == 0 || errno == EEXIST else { throw ArtifactDownload.cannotWrite(dir) }
    for program in SlurmProgram.allCases {
      let path = "\(dir)/\(program.rawValue)"
      var status = stat()
      if lstat(path, &status) == 0 {
        guard status.st_mode & S_IFMT == S_IFLNK else {
          throw CommandFailure(.error, "\(path) exists and is no link: choose another directory.")
        }
        unlink(path)
      }
      guard symlink(own, path) == 0 else { throw ArtifactDownload.cannotWrite(path) }
      Terminal.line("\(path) -> \(own)")
    }
    Terminal.line("Put it first: export PATH=\(dir):$PATH")
  }

  private static func ownPath() throws -> String {
    guard let path = realpath("/proc/self/exe", nil) else {
      throw CommandFailure(.error, "This program does not know where it is: \(String(cString: strerror(errno)))")
    }
    defer { free(path) }
    return String(cString: path)
  }
}
