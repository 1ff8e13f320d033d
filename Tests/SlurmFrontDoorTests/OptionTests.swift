import FederationModel
import SlurmFrontDoor
import Testing

@Suite("sbatch's options and directives")
struct OptionTests {
  static func request(
    _ arguments: [String], directives: [String] = [], environment: [String: String] = [:]
  ) throws -> BatchRequest {
    try BatchRequest(
      directives: try SbatchOptions.table.scan(directives).options, environment: SbatchOptions.given(by: environment),
      arguments: try SbatchOptions.table.scan(arguments, stopsAtOperand: true).options)
  }

  @Test("long, short, bundled and shortened options, with = and without, mean the same")
  func spellings() throws {
    for arguments in [
      ["--ntasks=4", "--hold", "--partition=gpu"], ["--ntasks", "4", "-H", "-p", "gpu"], ["-n4", "-Hpgpu"],
      ["-n=4", "--hol", "--part", "gpu"], ["-Hn", "4", "-p=gpu", "script", "--ntasks=9"],
    ] {
      let request = try Self.request(arguments)
      #expect(request.tasks == 4 && request.isHeld && request.partition == "gpu", "\(arguments)")
    }
    let scan = try SbatchOptions.table.scan(["-n4", "run.sh", "-n", "8"], stopsAtOperand: true)
    #expect(scan.operands == ["run.sh", "-n", "8"])
  }

  @Test(
    "what getopt refuses is refused in its words",
    arguments: [
      (["--foo"], "sbatch: unrecognized option '--foo'\nTry \"sbatch --help\" for more information", 255),
      (["-Z"], "sbatch: invalid option -- 'Z'\nTry \"sbatch --help\" for more information", 255),
      (["-J"], "sbatch: option requires an argument -- 'J'\nTry \"sbatch --help\" for more information", 255),
      (
        ["--hold=1"], "sbatch: option '--hold' doesn't allow an argument\nTry \"sbatch --help\" for more information",
        255
      ),
      (["--time=abc"], "sbatch: error: Invalid --time specification", 255),
      (["--mem=abc"], "sbatch: error: Invalid --mem specification", 255),
      (["-n", "x"], "sbatch: error: Invalid numeric value \"x\" for --ntasks.", 1),
      (["--mail-type=FOO"], "sbatch: error: Invalid --mail-type specification", 255),
      (["--array=1-"], "sbatch: error: Batch job submission failed: Invalid job array specification", 1),
      (["--dependency=foo:1"], "sbatch: error: Batch job submission failed: Job dependency problem", 1),
    ])
  func refusals(_ arguments: [String], _ text: String, _ code: Int) throws {
    let refusal = #expect(throws: SlurmRefusal.self) { try Self.request(arguments) }
    #expect(refusal?.text(of: "sbatch") == text)
    #expect(refusal?.exitCode == Int32(code))
  }

  @Test("the command line wins over the environment, and that over directives")
  func order() throws {
    let directives = ["--time=10", "--partition=a", "--job-name=d", "--mem=1G"]
    let environment = ["SBATCH_TIMELIMIT": "20", "SBATCH_PARTITION": "b", "SBATCH_WAIT": ""]
    let request = try Self.request(["-t", "30"], directives: directives, environment: environment)
    #expect(request.timeSeconds == 1800 && request.partition == "b" && request.jobName == "d" && request.waits)
    // Of the three kinds of memory the last one holds.
    let memory = try Self.request(["--mem-per-cpu=500", "-c", "4"], directives: directives)
    #expect(memory.memoryOnNodeMebibytes == 2000)
  }

