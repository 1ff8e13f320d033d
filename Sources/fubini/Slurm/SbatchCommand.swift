internal import AsyncHTTPClient
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import LocalProcess
internal import NIOHTTP1
internal import SlurmFrontDoor

/// A script on its way to being a job.
struct JobDraft: Sendable {
  var request: BatchRequest
  var script: String
  /// As `%o` shows it.
  var command: String
  var arguments: [String]
  var name: String
  /// Absolute: where it runs.
  var directory: String
  var image = SlurmFrontDoor.JobDocument.standardImage
  var datasets: [SlurmFrontDoor.JobDocument.Mount] = []
  /// Patterns of what comes back; empty: all that is new or changed.
  var outputFiles: [String] = []

  /// From the command line of `sbatch`.
  init(_ arguments: [String]) throws {
    let scan = try SbatchOptions.table.scan(arguments, stopsAtOperand: true)
    let environment = SbatchOptions.given(by: SlurmHost.environment)
    let own = try BatchRequest(directives: [], environment: environment, arguments: scan.options)
    if own.asksFor != nil {
      (request, script, command, name, directory) = (own, "", "", "", "")
      self.arguments = []
      return
    }
    var file = "-"
    if let wrapped = own.wrapped {
      guard scan.operands.isEmpty else {
        throw SlurmRefusal.error("Script arguments not permitted with --wrap option")
      }
      (script, command, file) = (BatchScriptDirectives.wrapping(wrapped), "", "wrap")
      self.arguments = []
    } else {
      file = scan.operands.first ?? "-"
      guard let bytes = InputFile.read(file == "-" ? "/dev/stdin" : file, limit: (4 << 20) + 1) else {
        throw SlurmRefusal.error("Unable to open file \(file)")
      }
      guard bytes.count <= 4 << 20, let text = String(validating: bytes, as: UTF8.self) else {
        throw SlurmRefusal.error("\(file) is no text, or larger than 4 MiB")
      }
      try BatchScriptDirectives.check(text)
      script = text
      command = file == "-" ? "" : SlurmHost.absolute(file, in: SlurmHost.directory)
      self.arguments = Array(scan.operands.dropFirst())
    }
    let directives = try SbatchOptions.table.scan(try BatchScriptDirectives.words(of: script, file: file)).options
    request = try BatchRequest(directives: directives, environment: environment, arguments: scan.options)
    let standard = file == "-" ? "sbatch" : String(file.split(separator: "/").last ?? "sbatch")
    name = request.jobName ?? standard
    directory = SlurmHost.absolute(request.directory ?? ".", in: SlurmHost.directory)
  }

  /// A command as a script of its own.
  init(_ request: BatchRequest, script: String, command: String, name: String) {
    self.request = request
    self.script = script
    self.command = command
    self.name = name
    arguments = []
    directory = SlurmHost.absolute(request.directory ?? ".", in: SlurmHost.directory)
  }

  /// Where the job may go, from `--clusters` and `--partition`: the names that it may not, and the partition that is left for Slurm.
  private func places(_ client: APIClient) async throws -> (excluded: [String], partition: String?) {
    let asked = request.clusters.contains("all") ? [] : request.clusters
    let nodes = request.nodes + request.excludedNodes
    guard !asked.isEmpty || request.partition != nil || !nodes.isEmpty else { return ([], nil) }
    let list: ClusterList = try await client.get(["v1", "clusters"])
    let all = list.items.map(\.name)
    if let unknown = nodes.first(where: { !all.contains($0) }) {
      throw SlurmRefusal.error("Batch job submission failed: Invalid node name specified").adding(
        "error: \(unknown) is no cluster: `sinfo` shows each as one node; nodes within clusters are theirs to choose")
    }
    // A cluster is a node, too: `sacct` says so in NodeList, and programs exclude what has failed them by that name.
    let names = all.filter {
      !request.excludedNodes.contains($0) && (request.nodes.isEmpty || request.nodes.contains($0))
    }
    let (excluded, partition) = try chosen(list, names, asked)
    return (Array(Set(excluded).union(all.filter { !names.contains($0) })).sorted(), partition)
  }

