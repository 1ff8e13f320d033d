import Execution
import FederationModel
import FoundationEssentials
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// Commands in pods whose time is paid for bit by bit.
@Suite(.serialized, .timeLimit(.minutes(2))) struct PodSliceTests {
  private static func hold(_ milliseconds: Int, _ pods: PodFixture) throws {
    try pods.directory.write(String(milliseconds), to: "run/slice")
  }

  @Test("I3: a command is told to end where what is held for it ends, with its grace, and what it leaves is sent")
  func ended() async throws {
    let pods = try PodFixture()
    try pods.share(outputs: ["out"])
    try Self.hold(1500, pods)
    let plan = pods.plan {
      $0.sliceMs = 1500
      $0.outputs = [pods.inPod("out")]
    }
    try await pods.serving {
      let step = try pods.step("trap 'echo told >\(pods.inPod("out")); exit 0' TERM; sleep 60 & wait", plan)
      #expect(try await step.end() == 0, "\(step.errors)")
    }
    #expect(pods.notice?.fubini == .slice)
    let wall = pods.notice?.wallMilliseconds ?? 0
    #expect((1500..<10_000).contains(wall), "\(wall)")
    #expect(try pods.directory.read("run/root" + pods.inPod("out")) == "told\n")
  }

  @Test("a command goes on when more is held before its slice ends, also where the agent has no session")
  func extended() async throws {
    let pods = try PodFixture()
    try pods.share()
    try await pods.serving {
      let step = try pods.step("sleep 4", pods.plan { $0.sliceMs = 2500 })
      try await Task.sleep(for: .milliseconds(800))
      try Self.hold(60_000, pods)
      #expect(try await step.end() == 0, "\(step.errors)")
      #expect(pods.notice?.fubini == .ended)
      // A shorter one takes nothing back.
      try Self.hold(1, pods)
      let next = try pods.step("sleep 1", pods.plan { $0.sliceMs = 5000 })
      #expect(try await next.end() == 0, "\(next.errors)")
      #expect(pods.notice?.fubini == .ended)
    }
  }

  @Test("I3: with no agent to ask a command ends where its slice ends")
  func alone() async throws {
    let pods = try PodFixture()
    try pods.share()
    let step = try pods.step("sleep 60", pods.plan { $0.sliceMs = 1500 })
    #expect(try await step.end() == 128 + SIGTERM, "\(step.errors)")
    #expect(pods.notice?.fubini == .slice)
  }

  @Test(
    "a command that must leave is told by the signal that it has asked for, with that grace; at another end by SIGTERM")
  func farewell() async throws {
    let pods = try PodFixture()
    try pods.share()
    let plan = pods.plan {
      $0.hasFarewell = true
      $0.graceMs = 500
    }
    // A trap ends `wait` and the loop goes on: each signal is written down, and the second ends it.
    let script =
      "trap 'echo usr1; sleep 2; echo saved; exit 0' USR1; trap 'echo term; exit 5' TERM; echo up; sleep 60 & wait"
    func up(_ step: PodProcess) async throws { try await waitUntil { step.output.contains("up") } }
    try await pods.serving {
      let other = try pods.step(script, plan)
      try await up(other)
      kill(other.processID, SIGTERM)
      #expect(try await other.end() == 5, "\(other.errors)")
      #expect(other.output == "up\nterm\n")
      try pods.directory.write("10 30000", to: "run/farewell")
      let step = try pods.step(script, plan)
      try await up(step)
      kill(step.processID, SIGTERM)
      #expect(try await step.end() == 0, "\(step.errors)")
      #expect(step.output == "up\nusr1\nsaved\n", "with more than its usual grace")
      let plain = try pods.step(script, pods.plan())
      try await up(plain)
      kill(plain.processID, SIGTERM)
      #expect(try await plain.end() == 5, "nobody asks for a program that has not asked for anything")
    }
    // Without an agent.
    let alone = try pods.step(script, plan)
    try await up(alone)
    kill(alone.processID, SIGTERM)
    #expect(try await alone.end() == 5, "\(alone.errors)")
    #expect(alone.output == "up\nterm\n")
  }
}