  @Test("of several nodes each has what the one with most tasks needs; the document asks for them together")
  func nodes() throws {
    let uneven = try Self.request(["-N", "3-5", "-n", "10", "-c", "2", "--mem-per-cpu=100", "--gpus=5"])
    #expect(uneven.nodeCount == 3 && uneven.tasksOnNode == 4 && uneven.cpusOnNode == 8 && uneven.cpuCount == 24)
    #expect(uneven.memoryOnNodeMebibytes == 800 && uneven.gpusOnNode == 2)
    #expect(JobEnvironment.tasksPerNode(uneven) == "4,3(x2)")
    let fewer = try Self.request(["-N4", "-n2"])
    #expect(fewer.nodeCount == 2 && fewer.notes == ["can't run 2 processes on 4 nodes, setting nnodes to 2"])
    let document = try JobDocument(
      uneven, name: "wide", directory: "/d", host: "h", user: "u", project: "p",
      submissionKey: "slurm/x/submission.tar",
      arguments: []
    ).json()
    guard case .object(let members) = document, case .object(let spec)? = members["spec"],
      case .array(let templates)? = spec["templates"], case .object(let template) = templates[0],
      case .object(let federation)? = template["federation"], case .object(let script)? = template["script"]
    else {
      Issue.record("\(document)")
      return
    }
    #expect(federation["gang"] == ["size": 3] && federation["slurm"] == ["nodes": 3, "batch": true])
    #expect(
      script["resources"] == [
        "requests": ["cpu": "8", "memory": "800Mi"], "limits": ["memory": "800Mi", "nvidia.com/gpu": "2"],
      ])
  }

  @Test("a document of an array can do without some of its tasks; the others keep their places")
  func kept() throws {
    let document = try JobDocument(
      Self.request(["--array=1-4"]), name: "a", directory: "/d", host: "h", user: "u", project: "p",
      submissionKey: "slurm/x/submission.tar", arguments: []
    ).json()
    let kept = JobDocument.keeping(document) { $0 % 2 == 0 }.description
    for (task, ordinal) in [(1, 0), (2, 1), (3, 2), (4, 3)] {
      #expect(kept.contains(#""ordinal":"\#(ordinal)""#) == (task % 2 == 0), "\(kept)")
    }
    #expect(JobDocument.keeping(document) { _ in true } == document)
  }

  @Test("what cannot be obeyed is refused, and what has no effect says why")
  func effects() throws {
    let refusal = #expect(throws: SlurmRefusal.self) { try Self.request(["--nodefile=n1"]) }
    #expect(refusal?.lines.first?.hasPrefix("error: --nodefile is not supported here: nodes are not chosen") == true)
    #expect(throws: SlurmRefusal.self) { try Self.request(["--nodes=200000"]) }
    let counted = try Self.request(["--gpus=a100:2", "--cpus-per-gpu=8", "--ntasks-per-gpu=2", "-x", "a,b", "-w", "c"])
    #expect(counted.cpuCount == 16 && counted.taskCount == 4 && counted.gpuCount == 2)
    #expect(counted.excludedNodes == ["a", "b"] && counted.nodes == ["c"])
    #expect(throws: SlurmRefusal.self) { try Self.request(["--cpus-per-gpu=8"]) }
    let free = try Self.request(["--mem=0", "--mincpus=3", "--tasks-per-node=2", "--cluster=x"])
    #expect(free.memoryOnNodeMebibytes == nil && free.cpuCount == 3 && free.taskCount == 2 && free.clusters == ["x"])
    #expect(free.notes.count == 1 && free.notes[0].hasPrefix("--mem=0 sets no limit here"))
    #expect(throws: SlurmRefusal.self) { try Self.request(["--gres=fpga:1"]) }
    let request = try Self.request(["--mail-type=END,FAIL", "--nice=10", "--nodes=1-2"])
    #expect(request.notes.map { $0.prefix { $0 != " " } } == ["--mail-type", "--nice"])
  }

  @Test("no option of sbatch 22.05 is unknown, and none is there twice")
  func complete() {
    let options = SbatchOptions.table.options
    #expect(Set(options.map(\.name)).count == options.count)
    let shorts = options.compactMap(\.short)
    #expect(Set(shorts).count == shorts.count)
    for (variable, option) in SbatchOptions.variables {
      #expect(SbatchOptions.table[option] != nil, "\(variable) stands for \(option)")
    }
  }

  @Test("directives end at the first command, keep quotes together, and end at a comment")
  func directives() throws {
    let script = """
      #!/bin/bash
      # a comment
      #SBATCH --job-name="two words" -n 4
        # indented
      #SBATCH --comment='a # b' --mem=1G # what follows is no option
      #SBATCH --comment=a\\ b

      ##SBATCH --time=1
       #SBATCH --time=2
      set -e
      #SBATCH --time=5
      """
    let words = try BatchScriptDirectives.words(of: script, file: "x.sh")
    #expect(words == ["--job-name=two words", "-n", "4", "--comment=a # b", "--mem=1G", "--comment=a b"])
    let refusal = #expect(throws: SlurmRefusal.self) {
      try BatchScriptDirectives.words(of: "#!/bin/sh\n#SBATCH --comment=\"a b\ntrue\n", file: "q.sh")
    }
    #expect(refusal?.text(of: "sbatch") == "sbatch: fatal: q.sh: line 2: Unmatched `\"` in [--comment=\"a b]")
  }

  @Test("a file that is no script is refused as by sbatch")
  func noScript() {
    for text in ["", "  \n", "echo hi\n", "#!/bin/sh\r\ntrue\r\n", "#!  \ntrue"] {
      #expect(throws: SlurmRefusal.self, "\(text.debugDescription)") { try BatchScriptDirectives.check(text) }
    }
    #expect(throws: Never.self) { try BatchScriptDirectives.check("#!/usr/bin/env python3\nprint()\n") }
  }

  @Test("GPUs are counted in each of Slurm's four ways")
  func graphics() throws {
    #expect(try Self.request(["--gres=gpu:a100:2"]).gpuCount == 2)
    #expect(try Self.request(["--gres=gpu:a100:2"]).gpuType == "a100")
    #expect(try Self.request(["--gres=gpu"]).gpuCount == 1)
    #expect(try Self.request(["-G", "3"]).gpuCount == 3)
    #expect(try Self.request(["--gpus-per-node=v100:4"]).gpuCount == 4)
    #expect(try Self.request(["--gpus-per-task=2", "-n", "3"]).gpuCount == 6)
    #expect(try Self.request(["--gres=none"]).gpuCount == 0)
  }

  @Test("signals, exports and file modes are read as Slurm reads them")
  func others() throws {
    let warning = try #require(Self.request(["--signal=B:USR1@120"]).warning)
    #expect(warning.signal == "USR1" && warning.secondsBefore == 120 && warning.isForShell)
    #expect(try Self.request(["--signal=SIGINT"]).warning?.secondsBefore == 60)
    #expect(throws: SlurmRefusal.self) { try Self.request(["--signal=NOPE"]) }
    #expect(try Self.request(["--export=NONE"]).export == .none)
    let export = try Self.request(["--export=ALL,A=1,B='x,y',C"]).export
    #expect(export == .list(names: ["C"], values: ["A": "1", "B": "x,y"], isAll: true))
    #expect(throws: SlurmRefusal.self) { try Self.request(["--export=1A=x"]) }
    #expect(try Self.request(["--open-mode=append"]).appends)
  }

  @Test("whatever is given, reading ends with an answer or a refusal")
  func fuzz() {
    var random = SystemRandomNumberGenerator()
    let seed = UInt64.random(in: 0 ... .max, using: &random)
    var state = seed
    func next(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    let pieces = [
      "#SBATCH ", "-", "--", "time=", "array=", "1", "-", ":", "%", ",", "_", "[", "]", "afterok", "?", "\"", "'", "\\",
      "\n", " ", "mem", "=", "999999999999999999999", "0", "export=", "gres=gpu", "@", "B", "é", "T", "now+", "#", "a",
    ]
    for _ in 0..<20_000 {
      let text = (0..<next(12)).map { _ in pieces[next(pieces.count)] }.joined()
      _ = try? Self.request((try? BatchScriptDirectives.words(of: "#SBATCH " + text, file: "f")) ?? [])
      _ = try? Self.request(["--" + text, "x"])
      for option in ["time", "array", "dependency", "mem", "gres", "export", "signal", "nodes", "ntasks"] {
        _ = try? Self.request(["--\(option)=\(text)"])
      }
      _ = SlurmTime.moment(text, now: .epoch, offset: 3600, isForward: true)
      _ = try? QueueFormat("%" + text)
      _ = try? QueueFormat(fields: text)
      _ = try? AccountingFormat(text)
      _ = JobSelector(text)
    }
  }
}
