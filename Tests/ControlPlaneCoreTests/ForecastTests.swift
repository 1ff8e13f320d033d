import ControlPlaneCore
import FederationModel
import SchedulerCore
import Testing
import WorkflowCore

/// A workflow document around some templates.
private func document(_ templates: String, arguments: String = "") -> String {
  """
  apiVersion: argoproj.io/v1alpha1
  kind: Workflow
  metadata: {name: planned}
  spec:
    entrypoint: main
  \(arguments)
    templates:
  \(templates)
  """
}

private let chain = document(
  """
    - name: main
      dag:
        tasks:
        - {name: first, template: short}
        - {name: wide, template: long, dependencies: [first], withSequence: {count: "4"}}
        - {name: last, template: short, dependencies: [wide]}
    - name: short
      container: {image: any, command: [x]}
    - name: long
      container: {image: any, command: [x], resources: {requests: {memory: 1Gi}}}
  """)

/// A federation that is a value: what a forecast sees of one.
private struct Scene {
  var clusters: [ClusterView] = []
  var data: [DataKey: DataView] = [:]
  var running: [[ExpectedRelease]] = []
  /// Runs of templates that ended well.
  var runs: [(template: String, seconds: Double, makes: [String: ByteCount])] = []
  var datasets: [DatasetMount: MountedDataset] = [:]

  mutating func add(
    _ name: ClusterName, slots: Int = 2, memory: ByteCount = .gibibytes(64), bandwidth: Double = 100e6,
    coreHour: Double = 0, labels: [String: String] = [:], closed: String? = nil
  ) {
    let inventory = ClusterInventory(
      capacity: Resources(cpuMillicores: Int64(slots) * 1000, memory: memory), slots: slots,
      images: [ImageRule(pattern: "*", runsAs: "host")])
    clusters.append(
      ClusterView(
        spec: ClusterSpec(
          name: name, kind: .process, labels: labels,
          prices: coreHour > 0 ? PriceSheet(currency: "CNY", coreHour: coreHour) : nil), inventory: inventory,
        closedBecause: closed, free: inventory.capacity, freeSlots: slots, bandwidth: bandwidth,
        cache: CacheView(id: name.text, capacity: .gibibytes(1000))))
    running.append([])
  }

  mutating func took(_ template: String, _ seconds: [Double], makes: [String: ByteCount] = [:]) {
    runs += seconds.map { (template, $0, makes) }
  }

  var budget: BudgetView?

  func forecast(_ yaml: String, fanOut: Int = 4, limits: ForecastLimits = ForecastLimits()) throws -> Forecast {
    let definition = try Federation.definition(yaml)
    let history = runs.map { run in
      let program = definition.spec.templates.first { $0.name == run.template }?.program ?? 0
      return EndedRun(
        template: TemplateKey(project: "default", name: run.template, program: program), inputs: nil,
        seconds: run.seconds, outputs: run.makes)
    }
    var basis = ForecastBasis(
      now: Timestamp(milliseconds: 1_000_000), project: "default",
      snapshot: SchedulingSnapshot(clusters: clusters, groups: [], data: data), running: running,
      history: TemplateHistory(history), datasets: datasets)
    basis.budget = budget
    let program = try WorkflowProgram(definition)
    return try Forecaster(program, name: "planned", basis: basis, fanOut: fanOut, limits: limits).forecast()
  }
}