  private func chosen(
    _ list: ClusterList, _ names: [String], _ asked: [String]
  ) throws(SlurmRefusal) -> (excluded: [String], partition: String?) {
    if let unknown = asked.first(where: { !names.contains($0) }) {
      throw SlurmRefusal.error("'\(unknown)' can't be reached now, or it is an invalid entry for --cluster.")
    }
    var allowed = asked.isEmpty ? names : names.filter { asked.contains($0) }
    guard let partition = request.partition else { return (names.filter { !allowed.contains($0) }, nil) }
    let words = partition.split(separator: ",").map(String.init)
    // A cluster is a partition of the federation, by its name or by its label; any other word is for Slurm clusters to know, or a pool of Kubernetes ones.
    let named = list.items.filter { cluster -> Bool in
      allowed.contains(cluster.name)
        && (words.contains(cluster.name) || cluster.labels[Self.partitionLabel].map { words.contains($0) } ?? false)
    }.map(\.name)
    if !named.isEmpty { return (names.filter { !named.contains($0) }, nil) }
    allowed = list.items.filter { cluster in
      let isPool = cluster.kind == .kubernetes && cluster.live?.partitions?.contains { words.first == $0 } == true
      return allowed.contains(cluster.name) && (cluster.kind == .slurm || isPool)
    }.map(\.name)
    guard !allowed.isEmpty else {
      throw SlurmRefusal.error("invalid partition specified: \(partition)").adding(
        "error: Batch job submission failed: Invalid partition name specified")
    }
    return (names.filter { !allowed.contains($0) }, words.first)
  }

  /// Clusters that have it are a partition of that name together.
  static let partitionLabel = "partition"

  /// Submits it.
  ///
  /// - Returns: the job's number; 0 for a dry run.
  func submit(_ client: APIClient, isDryRun: Bool = false) async throws -> JobAccepted {
    let project = request.account ?? client.connection.project
    let places = try await places(client)
    var accepted = request
    accepted.partition = places.partition
    let inPlace = SharedDirectory.around(directory)
    let directory = inPlace?.directory ?? directory
    let key = "slurm/\(APIClient.newKey())/submission.tar"
    var document = SlurmFrontDoor.JobDocument(
      accepted, name: name, directory: directory, host: SlurmHost.name, user: SlurmHost.user, project: project,
      submissionKey: key, arguments: arguments)
    document.excludedClusters = places.excluded
    (document.image, document.datasets) = (image, datasets)
    (document.outputFiles, document.shared) = (outputFiles, inPlace?.shared)
    let begin = try begin()
    let body = JobRequest(
      name: name, document: try document.json(), details: details(in: directory, isDirect: document.direct != nil),
      dependency: request.dependency?.text,
      killsOnInvalidDependency: request.killsOnInvalidDependency, isHeld: request.isHeld,
      beginAt: begin.map { WireTime($0) }, submission: key)
    if !isDryRun {
      var environment = JobEnvironment.exported(SlurmHost.environment, request.export)
      environment["SLURM_UMASK"] = SlurmHost.umask
      let staging = JobStaging(
        script: script, environment: environment, directory: directory, isInPlace: inPlace != nil)
      try await staging.packed { file, size in try await Self.upload(file, size, as: key, project, client) }
    }
    do {
      return try await client.decode(
        .init(
          method: .POST, path: ["v1", "projects", project, "jobs"], query: isDryRun ? [("dryRun", "true")] : [],
          body: Array(try JSONEncoder().encode(body))))
    } catch let failure as CommandFailure {
      throw SlurmRefusal.error("Batch job submission failed: \(failure.message.replacing("\n", with: "; "))")
    }
  }

