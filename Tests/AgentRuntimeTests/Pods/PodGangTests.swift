import Execution
import FederationModel
import FoundationEssentials
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// The agent's programs in the pods of a gang, as the processes that they are.
@Suite(.serialized, .timeLimit(.minutes(2))) struct PodGangTests {
  private static func share(_ pods: PodFixture, size: Int, outputs: [String] = []) throws {
    try pods.server.share(
      SharedPodFiles(inputs: [], outputs: outputs.map(pods.inPod), gangSize: size), of: pods.run, in: pods.workspace)
  }

  private static func plan(
    _ pods: PodFixture, _ rank: Int, size: Int = 2, _ change: (inout PodPlan) -> Void = { _ in }
  ) -> PodPlan {
    pods.plan {
      $0.gang = PodPlan.Gang(size: size, name: "fubini-g")
      $0.places.program = pods.inPod("program-\(rank)")
      $0.places.files = pods.inPod("files-\(rank)")
      $0.places.state = pods.inPod("state-\(rank)")
      change(&$0)
    }
  }

  private static func begin(
    _ pods: PodFixture, _ rank: Int, pod: String? = nil, _ change: (inout PodPlan) -> Void = { _ in }
  ) throws -> PodProcess {
    try pods.start(
      [PodPrograms.initCommand], plan(pods, rank, change), pod: pod ?? "pod-\(rank)", rank: rank)
  }

  @Test("I6: no member begins before all have come")
  func whole() async throws {
    let pods = try PodFixture()
    try Self.share(pods, size: 2)
    try await pods.serving {
      let first = try Self.begin(pods, 0)
      try await Task.sleep(for: .seconds(3))
      #expect(first.ended() == nil, "it waits: \(first.errors)")
      let second = try Self.begin(pods, 1)
      #expect(try await first.end() == 0, "\(first.errors)")
      #expect(try await second.end() == 0, "\(second.errors)")
    }
  }

  @Test("a member that waits in vain says how many were there, and begins nothing")
  func incomplete() async throws {
    let pods = try PodFixture()
    try Self.share(pods, size: 2)
    try await pods.serving {
      let first = try Self.begin(pods, 0) { $0.gang?.waitMs = 1000 }
      #expect(try await first.end() == PodPlan.filesFailed)
      #expect(pods.notice?.fubini == .incomplete)
      #expect(pods.notice?.error == "1 of 2 members of the gang were there after 1 s")
    }
  }

  @Test("I1: the first pod of a rank is the member; another of that rank, or of none that there is, begins nothing")
  func ranks() async throws {
    let pods = try PodFixture()
    try Self.share(pods, size: 2)
    try await pods.serving {
      let members = try [Self.begin(pods, 0), Self.begin(pods, 1)]
      for member in members { #expect(try await member.end() == 0, "\(member.errors)") }
      let second = try Self.begin(pods, 1, pod: "another")
      #expect(try await second.end() == PodPlan.filesFailed)
      #expect(pods.notice?.fubini == .superseded)
      #expect(pods.notice?.error?.contains("another pod of member 1 of run") == true, "\(pods.notice?.error ?? "")")
      // The member itself may ask again.
      #expect(try await Self.begin(pods, 1).end() == 0)
      // As if the plan of a pod said more than the run has.
      let beyond = try pods.start(
        [PodPrograms.initCommand], Self.plan(pods, 7, size: 9), pod: "pod-7", rank: 7)
      #expect(try await beyond.end() == PodPlan.filesFailed)
      #expect(pods.notice?.error?.contains("has no member 7") == true, "\(pods.notice?.error ?? "")")
      // A pod that does not say its rank is no member.
      let plain = try pods.start([PodPrograms.initCommand], pods.plan(), pod: "pod-0")
      #expect(try await plain.end() == PodPlan.filesFailed)
    }
  }

  @Test("a member knows its rank, the size and the others' names, by the names that srun gives them")
  func environment() async throws {
    let pods = try PodFixture()
    try Self.share(pods, size: 2)
    try await pods.serving {
      let step = try pods.start(
        [
          PodPrograms.stepCommand, "--container", "main", "--", "sh", "-c",
          "echo $SLURM_PROCID $SLURM_NTASKS $SLURM_LOCALID $SLURM_JOB_NUM_NODES $SLURM_JOB_NODELIST $SLURMD_NODENAME $GREETING",
        ], Self.plan(pods, 1), pod: "pod-1", rank: 1)
      #expect(try await step.end() == 0, "\(step.errors)")
      #expect(
        step.output == "1 2 0 2 fubini-g-0.fubini-g,fubini-g-1.fubini-g fubini-g-1.fubini-g hello\n", "\(step.output)")
    }
  }

  @Test("outputs of members lie together as in one root, the lower rank's where two have the same; results have ranks")
  func outputs() async throws {
    let pods = try PodFixture()
    try Self.share(pods, size: 3, outputs: ["out", "one"])
    let (out, one) = (pods.inPod("out"), pods.inPod("one"))
    func member(_ rank: Int, _ script: String) async throws {
      for path in [out, one] { POSIXFile.removeTree(path) }
      let plan = Self.plan(pods, rank, size: 3) {
        $0.outputs = [out, one]
        $0.capturesResult = true
      }
      let step = try pods.start(
        [PodPrograms.stepCommand, "--container", "main", "--", "sh", "-ec", script], plan, pod: "pod-\(rank)",
        rank: rank)
      #expect(try await step.end() == 0, "\(step.errors)")
    }
    try await pods.serving {
      // In any order, and a directory that forbids writing.
      try await member(
        1, "mkdir -p \(out)/deep; echo 1 >\(out)/rank.1; echo 1 >\(out)/deep/same; echo 1 >\(one); echo a")
      try await member(
        2,
        "mkdir -p \(out)/deep; echo 2 >\(out)/deep/rank.2; echo 2 >\(out)/deep/same; chmod 555 \(out)/deep; printf 'x\ny'"
      )
      #expect(POSIXFile.isMissing(pods.atAgent("one")), "nothing is the run's before all is over")
      try await pods.server.gather(pods.run)
      // A member whose outputs come when others were gathered already.
      try await member(0, "mkdir -p \(out)/deep; echo 0 >\(out)/deep/same; echo b")
      try await pods.server.gather(pods.run)
      try await pods.server.gather(pods.run)
    }
    for (path, text) in [("rank.1", "1\n"), ("deep/rank.2", "2\n"), ("deep/same", "0\n")] {
      #expect(try pods.directory.read("run/root" + pods.inPod("out/" + path)) == text, "\(path)")
    }
    #expect(try pods.directory.read("run/root" + pods.inPod("one")) == "1\n")
    #expect(try pods.directory.read("run/stdout") == "0: b\n1: a\n2: x\n2: y\n")
    let left = try POSIXFile.entries(ofPath: pods.workspace.directory)
    #expect(left.allSatisfy { !$0.hasPrefix("member-") && !$0.hasPrefix("outputs-") }, "\(left)")
  }
}
