import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Postgres
import Testing

extension Integration {
  /// Clocks of agent and control plane that are hours apart. Leases, deadlines and durations go by clocks that nobody sets; only
  /// certificates have dates that two machines must agree about.
  @Suite("End to end: clocks that are wrong", .timeLimit(.minutes(3)))
  struct ClockSkewTests {
    /// Changes the wall clock and no other: those that count from the machine's start are right on every machine.
    static let source = """
      #define _GNU_SOURCE
      #include <stdlib.h>
      #include <sys/syscall.h>
      #include <time.h>
      #include <unistd.h>
      int clock_gettime(clockid_t clock, struct timespec *time) {
        int result = (int)syscall(SYS_clock_gettime, clock, time);
        const char *offset = getenv("WALL_CLOCK_OFFSET");
        if (result == 0 && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
          time->tv_sec += atol(offset);
        }
        return result;
      }
      """

    /// A clock that is wrong by so many hours; nil where there is no C compiler. (libfaketime takes Swift programs their
    /// arguments.)
    static func clock(_ hours: Int, in federation: Federation) async throws -> Federation.Surroundings? {
      guard FileManager.default.isExecutableFile(atPath: "/usr/bin/cc") else {
        print("skipped: a wrong clock needs a C compiler (Debian: apt-get install g++)")
        return nil
      }
      let library = federation.path("clock.so")
      try source.write(toFile: federation.path("clock.c"), atomically: true, encoding: .utf8)
      let code = try await OwnedProcess.run(
        ["/usr/bin/cc", "-shared", "-fPIC", "-o", library, federation.path("clock.c")], log: federation.log("cc"))
      guard code == 0 else { throw HarnessError(LogTail.of(federation.log("cc"))) }
      return .init(environment: ["LD_PRELOAD": library, "WALL_CLOCK_OFFSET": "\(hours * 3600)"])
    }

    @Test(
      "an agent whose clock is hours ahead works, and what it did is dated by the control plane",
      arguments: [5, 48])
    func ahead(hours: Int) async throws {
      var options = FederationOptions()
      options.agents = []
      try await Federation.with(options) { federation in
        guard let clock = try await Self.clock(hours, in: federation) else { return }
        let client = try federation.client()
        federation.surround("one", with: clock)
        try await federation.join(.init("one"))
        try federation.startAgent("one")
        _ = try await client.submit(
          Integration.shell("date +%s; sleep 1", name: "dated", federation: "{onDisconnect: replace}"))
        let detail = try await client.finished("dated")
        try #require(detail.summary.phase == .succeeded, "\(detail.nodes.map(\.message))")
        let node = try #require(detail.nodes.first)
        let started = try #require(node.startedAt).timestamp.milliseconds
        let finished = try #require(node.finishedAt).timestamp.milliseconds
        let now = Int64(Date().timeIntervalSince1970 * 1000)
        #expect(abs(now - started) < 120_000 && abs(now - finished) < 120_000 && started <= finished)
        #expect((1..<60).contains(try #require(node.run).wallSeconds), "durations go by a clock that nobody sets")
        #expect(try await federation.query("SELECT count(*) FROM runs")[0].int(0) == 1)
      }
    }

    @Test(
      "an agent whose clock disagrees with the certificates is refused, by join and by run, with both times in the message",
      arguments: [-5, 240])
    func refused(hours: Int) async throws {
      var options = FederationOptions()
      options.agents = [.init("good")]
      try await Federation.with(options) { federation in
        guard let clock = try await Self.clock(hours, in: federation) else { return }
        let client = try federation.client()
        func tells(_ text: String) -> Bool {
          text.contains("this machine's clock says") && text.contains("Set the clocks of both machines")
        }
        try federation.writeConfiguration(of: .init("one"))
        let created: ClusterCreated = try await client.post("/v1/clusters", ClusterRequest(name: "one", kind: .process))
        federation.surround("one", with: clock)
        let code = try await federation.join("one", token: created.join.token)
        let output = LogTail.of(federation.log("join-one"))
        #expect(code != 0 && tells(output), "\(output)")

        // One that had joined before its clock went wrong: it dials again and again, and says why it is not let in.
        try await federation.agent("good").kill()
        federation.surround("good", with: clock)
        try federation.startAgent("good")
        try await poll("its log tells the reason", timeout: .seconds(30)) {
          tells((try? String(contentsOfFile: federation.log("agent-good"), encoding: .utf8)) ?? "")
        }
        // The clock is set: the same agent, the same token.
        federation.surround("good", with: .init())
        federation.surround("one", with: .init())
        try await federation.agent("good").kill()
        try federation.startAgent("good")
        #expect(try await federation.join("one", token: created.join.token) == 0, "a refused attempt spends no token")
        _ = try await client.submit(Integration.shell("echo again", name: "again"))
        #expect(try await client.finished("again").summary.phase == .succeeded)
      }
    }
  }
}