  private static func upload(
    _ file: String, _ size: Int64, as key: String, _ project: String, _ client: APIClient
  ) async throws {
    let path = ["v1", "projects", project, "artifacts"] + key.split(separator: "/").map(String.init)
    var attempt = 1
    while true {
      do {
        return try await client.upload(
          .init(method: .PUT, path: path), FileBytes(parts: [.init(location: file, size: size)]), size: size)
      } catch APIClient.UploadFailure.refused(let failure) {
        throw SlurmRefusal.error("Batch job submission failed: \(failure.message.replacing("\n", with: "; "))")
      } catch APIClient.UploadFailure.cut(let failure) {
        // An upload is whole or nothing, so it is sent again.
        guard let delay = client.retry.delay(afterAttempt: attempt, retryAfter: nil, random: .random(in: 0...1)) else {
          throw failure
        }
        attempt += 1
        try await Task.sleep(for: delay)
      }
    }
  }

  private func begin() throws -> Timestamp? {
    guard let text = request.begin else { return nil }
    let moment = SlurmHost.moment
    guard let time = SlurmTime.moment(text, now: moment.now, offset: moment.offset, isForward: true) else {
      throw SlurmRefusal.plain("Invalid time specification (pos=0): \(text)", exitCode: 255).adding(
        "error: Invalid --begin specification")
    }
    return time
  }

  private func details(in directory: String, isDirect: Bool) -> JobDetails {
    let output = request.output ?? FileNamePattern.standard(isArray: request.array != nil).text
    return JobDetails(
      user: SlurmHost.user, host: SlurmHost.name, account: request.account ?? "",
      partition: request.partition ?? "default", qos: request.qos ?? "normal", cpus: request.cpuCount,
      tasks: request.taskCount, memoryMebibytes: request.memoryOnNodeMebibytes, gpus: request.gpuCount,
      timeLimitSeconds: request.timeSeconds, directory: directory, command: command, output: output,
      error: request.error == request.output ? nil : request.error, appends: request.appends,
      comment: request.comment ?? "", constraint: request.constraint ?? "", licences: request.licences ?? "",
      reservation: request.reservation ?? "", requeues: request.requeues ?? false, indices: request.array?.indices,
      parallelism: request.array?.parallelism, notes: request.notes, nodes: request.nodeCount,
      isDirect: isDirect ? true : nil)
  }
}

extension SlurmRefusal {
  func adding(_ line: String) -> SlurmRefusal { SlurmRefusal(lines: lines + [line], exitCode: exitCode) }
}

enum SbatchCommand {
  static func run(_ arguments: [String]) async throws -> Int32 {
    let draft = try JobDraft(arguments)
    let request = draft.request
    if let question = request.asksFor {
      Terminal.line(question == "version" ? version : help)
      return 0
    }
    if request.isTestOnly {
      let accepted = try await withClient { try await draft.submit($0, isDryRun: true) }
      Terminal.note(
        "sbatch: The job would be accepted by project \(accepted.project) with \(request.cpuCount) processors; when and "
          + "where it would start, `fubini plan` says of a workflow")
      return 0
    }
    return try await withClient { client in
      let accepted = try await draft.submit(client)
      try JobFiles(client: client).remember(accepted.number, project: accepted.project)
      if request.verbosity > 0 {
        Terminal.note("sbatch: its workflow is \(accepted.project)/\(accepted.workflow)")
      }
      if request.isParsable {
        Terminal.line("\(accepted.number)" + (request.clusters.isEmpty ? "" : ";\(request.clusters[0])"))
      } else if !request.isQuiet {
        Terminal.line("Submitted batch job \(accepted.number)")
      }
      // Programs that read a number often read both streams.
      if !request.isParsable, !request.isQuiet { for note in request.notes { Terminal.note("sbatch: \(note)") } }
      return request.waits ? try await JobWait(client: client).untilEnded(accepted.number) : 0
    }
  }

  /// Programs ask for this to know what they speak to.
  static let version = "slurm 22.05.8"

