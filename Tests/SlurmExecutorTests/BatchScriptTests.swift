internal import Execution
internal import FederationModel
internal import Glibc
internal import Supervisor
internal import Testing

@testable internal import SlurmExecutor

@Suite struct BatchScriptTests {
  static func configuration(_ change: (inout SlurmExecutorConfiguration) -> Void = { _ in })
    -> SlurmExecutorConfiguration
  {
    var configuration = SlurmExecutorConfiguration(
      sharedDirectory: "/shared/fubini", agentBinary: "/shared/fubini-agent", federationID: "f00d", cluster: "hpc")
    change(&configuration)
    return configuration
  }

  static func request(_ change: (inout RunRequest) -> Void = { _ in }) -> RunRequest {
    var request = RunRequest(id: RunID(0x1_0000_0007), epoch: 1, project: "physics", spec: TaskSpec(command: ["true"]))
    change(&request)
    return request
  }

  static func script(
    _ request: RunRequest, _ configuration: SlurmExecutorConfiguration = configuration(), count: Int = 1,
    share: Int? = nil, partition: PartitionState? = nil
  ) throws -> BatchScript {
    let limits = try TimeLimits(
      walltime: request.walltime, grace: request.spec.terminationGrace, partition: partition,
      fallback: configuration.defaultWalltime)
    let shape = try JobShape(request, limits: limits, configuration: configuration)
    let name = JobName(mark: "0a1b2c3d", subject: count == 1 ? .run(request.id) : .array(0xabc))
    let directory = configuration.sharedDirectory + "/jobs/" + name.key
    return BatchScript(
      shape: shape, name: name,
      subject: count == 1 ? .run(request.id) : .array(map: directory + "/runs", count: count, share: share),
      directory: directory,
      configuration: configuration)
  }

