import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Glibc
import Postgres
import Testing

extension Integration {
  @Suite("End to end: the agent's disk is full", .timeLimit(.minutes(3)))
  struct FullDiskTests {
    /// A small file system that only one agent sees, in a mount namespace that lives as long as its holder.
    struct SmallDisk {
      let federation: Federation
      let holder: OwnedProcess
      var enter: [String] { ["/usr/bin/nsenter", "--target", "\(holder.pid)", "--mount", "--"] }
      var state: String { federation.agentState("one") }

      init(_ federation: Federation, megabytes: Int) async throws {
        self.federation = federation
        let state = federation.agentState("one")
        try FileManager.default.createDirectory(atPath: state, withIntermediateDirectories: true)
        let ready = federation.path("mounted")
        // Its command line names the federation's directory, by which the harness finds what it must end.
        let script = """
          mount -t tmpfs -o size=\(megabytes)m,mode=0711 tmpfs "$1" && : >"$2" && exec tail -f "$1/../../mounted"
          """
        holder = try OwnedProcess.spawn(
          ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, "sh", state, ready], log: federation.log("disk"))
        try await poll("the disk is mounted", timeout: .seconds(10)) { FileManager.default.fileExists(atPath: ready) }
      }

      func run(_ words: [String]) async throws -> Int32 {
        try await OwnedProcess.run(enter + words, log: federation.log("disk"))
      }

      /// Writes until `kibibytes` are left, or with 0 until not one byte more fits.
      func fill(leaving kibibytes: Int) async throws {
        let script = """
          free=$(df -k --output=avail "$1" | tail -n 1); [ "$free" -gt "$2" ] || exit 0
          dd if=/dev/zero of="$1/filler" bs=1024 oflag=append conv=notrunc count=$((free - $2)) || [ "$2" -eq 0 ]
          """
        _ = try await run(["/bin/sh", "-c", script, "sh", state, "\(kibibytes)"])
      }

      func free() async throws {
        let code = try await run(["/bin/rm", "\(state)/filler"])
        guard code == 0 else { throw HarnessError("the filler is not there") }
      }
    }

    static let makesNamespaces = geteuid() == 0 && access("/usr/bin/unshare", X_OK) == 0

    @Test(
      "I1, I2, I10: a full disk stops what is new and says why; nothing is lost or run twice, and it goes on by itself")
    func fullDisk() async throws {
      guard Self.makesNamespaces else {
        print("skipped: a full disk needs root, who may mount a small one")
        return
      }
      var options = FederationOptions()
      options.agents = []
      try await Federation.with(options) { federation in
        let client = try federation.client()
        let disk = try await SmallDisk(federation, megabytes: 64)
        federation.surround("one", with: .init(prefix: disk.enter))
        try await federation.join(.init("one"))
        try federation.startAgent("one")
        try await poll("it is connected", timeout: .seconds(20)) {
          try await client.cluster("one").live?.isConnected == true
        }

        try await Self.play(federation, client, disk)
      }
    }

    static let names = ["earlier", "later", "staged", "latest"]

    static func play(_ federation: Federation, _ client: RESTClient, _ disk: SmallDisk) async throws {
      // Runs before, and ends while not one byte fits: its result must be the true one.
      _ = try await client.submit(earlier(waitingFor: federation.shared + "/go"))
      try await federation.node("earlier", "speak", is: ["Running"])
      try await disk.fill(leaving: 1024)
      _ = try await client.submit(Integration.shell("echo later", name: "later"))
      _ = try await client.submit(staged)
      try await isTold("notice: the agent's disk is full", by: ["cluster", "get", "one"], federation)
      for name in ["later", "staged"] { try await isTold("disk is full", by: ["get", name], federation) }

      try await disk.fill(leaving: 0)
      try Data().write(to: URL(fileURLWithPath: federation.shared + "/go"))
      // A submission is accepted all the same.
      _ = try await client.submit(Integration.shell("echo latest", name: "latest"))
      try await Task.sleep(for: .seconds(6))
      for name in names {
        let detail = try await client.workflow(name)
        #expect(!detail.summary.phase.isTerminal, "\(name) cannot have ended well on a full disk: \(story(detail))")
      }

      try await disk.free()
      for name in names {
        let detail = try await client.finished(name, timeout: .seconds(90))
        #expect(detail.summary.phase == .succeeded, "\(name): \(story(detail))")
      }
      try await check(federation, client)
    }

    static func check(_ federation: Federation, _ client: RESTClient) async throws {
      let detail = try await client.workflow("earlier")
      let speak = try #require(detail.nodes.first { $0.displayName == "speak" })
      let numbers = (1...2000).map { "\($0)" }
      #expect(speak.outputs.result == numbers.joined(separator: "\n"))
      // The log may have a hole, which it then names.
      let log = try await client.log("earlier", node: speak.name)
      let isWhole = log == numbers.joined(separator: "\n") + "\n"
      #expect(isWhole || log.contains("that found the agent's disk full were dropped]"), "\(log.suffix(200))")
      #expect(try await client.log("later", node: "later") == "later\n")
      let runs = try await federation.query("SELECT count(*), max(epoch) FROM runs")[0]
      #expect(try runs.int(0) == 5 && runs.int(1) == 1, "each task ran once, in its first epoch")
      try await poll("the notice is gone", timeout: .seconds(30), every: .milliseconds(200)) {
        try await !federation.fubini(["cluster", "get", "one"]).output.contains("disk is full")
      }
    }

    static func story(_ detail: WorkflowDetail) -> [String] {
      detail.nodes.map { "\($0.displayName) \($0.phase.rawValue) \($0.message)" }
    }

    static func isTold(_ text: String, by arguments: [String], _ federation: Federation) async throws {
      try await poll("`fubini \(arguments)` says \"\(text)\"", timeout: .seconds(30), every: .milliseconds(200)) {
        try await federation.fubini(arguments).output.contains(text)
      }
    }

    static func earlier(waitingFor file: String) -> String {
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: earlier}
      spec:
        entrypoint: main
        templates:
        - name: main
          steps:
          - - {name: speak, template: speak}
          - - {name: hear, template: hear, arguments: {parameters: [{name: r, value: "{{steps.speak.outputs.result}}"}]}}
        - name: speak
          script:
            image: debian:12
            command: [sh]
            source: |
              while [ ! -e \(file) ]; do sleep 0.1; done
              seq 1 2000
        - name: hear
          inputs: {parameters: [{name: r}]}
          script: {image: debian:12, command: [sh], source: "echo heard"}
      """
    }

    /// Its input is staged before it may start.
    static let staged = """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: staged}
      spec:
        entrypoint: main
        templates:
        - name: main
          inputs: {artifacts: [{name: words, path: /tmp/words, raw: {data: "words"}}]}
          container: {image: debian:12, command: [cat, /tmp/words]}
      """
  }
}
