import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Glibc
import LocalSlurm
import TestSupport
import Testing

extension Integration {
  @Suite(
    "Gangs, GPUs and images on a real Slurm", .timeLimit(.minutes(10)),
    .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
  struct GangTests {
    /// A federation with one cluster, `hpc`: two nodes of 4 cores, with two GPUs each.
    static func with(
      block: [String: String] = [:], keys: [String: String] = [:],
      _ body: @Sendable (Federation, LocalSlurmCluster, RESTClient) async throws -> Void
    ) async throws {
      try await SlurmFixture.with(
        "hpc",
        configure: {
          $0.cpusPerNode = 4
          $0.memoryMiBPerNode = 8000
          $0.gpusPerNode = 2
          $0.killWaitSeconds = 2
        }
      ) { slurm in
        var options = FederationOptions()
        let cluster = slurm.clusters[0]
        options.agents = [SlurmMember.agent("hpc", of: cluster, slurm, block: block, keys: keys)]
        try await Federation.with(options) { try await body($0, cluster, $0.client()) }
      }
    }

    /// A gang whose copies run a shell script, and write into the working directory that they share.
    static func gang(_ name: String, size: Int, _ script: String, more: String = "") -> String {
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: \(name)}
      spec:
        entrypoint: main
        templates:
        - name: main
          federation: {gang: {size: \(size)}, walltime: 10m\(more)}
          outputs:
            artifacts: [{name: ranks, path: /workspace, archive: {tar: {}}}]
          container:
            image: mpi:1
            command: [bash, -euc]
            args:
            - |
              \(script.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\n        "))
            resources: {requests: {cpu: "1", memory: 100Mi}}
      """
    }

    @Test(
      "I6: a gang runs on all its nodes at once, each copy knows its rank, and each line of the log says whose it is")
    func ranks() async throws {
      try await Self.with { federation, _, client in
        // Every copy waits for every other: one that were started alone would wait in vain.
        let script = """
          echo "$SLURM_PROCID of $SLURM_NTASKS on $SLURMD_NODENAME" >rank.$SLURM_PROCID
          until [ $(ls rank.* | wc -l) = $SLURM_NTASKS ]; do sleep 0.1; done
          echo "I am $SLURM_PROCID"
          """
        let name = try await client.submit(Self.gang("ranks", size: 6, script, more: ", slurm: {nodes: 2}")).name
        let detail = try await client.finished(name, timeout: .seconds(120))
        let node = try #require(detail.nodes.first)
        try #require(detail.summary.phase == .succeeded, "\(node.message)")
        let lines = try await client.log(name, node: node.name).split(separator: "\n").map(String.init)
        #expect(lines.sorted() == (0..<6).map { "\($0): I am \($0)" })
        let copied = try await federation.fubini(["cp", "\(name)/\(node.displayName):ranks", federation.path("ranks")])
        try #require(copied.code == 0, "\(copied.output)")
        let texts = try (0..<6).map {
          try String(contentsOfFile: federation.path("ranks/rank.\($0)"), encoding: .utf8)
            .trimmingCharacters(in: .newlines)
        }
        #expect(texts.enumerated().allSatisfy { $1.hasPrefix("\($0) of 6 on hpc-") }, "\(texts)")
        #expect(Set(texts.map { $0.suffix(5) }) == ["hpc-1", "hpc-2"], "\(texts)")
      }
    }

    @Test("I6: a gang that does not fit now waits whole, with Slurm's reason, and starts whole")
    func whole() async throws {
      try await Self.with { federation, cluster, client in
        // Seven of eight cores are left.
        let blocker = try await cluster.command(
          "sbatch", ["--parsable", "--uid=nobody", "--chdir=/tmp", "--wrap=sleep 300"]
        )
        .trimmingCharacters(in: .newlines)
        try await poll("the other job runs", timeout: .seconds(60)) {
          try await cluster.command("squeue", ["--noheader", "--format=%T"]).contains("RUNNING")
        }
        let name = try await client.submit(Self.gang("whole", size: 8, "echo $SLURM_PROCID")).name
        var seen = ""
        try await poll("it waits for Resources; seen: \(seen)", timeout: .seconds(60)) {
          let node = try await client.workflow(name).nodes.first
          seen = "\(node?.phase.rawValue ?? "") \(node?.message ?? "") run \(node?.run?.phase ?? "none")"
          return seen.contains("Resources")
        }
        #expect(try await client.log(name, node: name).isEmpty)
        try await cluster.command("scancel", [blocker])
        let detail = try await client.finished(name, timeout: .seconds(120))
        #expect(detail.summary.phase == .succeeded, "\(detail.nodes.first?.message ?? "")")
        let lines = try await client.log(name, node: name).split(separator: "\n").map(String.init)
        #expect(lines.sorted() == (0..<8).map { "\($0): \($0)" })
      }
    }

    @Test("one copy that fails fails the run with its exit code, and the others are killed on every node")
    func oneFails() async throws {
      try await Self.with { _, cluster, client in
        let script = """
          if [ $SLURM_PROCID = 3 ]; then sleep 1; exit 7; fi
          sleep 600; echo survived
          """
        let name = try await client.submit(Self.gang("fails", size: 4, script, more: ", slurm: {nodes: 2}")).name
        let detail = try await client.finished(name, timeout: .seconds(120))
        let node = try #require(detail.nodes.first)
        #expect(detail.summary.phase == .failed && node.exitCode == 7, "\(node.message)")
        let log = try await client.log(name, node: node.name)
        #expect(!log.contains("survived"), "\(log)")
        try await poll("no process of the job is left: \(cluster.jobProcesses)", timeout: .seconds(60)) {
          cluster.jobProcesses.isEmpty
        }
      }
    }

    @Test("a gang that is stopped leaves no copy on any node")
    func stopped() async throws {
      try await Self.with { federation, cluster, client in
        let name = try await client.submit(
          Self.gang("stopped", size: 4, "echo up; sleep 600", more: ", slurm: {nodes: 2}")
        ).name
        try await poll("all copies are up", timeout: .seconds(120)) {
          (try? await client.log(name, node: name))?.split(separator: "\n").count == 4
        }
        _ = try await client.action(name, "terminate")
        #expect(try await client.finished(name, timeout: .seconds(120)).summary.phase == .failed)
        try await poll("no process of the job is left: \(cluster.jobProcesses)", timeout: .seconds(60)) {
          cluster.jobProcesses.isEmpty
        }
      }
    }

    @Test("a batch script over two nodes starts once; srun in it starts on both, in the same sandbox")
    func batchScript() async throws {
      try await Self.with { federation, cluster, _ in
        let desk = try SlurmFrontDoorTests.Desk(federation, "nodes")
        try desk.write("in.txt", "from the desk\n")
        try desk.write(
          "job.sh",
          """
          #!/bin/bash
          #SBATCH -N 2 --ntasks-per-node=2 -t 5 -J wide
          echo "once on $SLURMD_NODENAME: $SLURM_NNODES $SLURM_NTASKS $SLURM_TASKS_PER_NODE $SLURM_JOB_CPUS_PER_NODE"
          scontrol show hostnames
          export NOTE="it's
          here"
          srun sh -c 'echo "$SLURM_PROCID $SLURM_LOCALID $SLURMD_NODENAME $SLURM_JOB_ID"; echo "$NOTE" >rank.$SLURM_PROCID' | sort
          echo one two | srun -n 1 -N 1 tr a-z A-Z
          srun -N 2 -n 2 --unbuffered -o %2t.log sh -c 'cat in.txt; exit $((SLURM_PROCID * 5))' 2>/dev/null
          echo "code $?"
          srun --output=/dev/null echo unseen; echo "code $?"
          "$FUBINI_STEPS/srun" --chdir=/etc true; echo "code $?"
          "$FUBINI_STEPS/srun" --nodelist=/etc/hostname true; echo "code $?"
          mkfifo held; srun -N 1 -n 1 seq 1 100000 0<>held 2>/dev/null | head -1; rm held
          srun sleep 300 &
          sleep 1; kill $!; wait $!; echo "ended"
          """)
        let number = try await desk.sbatch("job.sh")
        #expect(try await desk.run("squeue", "-h", "-j", "\(number)", "-o", "%D %C").output == "2 4")
        try await desk.ended(number)
        let lines = desk.read("slurm-\(number).out")?.split(separator: "\n").map(String.init) ?? []
        #expect(
          lines.filter { !$0.hasPrefix("srun: ") && !$0.hasPrefix("slurmstepd") } == [
            "once on hpc-1: 2 4 2(x2) 2(x2)", "hpc-1", "hpc-2", "0 0 hpc-1 \(number)", "1 1 hpc-1 \(number)",
            "2 0 hpc-2 \(number)", "3 1 hpc-2 \(number)", "ONE TWO", "code 5", "code 0", "code 1", "code 1", "1",
            "ended",
          ], "\(lines)")
        #expect(lines.contains("srun: error: --chdir=/etc cannot be passed on to a step here"))
        for rank in 0..<4 { #expect(desk.read("rank.\(rank)") == "it's\nhere\n") }
        #expect(desk.read("00.log") == "from the desk\n" && desk.read("01.log") == "from the desk\n")
        #expect(try await desk.sacct(number, "State,NNodes,NCPUS") == ["COMPLETED|2|4"])
        // What it leaves when it is ended is nothing, on any node.
        let long = try await desk.sbatch("-N2", "--wrap", "srun sh -c 'echo up; sleep 600'")
        try await poll("both are up", timeout: .seconds(60)) {
          try await desk.run("job", "log", "\(long)").output.split(separator: "\n").filter { $0 == "up" }.count == 2
        }
        #expect(try await desk.run("scancel", "\(long)").code == 0)
        try await desk.ended(long)
        try await poll("no process of the job is left: \(cluster.jobProcesses)", timeout: .seconds(60)) {
          cluster.jobProcesses.isEmpty
        }
      }
    }

    @Test("a batch script that is told to end has its grace: it starts steps, and what they made comes back")
    func graceOfBatchScript() async throws {
      try await Self.with { federation, _, _ in
        let desk = try SlurmFrontDoorTests.Desk(federation, "grace")
        try desk.write(
          "job.sh",
          """
          #!/bin/bash
          #SBATCH -N 2 -t 5
          trap 'srun -N 2 -n 2 sh -c "echo saved >saved.\\$SLURM_PROCID"; exit 0' TERM
          srun -N 1 -n 1 echo up
          sleep 600 & wait
          """)
        let number = try await desk.sbatch("job.sh")
        try await poll("it is up", timeout: .seconds(60)) {
          try await desk.run("job", "log", "\(number)").output.contains("up")
        }
        #expect(try await desk.run("scancel", "\(number)").code == 0)
        try await desk.ended(number)
        #expect(desk.read("saved.0") == "saved\n" && desk.read("saved.1") == "saved\n")
      }
    }

    @Test("an author's environment is the program's: no program outside of the sandbox obeys it")
    func environment() async throws {
      try await Self.with { federation, _, client in
        let mark = "/tmp/fubini-escape-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: mark) }
        let file = federation.path("token.txt")
        try "s3cr3t".write(toFile: file, atomically: true, encoding: .utf8)
        #expect(try await federation.fubini(["secret", "set", "lab", "--file", "token=\(file)"]).code == 0)
        // A job identifier of somebody else's, programs of its own before the system's, and a value that no line holds.
        let variables = #"""
          env:
                - {name: PATH, value: "root/tmp:/usr/local/bin:/usr/bin:/bin"}
                - {name: SLURM_JOB_ID, value: "1"}
                - {name: SLURM_TASK_PROLOG, value: "root/tmp/rm"}
                - {name: NOTE, value: "it's\ntwo lines $HOME"}
                - {name: NAMES, value: "x};echo${IFS}escaped>MARK;: ${x"}
                - {name: TOKEN, valueFrom: {secretKeyRef: {name: lab, key: token}}}
          """#
        let script = """
          mkdir -p /tmp
          printf '#!/bin/sh\\necho escaped >\(mark)\\nexec /bin/rm "$@"\\n' >/tmp/rm; chmod 755 /tmp/rm
          cp /tmp/rm /tmp/mkdir; cp /tmp/rm /tmp/cat; cp /tmp/rm /tmp/mktemp; cp /tmp/rm /tmp/ps
          echo "$PATH|$SLURM_JOB_ID|${#TOKEN}|$NOTE" >seen.$SLURMD_NODENAME
          [ -z "${FUBINI_STEPS:-}" ] || "$FUBINI_STEPS/srun" --ntasks=2 -- /bin/sh -c 'echo "$NOTE" >step.$SLURM_PROCID'
          export -p | grep -c FUBINI_ENV >clutter || true
          """
        for (name, more) in [("gang", ""), ("steps", ", slurm: {nodes: 2, batch: true}")] {
          let document = Self.gang(name, size: 2, script, more: more).replacing(
            "resources: {requests", with: variables.replacing("MARK", with: mark) + "\n      resources: {requests",
            maxReplacements: 1)
          let submitted = try await client.submit(document).name
          let detail = try await client.finished(submitted, timeout: .seconds(120))
          let node = try #require(detail.nodes.first)
          try #require(detail.summary.phase == .succeeded, "\(name): \(node.message)")
          let copied = try await federation.fubini([
            "cp", "\(submitted)/\(node.displayName):ranks", federation.path(name),
          ])
          try #require(copied.code == 0, "\(copied.output)")
          func read(_ file: String) -> String? {
            try? String(contentsOfFile: federation.path("\(name)/\(file)"), encoding: .utf8)
          }
          let seen = read("seen.hpc-1") ?? read("seen.hpc-2")
          #expect(seen == "root/tmp:/usr/local/bin:/usr/bin:/bin|1|6|it's\ntwo lines $HOME\n", "\(name)")
          #expect(read("clutter") == "0\n", "\(name)")
          if name == "steps" { #expect(read("step.0") == "it's\ntwo lines $HOME\n") }
        }
        #expect(!FileManager.default.fileExists(atPath: mark))
      }
    }

    @Test("a run sees the GPUs that Slurm gave it, by type, and two runs see different ones")
    func gpus() async throws {
      try await Self.with { _, cluster, client in
        let document = """
          apiVersion: argoproj.io/v1alpha1
          kind: Workflow
          metadata: {name: gpus}
          spec:
            entrypoint: main
            templates:
            - name: main
              steps:
              - - {name: a, template: gpu}
                - {name: b, template: gpu}
              - - {name: many, template: many}
            - name: gpu
              nodeSelector: {}
              container:
                image: cuda:12
                command: [sh, -c]
                args: ["echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES; sleep 4"]
                resources: {requests: {cpu: "1"}, limits: {nvidia.com/gpu: "1"}}
              federation: {walltime: 5m, slurm: {nodes: 1}}
            - name: many
              federation: {walltime: 5m, gang: {size: 4}, slurm: {nodes: 2}}
              container:
                image: cuda:12
                command: [sh, -c]
                args: ["echo $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES; sleep 2"]
                resources: {requests: {cpu: "1"}, limits: {nvidia.com/gpu: "1"}}
          """
        let name = try await client.submit(document).name
        let detail = try await client.finished(name, timeout: .seconds(120))
        let message = detail.nodes.map { "\($0.displayName): \($0.phase.rawValue) \($0.message)" }
        try #require(detail.summary.phase == .succeeded, "\(message)")
        var seen: [String] = []
        for step in ["a", "b"] {
          let node = try #require(detail.nodes.first { $0.displayName == step })
          seen.append(try await client.log(name, node: node.name).trimmingCharacters(in: .newlines))
        }
        #expect(seen.allSatisfy { $0.wholeMatch(of: /hpc-[12] [01]/) != nil }, "\(seen)")
        #expect(seen[0] != seen[1])
        let many = try #require(detail.nodes.first { $0.displayName == "many" })
        let ranks = try await client.log(name, node: many.name).split(separator: "\n").map(String.init).sorted()
        #expect(ranks.count == 4 && ranks.allSatisfy { $0.wholeMatch(of: /[0-3]: hpc-[12] [01]/) != nil }, "\(ranks)")
        #expect(Set(ranks.map { $0.dropFirst(3) }).count == 4, "each copy has a GPU of its own: \(ranks)")
      }
    }
  }
}
