internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import LocalProcess
internal import NIOHTTP1
internal import SlurmFrontDoor

struct JobCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "job",
    abstract: "Batch jobs, of job files and of sbatch: submit, list, describe, log, download, terminate, fetch.",
    subcommands: [
      Submit.self, ListJobs.self, Describe.self, Log.self, Download.self, Terminate.self, Fetch.self,
    ])

  struct Submit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Submit a job file, as Lebesgue and Bohrium have them.",
      discussion: """
        The input directory goes along; `job download` brings what the job has written. What is given here takes the place of what the \
        file says.
        """)
    @Option(name: [.short, .customLong("config_file"), .customLong("config-file")], help: "JSON: the job file.")
    var input: String?
    @Option(
      name: [.customShort("p"), .customLong("input_directory"), .customLong("input-directory")],
      help: "Whose files go along; without it the working directory.")
    var directory: String?
    @Option(name: [.customShort("n"), .customLong("job_name"), .customLong("job-name")]) var jobName: String?
    @Option(name: .shortAndLong) var command: String?
    @Option(
      name: [.customShort("m"), .customLong("image_address"), .customLong("image-address")],
      help: "The image, which clusters map to what they have.")
    var image: String?
    @Option(
      name: [.customShort("t"), .customLong("machine_type"), .customLong("machine-type")],
      help: "As c2_m4_cpu, \"c4_m15_1 * NVIDIA T4\", or one of `fubini machinetype list`.")
    var machineType: String?
    @Option(name: [.customLong("project"), .customLong("project_id"), .customLong("project-id")]) var project: String?
    @Option(
      name: [.customShort("r"), .customLong("result_path"), .customLong("result-path")],
      help: "Where results are brought when one looks: `job list`, `job fetch`.")
    var resultPath: String?
    @OptionGroup var output: OutputOption

    func run() async throws {
      let file = try file()
      let directory = SlurmHost.absolute(file.inputDirectory ?? ".", in: SlurmHost.directory)
      let results = file.resultPath.map { SlurmHost.absolute($0, in: SlurmHost.directory) }
      try await JobCommand.asking { client in
        let type = try await MachineTypeCommand.type(named: file.machineType, client)
        let accepted = try await JobDraft(file, type, directory: directory).submit(client)
        if let results {
          try FileManager.default.createDirectory(atPath: results, withIntermediateDirectories: true)
          try JobFiles(client: client).remember(accepted.number, project: accepted.project, directory: results)
        }
        for note in file.notes { Terminal.note(note) }
        try output.format.print(accepted, names: ["\(accepted.number)"]) { _ in
          "Job \(accepted.number) is submitted to project \(accepted.project).\n"
        }
      }
    }

    private func file() throws -> JobFile {
      var document = JSONValue.object([:])
      if let input {
        guard let bytes = InputFile.read(input, limit: 1 << 20) else {
          throw CommandFailure(.usage, "\(input) cannot be read, or is larger than 1 MiB.")
        }
        do { document = try JSONDecoder().decode(JSONValue.self, from: Data(bytes)) } catch {
          throw CommandFailure(.usage, "\(input) is no JSON: \(error)")
        }
      }
      let given = [
        "input_directory": directory, "job_name": jobName, "command": command, "image_address": image,
        "machine_type": machineType, "project_id": project, "result_path": resultPath,
      ]
      do { return try JobFile(document, overrides: given.compactMapValues { $0.map { .string($0) } }) } catch {
        throw CommandFailure(.usage, error.lines.joined(separator: "\n") + ".")
      }
    }
  }

  struct ListJobs: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List one's jobs, newest first.", aliases: ["ls"])
    @Option(name: .shortAndLong, help: "So many at most.") var number = 10
    @Flag(name: .shortAndLong, help: "Only those that wait.") var pending = false
    @Flag(name: .shortAndLong, help: "Only those that run.") var running = false
    @Flag(name: [.customShort("i"), .customLong("finish")], help: "Only those that ended well.") var finished = false
    @Flag(name: [.customShort("f"), .customLong("fail")], help: "Only those that failed.") var failed = false
    @Flag(name: [.customShort("d"), .customLong("stopped")], help: "Only those that were ended.") var stopped = false
    @Flag(name: .shortAndLong, help: "Numbers alone.") var quiet = false
    @Option(help: "Of this project alone.") var project: String?
    @OptionGroup var output: OutputOption

    func run() async throws {
      let wanted = Set(
        [
          (pending, JobStatus.pending), (running, .running), (finished, .finished), (failed, .failed),
          (stopped, .stopped),
        ].filter(\.0).map(\.1))
      try await JobCommand.asking { client in
        try await JobFiles(client: client).fetchEnded()
        var query: [(String, String)] = []
        if let project { query.append(("project", project)) }
        if wanted.isSubset(of: [.pending, .running]), !wanted.isEmpty { query.append(("open", "true")) }
        var jobs: [FederationAPI.JobDocument] = []
        // Filters of states are ours, so more are read than shown.
        for job in try await JobReading(client: client).jobs(query, limit: wanted.isEmpty ? number : 10_000) {
          guard jobs.count < number else { break }
          if wanted.isEmpty || wanted.contains(JobStatus(job)) { jobs.append(job) }
        }
        let names = jobs.map { "\($0.number)" }
        if quiet { return names.forEach { Terminal.line($0) } }
        let now = SlurmHost.moment.now
        try output.format.print(JobList(items: jobs), names: names) { _ in
          var table = Table(headings: ["ID", "NAME", "STATUS", "PROJECT", "SUBMITTED", "ELAPSED", "CLUSTER"])
          for job in jobs {
            let line = JobLine.of(job).first
            table.rows.append([
              "\(job.number)", job.name, JobStatus(job).rawValue, job.project, job.submittedAt.description,
              SlurmTime.short(line?.elapsedSeconds(now) ?? 0), line?.cluster ?? "",
            ])
          }
          return table.render()
        }
      }
    }
  }

  struct Describe: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Show all that is known of jobs.")
    @OptionGroup var jobs: JobNumbers
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await JobCommand.asking { client in
        let found = try await jobs.read(client)
        try output.format.print(JobList(items: found), names: found.map { "\($0.number)" }) { _ in
          found.flatMap { JobLine.joined(JobLine.of($0)) }.map {
            Terminal.printable(JobRecord.text($0, SlurmHost.moment))
          }.joined(separator: "\n")
        }
      }
    }
  }

  struct Log: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print what jobs have printed so far.")
    @OptionGroup var jobs: JobNumbers
    @Flag(name: .shortAndLong, help: "Go on until the job ends.") var follow = false
    func run() async throws {
      try await JobCommand.asking { client in
        for job in try await jobs.read(client) {
          var connection = client.connection
          connection.project = job.project
          let here = APIClient(connection: connection, http: client.http, retry: client.retry)
          for task in job.tasks {
            guard let node = task.node, let run = task.run else {
              Terminal.note("Job \(job.number) has not started: \(task.message.isEmpty ? task.reason : task.message)")
              continue
            }
            let reader = LogReader(client: here, workflow: job.workflowUID)
            try await reader.read(RunLog(node: node, run: run, prefix: ""), follow: follow)
          }
        }
      }
    }
  }

  struct Download: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Bring what ended jobs have written, and their output (STDOUTERR), each into a directory by its number."
    )
    @OptionGroup var jobs: JobNumbers
    @Option(name: [.customShort("p"), .customLong("path")], help: "The directories are made in this one.")
    var path = "."
    func run() async throws {
      let base = SlurmHost.absolute(path, in: SlurmHost.directory)
      try await JobCommand.asking { client in
        for job in try await jobs.read(client) {
          let directory = "\(base)/\(job.number)"
          try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
          guard try await JobFiles(client: client).bring(job, to: directory) > 0 else {
            throw CommandFailure(.error, "Job \(job.number) has not ended.")
          }
          Terminal.line(Terminal.printable(directory))
        }
      }
    }
  }

  struct Terminate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract:
        "End jobs: they are asked to end, and killed when they do not. What they have made until then comes back.",
      aliases: ["kill"])
    @OptionGroup var jobs: JobNumbers
    func run() async throws {
      try await JobCommand.asking { client in
        for job in try await jobs.read(client) {
          let _: AcceptedDocument = try await client.post(
            ["v1", "projects", job.project, "jobs", "\(job.number)", "cancel"], body: JobCancelRequest())
          Terminal.line("Job \(job.number) is ending.")
        }
      }
    }
  }

  struct Fetch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Bring the output files of ended jobs to the directories that they were submitted in.",
      discussion: "squeue, sacct, scontrol and `sbatch --wait` do so by themselves.")
    func run() async throws {
      try await withClient { client in
        let fetched = try await JobFiles(client: client).fetchEnded()
        Terminal.line("\(fetched) tasks fetched.")
      }
    }
  }

  /// What the front door refuses is said as the other commands say it.
  static func asking(_ body: (APIClient) async throws -> Void) async throws {
    do { try await withClient(body) } catch let refusal as SlurmRefusal {
      let lines = refusal.lines.map { $0.hasPrefix("error: ") ? String($0.dropFirst(7)) : $0 }
      throw CommandFailure(.error, lines.joined(separator: "\n"))
    }
  }
}

