import FederationHarness
import Foundation
import Postgres
import Testing

extension Integration {
  @Suite("End to end: data sets through the command line", .timeLimit(.minutes(10)))
  struct DatasetTests {
    /// A control plane alone.
    static func withServer(_ body: @Sendable (Federation) async throws -> Void) async throws {
      var options = FederationOptions()
      options.agents = []
      try await Federation.with(options, body)
    }

    /// Whether two trees are the same, byte for byte.
    static func areEqual(_ a: String, _ b: String, in federation: Federation) async throws -> Bool {
      try await OwnedProcess.run(["/usr/bin/diff", "-r", a, b], log: federation.path("log/diff.log")) == 0
    }

    static func put(_ federation: Federation, _ name: String, _ path: String, port: Int? = nil) async throws {
      let (code, output) = try await federation.fubini(["dataset", "put", name, path, "--create"], port: port)
      try #require(code == 0, "\(output)")
    }

    @Test("a put and a get of one large file go on after cut connections: no more than 1.1 times its bytes go over")
    func resumed() async throws {
      try await Self.withServer { federation in
        let size = 256 << 20
        let source = federation.path("large")
        let made = try await OwnedProcess.run(
          ["/bin/sh", "-c", "head -c \(size) /dev/urandom >\"$0\"", source], log: federation.path("log/make.log"))
        try #require(made == 0)
        let proxy = try await CuttingProxy(to: federation.replicas[0].httpPort)
        proxy.cut(.sent, after: Int64(size) / 2)
        try await Self.put(federation, "large", source, port: proxy.port)
        #expect(proxy.cuts == 1)
        let sent = proxy.bytes(.sent)
        #expect(sent >= Int64(size) && sent <= Int64(size) * 11 / 10, "\(sent) bytes for \(size)")
        proxy.cut(.received, after: Int64(size) / 2)
        let before = proxy.bytes(.received)
        let (code, output) = try await federation.fubini(
          ["dataset", "get", "large", federation.path("copy")], port: proxy.port)
        try #require(code == 0, "\(output)")
        #expect(proxy.cuts == 2)
        let received = proxy.bytes(.received) - before
        #expect(received >= Int64(size) && received <= Int64(size) * 11 / 10, "\(received) bytes for \(size)")
        #expect(
          try await OwnedProcess.run(
            ["/usr/bin/cmp", source, federation.path("copy/large")], log: federation.path("log/cmp.log")) == 0)
        await proxy.close()
      }
    }

    @Test("ten thousand small files are put, got back the same, and put again without their bytes")
    func small() async throws {
      try await Self.withServer { federation in
        let source = federation.path("small")
        let script =
          "mkdir \"$0\" && cd \"$0\" && for d in $(seq 100); do mkdir $d; for f in $(seq 100); do echo $d.$f >$d/$f; done; done"
        try #require(
          try await OwnedProcess.run(["/bin/sh", "-c", script, source], log: federation.path("log/make.log")) == 0)
        let proxy = try await CuttingProxy(to: federation.replicas[0].httpPort)
        try await Self.put(federation, "small", source, port: proxy.port)
        let first = proxy.bytes(.sent)
        try await Self.put(federation, "small", source, port: proxy.port)
        #expect(proxy.bytes(.sent) - first < 100_000, "the second put sends questions alone")
        let (code, output) = try await federation.fubini(["dataset", "get", "small@2", federation.path("copy")])
        try #require(code == 0, "\(output)")
        #expect(output.contains("10000 files"))
        #expect(try await Self.areEqual(source, federation.path("copy"), in: federation))
        let (removed, text) = try await federation.fubini(["dataset", "rm", "small@1", "-y"])
        #expect(removed == 0, "\(text)")
        let (listed, versions) = try await federation.fubini(["dataset", "versions", "small", "-o", "name"])
        #expect(listed == 0 && versions == "small@2\n", "\(versions)")
        await proxy.close()
      }
    }

    @Test("a secret set on the command line is in no log, no process list and no answer (invariant I9)")
    func secret() async throws {
      try await Self.withServer { federation in
        let file = federation.path("key")
        try "sehr-geheim-\(UInt64.random(in: 0 ... .max))".write(toFile: file, atomically: true, encoding: .utf8)
        let value = try String(contentsOfFile: file, encoding: .utf8)
        let (code, output) = try await federation.fubini(["secret", "set", "lab", "--file", "pass=\(file)"])
        try #require(code == 0, "\(output)")
        let (_, listed) = try await federation.fubini(["secret", "list", "-o", "json"])
        #expect(listed.contains("pass") && !listed.contains(value))
        for log in try FileManager.default.contentsOfDirectory(atPath: federation.path("log")) {
          let text = try String(contentsOfFile: federation.path("log/\(log)"), encoding: .utf8)
          #expect(!text.contains(value), "\(log)")
        }
        let connection = try await PostgresConnection.connect(federation.database)
        let row = try await connection.query("SELECT name, encode(sealed, 'escape') FROM secrets")[0]
        #expect(try row.text(0) == "lab" && !row.text(1).contains(value))
        await connection.close()
        let rotated = try await OwnedProcess.run(
          [
            "\(federation.binaries)/fubini-controlplane", "secrets", "rotate", "--config", federation.path("cp-0.yaml"),
          ],
          log: federation.log("rotate"))
        #expect(rotated == 0, "\(LogTail.of(federation.log("rotate")))")
      }
    }
  }
}
