import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Postgres
import TestSupport
import Testing

extension Integration {
  @Suite("End to end: runs of several containers, and requests in place of programs", .timeLimit(.minutes(5)))
  struct ContainerTests {
    private static func workflow(_ name: String, _ templates: String) -> String {
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: \(name)}
      spec:
        entrypoint: main
        templates:
      \(templates.split(separator: "\n").map { "  " + $0 }.joined(separator: "\n"))
      """
    }

    @Test("sidecars, init containers and container sets are one run each, and hand on what their main container writes")
    func containers() async throws {
      try await Federation.with { federation in
        let client = try federation.client()
        _ = try await client.submit(
          Self.workflow(
            "several",
            """
            - name: main
              steps:
              - [{name: both, template: both}, {name: set, template: set}]
              - - name: tell
                  template: tell
                  arguments:
                    parameters:
                    - {name: m, value: "{{steps.both.outputs.result}} {{steps.set.outputs.parameters.n}}"}
            - name: both
              container:
                image: debian:12
                command: [sh, -c, "while [ ! -e /tmp/up ]; do sleep 0.05; done; cat /tmp/a"]
              initContainers: [{name: prepare, image: "debian:12", command: [sh, -c, "echo made > /tmp/a"]}]
              sidecars:
              - name: server
                image: debian:12
                command: [sh, -c, "echo serving; touch /tmp/up; exec sleep 600"]
            - name: set
              outputs: {parameters: [{name: n, valueFrom: {path: /tmp/n}}]}
              containerSet:
                containers:
                - {name: a, image: "debian:12", command: [sh, -c, "echo 20 > /tmp/n"]}
                - name: main
                  image: debian:12
                  command: [sh, -c, "echo $(($(cat /tmp/n) + 22)) > /tmp/n"]
                  dependencies: [a]
            - name: tell
              inputs: {parameters: [{name: m}]}
              container: {image: "debian:12", command: [echo, "{{inputs.parameters.m}}"]}
            """))
        let detail = try await client.finished("several")
        try #require(detail.summary.phase == .succeeded, "\(detail.nodes.map { "\($0.name): \($0.message)" })")
        #expect(try await client.log("several", node: "several[1].tell") == "made 42\n")
        #expect(try await client.log("several", node: "several[0].both").contains("server: serving\n"))
      }
    }

    /// Answers every connection on `port` with a line.
    private static func server(_ port: Int) -> String {
      """
      perl -MIO::Socket::INET -e '$| = 1; $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => \(port), Listen => 5, ReuseAddr => 1) or die; $SIG{TERM} = sub { print "leaving\\n"; exit 0 }; print "up\\n"; while ($c = $s->accept) { print $c "served\\n"; close $c }'
      """
    }

    @Test(
      "a daemon is used by what follows, on its cluster, survives its agent's death, is paid for until it ends, and ends with its template"
    )
    func daemon() async throws {
      var options = FederationOptions()
      options.agents = [.init("one", coreHour: 100), .init("two", coreHour: 100)]
      for index in options.agents.indices { options.agents[index].keys["network"] = "host" }
      try await Federation.with(options) { federation in
        let client = try federation.client()
        let port = try FreePort.next()
        _ = try await client.submit(
          Self.workflow(
            "serves",
            """
            - name: main
              steps:
              - - {name: server, template: server}
              - - name: use
                  template: use
                  arguments: {parameters: [{name: at, value: "{{steps.server.ip}}"}]}
                  withItems: [1, 2, 3, 4, 5, 6]
              - - {name: hold, template: hold}
              - - name: again
                  template: use
                  arguments: {parameters: [{name: at, value: "{{steps.server.ip}}"}]}
            - name: server
              daemon: true
              container:
                image: debian:12
                command: [sh, -c]
                args:
                - |
                  sleep 1
                  exec \(Self.server(port))
                readinessProbe: {tcpSocket: {port: \(port)}, periodSeconds: 1}
            - name: use
              inputs: {parameters: [{name: at}]}
              container:
                image: debian:12
                command: [bash, -c, 'read line < /dev/tcp/{{inputs.parameters.at}}/\(port); echo "$line"; [ "$line" = served ]']
            - {name: hold, suspend: {}}
            """))
        try await federation.node("serves", "hold", is: ["Running"])
        let served = try await client.workflow("serves")
        let cluster = try #require(served.nodes.first { $0.displayName == "server" }?.run?.cluster)
        let users = served.nodes.filter { $0.name.contains(".use(") }
        let told = "\(served.nodes.map { "\($0.name) \($0.phase) \($0.run?.cluster ?? "nowhere")" })"
        #expect(users.count == 6, "\(users.count): \(told)")
        #expect(users.allSatisfy { $0.phase == .succeeded && $0.run?.cluster == cluster }, "\(told)")
        #expect(served.nodes.first { $0.displayName == "server" }?.phase == .running)
        // Its agent dies and comes back; the run goes on, and is asked to end at the end.
        try await federation.agent(cluster).kill()
        try federation.startAgent(cluster)
        try await federation.awaitAgents()
        _ = try await federation.fubini(["resume", "serves"])
        let detail = try await client.finished("serves")
        try #require(detail.summary.phase == .succeeded, "\(detail.nodes.map { "\($0.name): \($0.message)" })")
        let server = try #require(detail.nodes.first { $0.displayName == "server" })
        #expect(server.phase == .succeeded && server.run?.phase == "Cancelled", "\(server)")
        #expect(try await client.log("serves", node: "serves[0].server").contains("leaving\n"))
        let charged = try await federation.query(
          "SELECT count(*) FROM runs r JOIN nodes n USING (workflow_id, ordinal) WHERE n.display_name = 'server' "
            + "AND r.finished_ms >= (SELECT max(finished_ms) FROM nodes WHERE display_name = 'again') AND r.charge_micros > 0"
        )
        #expect(try charged[0].int(0) == 1, "the run ended after what used it, and was charged")
      }
    }

    @Test(
      "runs of a workflow share its volume on the one cluster that has a place for it, and it goes when the workflow is over; one that failed keeps it for a retry"
    )
    func volumes() async throws {
      var options = FederationOptions()
      options.agents = [.init("plain"), .init("stores")]
      let directory = "/tmp/fubini-volumes-\(UInt64.random(in: .min ... .max))"
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      defer { try? FileManager.default.removeItem(atPath: directory) }
      options.agents[1].keys["claims"] = "{directory: \(directory)}"
      @Sendable func document(_ name: String, last: String) -> String {
        """
        apiVersion: argoproj.io/v1alpha1
        kind: Workflow
        metadata: {name: \(name)}
        spec:
          entrypoint: main
          volumeClaimTemplates: [{metadata: {name: work}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]
          templates:
          - name: main
            steps:
            - - {name: write, template: write, withSequence: {count: "8"}, arguments: {parameters: [{name: i, value: "{{item}}"}]}}
            - - {name: read, template: read}
          - name: write
            inputs: {parameters: [{name: i}]}
            container:
              image: debian:12
              command: [sh, -c, "echo x > /mnt/vol/{{inputs.parameters.i}}"]
              volumeMounts: [{name: work, mountPath: /mnt/vol}]
          - name: read
            container:
              image: debian:12
              command: [sh, -c, "ls /mnt/vol | wc -l; \(last)"]
              volumeMounts: [{name: work, mountPath: /mnt/vol}]
        """
      }
      try await Federation.with(options) { federation in
        let client = try federation.client()
        _ = try await client.submit(
          document("keeps", last: "[ -e /mnt/vol/again ] || { touch /mnt/vol/again; exit 3; }"))
        let failed = try await client.finished("keeps")
        #expect(failed.summary.phase == .failed)
        let tasks = failed.nodes.filter { $0.run != nil }
        #expect(
          tasks.count == 9 && tasks.allSatisfy { $0.run?.cluster == "stores" }, "\(tasks.map { $0.run?.cluster })")
        #expect(try await client.log("keeps", node: "keeps[1].read") == "8\n")
        _ = try await client.submit(document("goes", last: "true"))
        #expect(try await client.finished("goes").summary.phase == .succeeded)
        @Sendable func homes() throws -> Int {
          let projects = try FileManager.default.contentsOfDirectory(atPath: directory)
          return try projects.reduce(0) {
            $0 + (try FileManager.default.contentsOfDirectory(atPath: "\(directory)/\($1)").count)
          }
        }
        try await poll("the volumes of the one that succeeded are gone", timeout: .seconds(60)) { try homes() == 1 }
        _ = try await federation.fubini(["retry", "keeps"])
        try await poll("the retry found what was left", timeout: .seconds(60)) {
          try await client.workflow("keeps").summary.phase == .succeeded
        }
        try await poll("and nothing is left", timeout: .seconds(60)) { try homes() == 0 }
      }
    }

    @Test(
      "an http template's answer is its result, its condition decides, and a header from a secret reaches the server")
    func requests() async throws {
      var options = FederationOptions()
      options.agents[0].keys["network"] = "host"
      try await Federation.with(options) { federation in
        let client = try federation.client()
        let token = "t0ken-\(UInt64.random(in: .min ... .max))"
        let file = federation.path("token")
        try Data("Bearer \(try #require(client.token))".utf8).write(to: URL(filePath: file))
        let (code, output) = try await federation.fubini(["secret", "set", "api", "--file", "token=\(file)"])
        try #require(code == 0, "\(output)")
        _ = try await client.submit(
          Self.workflow(
            "asks",
            """
            - name: main
              steps:
              - - {name: good, template: good}
                - {name: bad, template: bad, continueOn: {failed: true}}
                - {name: wrong, template: wrong, continueOn: {failed: true}}
            - name: good
              http:
                url: "\(client.url)/v1/projects/default/workflows?x=\(token)"
                headers: [{name: Authorization, valueFrom: {secretKeyRef: {name: api, key: token}}}]
                successCondition: 'response.statusCode == 200 && response.body contains "asks"'
                insecureSkipVerify: true
            - {name: bad, http: {url: "\(client.url)/v1/projects/default/workflows", insecureSkipVerify: true}}
            - {name: wrong, http: {url: "http://127.0.0.1:1/", timeoutSeconds: 5}}
            """))
        let detail = try await client.finished("asks")
        func node(_ name: String) throws -> NodeDocument {
          try #require(detail.nodes.first { $0.name.hasSuffix(name) })
        }
        #expect(detail.summary.phase == .succeeded, "\(detail.nodes.map { "\($0.name): \($0.message)" })")
        #expect(try node(".good").phase == .succeeded)
        #expect(try await client.log("asks", node: "asks[0].good").contains("asks"))
        #expect(try node(".bad").phase == .failed && node(".wrong").phase == .failed)
        #expect(try node(".bad").message == "received non-2xx response code: 401")
        let wrong = try node(".wrong").message
        #expect(wrong.contains("http://127.0.0.1:1/"), "\(wrong)")
      }
    }
  }
}
