import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Testing

extension Integration {
  /// Slurm's commands as people and programs use them, against a federation of real processes.
  @Suite("The Slurm front door", .timeLimit(.minutes(10)))
  struct SlurmFrontDoorTests {
    /// A directory on this machine that jobs are submitted in, and a state directory for what they are owed.
    struct Desk {
      let federation: Federation
      let home: String

      init(_ federation: Federation, _ name: String) throws {
        self.federation = federation
        home = federation.path("desk-\(name)")
        try FileManager.default.createDirectory(atPath: home, withIntermediateDirectories: true)
      }

      func write(_ name: String, _ text: String) throws {
        try text.write(toFile: "\(home)/\(name)", atomically: true, encoding: .utf8)
      }

      func read(_ name: String) -> String? { try? String(contentsOfFile: "\(home)/\(name)", encoding: .utf8) }

      func run(_ words: String...) async throws -> (code: Int32, output: String) { try await run(words) }

      func run(_ words: [String]) async throws -> (code: Int32, output: String) {
        let (code, output) = try await federation.fubini(
          words, in: home, environment: ["XDG_STATE_HOME": home + ".state", "SITE_NOTE": "from the desk"])
        return (code, output.trimmingCharacters(in: .whitespacesAndNewlines))
      }

      /// Submits, and returns the number.
      func sbatch(_ words: String...) async throws -> Int64 {
        let (code, output) = try await run(["sbatch", "--parsable"] + words)
        guard code == 0, let number = Int64(output) else { throw HarnessError("sbatch \(words): \(code) \(output)") }
        return number
      }

      /// `sacct` of one job, by its fields.
      func sacct(_ job: Int64, _ fields: String) async throws -> [String] {
        let (_, output) = try await run("sacct", "-X", "-n", "-P", "-j", "\(job)", "--format", fields)
        return output.split(separator: "\n").map(String.init)
      }

      func ended(_ job: Int64) async throws {
        try await poll("job \(job) is over", timeout: .seconds(60)) {
          try await self.run("squeue", "-h", "-j", "\(job)").output.isEmpty
        }
      }
    }

    @Test("a script's job is seen by squeue, and its files are in the submit directory once it is gone from there")
    func script() async throws {
      try await Federation.with { federation in
        let desk = try Desk(federation, "script")
        try desk.write("input.txt", "forty-two\n")
        try desk.write("skipped.dat", "large")
        try desk.write(".fubiniignore", "*.dat\n")
        try desk.write(
          "job.sh",
          """
          #!/bin/bash
          #SBATCH --job-name=first --time=5
          #SBATCH --error=%x.err
          cat input.txt
          echo "job $SLURM_JOB_ID in $SLURM_SUBMIT_DIR, $SITE_NOTE, {{tag}} $1"
          echo wrong >&2
          ls *.dat 2>/dev/null
          mkdir -p results && echo made >results/out.txt
          echo changed >>input.txt
          sleep 2
          exit 3
          """)
        let number = try await desk.sbatch("job.sh", "argument")
        let (_, queue) = try await desk.run("squeue", "-o", "%i %j %t %u", "-h")
        #expect(queue.hasPrefix("\(number) first "), "\(queue)")
        try await desk.ended(number)
        #expect(
          desk.read("slurm-\(number).out")
            == "forty-two\njob \(number) in \(desk.home), from the desk, {{tag}} argument\n")
        #expect(desk.read("first.err") == "wrong\n")
        let mode = try FileManager.default.attributesOfItem(atPath: "\(desk.home)/results/out.txt")[.posixPermissions]
        #expect((mode as? Int).map { $0 & 0o600 } == 0o600)
        #expect(desk.read("results/out.txt") == "made\n" && desk.read("input.txt") == "forty-two\nchanged\n")
        #expect(try await desk.sacct(number, "JobID,JobName,State,ExitCode") == ["\(number)|first|FAILED|3:0"])
        let (_, shown) = try await desk.run("scontrol", "show", "job", "\(number)")
        #expect(shown.contains("JobState=FAILED Reason=NonZeroExitCode") && shown.contains("TimeLimit=00:05:00"))
      }
    }