@Suite("Plans of workflows that nobody has submitted")
struct ForecastTests {
  @Test("What the project may spend bounds how much runs at once, and says what can never be paid")
  func budget() throws {
    var scene = Scene()
    scene.add("a", slots: 8, coreHour: 3600)
    scene.add("free", slots: 8)
    scene.took("short", [10, 10, 10])
    scene.took("long", [100, 100, 100])
    // A fen for a core-second: an hour is held for 36.00 CNY, and 100 s of it used.
    scene.budget = BudgetView(
      currency: "CNY", available: Amount("75")!, unspent: Amount("80")!, defaultWalltime: .seconds(3600))
    let forecast = try scene.forecast(chain)
    #expect(forecast.ending == .complete && forecast.tasks.allSatisfy { $0.cluster == "a" }, "free has no price")
    #expect(Int(forecast.makespan.expected) == 10 + 2 * 100 + 10, "two at a time: \(forecast.makespan.expected)")
    #expect(forecast.unknowns.contains { $0.contains("for which 5.00 CNY are held") }, "\(forecast.unknowns)")
    scene.budget!.available = Amount("36.10")
    scene.budget!.unspent = Amount("36.10")!
    let stuck = try scene.forecast(chain)
    #expect(stuck.ending == .stuck)
    let wide = try #require(stuck.groups.first { $0.name == "wide" })
    #expect(
      wide.table.candidates.first { $0.cluster == "a" }?.rejection?.code == Rejection.overBudget, "\(wide.table)")
    scene.budget = nil
    #expect(Int(try scene.forecast(chain).makespan.expected) == 120)
  }

  @Test("Tasks go one behind the other as their dag says, and share the slots that there are")
  func schedule() throws {
    var scene = Scene()
    scene.add("a", slots: 2)
    scene.took("short", [10, 10, 10])
    scene.took("long", [100, 100, 100])
    let forecast = try scene.forecast(chain)
    #expect(forecast.ending == .complete)
    #expect(forecast.tasks.count == 6)
    // 10, then four of 100 in two slots, then 10.
    #expect(abs(forecast.makespan.expected - 220) < 0.1)
    #expect(forecast.makespan.median == forecast.makespan.expected)
    #expect(forecast.groups.map(\.name) == ["first", "wide", "last"])
    #expect(forecast.groups.map(\.count) == [1, 4, 1])
    #expect(forecast.groups.allSatisfy { $0.runtimeFrom == .history && $0.runtime.samples == 3 })
    #expect(forecast.unknowns == [])
    // first, a long one, the one that waited for its slot, last.
    #expect(
      forecast.criticalPath.map { forecast.tasks[$0].name.split(separator: ".").last?.prefix(4) } == [
        "firs", "wide", "wide", "last",
      ])
  }

  @Test("Runs that are there already keep their slots until they are expected to end")
  func busy() throws {
    var scene = Scene()
    scene.add("a", slots: 1)
    scene.took("short", [10, 10, 10])
    scene.clusters[0].free = .zero
    scene.clusters[0].freeSlots = 0
    scene.running[0] = [ExpectedRelease(resources: scene.clusters[0].inventory.capacity, end: 30)]
    let forecast = try scene.forecast(
      document("  - name: main\n    container: {image: any, command: [x]}\n"))
    #expect(forecast.tasks.map(\.startAt) == [30])
    #expect(forecast.groups[0].runtimeFrom == .assumed && forecast.makespan.upper == nil)
    #expect(forecast.unknowns.contains { $0.contains("runtime of template main") })
  }

  private static let reading = document(
    """
      - name: main
        federation: {datasets: [{name: water, version: 1, mountPath: /water}]}
        container: {image: any, command: [x]}
    """)

  /// 1 GB on `full`, whose one slot is taken for 300 s; `far` is free behind a link of 10 MB/s, `near` behind one of 100 MB/s.
  private func water() -> Scene {
    var scene = Scene()
    scene.add("far", bandwidth: 10e6)
    scene.add("full", slots: 1)
    scene.add("near", bandwidth: 100e6)
    scene.clusters[1].free = .zero
    scene.clusters[1].freeSlots = 0
    scene.clusters[1].firstEnd = 300
    scene.clusters[1].meanRun = 300
    scene.running[1] = [ExpectedRelease(resources: scene.clusters[1].inventory.capacity, end: 300)]
    let key = DataKey(project: "default", dataset: "water", version: 1)
    scene.data[key] = DataView(
      size: ByteCount(1_000_000_000), copies: [DataCopy(cluster: "full")], origin: .infinity)
    let mount = DatasetMount(name: "water", version: 1, mountPath: "/water")
    scene.datasets[mount] = MountedDataset(
      object: DataObject(key: key, project: "default", size: ByteCount(1_000_000_000), sources: []),
      mountPath: "/water")
    scene.took("main", [20, 20, 20])
    return scene
  }

  @Test("What must be moved is told with its source, its size and its seconds, and the run waits for it (I4)")
  func transfers() throws {
    let forecast = try water().forecast(Self.reading)
    let transfer = try #require(forecast.transfers.first)
    #expect(forecast.transfers.count == 1)
    #expect(transfer.to == "near" && transfer.size == ByteCount(1_000_000_000))
    #expect(abs(transfer.endsAt - transfer.beginsAt - 10) < 0.01)
    let task = forecast.tasks[0]
    #expect(task.cluster == "near" && abs(task.startAt - 10) < 0.01 && abs(forecast.makespan.expected - 30) < 0.01)
    #expect(task.moved == ByteCount(1_000_000_000))
  }

  @Test("A replica that would make it faster is named, with what planning anew with it gave")
  func replica() throws {
    let forecast = try water().forecast(Self.reading)
    let best = try #require(forecast.changes.first)
    #expect(best.message == "1.5x faster (20.0 s instead of 30.0 s) if water@1 were pinned on near")
    #expect(best.makespan == 20)
  }

  @Test(
    "What keeps a task from a better cluster is named when planning without it is better",
    arguments: [
      // One of them fills it, and the other cluster takes the next.
      ("resources: {requests: {memory: 100Gi}}", "memory <= 64 GiB in template main", 20.0),
      ("nodeSelector", "zone were not asked for in template main", 10),
      ("exclude", "fast were not excluded in template main", 10),
      ("closed", "fast were open (it is closed: cordoned: for a test)", 10),
    ])
  func relaxed(_ obstacle: String, _ condition: String, _ seconds: Double) throws {
    var scene = Scene()
    scene.add("fast", slots: 8, memory: .gibibytes(64), closed: obstacle == "closed" ? "cordoned: for a test" : nil)
    scene.add("slow", slots: 1, memory: .gibibytes(256), labels: ["zone": "x"])
    scene.took("main", [10, 10, 10])
    var template = "    container: {image: any, command: [x]"
    if obstacle.hasPrefix("resources") { template += ", " + obstacle }
    template += "}\n"
    if obstacle == "nodeSelector" { template += "    nodeSelector: {zone: x}\n" }
    if obstacle == "exclude" { template += "    federation: {clusters: {exclude: [fast]}}\n" }
    let forecast = try scene.forecast(
      document(
        "  - name: all\n    steps: [[{name: a, template: main, withSequence: {count: \"4\"}}]]\n  - name: main\n"
          + template
      ).replacing("entrypoint: main", with: "entrypoint: all"))
    #expect(abs(forecast.makespan.expected - 40) < 0.1)
    let best = try #require(forecast.changes.first)
    #expect(best.condition == condition)
    #expect(abs(best.makespan - seconds) < 0.1 && best.cluster == "fast")
    #expect(best.message.hasPrefix("\(40 / seconds)x faster"))
  }

  @Test(
    "A workflow that fits nowhere is told to be stuck, with each cluster's reason, and with what would let it run (I10)"
  )
  func stuck() throws {
    var scene = Scene()
    scene.add("small", memory: .gibibytes(1))
    let forecast = try scene.forecast(
      document("  - name: main\n    container: {image: any, command: [x], resources: {requests: {memory: 2Gi}}}\n"))
    #expect(forecast.ending == .stuck)
    #expect(forecast.groups[0].table.candidates.map(\.rejection?.code) == ["TooLarge"])
    #expect(forecast.changes.map(\.condition) == ["memory <= 1 GiB in template main"])
  }

  @Test("Samples of what runs took make p50 and p90 of time and money; the same basis gives the same ones")
  func samples() throws {
    var scene = Scene()
    scene.add("a", slots: 1, coreHour: 360_000)
    scene.took("main", [10, 20, 30, 40, 50, 60, 70, 80, 90, 100])
    let yaml = document("  - name: main\n    container: {image: any, command: [x], resources: {requests: {cpu: 1}}}\n")
    let forecast = try scene.forecast(yaml)
    #expect(abs(forecast.makespan.expected - 55) < 0.01)
    let (median, upper) = (try #require(forecast.makespan.median), try #require(forecast.makespan.upper))
    #expect((35...75).contains(median) && upper > median + 10 && upper <= 100)
    let money = try #require(forecast.money["CNY"])
    let cost = try #require(money.median)
    #expect(money.expected == 5500 && abs(cost - median * 100) < 101)
    #expect(try scene.forecast(yaml).makespan == forecast.makespan)
  }

  private static let unknownList = document(
    """
      - name: main
        dag:
          tasks:
          - {name: make, template: make}
          - name: each
            template: each
            dependencies: [make]
            withParam: "{{tasks.make.outputs.result}}"
            arguments: {parameters: [{name: field, value: "{{item.name}}"}]}
          - {name: never, template: each, dependencies: [make], when: "'{{tasks.make.outputs.result}}' == 'x'",
             arguments: {parameters: [{name: field, value: "{{=asInt(tasks.make.outputs.result) + 1}}"}]}}
          - name: all
            template: each
            dependencies: [each]
            withParam: "{{tasks.each.outputs.result}}"
            arguments: {parameters: [{name: field, value: "{{item}}"}]}
      - name: make
        script: {image: any, command: [x], source: x}
      - name: each
        inputs: {parameters: [{name: field}]}
        container: {image: any, command: [x], args: ["{{inputs.parameters.field}}"]}
    """)

  @Test("A list that only a run makes is taken to have as many items as is said, and that is told", arguments: [1, 7])
  func fanOut(_ count: Int) throws {
    var scene = Scene()
    scene.add("a", slots: 4)
    let forecast = try scene.forecast(Self.unknownList, fanOut: count)
    #expect(forecast.ending == .complete)
    // What members of a loop hand on is a list as long as the loop.
    #expect(forecast.tasks.count == 1 + count + 1 + count)
    #expect(forecast.unknowns.contains("how many items each of template main has: \(count) assumed (--fan-out)"))
    #expect(!forecast.unknowns.contains { $0.contains("how many items all of") })
    #expect(forecast.unknowns.contains { $0.hasPrefix("whether never of template main runs") })
  }

  @Test("A template that calls itself until a run says stop is planned once")
  func recursion() throws {
    var scene = Scene()
    scene.add("a")
    let forecast = try scene.forecast(
      document(
        """
          - name: main
            steps:
            - [{name: flip, template: flip}]
            - [{name: again, template: main, when: "{{steps.flip.outputs.result}} == tails"}]
          - name: flip
            script: {image: any, command: [x], source: x}
        """))
    #expect(forecast.ending == .complete && forecast.tasks.count == 1)
    #expect(forecast.unknowns.contains { $0.hasPrefix("how often again of template main calls") })
  }

  @Test("Outputs are as large as they were, and draw their readers to them")
  func outputs() throws {
    var scene = Scene()
    scene.add("a", bandwidth: 1e6)
    scene.add("b", bandwidth: 1e6)
    scene.took("make", [1, 1, 1], makes: ["out": ByteCount(100_000_000)])
    scene.took("use", [1, 1, 1])
    let forecast = try scene.forecast(
      document(
        """
          - name: main
            steps:
            - [{name: make, template: make}]
            - - name: use
                template: use
                arguments: {artifacts: [{name: in, from: "{{steps.make.outputs.artifacts.out}}"}]}
          - name: make
            container: {image: any, command: [x]}
            outputs: {artifacts: [{name: out, path: /out}]}
          - name: use
            inputs: {artifacts: [{name: in, path: /in}]}
            container: {image: any, command: [x]}
        """))
    #expect(forecast.tasks.map(\.cluster) == ["a", "a"] && forecast.transfers.isEmpty)
    let other = try #require(forecast.groups[1].table.candidates.first { $0.cluster == "b" }?.estimate)
    #expect(other.missing == ByteCount(100_000_000) && abs(other.stageSeconds - 100) < 0.1)
  }

  @Test("A suspend step waits for nobody, and a duration is waited for")
  func suspends() throws {
    var scene = Scene()
    scene.add("a")
    let forecast = try scene.forecast(
      document(
        """
          - name: main
            steps: [[{name: ask, template: ask}], [{name: pause, template: pause}], [{name: go, template: go}]]
          - name: ask
            suspend: {}
          - name: pause
            suspend: {duration: "60"}
          - name: go
            container: {image: any, command: [x]}
        """))
    #expect(forecast.ending == .complete && forecast.makespan.expected == 70)
    #expect(forecast.unknowns.contains { $0.contains("somebody to resume it") })
  }

  @Test("However large a workflow is, a plan of it takes a bounded time and says where it ends")
  func bounded() throws {
    var scene = Scene()
    scene.add("a", slots: 4)
    let forecast = try scene.forecast(
      document(
        "  - name: main\n    steps: [[{name: a, template: t, withSequence: {count: \"100000\"}}]]\n"
          + "  - name: t\n    container: {image: any, command: [x]}\n"), limits: ForecastLimits(tasks: 500))
    #expect(forecast.ending == .cut && forecast.tasks.count < 2600)
    #expect(forecast.unknowns.contains { $0.contains("larger than what is looked at") })
  }
}