/// Which jobs are meant.
struct JobNumbers: ParsableArguments {
  @Argument(help: "Numbers of jobs.") var numbers: [Int64] = []
  @Option(name: [.customShort("j"), .customLong("job_id"), .customLong("job-id")], help: "The same; may be repeated.")
  var job: [Int64] = []

  func read(_ client: APIClient) async throws -> [FederationAPI.JobDocument] {
    let wanted = numbers + job
    guard !wanted.isEmpty else { throw CommandFailure(.usage, "Which job? `fubini job list` has their numbers.") }
    let found = try await JobReading(client: client).jobs(numbered: wanted)
    for number in wanted where !found.contains(where: { $0.number == number }) {
      throw CommandFailure(.error, "There is no job \(number).")
    }
    return wanted.compactMap { number in found.first { $0.number == number } }
  }
}

/// What has become of a job, in one word.
enum JobStatus: String {
  case pending = "Pending"
  case running = "Running"
  case finished = "Finished"
  case failed = "Failed"
  case stopped = "Stopped"

  init(_ job: FederationAPI.JobDocument) {
    let states = JobLine.of(job).map(\.state)
    if states.contains(.running) {
      self = .running
    } else if states.contains(where: \.isOpen) {
      self = states.allSatisfy { $0 == .pending } ? .pending : .running
    } else if states.allSatisfy({ $0 == .completed }) {
      self = .finished
    } else {
      self = states.contains { $0 != .completed && $0 != .cancelled } ? .failed : .stopped
    }
  }
}

extension JobDraft {
  /// Of a job file: its command, by bash where the image has one.
  init(_ file: JobFile, _ type: MachineType, directory: String) {
    let quoted = "'" + file.command.replacing("'", with: "'\\''") + "'"
    let script = """
      #!/bin/sh
      if command -v bash >/dev/null 2>&1; then exec bash -c \(quoted); fi
      exec sh -c \(quoted)

      """
    self.init(file.request(type), script: script, command: file.command, name: file.jobName)
    self.directory = directory
    (image, datasets, outputFiles) = (file.image, file.datasets, file.returned)
  }
}
