import FederationHarness
import Foundation
import Glibc
import TestSupport

/// One thing that goes wrong, and is mended.
enum ChaosFault: String, CaseIterable, Sendable {
  case killLeader, killStandby, killAgent, killSupervisor, killRun, killPostgres
  case freezeLeader, freezeAgent, loseAgent, cutDatabase
  /// Everything at once: leader, one agent, PostgreSQL.
  case killThree

  /// Breaks it, waits, mends it. `draw` is the round's own source of chance.
  func strike(_ federation: Federation, _ draw: inout ChaosRandom) async throws {
    let options = federation.options
    let agent = draw.pick(options.agents).name
    let pause = Duration.milliseconds(draw.number(0...1500))
    switch self {
    case .killLeader, .killStandby:
      let leader = try? await federation.leader()
      let others = federation.replicas.map(\.index).filter { $0 != leader }
      guard let target = self == .killLeader ? leader ?? 0 : others.first else { return }
      try await federation.killControlPlane(target, for: pause)
    case .killAgent: try await federation.killAgent(agent, for: pause)
    case .loseAgent:
      try await federation.killAgent(agent, for: .seconds(options.disconnectLimit + options.fenceMargin + 1.5))
    case .killSupervisor: try await federation.supervisor(of: agent)?.kill()
    case .killRun:
      if let victim = draw.pickAny(ChaosWorkload.liveRuns(federation)) { victim.process.signal(SIGKILL) }
    case .killPostgres:
      try await federation.postgres.kill()
      try await Task.sleep(for: pause)
      try federation.postgres.start()
    case .freezeLeader:
      let process = try federation.controlPlane(try await federation.leader() ?? 0)
      try await federation.freeze(process, for: .seconds(options.leaderLease * 2 + 0.5))
    case .freezeAgent:
      let limit = options.disconnectLimit + options.fenceMargin + 1.5
      try await federation.freeze(try federation.agent(agent), for: .seconds(limit))
    case .cutDatabase:
      // Several times in a row, so that some of them hit units in flight.
      for _ in 0..<draw.number(1...6) {
        _ = try? await federation.query(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        try await Task.sleep(for: .milliseconds(draw.number(1...120)))
      }
    case .killThree:
      let leader = try await federation.leader() ?? 0
      try await federation.controlPlane(leader).kill()
      try await federation.agent(agent).kill()
      try await federation.postgres.kill()
      try await Task.sleep(for: pause)
      try federation.postgres.start()
      try federation.startControlPlane(leader)
      try federation.startAgent(agent)
    }
  }
}

extension Federation {
  func killControlPlane(_ index: Int, for pause: Duration) async throws {
    try await controlPlane(index).kill()
    try await Task.sleep(for: pause)
    try startControlPlane(index)
  }

  func killAgent(_ name: String, for pause: Duration) async throws {
    try await agent(name).kill()
    try await Task.sleep(for: pause)
    try startAgent(name)
  }

  /// SIGSTOP, and SIGCONT after `duration`, also when this is cancelled meanwhile.
  func freeze(_ process: OwnedProcess, for duration: Duration) async throws {
    process.signal(SIGSTOP)
    defer { process.signal(SIGCONT) }
    try await Task.sleep(for: duration)
  }
}

/// A small seeded generator: the same seed gives the same rounds. - Source: Vigna, SplitMix64.
struct ChaosRandom: RandomNumberGenerator, Sendable {
  private var state: UInt64
  init(seed: UInt64) { state = seed &+ 0x9e37_79b9_7f4a_7c15 }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  mutating func number(_ range: ClosedRange<Int>) -> Int { .random(in: range, using: &self) }
  mutating func pick<Element>(_ elements: [Element]) -> Element { elements[number(0...(elements.count - 1))] }
  mutating func pickAny<Element>(_ elements: [Element]) -> Element? { elements.isEmpty ? nil : pick(elements) }
}
