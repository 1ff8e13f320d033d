import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Glibc
import LocalSlurm
import Postgres
import TestSupport
import Testing

extension Integration {
  /// Two projects, each with a Unix user of its own, on a real Slurm whose agent is a third, ordinary user; between them a real
  /// sudo rule and nothing else: runs have no sandbox here.
  @Suite(
    "End to end: projects mapped to Unix users of a Slurm cluster", .timeLimit(.minutes(5)),
    .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"),
    .enabled(if: MappedFixture.isAvailable, "only root can make users and sudo rules, and sudo must be installed"))
  struct MappedSlurmTests {
    /// In a shell, as alice's run; `SHARED` is the shared directory, `STATE` the agent's own, `OTHER` bob's run directory. Each
    /// succeeds only if it reaches what it must not.
    private static let attempts = [
      "ls $STATE", "cat $STATE/identity/agent.pem", "cat $STATE/identity/ca.pem", "cat $STATE/journal.sqlite",
      "ls $STATE/owners", "cat $STATE/artifacts/*", "ls $SHARED", "ls $SHARED/users", "ls $SHARED/agent",
      "ls $SHARED/users/fub-t-bob*", "ls $OTHER", "cat $OTHER/output.log", "cat $OTHER/request",
      "cat $OTHER/root/workspace/mine", "touch $OTHER/exit", "mv $OTHER $OTHER.gone", "ln -s /tmp $OTHER/root/x",
      "echo x > $SHARED/lease", "rm -f $SHARED/lease && ! test -e $SHARED/lease", "mkdir $SHARED/users/fub-t-bob",
      "touch $SHARED/users/x", "sudo -n -u fub-t-bob true", "sudo -n -u fub-t-agent true", "sudo -n true",
      "cat /proc/$AGENT/environ", "ls /proc/$AGENT/fd", "kill -0 $AGENT",
    ]

    @Test(
      "I1, I7: each project's jobs run as its user with its account; neither reaches the other's files or the agent's"
    )
    func separation() async throws {
      try await MappedFixture.with { fixture in
        let waiting = "echo bob > mine; cat in; while [ ! -e go ]; do sleep 0.2; done; id -un; echo x > out; cp in file"
        try await fixture.submit("phys", Self.workflow("theirs", waiting))
        let other = try await fixture.directory(of: "theirs", "phys", user: MappedFixture.bob)
        let entry = try #require(MappedFixture.entry(other))
        #expect(entry.owner == fixture.number(MappedFixture.bob) && entry.mode & 0o777 == 0o700)
        let tries = Self.attempts.enumerated().map { "(\($1)) >/dev/null 2>&1 && echo 'REACHED \($0)'" }
        let script = ["id -un", "cat in"] + tries + ["echo made > out", "cp in file", "echo finished"]
        try await fixture.submit(
          "chem",
          Self.workflow(
            "mine", script.joined(separator: "\n"),
            environment: [
              "SHARED": fixture.shared, "STATE": fixture.state, "OTHER": other,
              "AGENT": "\(try fixture.federation.agent("hpc").pid)",
            ]))
        let detail = try await fixture.client("chem").finished("mine", timeout: .seconds(90))
        #expect(detail.summary.phase == .succeeded, "\(detail.nodes.map(\.message))")
        let log = try await fixture.client("chem").log("mine", node: "mine")
        #expect(log.hasPrefix("\(MappedFixture.alice)\nan input\n"), "\(log)")
        for (index, attempt) in Self.attempts.enumerated() {
          #expect(!log.contains("REACHED \(index)\n"), "reached by: \(attempt)")
        }
        #expect(log.hasSuffix("finished\n"), "\(log)")
        let main = try #require(detail.nodes.first { $0.displayName == "mine" })
        #expect(main.outputs.parameters.first { $0.name == "out" }?.value == "made")
        #expect(main.outputs.artifacts.contains { $0.name == "file" })
        // What was tried harmed nothing.
        let jobs = try await fixture.cluster.command("scontrol", ["-o", "show", "job"]).split(separator: "\n")
        for (user, account) in [(MappedFixture.alice, "chem"), (MappedFixture.bob, "phys")] {
          #expect(jobs.contains { $0.contains("UserId=\(user)(") && $0.contains("Account=\(account) ") }, "\(jobs)")
        }
        #expect(creat(other + "/root/workspace/go", 0o644) >= 0)
        #expect(try await fixture.client("phys").finished("theirs").summary.phase == .succeeded)
        #expect(try await fixture.client("phys").log("theirs", node: "theirs").hasSuffix("\(MappedFixture.bob)\n"))
        try await poll("forgotten runs leave nothing behind", timeout: .seconds(60)) { fixture.runs().isEmpty }
        // A project without a user is told why it waits.
        try await fixture.submit("other", Self.workflow("none", "true"))
        try await poll("the reason is shown", timeout: .seconds(30)) {
          try await fixture.client("other").send("GET", "/v1/projects/other/workflows/none/explain?node=none").text
            .contains("TenancyUnmapped")
        }
      }
    }

