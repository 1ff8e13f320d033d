import Execution
import FederationModel
import FoundationEssentials
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// `pod-init` and `pod-step` as the processes that they are, with the agent's server on this machine.
@Suite(.serialized) struct PodProgramTests {
  private static func text(_ path: String) throws -> String {
    let file = try POSIXFile.open(path, O_RDONLY)
    defer { POSIXFile.close(file) }
    return String(decoding: try POSIXFile.readAll(file, limit: 4 << 20), as: UTF8.self)
  }

  @Test("pod-init brings files, directories, data sets and the agent's program", .timeLimit(.minutes(1)))
  func inputs() async throws {
    let pods = try PodFixture()
    let root = pods.workspace.root
    try POSIXFile.makeDirectories(root + "/in/tree/deep")
    try pods.directory.write("one", to: "run/root/in/file")
    chmod(root + "/in/file", 0o600)
    try pods.directory.write("two", to: "run/root/in/tree/deep/leaf")
    #expect(symlink("/etc/passwd", root + "/in/tree/link") == 0)
    try POSIXFile.makeDirectories(pods.directory.path + "/cache/set")
    try pods.directory.write("three", to: "cache/set/data")
    try pods.share([.root("/in/file"), .root("/in/tree"), .host(pods.directory.path + "/cache/set")])
    let plan = pods.plan {
      $0.inputs = [.init(index: 0, path: "/a"), .init(index: 1, path: "/b"), .init(index: 2, path: "/c")]
    }
    try await pods.serving {
      let program = try pods.start([PodPrograms.initCommand], plan)
      #expect(try await program.end() == 0, "\(program.errors)")
    }
    #expect(try Self.text(pods.inPod("files/in/0")) == "one")
    #expect(try Self.text(pods.inPod("files/in/1/deep/leaf")) == "two")
    #expect(try Self.text(pods.inPod("files/in/2/data")) == "three")
    var status = stat()
    #expect(lstat(pods.inPod("files/in/1/link"), &status) == 0)
    #expect(status.st_mode & S_IFMT == S_IFLNK)
    // What was closed to others stays so; what all may read, the program may write, whatever user it has.
    #expect(lstat(pods.inPod("files/in/0"), &status) == 0)
    #expect(status.st_mode & 0o777 == 0o600)
    #expect(lstat(pods.inPod("files/in/1/deep"), &status) == 0)
    #expect(status.st_mode & 0o777 == 0o777 || status.st_mode & 0o777 == 0o700)
    #expect(POSIXFile.size(plan.places.agent) == POSIXFile.size(AgentBinary.path))
    #expect(access(plan.places.agent, X_OK) == 0)
  }

  @Test("an input that the agent does not have, and a run that it does not know, end pod-init with the reason")
  func missingInputs() async throws {
    let pods = try PodFixture()
    let plan = pods.plan { $0.inputs = [.init(index: 0, path: "/data/a")] }
    try await pods.serving {
      let unknown = try pods.start([PodPrograms.initCommand], plan)
      #expect(try await unknown.end() == PodPlan.filesFailed)
      #expect(pods.notice?.fubini == .inputs)
      #expect(pods.notice?.error?.contains("has no files of run") == true)
      try pods.share([.root("/nothing")])
      let missing = try pods.start([PodPrograms.initCommand], plan)
      #expect(try await missing.end() == PodPlan.filesFailed)
      #expect(pods.notice?.error == "the agent has no input for /data/a")
    }
  }

  @Test("I1: of two pods of one run the second begins nothing, also after the agent has started anew")
  func secondPod() async throws {
    let pods = try PodFixture()
    try pods.share()
    try await pods.serving {
      let first = try pods.start([PodPrograms.initCommand], pods.plan())
      #expect(try await first.end() == 0, "\(first.errors)")
    }
    try await pods.serving {
      let second = try pods.start([PodPrograms.initCommand], pods.plan(), pod: "another")
      #expect(try await second.end() == PodPlan.filesFailed)
      #expect(pods.notice?.fubini == .superseded)
      let again = try pods.start([PodPrograms.initCommand], pods.plan())
      #expect(try await again.end() == 0, "the first pod may ask again: \(again.errors)")
    }
  }

