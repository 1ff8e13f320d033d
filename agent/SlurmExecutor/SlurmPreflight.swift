internal import FederationModel
internal import Glibc

/// What an operator can know before an agent relies on it: whether Slurm's commands are there, whether it answers, what it has.
public enum SlurmPreflight {
  /// What was looked at, and what is wrong with it; nil: nothing.
  public struct Finding: Hashable, Sendable {
    public var check: String
    public var text: String
    public var isFailure: Bool
  }

  private static var patience: Duration { .seconds(15) }

  /// Changes nothing, and bounds each command in time. Slurm's controller is asked once, when all commands are there.
  public static func findings(_ configuration: SlurmExecutorConfiguration) async -> [Finding] {
    do throws(FederationError) { _ = try configuration.validated() } catch {
      return [Finding(check: "slurm", text: error.publicMessage, isFailure: true)]
    }
    var findings = [files(configuration)]
    let commands = SlurmCommands(configuration: configuration.slurmConfiguration)
    let programs = configuration.programs
    let needed = [programs.sbatch, programs.squeue, programs.scancel, programs.scontrol, programs.sinfo]
    for program in needed {
      guard let problem = await problem(commands, program, ["--version"]) else { continue }
      findings.append(Finding(check: "slurm commands", text: problem, isFailure: true))
    }
    guard !findings.contains(where: { $0.check == "slurm commands" }) else { return findings }
    findings.append(
      Finding(check: "slurm commands", text: "sbatch, squeue, scancel, scontrol, sinfo", isFailure: false))
    return findings + [await partitions(commands, configuration)]
  }

  private static func partitions(_ commands: SlurmCommands, _ configuration: SlurmExecutorConfiguration) async
    -> Finding
  {
    let arguments = ["--noheader", "--format=\(NodeGroup.format)"]
    do {
      let output = try await commands.run(configuration.programs.sinfo, arguments, timeout: patience)
      guard output.status == 0 else { throw SlurmFailure(output).error }
      let partitions = PartitionState.parse(output.standardOutput)
      let named = [configuration.partition].compactMap(\.self) + configuration.defaults.compactMap(\.partition)
      for name in named + configuration.partitions
      where !partitions.contains(where: { $0.name == name }) {
        let known = partitions.map(\.name).joined(separator: ", ")
        return Finding(
          check: "partitions", text: "there is no partition \(name) that this user sees; there is: \(known)",
          isFailure: true)
      }
      let usable = partitions.filter { partition in
        partition.availability == .up && partition.usableNodes > 0
          && (configuration.partitions.isEmpty || configuration.partitions.contains(partition.name))
      }
      return Finding(
        check: "partitions",
        text: usable.isEmpty
          ? "none is up with usable nodes: see `sinfo`"
          : usable.map { "\($0.name) (\($0.usableNodes) nodes)" }.joined(separator: ", "),
        isFailure: usable.isEmpty)
    } catch {
      return Finding(
        check: "partitions", text: (error as? FederationError)?.publicMessage ?? "\(error)", isFailure: true)
    }
  }

  /// What each node must see under the same path. Whether it does, only a job could tell.
  private static func files(_ configuration: SlurmExecutorConfiguration) -> Finding {
    let shared = configuration.sharedDirectory
    // What is not there yet is made at the start; the nearest that is there must let us.
    var path = shared
    while access(path, F_OK) != 0, let slash = path.lastIndex(of: "/"), slash != path.startIndex {
      path = String(path[..<slash])
    }
    guard access(path, W_OK | X_OK) == 0 else {
      return Finding(
        check: "shared directory", text: "\(path) cannot be written: give another slurm.sharedDirectory",
        isFailure: true)
    }
    guard access(configuration.agentBinary, X_OK) == 0 else {
      return Finding(
        check: "shared directory",
        text:
          "\(configuration.agentBinary) cannot be executed: slurm.agentBinary names the agent's program on the nodes",
        isFailure: true)
    }
    return Finding(
      check: "shared directory",
      text: "\(shared) can be written; every node must see it, and \(configuration.agentBinary)",
      isFailure: false)
  }

  private static func problem(_ commands: SlurmCommands, _ program: String, _ arguments: [String]) async -> String? {
    do {
      let output = try await commands.run(program, arguments, timeout: patience)
      return output.status == 0
        ? nil : "\(program) \(arguments.joined(separator: " ")): \(SlurmFailure.words(output.standardError))"
    } catch {
      return (error as? FederationError)?.publicMessage ?? "\(error)"
    }
  }
}