  static let help = """
    Usage: sbatch [OPTIONS(0)...] [ : [OPTIONS(N)...]] script(0) [args(0)...]
    Fubini's sbatch. Which options are obeyed, which have no effect and which are refused:
    docs/reference/slurm-options.md
    """
}

/// Waits for jobs, with patience: they go on without us.
struct JobWait: Sendable {
  var client: APIClient

  /// - Returns: the largest exit code of its tasks, as `sbatch --wait` has it.
  func untilEnded(_ number: Int64) async throws -> Int32 {
    var patient = client
    patient.retry.attemptsMax = RetryPolicy.patientAttemptsMax
    let reading = JobReading(client: patient)
    while true {
      guard let job = try await reading.jobs(numbered: [number]).first else {
        throw SlurmRefusal.error("Invalid job id specified")
      }
      let lines = JobLine.of(job)
      guard lines.contains(where: \.state.isOpen) else {
        _ = try await JobFiles(client: patient).fetch(job)
        return lines.map { $0.exitCode != 0 ? $0.exitCode : $0.state == .completed ? 0 : 1 }.max() ?? 0
      }
      try await Task.sleep(for: .milliseconds(400))
    }
  }
}

enum SrunCommand {
  /// Those of the step, which the job's own `srun` reads.
  private static let ofStep = [
    SlurmOption("label", "l", .none), SlurmOption("unbuffered", "u", .none), SlurmOption("mpi"),
    SlurmOption("kill-on-bad-exit", "K", .optional), SlurmOption("cpu-bind"), SlurmOption("exact", nil, .none),
    SlurmOption("overlap", nil, .none), SlurmOption("wait", "W"), SlurmOption("relative", "r"),
  ]
  private static let refused = [
    SlurmOption("pty", nil, .none, .refused("a job has no terminal")),
    SlurmOption("multi-prog", nil, .none, .refused("the tasks of a step run one program")),
    SlurmOption("jobid", nil, .required, .refused("steps are started by the job's own script")),
  ]
  static let table = OptionTable(
    "srun",
    SbatchOptions.table.options.filter { !["array", "ignore-pbs", "parsable", "wait", "wrap"].contains($0.name) }
      + ofStep + refused)

  /// A command as a job that is waited for, with its output here.
  static func run(_ arguments: [String]) async throws -> Int32 {
    let scan = try table.scan(arguments, stopsAtOperand: true)
    for option in scan.options where refused.contains(where: { $0.name == option.name }) {
      try SqueueCommand.refuse(option, table)
    }
    let (own, step) = (Set(ofStep.map(\.name)), scan.options)
    let request = try BatchRequest(
      directives: [], environment: [], arguments: step.filter { !own.contains($0.name) })
    if request.asksFor != nil {
      Terminal.line(
        request.asksFor == "version" ? SbatchCommand.version : "Usage: srun [OPTIONS...] executable [args...]")
      return 0
    }
    guard !scan.operands.isEmpty else {
      throw SlurmRefusal(lines: ["fatal: No command given to execute."], exitCode: 1)
    }
    let given = step.filter { own.contains($0.name) }.map { "--\($0.name)" + ($0.value.map { "=\($0)" } ?? "") }
    let words = (given + ["--"] + scan.operands).map { "'" + $0.replacing("'", with: "'\\''") + "'" }
      .joined(separator: " ")
    let name = request.jobName ?? String(scan.operands[0].split(separator: "/").last ?? "srun")
    var draft = JobDraft(
      request, script: "#!/bin/sh\nexec srun -n \(request.taskCount) \(words)\n", command: scan.operands[0], name: name)
    draft.request.output = request.output ?? "/dev/stdout"
    let job = draft
    return try await withClient { client in
      let accepted = try await job.submit(client)
      try JobFiles(client: client).remember(accepted.number, project: accepted.project)
      if !request.isQuiet { for note in request.notes { Terminal.note("srun: \(note)") } }
      return try await JobWait(client: client).untilEnded(accepted.number)
    }
  }
}