  @Test("outputs and the end of standard output come back; what was not declared stays away")
  func outputs() async throws {
    let pods = try PodFixture()
    try pods.share(outputs: ["out", "tree", "never"])
    let plan = pods.plan {
      $0.outputs = ["out", "tree", "never", "secret"].map(pods.inPod)
      $0.directories = [pods.inPod("made")]
      $0.capturesResult = true
    }
    try await pods.serving {
      let step = try pods.step(
        """
        set -e; cd \(pods.inPod("made")); echo $GREETING; env | grep -c FUBINI_POD >&2 || true
        echo file > ../out; mkdir -p ../tree/a; echo leaf > ../tree/a/b; ln -s /etc/passwd ../tree/link; echo no > ../secret
        """, plan)
      #expect(try await step.end() == 0, "\(step.errors)")
      #expect(step.output == "hello\n")
      #expect(step.errors == "0\n", "the token is not the program's")
    }
    #expect(try Self.text(pods.workspace.standardOutput) == "hello\n")
    #expect(try Self.text(pods.atAgent("out")) == "file\n")
    #expect(try Self.text(pods.atAgent("tree/a/b")) == "leaf\n")
    #expect(try RootedTree.readLink(AT_FDCWD, pods.atAgent("tree/link")) == "/etc/passwd")
    #expect(POSIXFile.isMissing(pods.atAgent("secret")))
    #expect(pods.notice?.fubini == .ended)
    #expect(pods.notice?.wallMilliseconds != nil)
    #expect(try POSIXFile.entries(ofPath: pods.workspace.directory).allSatisfy { !$0.hasPrefix("outputs-") })
  }

  @Test("a command that fails keeps its exit code, and its outputs come all the same")
  func failing() async throws {
    let pods = try PodFixture()
    try pods.share(outputs: ["out"])
    let plan = pods.plan { $0.outputs = [pods.inPod("out")] }
    try await pods.serving {
      let step = try pods.step("echo half > \(pods.inPod("out")); exit 3", plan)
      #expect(try await step.end() == 3, "\(step.errors)")
      #expect(try Self.text(pods.atAgent("out")) == "half\n")
      let killed = try pods.step("kill -9 $$", plan)
      #expect(try await killed.end() == 137)
      let missing = try pods.start([PodPrograms.stepCommand, "--container", "main", "--", "/no/such"], plan)
      #expect(try await missing.end() == 127)
      #expect(pods.notice?.fubini == .start)
    }
  }

  @Test("a signal reaches the whole process group, and what it leaves behind is sent")
  func signalled() async throws {
    let pods = try PodFixture()
    try pods.share(outputs: ["out"])
    let plan = pods.plan { $0.outputs = [pods.inPod("out")] }
    let out = pods.inPod("out")
    try await pods.serving {
      let step = try pods.step(
        """
        sh -c 'trap "echo child >> \(out); exit 0" TERM; touch \(out).child; while :; do sleep 0.05; done' &
        trap 'wait; echo parent >> \(out); exit 7' TERM
        while [ ! -e \(out).child ]; do sleep 0.05; done
        touch \(out).ready; while :; do sleep 0.05; done
        """, plan)
      try await waitUntil { !POSIXFile.isMissing(out + ".ready") }
      kill(step.processID, SIGTERM)
      #expect(try await step.end() == 7, "\(step.errors)")
    }
    #expect(try Self.text(pods.atAgent("out")) == "child\nparent\n")
  }