    @Test("--wait ends with the job's code, --wrap needs no script, and what cannot be obeyed is not submitted")
    func waiting() async throws {
      try await Federation.with { federation in
        let desk = try Desk(federation, "wait")
        let (code, output) = try await desk.run("sbatch", "--wait", "-o", "w.out", "--wrap", "echo hi; exit 7")
        #expect(code == 7 && output.hasPrefix("Submitted batch job ") && desk.read("w.out") == "hi\n", "\(output)")
        let (srun, text) = try await desk.run("srun", "-n", "2", "sh", "-c", "echo rank $SLURM_PROCID; exit 0")
        #expect(srun == 0 && text.contains("rank"), "\(srun) \(text)")
        let (labelled, lines) = try await desk.run("srun", "-ln2", "echo", "x")
        #expect(labelled == 0 && lines.split(separator: "\n").sorted() == ["0: x", "1: x"], "\(lines)")
        let terminal = try await desk.run("srun", "--pty", "true")
        #expect(terminal.code == 1 && terminal.output.contains("a job has no terminal"), "\(terminal)")
        let refused = try await desk.run("sbatch", "--nodefile=n1", "--wrap", "true")
        #expect(refused.code == 1 && refused.output.contains("--nodefile is not supported here"), "\(refused)")
        let (dry, message) = try await desk.run("sbatch", "--test-only", "--wrap", "true")
        #expect(dry == 0 && message.contains("would be accepted"), "\(message)")
        let account = try await desk.run("sbatch", "-A", "nobody-has-it", "--wrap", "true")
        #expect(account.code == 1 && account.output.contains("there is no project"), "\(account)")
        #expect(try await desk.run("squeue", "-h").output.isEmpty)
        // No cluster here has several nodes for it.
        let wide = try await desk.sbatch("-N2", "--wrap", "true")
        try await poll("it says why it waits", timeout: .seconds(20)) {
          try await desk.run("squeue", "-h", "-j", "\(wide)", "-o", "%r %D").output == "PartitionConfig 2"
        }
        #expect(try await desk.run("scancel", "\(wide)").code == 0)
        let step = try await desk.run(
          "sbatch", "--wait", "-n", "2", "-o", "step.out", "--wrap", "srun -l -o %j_%2t.log sh -c 'echo $SLURM_PROCID'")
        #expect(step.code == 0 && desk.read("step.out") == "")
        let logs = try FileManager.default.contentsOfDirectory(atPath: desk.home).filter { $0.hasSuffix("_01.log") }
        #expect(logs.count == 1 && desk.read(logs.first ?? "") == "1\n", "\(logs)")
        // Each task has the whole of a file.
        try desk.write("given.txt", "given\n")
        let fed = try await desk.run(
          "sbatch", "--wait", "-n", "2", "-o", "fed.out", "--wrap", "mkdir x; srun -n 2 -D x -i given.txt cat")
        #expect(fed.code == 0 && desk.read("fed.out") == "given\ngiven\n", "\(desk.read("fed.out") ?? "")")
      }
    }

