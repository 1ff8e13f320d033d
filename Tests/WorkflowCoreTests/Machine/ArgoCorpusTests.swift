import FederationModel
import Foundation
import Testing

@testable import WorkflowCore

/// Argo's own examples, where they are at hand: data beside the repository, not in it.
@Suite("Argo's examples in the machine")
struct ArgoCorpusTests {
  private struct Entry: Decodable {
    var path: String
    var kinds: [String]
    var tier: String
    var expectedPhase: String?
    enum CodingKeys: String, CodingKey {
      case path, kinds, tier
      case expectedPhase = "expected_phase"
    }
  }

  private static let folder: URL = {
    if let path = ProcessInfo.processInfo.environment["FUBINI_SHARED_DATA"] {
      return URL(filePath: path).appending(path: "argo")
    }
    return URL(filePath: #filePath).appending(path: "../../../../../shared/data/argo").standardized
  }()

  @Test("Every document of tier A that is accepted comes to an end with whatever outcomes")
  func tierA() throws {
    guard let index = try? Data(contentsOf: Self.folder.appending(path: "expected.json")) else {
      print("skipped: no corpus at \(Self.folder.path)")
      return
    }
    let entries = try JSONDecoder().decode([Entry].self, from: index).filter {
      $0.tier == "A" && $0.kinds == ["Workflow"]
    }
    try #require(!entries.isEmpty)
    var ended = 0
    for entry in entries {
      let bytes = try Data(contentsOf: Self.folder.appending(path: entry.path))
      // What this version refuses, it refuses by name; the document tests look at that.
      let machine: WorkflowMachine
      do {
        let definition = try WorkflowDefinition.decode(bytes)
        machine = try WorkflowMachine(definition: definition, identity: MachineDriver.identity("wf"))
      } catch {
        print("refused: \(entry.path): \("\(error)".prefix(160))")
        continue
      }
      for seed in 0..<4 as Range<UInt64> {
        var random = SeededGenerator(seed: seed)
        var driver = MachineDriver(machine: machine)
        driver.send(.start)
        for _ in 0..<5000 where !driver.machine.status.phase.isTerminal {
          if let node = driver.open.first {
            let spec = try? driver.machine.taskSpec(for: node)
            var outcome =
              Int.random(in: 0..<8, using: &random) == 0 && seed > 0 ? TaskOutcome.bad() : .good(result: "heads")
            if seed > 0, Bool.random(using: &random) { outcome.outputs.result = "tails" }
            for parameter in spec?.outputParameters ?? [] { outcome.outputs.parameters[parameter.name] = "[1, 2]" }
            for artifact in spec?.outputArtifacts ?? [] {
              outcome.outputs.artifacts[artifact.name] = StoredArtifact(
                key: artifact.key ?? "", size: ByteCount(1), sha256: "", archive: artifact.archive)
            }
            driver.end(node, spec == nil ? TaskOutcome(phase: .error, message: "no spec") : outcome)
          } else if let wake = driver.machine.nextWake {
            driver.now = max(driver.now, wake)
            driver.send(.timeReached)
          } else {
            driver.send(.resumeNodes(selector: .all, parameters: ["message": "x", "approve": "YES"]))
            driver.send(.resume)
          }
        }
        #expect(driver.machine.status.phase.isTerminal, "\(entry.path), seed \(seed)")
        if seed == 0, !driver.machine.status.phase.isFulfilledWell, entry.expectedPhase == "Succeeded" {
          print("\(entry.path): \(driver.machine.status.phase) \(driver.machine.status.message)")
          for node in driver.live where node.phase == .error || node.phase == .failed {
            print("  \(node.name): \(node.message)")
          }
        }
      }
      ended += 1
    }
    print("\(ended) of \(entries.count) documents of tier A ran")
    #expect(ended > 0)
  }
}

extension MachineDriver {
  init(machine: WorkflowMachine) { self.machine = machine }
}