  @Test("at its wall time a program gets SIGTERM and, when that does not help, SIGKILL")
  func limits() async throws {
    let pods = try PodFixture()
    try pods.share()
    try await pods.serving {
      let stubborn = try pods.step(
        "trap '' TERM; while :; do sleep 0.05; done",
        pods.plan {
          $0.walltimeMs = 400
          $0.activeDeadlineMs = 60_000
          $0.graceMs = 400
        })
      #expect(try await stubborn.end(within: 10) == 137)
      #expect(pods.notice?.fubini == .walltime)
      #expect(pods.notice.flatMap(\.wallMilliseconds).map { (700...5000).contains($0) } == true)
      let obedient = try pods.step("sleep 100", pods.plan { $0.activeDeadlineMs = 300 })
      #expect(try await obedient.end(within: 10) == 143)
      #expect(pods.notice?.fubini == .activeDeadline)
    }
  }

  @Test("what a program leaves running neither keeps the pod nor its output open")
  func leftovers() async throws {
    let pods = try PodFixture()
    try pods.share()
    try await pods.serving {
      let step = try pods.step("sleep 300 & echo $!; exit 0", pods.plan { $0.capturesResult = true })
      #expect(try await step.end(within: 10) == 0)
      let left = try #require(pid_t(step.output.split(separator: "\n").first ?? ""))
      // Whoever is to reap it may take its time.
      try await waitUntil { (try? Self.text("/proc/\(left)/cmdline"))?.isEmpty ?? true }
    }
  }

  @Test("a sidecar ends with the main program, and its end is no failure")
  func sidecar() async throws {
    let pods = try PodFixture()
    try pods.share()
    let plan = pods.plan { $0.containers = [.init(name: "main", role: .main), .init(name: "proxy", role: .sidecar)] }
    try await pods.serving {
      let failing = try pods.step("exit 9", plan, container: "proxy")
      #expect(try await failing.end() == 9)
      let sidecar = try pods.step("touch \(pods.inPod("up")); exec sleep 300", plan, container: "proxy")
      try await waitUntil { !POSIXFile.isMissing(pods.inPod("up")) }
      try await Task.sleep(for: .milliseconds(600))
      #expect(sidecar.ended() == nil, "the main program has not ended yet")
      let main = try pods.step("exit 4", plan)
      #expect(try await main.end() == 4)
      #expect(try await sidecar.end(within: 10) == 0)
      let unknown = try pods.step("true", plan, container: "other")
      #expect(try await unknown.end() == 2)
    }
  }

  @Test("much output passes through little memory, and its end is the result", .timeLimit(.minutes(2)))
  func muchOutput() async throws {
    let pods = try PodFixture()
    try pods.share(outputs: ["big"])
    let bytes = 96 << 20
    let plan = pods.plan {
      $0.capturesResult = true
      $0.outputs = [pods.inPod("big")]
    }
    try await pods.serving {
      let step = try pods.step(
        """
        head -c \(bytes) /dev/urandom > \(pods.inPod("big")); head -c \(bytes) /dev/zero | tr '\\0' x; echo end
        """, plan)
      #expect(try await step.end(within: 90) == 0, "\(step.errors)")
      #expect(POSIXFile.size(step.log) == Int64(bytes) + 4)
      print("pod-step's memory: \(step.memoryBytes >> 10) KiB")
      #expect(step.memoryBytes > 1 << 20 && step.memoryBytes < 80 << 20)
    }
    let result = try Self.text(pods.workspace.standardOutput)
    #expect(result.utf8.count == PodFileStore.outputBytesMax)
    #expect(result.hasSuffix("xxend\n"))
    #expect(POSIXFile.size(pods.atAgent("big")) == Int64(bytes))
  }