    @Test("an array has a line and a file for each task; one task is cancelled alone")
    func arrays() async throws {
      var options = FederationOptions()
      options.agents = [.init("one"), .init("two")]
      try await Federation.with(options) { federation in
        let desk = try Desk(federation, "array")
        let number = try await desk.sbatch(
          "--array=1-7:2%2", "-J", "sweep", "--wrap",
          "[ $SLURM_ARRAY_TASK_ID = 5 ] && sleep 60; echo $SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID $SLURM_JOB_ID")
        try await poll("task 5 runs", timeout: .seconds(60)) {
          try await desk.run("squeue", "-h", "-j", "\(number)_5", "-o", "%T").output == "RUNNING"
        }
        let cancelled = try await desk.run("scancel", "\(number)_5")
        #expect(cancelled.code == 0, "\(cancelled)")
        try await desk.ended(number)
        for (ordinal, task) in [1, 3, 7].enumerated() {
          let raw = number + Int64(ordinal == 2 ? 3 : ordinal)
          #expect(desk.read("slurm-\(number)_\(task).out") == "\(number) \(task) \(raw)\n")
        }
        #expect(
          try await desk.sacct(number, "JobID,State") == [
            "\(number)_1|COMPLETED", "\(number)_3|COMPLETED", "\(number)_5|CANCELLED", "\(number)_7|COMPLETED",
          ])
        #expect(try await desk.sbatch("--wrap", "true") == number + 4)
      }
    }

    @Test("what a job has written until it is cancelled comes back, as on Slurm")
    func cancelled() async throws {
      try await Federation.with { federation in
        let desk = try Desk(federation, "cancelled")
        let number = try await desk.sbatch(
          "-o", "c.out", "-e", "c.err", "--wrap", "echo half >half.txt; echo oops >&2; echo begun; sleep 600")
        try await poll("it has begun", timeout: .seconds(60)) {
          try await desk.run("job", "log", "\(number)").output.contains("begun")
        }
        #expect(try await desk.run("scancel", "\(number)").code == 0)
        try await desk.ended(number)
        #expect(desk.read("half.txt") == "half\n" && desk.read("c.err") == "oops\n")
        #expect(desk.read("c.out")?.hasPrefix("begun\nslurmstepd: error: *** JOB \(number) ON ") == true)
        #expect(try await desk.sacct(number, "State") == ["CANCELLED"])
      }
    }

    @Test("aftercorr: the tasks start whose counterparts ended well; tasks of an array that waits are cancelled alone")
    func counterparts() async throws {
      try await Federation.with { federation in
        let desk = try Desk(federation, "corr")
        let first = try await desk.sbatch("--array=0-2", "--wrap", "[ $SLURM_ARRAY_TASK_ID != 1 ]")
        let second = try await desk.sbatch(
          "--array=0-2", "-d", "aftercorr:\(first)", "-o", "corr.%a", "--wrap", "echo $SLURM_JOB_ID")
        let held = try await desk.sbatch(
          "--hold", "--array=1-4", "-o", "held.%a", "--wrap", "echo $SLURM_ARRAY_TASK_ID")
        let some = try await desk.run("scancel", "\(held)_[2-3]")
        #expect(some.code == 0, "\(some)")
        #expect(
          try await desk.run("squeue", "-h", "-j", "\(held)", "-o", "%i %r").output == "\(held)_[1,4] JobHeldUser")
        #expect(try await desk.run("scontrol", "release", "\(held)").code == 0)
        for job in [first, second, held] { try await desk.ended(job) }
        #expect(
          try await desk.sacct(second, "JobID,State") == [
            "\(second)_0|COMPLETED", "\(second)_1|CANCELLED", "\(second)_2|COMPLETED",
          ])
        #expect(desk.read("corr.0") == "\(second)\n" && desk.read("corr.2") == "\(second + 2)\n")
        #expect(
          try await desk.sacct(held, "JobID,State") == [
            "\(held)_1|COMPLETED", "\(held)_2|CANCELLED", "\(held)_3|CANCELLED", "\(held)_4|COMPLETED",
          ])
        #expect(desk.read("held.4") == "4\n")
        let whole = try await desk.sbatch("--hold", "--array=1-2", "--wrap", "true")
        #expect(try await desk.run("scancel", "\(whole)_1", "\(whole)_2").code == 0)
        #expect(try await desk.sacct(whole, "State") == ["CANCELLED", "CANCELLED"])
      }
    }

    @Test("I10: jobs wait for each other by their ends, and say so; held ones wait for their release")
    func dependencies() async throws {
      try await Federation.with { federation in
        let desk = try Desk(federation, "depend")
        let held = try await desk.sbatch("--hold", "-J", "one", "--wrap", "exit 1")
        let ok = try await desk.sbatch("--dependency=afterok:\(held)", "--wrap", "true")
        let kill = try await desk.sbatch(
          "--dependency=afterok:\(held)", "--kill-on-invalid-dep=yes", "--wrap", "true")
        let any = try await desk.sbatch("--dependency=afterany:\(held)", "-o", "any.out", "--wrap", "echo any")
        let bad = try await desk.sbatch("--dependency=afternotok:\(held)", "-o", "bad.out", "--wrap", "echo bad")
        let next = try await desk.sbatch("--dependency=singleton", "-J", "one", "--wrap", "true")
        try await poll("all have a reason", timeout: .seconds(20)) {
          let (_, text) = try await desk.run("squeue", "-h", "-o", "%i %r")
          return text
            == "\(held) JobHeldUser\n"
            + [ok, kill, any, bad, next].map { "\($0) Dependency" }.joined(separator: "\n")
        }
        let released = try await desk.run("scontrol", "release", "\(held)")
        #expect(released.code == 0, "\(released)")
        for job in [held, kill, any, bad, next] { try await desk.ended(job) }
        #expect(desk.read("any.out") == "any\n" && desk.read("bad.out") == "bad\n")
        #expect(try await desk.sacct(kill, "State") == ["CANCELLED"])
        #expect(try await desk.sacct(next, "State") == ["COMPLETED"])
        let (_, never) = try await desk.run("squeue", "-h", "-o", "%i %r")
        #expect(never == "\(ok) DependencyNeverSatisfied")
        #expect(try await desk.run("scancel", "--name=wrap").code == 0)
        #expect(try await desk.run("squeue", "-h").output.isEmpty)
        #expect(try await desk.sbatch("--begin=now+1hour", "--wrap", "true") > next)
        try await poll("it waits for its time", timeout: .seconds(10)) {
          try await desk.run("squeue", "-h", "-o", "%r").output == "BeginTime"
        }
        #expect(try await desk.run("scancel", "-t", "PENDING", "--me").code == 0)
        let again = try await desk.run("scancel", "-v", "\(next)")
        #expect(again.code == 0 && again.output.contains("already completing or completed"), "\(again)")
        let (silent, nothing) = try await desk.run("scancel", "\(next)", "999999")
        #expect(silent == 0 && nothing.isEmpty, "\(nothing)")
      }
    }

    @Test(
      "a directory that is shared is used in place: nothing is copied, and other clusters do not take the job (I10)")
    func shared() async throws {
      let shared = "/tmp/fubini-lab-\(UInt64.random(in: 0 ... .max))"
      try FileManager.default.createDirectory(atPath: shared + "/ann", withIntermediateDirectories: true)
      // The run's user is another one.
      try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: shared + "/ann")
      defer { try? FileManager.default.removeItem(atPath: shared) }
      try "lab\n".write(toFile: shared + "/.fubini-shared", atomically: true, encoding: .utf8)
      try "outside\n".write(toFile: shared + "/tools.txt", atomically: true, encoding: .utf8)
      var options = FederationOptions()
      options.agents = [.init("one"), .init("two")]
      options.agents[1].keys["claims"] = "{named: {lab: \(shared)}}"
      try await Federation.with(options) { federation in
        let desk = try Desk(federation, "shared")
        func submit(_ words: String...) async throws -> (code: Int32, output: String) {
          let (code, output) = try await federation.fubini(
            ["sbatch", "--parsable", "--chdir", shared + "/ann"] + words, in: desk.home,
            environment: ["XDG_STATE_HOME": desk.home + ".state"])
          return (code, output.trimmingCharacters(in: .whitespacesAndNewlines))
        }
        let (_, text) = try await submit(
          "-e", "err.txt", "--wrap", "pwd; cat ../tools.txt; echo wrong >&2; echo made >new.txt; sleep 600")
        let number = try #require(Int64(text), "\(text)")
        // The file is there while the job runs, and nobody has fetched it.
        try await poll("the job has written into the directory", timeout: .seconds(60)) {
          (try? String(contentsOfFile: shared + "/ann/new.txt", encoding: .utf8)) == "made\n"
        }
        #expect(try await desk.run("squeue", "-h", "-j", "\(number)", "-o", "%N").output == "two")
        let early = try String(contentsOfFile: shared + "/ann/slurm-\(number).out", encoding: .utf8)
        #expect(early == "\(shared)/ann\noutside\n")
        #expect(try String(contentsOfFile: shared + "/ann/err.txt", encoding: .utf8) == "wrong\n")
        #expect(try await desk.run("scancel", "\(number)").code == 0)
        try await desk.ended(number)
        let output = try String(contentsOfFile: shared + "/ann/slurm-\(number).out", encoding: .utf8)
        #expect(output.hasPrefix(early + "slurmstepd: error: *** JOB \(number) ON two CANCELLED AT"), "\(output)")
        let (_, second) = try await submit("-e", "err.txt", "--wrap", "echo wrong >&2; test ! -e .fubini-script")
        try await desk.ended(try #require(Int64(second), "\(second)"))
        #expect(try String(contentsOfFile: shared + "/ann/err.txt", encoding: .utf8) == "wrong\n")
        #expect(try await desk.sacct(Int64(second) ?? 0, "State") == ["COMPLETED"])
        // Where no cluster has the claim it waits, and says why.
        let third = try await String(submit("-M", "one", "--wrap", "true").output.prefix { $0 != ";" })
        try await poll("it says why", timeout: .seconds(20)) {
          let shown = try await desk.run("scontrol", "show", "job", third).output
          return shown.contains("Reason=PartitionConfig") || shown.contains("lab")
        }
        #expect(try await desk.run("scancel", third).code == 0)
      }
    }

    @Test("a job file of Lebesgue and Bohrium runs as it is; its results and its log are fetched; its limit ends it")
    func jobFile() async throws {
      try await Federation.with { federation in
        let desk = try Desk(federation, "bohr")
        try FileManager.default.createDirectory(atPath: desk.home + "/input", withIntermediateDirectories: true)
        try desk.write("input/in.txt", "data\n")
        try desk.write(
          "job.json",
          """
          {"job_name": "dp test", "command": "cat in.txt; echo it\\u2019s; mkdir -p out; echo r >out/r.txt; echo x >x.tmp; nproc >log",
           "log_file": "log", "backward_files": ["out", "none.*"], "project_id": "default", "platform": "ali", "job_type": "container",
           "machine_type": "small", "image_address": "registry/anything:1", "disk_size": 20, "max_run_time": 10}
          """)
        let unknown = try await desk.run("job", "submit", "-i", "job.json", "-p", "input")
        #expect(unknown.code == 1 && unknown.output.contains("no machine type small"), "\(unknown)")
        let set = try await desk.run("machinetype", "set", "small", "--cpus", "1", "--memory", "64Mi")
        #expect(set.code == 0, "\(set)")
        let (code, output) = try await desk.run("job", "submit", "-i", "job.json", "-p", "input", "-o", "name")
        let number = try #require(
          output.split(separator: "\n").compactMap { Int64($0) }.last, "\(code) \(output)")
        #expect(output.contains("disk_size has no effect here"))
        let late = try await desk.run(
          "job", "submit", "-c", "sleep 300", "-m", "any", "-t", "c1_m1_cpu", "-p", "input", "-n", "late", "-i",
          "limit.json")
        #expect(late.code == 2 && late.output.contains("limit.json cannot be read"), "\(late)")
        try desk.write("limit.json", #"{"max_run_time": 1}"#)
        let limited = try await desk.run(
          "job", "submit", "-c", "echo half >half.txt; sleep 300", "-m", "any", "-t", "c1_m1_cpu", "-p", "input", "-n",
          "late", "-i",
          "limit.json", "-o", "name", "--project_id", "default")
        let other = try #require(limited.output.split(separator: "\n").compactMap { Int64($0) }.last, "\(limited)")
        try await poll("job \(number) has ended", timeout: .seconds(60)) {
          try await desk.run("job", "list", "-i", "-q").output == "\(number)"
        }
        #expect(try await desk.run("job", "log", "\(number)").output.hasPrefix("data\nit\u{2019}s"))
        #expect(try await desk.run("job", "describe", "-j", "\(number)").output.contains("JobState=COMPLETED"))
        let running = try await desk.run("job", "download", "\(other)")
        #expect(running.code == 1 && running.output.contains("has not ended"), "\(running)")
        let fetched = try await desk.run("job", "download", "\(number)", "-p", "results")
        #expect(fetched.code == 0, "\(fetched)")
        let base = "results/\(number)"
        #expect(desk.read("\(base)/out/r.txt") == "r\n" && desk.read("\(base)/log") != nil)
        #expect(desk.read("\(base)/x.tmp") == nil && desk.read("input/out/r.txt") == nil)
        #expect(desk.read("\(base)/STDOUTERR")?.contains("left no file none.*") == true)
        try await poll("the other one was ended by its limit", timeout: .seconds(120)) {
          try await desk.run("squeue", "-h", "-j", "\(other)").output.isEmpty
        }
        #expect(try await desk.sacct(other, "State") == ["TIMEOUT"])
        let partial = try await desk.run("job", "download", "\(other)", "-p", "results")
        #expect(partial.code == 0 && desk.read("results/\(other)/half.txt") == "half\n", "\(partial)")
        #expect(try await desk.run("job", "list", "-f", "-q").output == "\(other)")
        let third = try await desk.run(
          "job", "submit", "-c", "sleep 300", "-m", "any", "-t", "c1_m1_cpu", "-p", "input", "-o", "name",
          "--project", "default")
        let last = try #require(third.output.split(separator: "\n").compactMap { Int64($0) }.last, "\(third)")
        #expect(try await desk.run("job", "kill", "\(last)").code == 0)
        try await poll("it was stopped", timeout: .seconds(60)) {
          try await desk.run("job", "list", "-d", "-q").output == "\(last)"
        }
      }
    }

    @Test("what programs look for before they submit is there: accounts, partitions, bounds; clusters are nodes")
    func surroundings() async throws {
      var options = FederationOptions()
      options.agents = [.init("one", labels: ["partition": "lab"]), .init("two", labels: ["partition": "lab"])]
      try await Federation.with(options) { federation in
        let desk = try Desk(federation, "around")
        #expect(try await desk.run("sacctmgr", "-n", "-P", "list", "account", "format=account").output == "default")
        #expect(try await desk.run("sshare", "-U", "--format", "Account%20", "--noheader").output == "default")
        #expect(try await desk.run("scontrol", "show", "config").output.contains("MaxArraySize            = 10001"))
        let partition = try await desk.run("scontrol", "show", "partition", "lab").output
        #expect(partition.hasPrefix("PartitionName=lab\n") && partition.contains("TotalNodes=2"), "\(partition)")
        #expect(try await desk.run("sinfo", "-h", "-o", "%P %D %t %N").output == "lab 2 idle one,two")
        // Each of them by its name, as what `sacct` says is a node.
        let first = try await desk.sbatch("--exclude=one", "--wrap", "true")
        let second = try await desk.sbatch("-w", "one", "-p", "lab", "--wrap", "true")
        try await desk.ended(first)
        try await desk.ended(second)
        #expect(try await desk.sacct(first, "NodeList,State") == ["two|COMPLETED"])
        #expect(try await desk.sacct(second, "NodeList,State") == ["one|COMPLETED"])
        let (_, steps) = try await desk.run("sacct", "-n", "-P", "-j", "\(first)", "-o", "jobid,state")
        #expect(steps == "\(first)|COMPLETED\n\(first).batch|COMPLETED")
        let refused = try await desk.run("sbatch", "-x", "n[1-3]", "--wrap", "true")
        #expect(refused.code == 1 && refused.output.contains("Invalid node name specified"), "\(refused)")
      }
    }

    @Test("I2: a job that waits is submitted once by whoever leads after a kill -9")
    func leaders() async throws {
      var options = FederationOptions()
      options.controlPlanes = 1
      try await Federation.with(options) { federation in
        let desk = try Desk(federation, "leader")
        let first = try await desk.sbatch("-o", "first.out", "--wrap", "sleep 3; echo first")
        let second = try await desk.sbatch("-d", "afterok:\(first)", "-o", "second.out", "--wrap", "echo second")
        try await federation.controlPlane(0).kill()
        try federation.startControlPlane(0)
        try await poll("the second job has its file", timeout: .seconds(90)) {
          _ = try? await desk.run("squeue", "-h")
          return desk.read("second.out") == "second\n"
        }
        let client = try federation.client()
        let list: JobList = try await client.send("GET", "/v1/jobs?ids=\(first),\(second)").decoded()
        #expect(
          Set(list.items.map(\.workflowUID)).count == 2 && list.items.allSatisfy { $0.tasks[0].phase == .succeeded })
        let workflows: WorkflowList = try await client.send("GET", "/v1/workflows").decoded()
        #expect(workflows.items.count == 2)
      }
    }
  }
}