    @Test("I7: what a run puts in the place of its files leads the agent nowhere: links, FIFOs, another's directories")
    func traps() async throws {
      try await MappedFixture.with { fixture in
        try await fixture.submit(
          "phys", Self.workflow("theirs", "echo secret > mine; while [ ! -e go ]; do sleep 0.2; done"))
        let other = try await fixture.directory(of: "theirs", "phys", user: MappedFixture.bob)
        let key = fixture.state + "/identity/agent.pem"
        let traps: [(String, String)] = [
          ("log", "rm ../../output.log; ln -s \(key) ../../output.log; echo x > out; echo y > file"),
          ("fifo", "rm ../../output.log; mkfifo ../../output.log; echo x > out; echo y > file"),
          ("link", "ln -s \(other)/root/workspace/mine out; ln -s \(key) file"),
          ("pipe", "mkfifo out; mkfifo file"),
          ("claim", "rm ../../started; mkfifo ../../started; echo x > out; echo y > file"),
          ("root", "mv ../../root ../../gone; ln -s \(other)/root ../../root"),
        ]
        for (name, script) in traps { try await fixture.submit("chem", Self.workflow(name, script + "\ntrue")) }
        // This one hides its own end, too: that is its project's loss alone.
        let replaced = "place=$(cd ../.. && pwd); cd /; mv $place $place.gone; ln -s \(other) $place"
        try await fixture.submit("chem", Self.workflow("run", replaced))
        for (name, _) in traps {
          let detail = try await fixture.client("chem").finished(name, timeout: .seconds(120))
          let node = try #require(detail.nodes.first { $0.displayName == name })
          #expect(!"\(node.outputs)".contains("secret"), "\(name): \(node.outputs)")
          let log = (try? await fixture.client("chem").log(name, node: name)) ?? ""
          #expect(!log.contains("PRIVATE KEY") && !log.contains("secret"), "\(name): \(log)")
          if ["log", "fifo", "claim"].contains(name) {
            #expect(detail.summary.phase == .succeeded, "\(name): \(node.message)")
          }
          if name == "link" || name == "pipe" { #expect(detail.summary.phase == .error, "\(name): \(node.message)") }
        }
        let hidden = try await fixture.client("chem").finished("run", timeout: .seconds(150))
        #expect(hidden.summary.phase != .succeeded, "\(hidden.nodes.map { ($0.phase, $0.message) })")
        #expect(access(key, F_OK) == 0)
        #expect(access(other + "/root/workspace/mine", F_OK) == 0)
        #expect(creat(other + "/root/workspace/go", 0o644) >= 0)
        let end = try await fixture.client("phys").finished("theirs")
        #expect(end.summary.phase == .error, "it made no outputs, and nobody made them for it")
      }
    }

    @Test("I1, I2: the agent and a broker are killed: runs go on as one job each, and their ends are told once")
    func killed() async throws {
      try await MappedFixture.with { fixture in
        let waiting = "echo start; while [ ! -e go ]; do sleep 0.2; done; echo x > out; cp in file"
        var places: [(String, String)] = []
        for (project, user) in [("chem", MappedFixture.alice), ("phys", MappedFixture.bob)] {
          try await fixture.submit(project, Self.workflow("long", waiting))
          places.append((project, try await fixture.directory(of: "long", project, user: user)))
        }
        try await fixture.federation.agent("hpc").kill()
        try await poll("the brokers end with their agent", timeout: .seconds(20)) { fixture.brokers().isEmpty }
        try fixture.federation.startAgent("hpc")
        try await poll("each user has a broker again", timeout: .seconds(30)) { fixture.brokers().count == 2 }
        try await fixture.brokers()[0].kill()
        for (project, place) in places {
          #expect(creat(place + "/root/workspace/go", 0o644) >= 0)
          let detail = try await fixture.client(project).finished("long", timeout: .seconds(90))
          #expect(detail.summary.phase == .succeeded, "\(detail.nodes.map(\.message))")
          #expect(try await fixture.client(project).log("long", node: "long") == "start\n")
        }
        #expect(try await fixture.federation.query("SELECT count(*) FROM runs")[0].int(0) == 2)
      }
    }

    @Test("I1: the step of a mapped user sees the agent's lease, and ends its run when nobody renews it any more")
    func fence() async throws {
      try await MappedFixture.with { fixture in
        let beats = "while [ ! -e go ]; do echo x >> beats; sleep 0.2; done; echo x > out; cp in file"
        try await fixture.submit(
          "chem", Self.workflow("fenced", beats, federation: "{onDisconnect: replace, walltime: 5m}"))
        // The program begins only after its step has seen the lease change.
        let place = try await fixture.directory(of: "fenced", "chem", user: MappedFixture.alice)
        let file = place + "/root/workspace/beats"
        func size() -> Int64 { MappedFixture.entry(file)?.size ?? -1 }
        try await poll("it works", timeout: .seconds(60)) { size() > 4 }
        let lease = try #require(MappedFixture.entry(fixture.shared + "/lease"))
        #expect(lease.mode & 0o777 == 0o644 && lease.owner == fixture.number(MappedFixture.agent))
        try await fixture.federation.agent("hpc").kill()
        try await poll("the step has written the end", timeout: .seconds(60)) { access(place + "/exit", F_OK) == 0 }
        let last = size()
        try await Task.sleep(for: .seconds(1))
        #expect(size() == last, "it still writes")
        try fixture.federation.startAgent("hpc")
        try await poll("another run takes its place", timeout: .seconds(90)) {
          fixture.runs().contains { $0 != place && access($0 + "/root/workspace/beats", F_OK) == 0 }
        }
        for run in fixture.runs() { _ = creat(run + "/root/workspace/go", 0o644) }
        #expect(try await fixture.client("chem").finished("fenced", timeout: .seconds(90)).summary.phase == .succeeded)
      }
    }

    @Test(
      "I3: a mapped user's job is renewed slice by slice through the broker; when the money is gone its own step ends it"
    )
    func slices() async throws {
      try await MappedFixture.with(coreHour: 3600) { fixture in
        let client = try fixture.client("chem")
        _ = try await client.send(
          "PUT", "/v1/projects/chem/budget",
          body: Data(#"{"amount":"0.45","currency":"CNY","period":"once","sliceSeconds":10}"#.utf8)
        ).decoded(AcceptedDocument.self)
        try await fixture.submit(
          "chem", Self.workflow("long", "sleep 600", federation: "{walltime: 1h}"))
        _ = try await fixture.directory(of: "long", "chem", user: MappedFixture.alice)
        try await poll("it is renewed", timeout: .seconds(60)) {
          try await fixture.federation.query("SELECT count(*) FROM ledger_entries WHERE kind = 'extend'")[0].int(0) >= 2
        }
        try await poll("it is ended when nothing is left", timeout: .seconds(90)) {
          try await fixture.federation.query("SELECT count(*) FROM events WHERE reason = 'BudgetExhausted'")[0].int(0)
            == 1
        }
        let run = try await fixture.federation.query("SELECT message, charge_micros FROM runs")[0]
        let message = try run.text(0)
        #expect(message.hasPrefix("budget exhausted: project chem has "), "\(message)")
        let charge = try run.int(1)
        #expect((300_000...450_000).contains(charge), "\(charge)")
        let review: LedgerVerification = try await fixture.client("default").get("/v1/ledger/verify")
        #expect(review.differences == [], "\(review)")
      }
    }

    @Test("without the rule nothing is started, the reason is shown, and the other user's work goes on")
    func withoutRule() async throws {
      try await MappedFixture.with(users: [MappedFixture.bob]) { fixture in
        try await fixture.submit("chem", Self.workflow("held", "true"))
        try await fixture.submit("phys", Self.workflow("free", "echo x > out; cp in file"))
        #expect(try await fixture.client("phys").finished("free").summary.phase == .succeeded)
        try await poll("the cluster says why", timeout: .seconds(30)) {
          try await fixture.client("chem").cluster("hpc").live?.notices.contains {
            $0.contains("work of \(MappedFixture.alice)") && $0.contains("sudo")
          } == true
        }
        let doctor = try await fixture.agentCommand(["doctor"]).output
        let lines = doctor.split(separator: "\n").filter { $0.contains(" sudo ") }
        #expect(lines.contains { $0.hasPrefix("failed") && $0.contains("-u \(MappedFixture.alice) ") }, "\(doctor)")
        #expect(lines.contains { $0.hasPrefix("ok") && $0.contains("-u \(MappedFixture.bob) ") }, "\(doctor)")
        #expect(doctor.contains("install --print-sudoers"))
        // A program that the agent's user could change is in no rule.
        #expect(chmod(fixture.binaries, 0o777) == 0)
        let refused = try await fixture.agentCommand(["install", "--print-sudoers"])
        #expect(refused.code != 0 && refused.output.contains("\(fixture.binaries) can be changed by others than root"))
        #expect(chmod(fixture.binaries, 0o755) == 0)
        try await fixture.writeRule(users: [MappedFixture.alice, MappedFixture.bob])
        try await poll("it goes on by itself", timeout: .seconds(90)) {
          try await fixture.client("chem").workflow("held").summary.phase.isTerminal
        }
      }
    }

    /// One container whose files are in its working directory, with an input and two outputs.
    static func workflow(
      _ name: String, _ script: String, environment: [String: String] = [:], federation: String = "{}"
    ) -> String {
      let variables = environment.sorted { $0.key < $1.key }.map { "{name: \($0.key), value: \"\($0.value)\"}" }
      return """
        apiVersion: argoproj.io/v1alpha1
        kind: Workflow
        metadata: {name: \(name)}
        spec:
          entrypoint: main
          federation: \(federation)
          templates:
          - name: main
            inputs: {artifacts: [{name: in, path: /workspace/in, raw: {data: "an input\\n"}}]}
            outputs:
              parameters: [{name: out, valueFrom: {path: /workspace/out}}]
              artifacts: [{name: file, path: /workspace/file}]
            container:
              image: debian:12
              command: [sh, -c]
              env: [\(variables.joined(separator: ", "))]
              args:
              - |
                \(script.split(separator: "\n").joined(separator: "\n                "))
        """
    }
  }
}