@Suite("Plans and what then happens")
struct ForecastOfCoreTests {
  @Test("A plan is made from the leader's state and leaves it as it was: no id, no row, no message, no transfer")
  func changesNothing() throws {
    var federation = Federation.withCaches(["a", "b"])
    federation.createWater()
    federation.uploadWater()
    let before = String(reflecting: federation.core)
    let basis = try federation.core.forecastBasis(of: try Federation.definition(chain), in: "default")
    let forecast = try Forecaster(
      try WorkflowProgram(try Federation.definition(chain)), name: "planned", basis: basis
    ).forecast()
    #expect(forecast.ending == .complete && forecast.tasks.count == 6)
    #expect(String(reflecting: federation.core) == before)
    #expect(!federation.core.hasOutput)
  }

  @Test("The table that a plan shows is the one that the leader decides by")
  func sameTable() throws {
    var federation = Federation.withCaches(["a", "b", "c"])
    let definition = try Federation.definition(chain)
    let basis = try federation.core.forecastBasis(of: definition, in: "default")
    let forecast = try Forecaster(try WorkflowProgram(definition), name: "planned", basis: basis).forecast()
    _ = try federation.submit("planned", chain)
    federation.settle()
    let taken = federation.core.takeSnapshot()
    let snapshot = try #require(taken)
    let plan = PlacementPlanner().plan(snapshot)
    #expect(plan.tables.count == 1 && plan.tables[0] == forecast.groups[0].table)
    #expect(plan.placements.map(\.cluster) == [forecast.tasks[0].cluster])
  }

  @Test("A data set that cannot be read is refused as a submission is")
  func missingDataset() throws {
    let federation = Federation.withCaches(["a"])
    let definition = try Federation.definition(
      document(
        "  - name: main\n    federation: {datasets: [{name: gone, mountPath: /x}]}\n    container: {image: any, command: [x]}\n"
      ))
    #expect(throws: FederationError.self) {
      _ = try federation.core.forecastBasis(of: definition, in: "default")
    }
  }
}
