import FederationModel
import Foundation
import LocalSlurm
import SlurmFrontDoor
import Subprocess
import TestSupport
import Testing

@testable import fubini

/// Slurm's own commands, beside ours: what both are asked is answered alike, as far as it can be compared.
@Suite(
  "Beside the real Slurm", .serialized, .timeLimit(.minutes(5)),
  .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
struct RealSlurmTests {
  struct Answer {
    var code: Int32
    var text: String
    var errors: String
    var firstError: String { errors.split(separator: "\n").first.map(String.init) ?? "" }
  }

  private static func ask(_ program: String, _ arguments: [String], _ cluster: LocalSlurmCluster) async throws -> Answer
  {
    let result = try await Subprocess.run(
      .name(program), arguments: Arguments(arguments),
      environment: .inherit.updating(["SLURM_CONF": cluster.configurationFile, "TZ": "UTC"]),
      output: .string(limit: 1 << 20), error: .string(limit: 1 << 20))
    guard case .exited(let code) = result.terminationStatus else {
      throw HarnessMistake(text: "\(program) \(arguments) was killed")
    }
    return Answer(code: Int32(code), text: result.standardOutput, errors: result.standardError)
  }

  struct HarnessMistake: Error { var text: String }

  /// What ours refuses before it asks anybody.
  private static func refusal(_ program: String, _ arguments: [String]) async throws -> SlurmRefusal? {
    do {
      switch program {
      case "sbatch":
        _ = try BatchRequest(
          directives: [], environment: [],
          arguments: try SbatchOptions.table.scan(arguments, stopsAtOperand: true).options)
      case "squeue": _ = try await SqueueCommand.run(arguments)
      case "sacct": _ = try await SacctCommand.run(arguments)
      case "scancel": _ = try await ScancelCommand.run(arguments)
      case "scontrol": _ = try await ScontrolCommand.run(arguments)
      default: _ = try await SinfoCommand.run(arguments)
      }
      return nil
    } catch let refusal as SlurmRefusal { return refusal }
  }

  @Test("a mistake on the command line has Slurm's words and its exit code")
  func refusals() async throws {
    let mistakes: [(String, [String])] =
      [
        ["--foo"], ["-Z"], ["--hold=1"], ["--time=abc"], ["--mem=abc"], ["-n", "x"], ["--mail-type=FOO"], ["-N", "x"],
        ["-N", "2-1"], ["--open-mode=x"], ["--signal=FOO"], ["--cpus-per-task=0"], ["--kill-on-invalid-dep=maybe"],
        ["--mem=1", "--mem-per-cpu=1"], ["--ntasks=-1"], ["--array=1-"], ["--dependency=foo:1"], ["--hol=1"],
      ].map { ("sbatch", $0 + ["--wrap", "true"]) }
      + [["-t", "XX"], ["--foo"], ["-j", "abc"], ["-i", "0"], ["stray"]].map { ("squeue", $0) }
      + [["--foo"], ["-t", "xx"]].map { ("sinfo", $0) }
      + [[], ["abc"], ["-t", "XX"], ["--foo"]].map { ("scancel", $0) }
      + [["-S", "abc"], ["--foo"]].map { ("sacct", $0) }
      + [["foo"], ["show", "foo"], ["hold"], ["release"]].map { ("scontrol", $0) }
    try await SlurmFixture.with("alpha") { fixture in
      for (program, arguments) in mistakes {
        let theirs = try await Self.ask(program, arguments, fixture.clusters[0])
        let ours = try await Self.refusal(program, arguments)
        let first = ours?.text(of: program).split(separator: "\n").first.map(String.init) ?? ""
        // getopt names the program by its path.
        let wanted = theirs.firstError.trimmingCharacters(in: .whitespaces)
          .replacing("/usr/bin/\(program):", with: "\(program):")
        #expect(!wanted.isEmpty && first.hasPrefix(wanted), "\(program) \(arguments): \(first), not \(wanted)")
        #expect(ours?.exitCode == theirs.code, "\(program) \(arguments)")
      }
    }
  }

  @Test("counts of nodes and tasks become the variables that Slurm makes of them")
  func counts() async throws {
    let names: Set<String> = [
      "SLURM_JOB_NUM_NODES", "SLURM_NNODES", "SLURM_JOB_CPUS_PER_NODE", "SLURM_TASKS_PER_NODE", "SLURM_NTASKS",
      "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE", "SLURM_CPUS_ON_NODE", "SLURM_CPUS_PER_TASK", "SLURM_MEM_PER_NODE",
    ]
    try await SlurmFixture.with(
      "alpha",
      configure: {
        $0.nodes = 3
        $0.cpusPerNode = 4
        $0.memoryMiBPerNode = 4000
      }
    ) { fixture in
      for text in [
        "-N2", "-N2 --ntasks-per-node=2", "-n4 --ntasks-per-node=2", "-N3 -n3 -c2", "-N2 -n1", "-N1 -n3", "-n2 -c2",
        "-N2 --ntasks-per-node=2 --mem=100",
      ] {
        let words = text.split(separator: " ").map(String.init)
        let file = fixture.shared + "/variables"
        let answer = try await Self.ask(
          "sbatch", words + ["--wait", "--chdir=/tmp", "-o", file, "--wrap", "env"], fixture.clusters[0])
        try #require(answer.code == 0, "\(text): \(answer)")
        var theirs: [String: String] = [:]
        for line in try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n") {
          let halves = line.split(separator: "=", maxSplits: 1).map(String.init)
          if halves.count == 2, names.contains(halves[0]) { theirs[halves[0]] = halves[1] }
        }
        let request = try BatchRequest(
          directives: [], environment: [], arguments: try SbatchOptions.table.scan(words).options)
        let ours = JobEnvironment.variables(
          request, name: "j", directory: "/tmp", host: "h", user: "u", project: "p"
        ).filter { names.contains($0.name) }
        #expect(Dictionary(uniqueKeysWithValues: ours.map { ($0.name, $0.value) }) == theirs, "\(text)")
      }
    }
  }

  /// All long options of a program, by what it says of names that are cut short.
  private static func longOptions(_ program: String, _ cluster: LocalSlurmCluster) async throws -> Set<String> {
    var names: Set<String> = []
    // An unknown option at the end keeps it from doing anything.
    for letter in "abcdefghijklmnopqrstuvwxyzAFNOU" {
      let errors = try await ask(program, ["--\(letter)=x", "--zzzz"], cluster).errors
      if errors.contains("ambiguous") {
        for match in errors.matches(of: /'--([A-Za-z-]+)'/) { names.insert(String(match.1)) }
      } else if let match = errors.firstMatch(of: /option '--([A-Za-z-]+)' doesn't/) {
        names.insert(String(match.1))
      }
    }
    return names
  }

  @Test("no option of Slurm's is unknown here: each is obeyed, or has its reason")
  func options() async throws {
    try await SlurmFixture.with("alpha") { fixture in
      for table in [
        SbatchOptions.table, SqueueCommand.table, SacctCommand.table, ScancelCommand.table, SinfoCommand.table,
      ] {
        let theirs = try await Self.longOptions(table.program, fixture.clusters[0])
        #expect(theirs.count > 10, "\(table.program): \(theirs)")
        let missing = theirs.filter { table[$0] == nil }.sorted()
        #expect(missing.isEmpty, "\(table.program) knows \(missing)")
      }
    }
  }

  @Test("letters and names of formats have Slurm's headings")
  func formats() async throws {
    try await SlurmFixture.with("alpha") { fixture in
      let cluster = fixture.clusters[0]
      for letter in QueueFormat.knownLetters {
        let theirs = try await Self.ask("squeue", ["-o", "%\(letter)"], cluster)
        let ours = try QueueFormat("%\(letter)").heading
        #expect(
          theirs.code == 0 && theirs.text.split(separator: "\n").first.map(String.init) == ours, "squeue %\(letter)")
      }
      // These two are ours.
      for name in QueueFormat.knownNames where !["message", "workflow"].contains(name) {
        let theirs = try await Self.ask("squeue", ["-O", "\(name):30"], cluster)
        let ours = try QueueFormat(fields: "\(name):30").heading
        #expect(
          theirs.code == 0 && theirs.text.split(separator: "\n").first.map(String.init) == ours, "squeue -O \(name)")
      }
      for letter in ClusterFormat.knownLetters {
        let theirs = try await Self.ask("sinfo", ["-o", "%\(letter)"], cluster)
        let ours = try ClusterFormat("%\(letter)").lines([], hasHeading: true)[0]
        #expect(
          theirs.code == 0 && theirs.text.split(separator: "\n").first.map(String.init) == ours, "sinfo %\(letter)")
      }
      let states = try await Self.ask("squeue", ["-t", "XX"], cluster).errors
      for state in JobState.allCases { #expect(states.contains(state.rawValue), "\(state)") }
    }
  }

  @Test(
    "arrays, times, states and reasons are written as Slurm writes them; a job's record has no key that Slurm's has not"
  )
  func lines() async throws {
    try await SlurmFixture.with("alpha") { fixture in
      let cluster = fixture.clusters[0]
      let format = "%i|%F|%K|%j|%t|%T|%r|%R|%l|%L|%M|%C|%D|%m|%k|%E|%Z|%h|%y|%X|%Y|%z|%n|%x|%w|%v|%W|%B|%N|%S"
      for array in ["1-7:2%2", "1,2,3,7,9-11", "0-4", "5", "1,3", "1,2", "0,10,20", "1-5:2,8%3"] {
        let answer = try await Self.ask(
          "sbatch",
          [
            "--parsable", "--hold", "--array=\(array)", "-J", "sweep", "--time=1-90", "--mem=500", "--comment=hello",
            "--chdir=/tmp", "--wrap", "true",
          ], cluster)
        let number = try #require(
          Int64(answer.text.trimmingCharacters(in: .whitespacesAndNewlines)), "\(answer)")
        let theirs = try await Self.ask("squeue", ["-h", "-j", "\(number)", "-o", format], cluster)
        let tasks = try #require(TaskArray(array))
        var line = JobLine(job: number, number: number, submittedAt: .epoch)
        (line.isArray, line.tasks, line.parallelism) = (true, tasks.indices, tasks.parallelism)
        (line.name, line.comment, line.directory, line.reason) = ("sweep", "hello", "/tmp", PendingReason.held)
        (line.memoryMebibytes, line.timeLimitSeconds) = (500, (24 + 90) * 3600)
        let ours = try QueueFormat(format).line(line, DisplayMoment(now: .epoch, offset: 0))
        #expect(ours + "\n" == theirs.text, "\(array)")
        let record = JobRecord.text(line, DisplayMoment(now: .epoch, offset: 0))
        let real = try await Self.ask("scontrol", ["show", "job", "\(number)"], cluster).text
        for word in record.split(whereSeparator: \.isWhitespace) where word.contains("=") {
          let key = word.prefix { $0 != "=" } + "="
          // What is ours alone.
          if ["Workflow=", "Message="].contains(key) { continue }
          #expect(real.contains(key), "\(key) in\n\(real)")
        }
      }
      let ended = try await Self.ask(
        "sbatch", ["--parsable", "--wait", "--chdir=/tmp", "-o", "/dev/null", "--wrap", "exit 3"], cluster)
      #expect(ended.code == 3)
      let number = ended.text.trimmingCharacters(in: .whitespacesAndNewlines)
      let theirs = try await Self.ask("squeue", ["-h", "-t", "all", "-j", number, "-o", "%i %t %T %r %R"], cluster)
      var line = JobLine(job: Int64(number) ?? 0, number: Int64(number) ?? 0, submittedAt: .epoch)
      (line.state, line.reason, line.cluster) = (.failed, JobState.failed.endReason ?? "", "alpha")
      #expect(
        try QueueFormat("%i %t %T %r %R").line(line, DisplayMoment(now: .epoch, offset: 0)) + "\n" == theirs.text)
      // An id of which there is nothing to end is no failure.
      #expect(try await Self.ask("scancel", [number, "999999"], cluster).code == 0)
    }
  }
}
