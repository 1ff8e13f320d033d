internal import Execution
internal import FederationModel
internal import Testing

@testable internal import SlurmExecutor

@Suite("What a site says for tasks of a kind") struct SiteDefaultTests {
  private typealias Condition = SiteDefault.Condition

  private static let rules: [SiteDefault] = [
    SiteDefault(condition: Condition(labels: ["team": "md"], project: "physics"), account: "md", constraint: "avx512"),
    SiteDefault(condition: Condition(priorityClass: .idle), partition: "scavenge", qos: "low"),
    SiteDefault(condition: Condition(gpus: true), partition: "gpu", gpuType: "a100", gres: "nvme:1"),
    SiteDefault(account: "everybody", gres: "scratch:10"),
  ]

  private static func arguments(_ change: (inout RunRequest) -> Void) throws -> [String] {
    let configuration = BatchScriptTests.configuration {
      $0.defaults = rules
      $0.partition = "main"
      $0.accounts = ["physics": "phys"]
      $0.qos = "normal"
    }
    return try BatchScriptTests.script(BatchScriptTests.request(change), configuration).arguments
  }

  @Test(
    "Of each value the first rule that matches and has it counts; the author's word counts before, other defaults after"
  )
  func order() throws {
    let plain = try Self.arguments { _ in }
    for option in ["--partition=main", "--account=everybody", "--qos=normal", "--gres=scratch:10"] {
      #expect(plain.contains(option), "\(plain)")
    }
    #expect(!plain.contains { $0.hasPrefix("--constraint") })
    let labelled = try Self.arguments {
      $0.spec.labels = ["team": "md", "other": "x"]
      $0.spec.federation.priorityClass = .idle
    }
    for option in ["--partition=scavenge", "--account=md", "--qos=low", "--constraint=avx512"] {
      #expect(labelled.contains(option), "\(labelled)")
    }
    let gpu = try Self.arguments { $0.spec.resources.gpus = 2 }
    for option in ["--partition=gpu", "--gres=gpu:a100:2,nvme:1"] { #expect(gpu.contains(option), "\(gpu)") }
    let asked = try Self.arguments {
      $0.spec.resources = Resources(gpus: 1, gpuType: "h100")
      $0.spec.labels = ["team": "md"]
      $0.spec.federation.slurm = SlurmHints(partition: "debug", account: "mine", qos: "high", constraint: "zen4")
    }
    for option in [
      "--partition=debug", "--account=mine", "--qos=high", "--constraint=zen4", "--gres=gpu:h100:1,nvme:1",
    ] {
      #expect(asked.contains(option), "\(asked)")
    }
  }

  @Test("The limits of the partition that a rule chooses bound the run")
  func partition() {
    var run = BatchScriptTests.request()
    run.spec.federation.priorityClass = .idle
    let configuration = BatchScriptTests.configuration { $0.defaults = Self.rules }
    #expect(configuration.partition(of: run) == "scavenge")
    run.spec.federation.slurm = SlurmHints(partition: "debug")
    #expect(configuration.partition(of: run) == "debug")
    #expect(configuration.partition(of: BatchScriptTests.request()) == nil)
  }

  @Test(
    "An image that nothing here can run is refused before the agent starts, enroot by its name",
    arguments: ["enroot:a.sqsh", "debain"])
  func image(_ runsAs: String) {
    let configuration = BatchScriptTests.configuration {
      $0.rootFileSystems = ["debian": "/srv/debian"]
      $0.images = [ImageRule(pattern: "a", runsAs: "debian"), ImageRule(pattern: "*", runsAs: runsAs)]
    }
    let error = #expect(throws: FederationError.self) { _ = try configuration.validated() }
    #expect(error?.publicMessage.contains("* runs as \(runsAs)") == true)
    #expect(error?.publicMessage.contains("enroot is not supported") == runsAs.hasPrefix("enroot"))
  }

  @Test(
    "A rule that cannot be meant is refused before the agent starts, by its place",
    arguments: [
      (SiteDefault(), "slurm.defaults[1] sets nothing: give it partition"),
      (SiteDefault(partition: "a b"), "slurm.defaults[1].partition: \"a b\" cannot be a partition"),
      (SiteDefault(qos: "-x"), "slurm.defaults[1].qos"),
      (SiteDefault(partition: "other"), "slurm.defaults[1].partition is other, which slurm.partitions does not offer"),
      (SiteDefault(gres: "nvme:1,gpu:2"), "slurm.defaults[1].gres must not have gpu"),
      (SiteDefault(condition: Condition(gpus: false), gpuType: "a100"), "which its condition excludes"),
    ])
  func refused(_ rule: SiteDefault, words: String) throws {
    let configuration = BatchScriptTests.configuration {
      $0.partitions = ["main", "gpu"]
      $0.defaults = [SiteDefault(partition: "gpu"), rule]
    }
    let error = #expect(throws: FederationError.self) { _ = try configuration.validated() }
    #expect(error?.code == .invalidArgument && error?.publicMessage.contains(words) == true, "\(error!)")
  }
}
