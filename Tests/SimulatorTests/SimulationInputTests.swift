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
          "outages": [["at": 3, "seconds": 4]],
        ]
      ],
    ])
    let site = platform.sites[0]
    #expect(site.compute.slots == 4 && site.compute.speed == 2 && site.compute.bandwidthIn == 1000)
    #expect(site.compute.pricePerSecond == 0.01 && site.compute.queueWait == 5 && site.compute.cacheCapacity == 70)
    #expect(site.outages == [Outage(at: 3, seconds: 4)])
    for (member, word) in [
      (["slots": 1, "holdsInputs": true] as JSONValue, "name"), (["name": "a", "holdsInputs": true], "slots"),
      (["name": "a", "slots": 1], "holdsInputs"),
      (["name": "a", "slots": 1, "speed": 0, "holdsInputs": true], "speed"),
    ] {
      let error = #expect(throws: FederationError.self) { try Platform(["clusters": [member]]) }
      #expect(error?.publicMessage.contains(word) == true, "\(member)")
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

  @Test("a queue's wait passes through its quantiles")
  func wait() {
    let model = QueueWaitModel(p50: 10, p90: 50)
    #expect(model.seconds(at: 0) == 0)
    #expect(model.seconds(at: 0.5) == 10)
    #expect(abs(model.seconds(at: 0.9) - 50) < 1e-9)
  }
}
