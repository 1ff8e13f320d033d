import FederationHarness
import FederationModel
import Foundation
import Postgres
import Synchronization
import TestSupport
import Testing

extension Integration {
  /// `make chaos`: FUBINI_CHAOS_ROUNDS rounds (50 there, 3 in `make test`) from FUBINI_SEED.
  ///
  /// The machine's clock belongs to everybody on it, so its jumps are not played here: the deterministic core's fault tests
  /// (`CoreFaultTests`) do that in virtual time, and everything that is measured here counts by CLOCK_BOOTTIME, which nobody can set.
  @Suite("Chaos")
  struct ChaosTests {
    static let environment = ProcessInfo.processInfo.environment
    static let rounds = environment["FUBINI_CHAOS_ROUNDS"].flatMap { Int($0) } ?? 3
    static let seed = environment["FUBINI_SEED"].flatMap { UInt64($0) } ?? 1

    @Test(
      "I1, I2: whatever is killed, frozen or cut, every accepted task ends once, no run of a task overlaps another, nothing acknowledged is lost",
      .timeLimit(.minutes(60)))
    func chaos() async throws {
      var options = FederationOptions()
      options.controlPlanes = 2
      // Two: from three agents on, losing most of them makes the control plane suspect itself (I8) and wait for minutes.
      options.agents = [.init("a", slots: 6), .init("b", slots: 6)]
      options.hasOwnPostgres = true
      let seed = Self.seed, rounds = Self.rounds
      try await Federation.with(options) { federation in
        try await federation.watchCommits()
        let trace = try TraceCollector(federation)
        defer { trace.close() }
        let workload = ChaosWorkload(federation: federation, trace: trace)
        var draw = ChaosRandom(seed: seed)
        var plan = ChaosPlan(rounds: rounds, draw: &draw)
        var acknowledged: [String] = []
        while let round = plan.next() {
          let began = ContinuousClock.now
          do {
            acknowledged += try await play(round, workload, &draw)
            try await workload.settle(timeout: .seconds(90))
          } catch {
            throw HarnessError("seed \(seed), round \(round.number) (\(round.text)): \(error)")
          }
          print(
            "chaos: seed \(seed), round \(round.number) of \(rounds): \(round.text): \(ContinuousClock.now - began)")
          try await poll("the runs' processes are gone", timeout: .seconds(10)) {
            ChaosWorkload.liveRuns(federation).isEmpty
          }
          let checker = try await ChaosChecker.read(federation, seed: seed, acknowledged: acknowledged, trace: trace)
          let violations = checker.violations()
          #expect(
            violations.isEmpty,
            "seed \(seed), round \(round.number) (\(round.text)):\n\(violations.map(\.description).joined(separator: "\n"))"
          )
          if !violations.isEmpty { throw HarnessError("seed \(seed), round \(round.number): invariants broken") }
        }
        let checker = try await ChaosChecker.read(federation, seed: seed, acknowledged: acknowledged, trace: trace)
        #expect(
          checker.lines.count(where: { $0.kind == .end }) > 0, "no run ever told its end: the harness sees nothing")
        print(
          "chaos: \(acknowledged.count) workflows, \(checker.runs.count) runs (\(checker.runs.count(where: { $0.epoch > 1 })) "
            + "replacements, \(checker.runs.count(where: { $0.phase == .lost })) lost), \(checker.lines.count) lines")
      }
    }

    /// Submits the round's workflows while its faults strike. Returns the names that were acknowledged.
    private func play(_ round: ChaosPlan.Round, _ workload: ChaosWorkload, _ draw: inout ChaosRandom) async throws
      -> [String]
    {
      let documents = (0..<4).map { index in
        let name = "chaos-\(Self.seed)-\(round.number)-\(index)"
        let beats = (0..<draw.number(3...5)).map { _ in draw.number(1...35) }
        let text = workload.document(name, beats: beats, retries: index % 2 == 1, replace: index < 3)
        return (name, text, Duration.milliseconds(draw.number(0...2500)))
      }
      return try await withThrowingTaskGroup(of: String.self) { group in
        for (name, text, delay) in documents {
          group.addTask {
            try await Task.sleep(for: delay)
            return try await workload.submit(name, text)
          }
        }
        for fault in round.faults {
          try await Task.sleep(for: .milliseconds(draw.number(200...1800)))
          do { try await fault.strike(workload.federation, &draw) } catch {
            throw HarnessError("\(fault.rawValue) could not be played: \(error)")
          }
        }
        return try await group.reduce(into: []) { $0.append($1) }
      }
    }

    @Test("I1: the checker sees overlapping runs, second starts, unbound runs, lost submissions and untrue ends")
    func checkerSees() {
      func line(_ text: String) -> TraceLine { TraceLine(text)! }
      func run(_ id: String, _ epoch: Int64, _ phase: RunPhase) -> ChaosChecker.Run {
        .init(id: id, workflow: "w", ordinal: 1, epoch: epoch, phase: phase, cluster: "a")
      }
      let good = ChaosChecker(
        seed: 0, acknowledged: ["w"], workflows: ["w": .succeeded],
        nodes: [.init(workflow: "w", ordinal: 1, name: "w.t", type: "Pod", phase: .succeeded)],
        runs: [run("1", 1, .lost), run("2", 2, .succeeded)], recorded: [],
        lines: ["1 w/0/0 start 1.00", "1 w/0/0 beat 2.00", "2 w/0/0 start 2.00", "2 w/0/0 end 3.00"].map(line),
        broken: [], leftovers: [])
      #expect(good.violations().isEmpty)
      func kinds(_ change: (inout ChaosChecker) -> Void) -> [String] {
        var bad = good
        change(&bad)
        return bad.violations().map(\.invariant)
      }
      #expect(kinds { $0.lines.append(line("1 w/0/0 beat 2.01")) } == ["I1"])
      #expect(kinds { $0.lines.append(line("2 w/0/0 start 2.50")) } == ["I1"])
      #expect(kinds { $0.lines.append(line("9 w/0/0 start 9.00")) } == ["I2"])
      #expect(kinds { $0.acknowledged.append("x") } == ["I2"])
      #expect(kinds { $0.workflows["x"] = .succeeded } == ["I2"])
      #expect(kinds { $0.lines.removeLast() } == ["I2"])
      #expect(
        kinds {
          $0.runs[1].phase = .running; $0.nodes[0].phase = .failed
        } == ["I2"])
      #expect(kinds { $0.runs[1].phase = .failed } == ["I2"])
      #expect(kinds { $0.leftovers = ["process 1"] } == ["I1"])
    }
  }
}

/// Which faults strike in which round: each kind in turn, in an order drawn from the seed, every third round with two.
struct ChaosPlan {
  struct Round {
    var number: Int
    var faults: [ChaosFault]
    var text: String { faults.map(\.rawValue).joined(separator: " + ") }
  }
  private var rounds: [Round]

  init(rounds count: Int, draw: inout ChaosRandom) {
    var deck: [ChaosFault] = []
    rounds = (0..<count).map { number in
      var faults: [ChaosFault] = []
      for _ in 0..<(number % 3 == 2 ? 2 : 1) {
        if deck.isEmpty { deck = ChaosFault.allCases.shuffled(using: &draw) }
        faults.append(deck.removeLast())
      }
      return Round(number: number + 1, faults: faults)
    }.reversed()
  }

  mutating func next() -> Round? { rounds.popLast() }
}
