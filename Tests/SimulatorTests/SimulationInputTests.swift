import FederationModel
import SchedulerCore
import SimulatorCore
import Testing

@Suite("Simulation inputs")
struct SimulationInputTests {
  private static let instance: JSONValue = [
    "workflow": [
      "specification": [
        "tasks": [
          ["id": "a", "parents": [], "children": ["b"], "inputFiles": ["in"], "outputFiles": ["mid"]],
          ["id": "b", "parents": ["a"], "children": [], "inputFiles": ["mid"], "outputFiles": ["out"]],
        ],
        "files": [
          ["id": "in", "sizeInBytes": 10], ["id": "mid", "sizeInBytes": 20], ["id": "out", "sizeInBytes": 30],
        ],
      ],
      "execution": ["tasks": [["id": "a", "runtimeInSeconds": 1.5], ["id": "b", "runtimeInSeconds": 2]]],
    ]
  ]

  @Test("a WfFormat instance becomes a graph with its files, runtimes and scale")
  func wfFormat() throws {
    let workload = try Workload(wfFormat: Self.instance, name: "two", dataScale: 10)
    #expect(workload.graph.tasks.map(\.parents) == [[], [0]])
    #expect(workload.graph.data.map(\.size) == [100, 200, 300])
    #expect(workload.runtimes == [1.5, 2])
    #expect(workload.taskNames == ["a", "b"])
  }

  @Test("WfFormat 1.4 and 1.3, with files and runtimes in the tasks, give the same graph", arguments: [true, false])
  func wfFormatBeforeParts(is14: Bool) throws {
    func file(_ name: String, _ bytes: Int64, _ link: String) -> JSONValue {
      ["name": .string(name), is14 ? "sizeInBytes" : "size": .integer(bytes), "link": .string(link)]
    }
    let runtime = is14 ? "runtimeInSeconds" : "runtime"
    let json: JSONValue = [
      "workflow": [
        "tasks": [
          [
            "name": "a", "id": "ID1", "parents": [], "children": ["b"], runtime: 1.5,
            "files": [file("in", 10, "input"), file("mid", 20, "output")],
          ],
          [
            "name": "b", "id": "ID2", "parents": ["ID1"], "children": [], .init(runtime): 2,
            "files": [file("mid", 20, "input"), file("out", 30, "output")],
          ],
        ]
      ]
    ]
    let workload = try Workload(wfFormat: json, name: "old")
    let new = try Workload(wfFormat: Self.instance, name: "new")
    #expect(workload.graph == new.graph)
    #expect(workload.runtimes == new.runtimes && workload.taskNames == new.taskNames)
  }

  @Test("a dependency that only the parent tells of is kept")
  func childrenOnly() throws {
    let workload = try Workload(
      wfFormat: [
        "workflow": [
          "specification": ["tasks": [["id": "a", "children": ["b"]], ["id": "b"]]],
          "execution": ["tasks": [["id": "a", "runtimeInSeconds": 1], ["id": "b", "runtimeInSeconds": 1]]],
        ]
      ], name: "children")
    #expect(workload.graph.tasks.map(\.parents) == [[], [0]])
  }