  @Test("A script only becomes the step")
  func plainScript() throws {
    #expect(
      try Self.script(Self.request()).text == """
        #!/bin/sh
        exec '/shared/fubini-agent' 'batch-step' '--state-dir' '/shared/fubini' '--run' '0000000100000007'

        """)
    #expect(
      try Self.script(Self.request(), count: 3).text.hasSuffix("'--map' '/shared/fubini/jobs/a0000000000000abc/runs'\n")
    )
    #expect(try Self.script(Self.request(), count: 3, share: 2).text.hasSuffix("/runs' '--share' '2'\n"))
    var ahead = try Self.script(Self.request())
    ahead.isAhead = true
    #expect(ahead.text.hasSuffix("'--run' '0000000100000007' '--await' '30'\n"))
    // Neither held nor given a begin time: Slurm would not count its age, nor plan for it.
    #expect(ahead.arguments == (try Self.script(Self.request()).arguments))
  }

  @Test("The options of one core without limits")
  func plainOptions() throws {
    #expect(
      try Self.script(Self.request { $0.walltime = .seconds(600) }).arguments == [
        "--parsable", "--job-name=fubini-0a1b2c3d-0000000100000007",
        "--comment=fubini federation f00d cluster hpc run 0000000100000007", "--chdir=/shared/fubini",
        "--output=/shared/fubini/jobs/0000000100000007/job.log", "--open-mode=append", "--input=/dev/null",
        "--cpus-per-task=1", "--time=13", "--signal=B:TERM@30", "--no-requeue", "--nodes=1", "--ntasks-per-node=1",
      ])
  }

  typealias Change = @Sendable (inout RunRequest, inout SlurmExecutorConfiguration) -> Void
  static let optionCases: [(String, Change)] = [
    ("--cpus-per-task=2", { run, _ in run.spec.resources.cpuMillicores = 1001 }),
    ("--cpus-per-task=1", { run, _ in run.spec.resources.cpuMillicores = 1 }),
    ("--mem=2M", { run, _ in run.spec.resources.memory = ByteCount((1 << 20) + 1) }),
    ("--gres=gpu:2", { run, _ in run.spec.resources.gpus = 2 }),
    ("--gres=gpu:a100:1", { run, _ in run.spec.resources = Resources(gpus: 1, gpuType: "a100") }),
    (
      "--mem-per-cpu=3M",
      { run, _ in
        run.spec.resources = Resources(cpuMillicores: 2000, memory: .mebibytes(5))
        run.spec.federation.gangSize = 3
      }
    ),
    (
      "--gpus-per-task=a100:1",
      { run, _ in
        run.spec.resources = Resources(gpus: 1, gpuType: "a100")
        run.spec.federation.gangSize = 3
      }
    ), ("--ntasks=3", { run, _ in run.spec.federation.gangSize = 3 }),
    (
      "--nodes=2",
      { run, _ in
        run.spec.federation.gangSize = 3
        run.spec.federation.slurm = SlurmHints(nodes: 2)
      }
    ), ("--partition=long", { $1.partition = "long" }), ("--account=lab", { $1.account = "lab" }),
    (
      "--account=other",
      { _, configuration in
        configuration.account = "lab"
        configuration.accounts = ["physics": "other"]
      }
    ), ("--qos=low", { $1.qos = "low" }), ("--mail-type=NONE", { $1.extraOptions = ["--mail-type=NONE"] }),
  ]

  @Test("Resources and an operator's choices become options", arguments: optionCases.indices)
  func options(_ index: Int) throws {
    let (option, change) = Self.optionCases[index]
    var (request, configuration) = (Self.request(), Self.configuration())
    change(&request, &configuration)
    #expect(try Self.script(request, configuration).arguments.contains(option))
  }

  @Test("I6: a gang is one step of srun with a label for each copy, and never one of root's")
  func gang() throws {
    var request = Self.request()
    request.spec.resources.cpuMillicores = 4000
    request.spec.federation.gangSize = 6
    let shape = try Self.script(request).shape
    var run = SupervisedRun(id: 7, arguments: ["prog", "a b"], environment: [])
    try Gang.spread(&run, shape: shape, program: "/opt/slurm/bin/srun", note: "/shared/note")
    #expect(Array(run.arguments[3...4]) == ["sh", "/shared/note"])
    #expect(
      Array(run.arguments[5...11]) == [
        "/opt/slurm/bin/srun", "--ntasks=6", "--cpus-per-task=4", "--label", "--kill-on-bad-exit=1", "--input=none",
        "/bin/sh",
      ])
    #expect(Array(run.arguments[14...]) == ["sh", "/shared/note", "prog", "a b"])
    let arguments = try Self.script(request).arguments
    #expect(!arguments.contains { $0.hasPrefix("--nodes") || $0.hasPrefix("--ntasks-per-node") })
    run.user = 65534
    #expect(throws: FederationError.self) { try Gang.spread(&run, shape: shape, program: "srun", note: "/n") }
  }

  @Test("a batch script has its nodes whole, is no step of srun, and is never root's nor outside a sandbox")
  func batch() throws {
    var request = Self.request()
    request.spec.resources = Resources(cpuMillicores: 4000, memory: .mebibytes(500), gpus: 2)
    request.spec.federation.gangSize = 3
    request.spec.federation.slurm = SlurmHints(isBatch: true)
    #expect(request.spec.features.contains(.steps))
    let arguments = try Self.script(request).arguments
    for option in ["--nodes=3", "--ntasks-per-node=1", "--cpus-per-task=4", "--mem=500M", "--gres=gpu:2"] {
      #expect(arguments.contains(option), "\(option)")
    }
    #expect(!arguments.contains { $0.hasPrefix("--ntasks=") || $0.hasPrefix("--gpus-per-task") })
    let workspace = RunWorkspace(directory: "/none", root: "/none/root")
    var run = SupervisedRun(id: 7, arguments: ["bwrap", "--", "prog"], environment: [])
    #expect(throws: FederationError.self) { try BatchSteps.spread(&run, in: workspace, program: "srun") }
    (run.isSandboxed, run.user) = (true, 65534)
    #expect(throws: FederationError.self) { try BatchSteps.spread(&run, in: workspace, program: "srun") }
  }

  @Test("srun is looked for where Slurm is")
  func srun() {
    var programs = SlurmExecutorConfiguration.Programs()
    #expect(Gang.program(programs, path: "/nowhere") == "srun")
    programs.sbatch = "/opt/slurm/bin/sbatch"
    #expect(Gang.program(programs, path: "/nowhere") == "/opt/slurm/bin/srun")
    programs.srun = "/usr/local/bin/srun"
    #expect(Gang.program(programs, path: "/nowhere") == "/usr/local/bin/srun")
  }

  @Test("An array has a task for each run and a log for each task")
  func array() throws {
    let arguments = try Self.script(Self.request(), count: 50).arguments
    #expect(arguments.contains("--array=0-49"))
    #expect(arguments.contains("--output=/shared/fubini/jobs/a0000000000000abc/%a.log"))
  }

  @Test("Nothing of a user's, and no secret, is in a script or in its options (I9)")
  func secrets() throws {
    let script = try Self.script(
      Self.request {
        $0.secrets = [EnvironmentVariable(name: "TOKEN", value: "hunter2")]
        $0.spec.command = ["sh", "-c", "echo $(reboot)"]
        $0.spec.environment = [EnvironmentVariable(name: "A", value: "evil")]
      })
    for word in ["TOKEN", "hunter2", "reboot", "evil"] {
      #expect(!script.text.contains(word))
      #expect(!script.arguments.joined().contains(word))
    }
  }

  @Test(
    "Values that are no words of Slurm's are refused",
    arguments: ["a b", "x;reboot", "$(x)", "-x", "a\nb", "`x`", "ä", String(repeating: "x", count: 257)])
  func values(_ text: String) {
    #expect(throws: FederationError.self) { try JobShape.value(text, "partition") }
  }

  // MARK: Templates

  @Test("An operator's template surrounds the step, which gets Slurm's signals and keeps its exit code")
  func template() throws {
    let directory = try ScratchDirectory()
    let step = directory.path + "/step"
    try directory.write(
      "step", "#!/bin/sh\ntrap 'exit 7' USR1\necho ready\nwhile :; do sleep 0.05; done\n", mode: 0o755)
    let template = """
      #!/bin/sh
      echo before {{project}}
      {{step}}
      echo after $fubini_status
      exit $fubini_status
      """
    let script = try Self.script(
      Self.request(),
      Self.configuration {
        $0.scriptTemplate = template
        $0.agentBinary = step
      })
    try BatchScript.check(template: template)
    try directory.write("script", script.text, mode: 0o755)
    let output = try directory.run(script: "script", signal: SIGUSR1, when: "ready")
    #expect(output.status == 7)
    #expect(output.text == "before physics\nready\nafter 7\n")
  }

  @Test(
    "A template that lacks the step, has it twice or within a line, or asks for what is not there is refused",
    arguments: [
      "#!/bin/sh\n", "#!/bin/sh\n{{step}}\n{{step}}\n", "#!/bin/sh\nnice {{step}}\n", "{{step}}\n",
      "#!/bin/sh\n{{step}}\n{{walltime}}\n",
    ])
  func badTemplates(_ template: String) {
    #expect(throws: FederationError.self) { try BatchScript.check(template: template) }
  }

  @Test("Quoting survives every byte", arguments: ["a'b", "'", "''", "$x `y` \\ \"z\"", "a\nb", ""])
  func quoting(_ text: String) throws {
    let directory = try ScratchDirectory()
    try directory.write("script", "#!/bin/sh\nprintf %s \(BatchScript.quoted(text))\n", mode: 0o755)
    #expect(try directory.run(script: "script").text == text)
  }

  // MARK: Limits

  static let day = PartitionState(name: "day", timeLimit: .seconds(86_400), defaultTime: .seconds(3600))

  @Test("Slurm's limit lies behind the step's own, and within the partition's")
  func limits() throws {
    func limits(_ walltime: Duration?, _ partition: PartitionState?) throws -> TimeLimits {
      try TimeLimits(walltime: walltime, grace: .seconds(30), partition: partition, fallback: .seconds(7200))
    }
    #expect(try limits(.seconds(600), Self.day).slurmMinutes == 13)
    #expect(try limits(.seconds(600), Self.day).walltime == .seconds(600))
    // As long as the partition allows: the step's limit is the one that gives way.
    #expect(try limits(.seconds(86_400), Self.day).slurmMinutes == 1440)
    #expect(try limits(.seconds(86_400), Self.day).walltime == .seconds(86_400 - 150))
    #expect(try limits(nil, Self.day).slurmMinutes == 60)
    #expect(try limits(nil, Self.day).walltime == .seconds(3600 - 150))
    #expect(try limits(nil, nil).slurmMinutes == 120)
    #expect(try limits(nil, PartitionState(name: "m", timeLimit: .seconds(60))).walltime == .seconds(30))
    let error = #expect(throws: FederationError.self) { _ = try limits(.seconds(86_401), Self.day) }
    #expect(error?.code == .unplaceable)
    #expect(error?.publicMessage.contains("the limit of the partition day, 24 h") == true)
    // What a job waits for its inputs comes on top.
    let ahead = try TimeLimits(
      walltime: .seconds(600), grace: .seconds(30), partition: Self.day, fallback: .zero, inputWait: .seconds(60))
    #expect(ahead.slurmMinutes == 14 && ahead.walltime == .seconds(600))
  }

  @Test("The step always ends a run before Slurm does")
  func limitsNeverCross() throws {
    for seed in UInt64(0)..<500 {
      var random = SeededGenerator(seed: seed)
      let partition = PartitionState(
        name: "p",
        timeLimit: Bool.random(using: &random) ? .seconds(60 * Int64.random(in: 5...5000, using: &random)) : nil,
        defaultTime: Bool.random(using: &random) ? .seconds(60 * Int64.random(in: 5...5000, using: &random)) : nil)
      let walltime: Duration? =
        Bool.random(using: &random) ? .seconds(Int64.random(in: 1...200_000, using: &random)) : nil
      let grace = Duration.seconds(Int64.random(in: 0...60, using: &random))
      guard
        let limits = try? TimeLimits(walltime: walltime, grace: grace, partition: partition, fallback: .seconds(3600))
      else {
        let refused = try #require(walltime, "seed \(seed): only a walltime can be too long")
        #expect(try refused > #require(partition.timeLimit), "seed \(seed)")
        continue
      }
      #expect(limits.walltime + grace + .seconds(60) < .seconds(limits.slurmMinutes * 60), "seed \(seed)")
      if let walltime { #expect(limits.walltime <= walltime, "seed \(seed)") }
      if let limit = partition.timeLimit, walltime != nil {
        #expect(.seconds(limits.slurmMinutes * 60) <= limit, "seed \(seed)")
      }
    }
  }
}