  @Test("with a wrong token, or an agent that is not trusted, nothing moves, and nobody waits for that to change")
  func refused() async throws {
    let pods = try PodFixture()
    try pods.share(outputs: ["out"])
    let plan = pods.plan { $0.outputs = [pods.inPod("out")] }
    let other = try PodFixture()
    try await pods.serving {
      let arguments = [PodPrograms.stepCommand, "--container", "main", "--", "touch", pods.inPod("out")]
      let token = try pods.server.access(for: RunID(78)).token
      let step = try pods.start(arguments, plan, token: token)
      #expect(try await step.end(within: 10) == PodPlan.filesFailed)
      #expect(pods.notice?.fubini == .outputs)
      #expect(pods.notice?.error?.contains("token") == true)
      let foreign = try other.server.access(for: other.run).certificateAuthorityPEM
      let deceived = try pods.start(arguments, plan, authority: foreign)
      #expect(try await deceived.end(within: 10) == PodPlan.filesFailed)
      #expect(pods.notice?.error?.contains("certificate") == true)
    }
    #expect(POSIXFile.isMissing(pods.atAgent("out")))
  }

  @Test("an agent that is away for a while is waited for, and for no longer than the plan says")
  func away() async throws {
    let pods = try PodFixture()
    try pods.share(outputs: ["out"])
    var plan = pods.plan {
      $0.outputs = [pods.inPod("out")]
      $0.capturesResult = true
    }
    let step = try pods.step("echo kept > \(pods.inPod("out")); echo said", plan)
    try await Task.sleep(for: .seconds(2))
    #expect(step.ended() == nil)
    try await pods.serving {
      let code = try await step.end()
      #expect(code == 0, "\(step.errors)")
    }
    #expect(try Self.text(pods.atAgent("out")) == "kept\n")
    #expect(try Self.text(pods.workspace.standardOutput) == "said\n")
    plan.transferMs = 500
    let late = try pods.step("true", plan)
    #expect(try await late.end(within: 10) == PodPlan.filesFailed)
    #expect(pods.notice?.error?.contains("cannot be reached") == true)
  }

  @Test("I1: without the agent's lease a program neither starts nor goes on")
  func fenced() async throws {
    let pods = try PodFixture()
    try pods.share()
    let plan = pods.plan { $0.disconnectLimitMs = 3000 }
    try await pods.serving {
      let step = try pods.step("touch \(pods.inPod("started")); exec sleep 300", plan)
      try await Task.sleep(for: .milliseconds(700))
      #expect(POSIXFile.isMissing(pods.inPod("started")))
      pods.server.renewLease(boottimeNanoseconds: SystemClock.boottimeNanoseconds)
      try await waitUntil { !POSIXFile.isMissing(pods.inPod("started")) }
      // As long as it is renewed, it goes on.
      for _ in 0..<10 {
        try await Task.sleep(for: .milliseconds(200))
        pods.server.renewLease(boottimeNanoseconds: SystemClock.boottimeNanoseconds)
      }
      #expect(step.ended() == nil)
      let last = SystemClock.boottimeNanoseconds
      #expect(try await step.end(within: 10) == 137)
      #expect((SystemClock.boottimeNanoseconds - last) / 1_000_000 < 4500)
      #expect(pods.notice?.fubini == .fenced)
    }
  }

  @Test("a program that is held to the agent's lease gets its signals like any other")
  func signalledUnderLease() async throws {
    let pods = try PodFixture()
    try pods.share()
    let plan = pods.plan { $0.disconnectLimitMs = 60_000 }
    try await pods.serving {
      let waiting = try pods.step("true", plan)
      try await Task.sleep(for: .seconds(1))
      kill(waiting.processID, SIGTERM)
      #expect(try await waiting.end(within: 10) == 143, "it waits for a lease")
      pods.server.renewLease(boottimeNanoseconds: SystemClock.boottimeNanoseconds)
      let step = try pods.step(
        "trap 'exit 5' TERM; touch \(pods.inPod("up")); while :; do sleep 0.05; done", plan)
      try await waitUntil { !POSIXFile.isMissing(pods.inPod("up")) }
      kill(step.processID, SIGTERM)
      #expect(try await step.end(within: 10) == 5, "\(step.errors)")
    }
  }
}