  @Test("an instance without execution, with an unknown parent or with a cycle is refused with its reason")
  func refused() {
    #expect(throws: FederationError.self) { try Workload(wfFormat: ["workflow": [:]], name: "empty") }
    func instance(_ parents: JSONValue) -> JSONValue {
      [
        "workflow": [
          "specification": ["tasks": [["id": "a", "parents": parents]]],
          "execution": ["tasks": [["id": "a", "runtimeInSeconds": 1]]],
        ]
      ]
    }
    for (parents, word) in [(["x"] as JSONValue, "does not describe"), (["a"], "depend on each other")] {
      let error = #expect(throws: FederationError.self) {
        try Workload(wfFormat: instance(parents), name: "wrong")
      }
      #expect(error?.publicMessage.contains(word) == true)
    }
  }

  @Test("a platform file is read, and each mistake is named")
  func platform() throws {
    let platform = try Platform([
      "name": "p",
      "clusters": [
        [
          "name": "a", "slots": 4, "speed": 2, "bytesPerSecondIn": 1000, "pricePerSlotHour": 36,
          "egressPerGigabyte": 2, "wait": ["p50": 5, "p90": 9], "cacheBytes": 70, "holdsInputs": true,
          "outages": [["at": 3, "seconds": 4]], "prices": [["at": 9, "pricePerSlotHour": 72]],
          "failures": ["meanSecondsBetweenOutages": 60, "meanOutageSeconds": 5, "runFailureProbability": 0.1],
        ]
      ],
    ])
    let site = platform.sites[0]
    #expect(site.compute.slots == 4 && site.compute.speed == 2 && site.compute.bandwidthIn == 1000)
    #expect(
      site.compute.pricePerSecond == 0.01 && abs(site.compute.queueWait - 5.15) < 1e-9
        && site.compute.cacheCapacity == 70)
    #expect(site.outages == [Outage(at: 3, seconds: 4)])
    #expect(site.prices == [PriceChange(at: 9, perSecond: 0.02, egressPerByte: 2e-9)])
    #expect(
      site.failures
        == FailureModel(meanSecondsBetweenOutages: 60, meanOutageSeconds: 5, runFailureProbability: 0.1))
    for (member, word) in [
      (["name": "a", "slots": 1, "holdsInputs": true, "speeed": 2] as JSONValue, "speeed"),
      (["name": "a", "slots": 1, "holdsInputs": true, "prices": [["at": 1, "cost": 2]]], "cost"),
      (["name": "a", "slots": 1, "holdsInputs": true, "failures": ["runFailureProbability": 1]], "runFailureProb"),
      (["slots": 1, "holdsInputs": true], "name"), (["name": "a", "holdsInputs": true], "slots"),
      (["name": "a", "slots": 1], "holdsInputs"),
      (["name": "a", "slots": 1, "speed": 0, "holdsInputs": true], "speed"),
    ] {
      let error = #expect(throws: FederationError.self) { try Platform(["clusters": [member]]) }
      #expect(error?.publicMessage.contains(word) == true, "\(member)")
    }
  }

  @Test("links between two clusters are read, and each mistake is named")
  func links() throws {
    func platform(_ links: JSONValue) throws -> Platform {
      try Platform(["clusters": [["name": "a", "slots": 1, "holdsInputs": true], ["name": "b"]], "links": links])
    }
    let known = try platform([["from": "a", "to": "b", "bytesPerSecond": 5]])
    #expect(known.paths.limit(from: 0, to: 1) == 5 && known.paths.limit(from: 1, to: 0) == .infinity)
    for (links, word) in [
      ([["from": "a", "to": "c", "bytesPerSecond": 5]] as JSONValue, "to of each"),
      ([["from": "a", "to": "a", "bytesPerSecond": 5]], "between two"),
      ([["from": "a", "to": "b", "bytesPerSecond": 0]], "bytesPerSecond"),
      ([["from": "a", "to": "b", "bytesPerSecond": 5], ["from": "a", "to": "b", "bytesPerSecond": 6]], "two links"),
      ([["from": "a", "to": "b", "rate": 5]], "rate"),
    ] {
      let error = #expect(throws: FederationError.self) { try platform(links) }
      #expect(error?.publicMessage.contains(word) == true, "\(links)")
    }
  }

  @Test("generated workflows depend on nothing but their seed", arguments: GeneratedWorkload.allCases)
  func generated(kind: GeneratedWorkload) {
    let workload = kind.workload(size: 10, seed: 1)
    #expect(workload.graph == kind.workload(size: 10, seed: 1).graph)
    #expect(workload.graph != kind.workload(size: 10, seed: 2).graph)
    #expect(workload.withRuntimeError(0.3, seed: 1).runtimes == workload.withRuntimeError(0.3, seed: 1).runtimes)
    #expect(workload.withRuntimeError(0, seed: 1).runtimes == workload.runtimes)
  }

  @Test("exponential gaps have their mean, and the same seed gives the same ones")
  func exponential() {
    var random = SplitMix64(seed: 5)
    let drawn = (0..<20_000).map { _ in random.exponential(mean: 10) }
    #expect(drawn.allSatisfy { $0 >= 0 && $0.isFinite })
    // The deviation of the mean of so many is 0.07; the median of the distribution is ln 2 of its mean.
    #expect(abs(drawn.reduce(0, +) / 20_000 - 10) < 0.3)
    #expect(abs(drawn.sorted()[10_000] - 6.931) < 0.3)
  }

  @Test("a queue's wait passes through its quantiles")
  func wait() {
    let model = QueueWaitModel(p50: 10, p90: 50)
    #expect(model.seconds(at: 0) == 0)
    #expect(model.seconds(at: 0.5) == 10)
    #expect(abs(model.seconds(at: 0.9) - 50) < 1e-9)
    let mean = (0..<10_000).reduce(0.0) { $0 + model.seconds(at: (Double($1) + 0.5) / 10_000) } / 10_000
    #expect(abs(model.mean - mean) < 1e-3)
  }
}
