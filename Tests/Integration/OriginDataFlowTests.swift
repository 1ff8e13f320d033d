import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import TestSupport
import Testing

extension Integration {
  @Suite("Data flow: origins and residency", .timeLimit(.minutes(4)))
  struct OriginDataFlowTests {
    static let size = 3 * DataFlow.mebibyte

    static func withOne(
      _ name: String = "one", keys: [String: String] = [:], environment: [String: String] = [:],
      _ body: @Sendable (DataFlow) async throws -> Void
    ) async throws {
      var options = FederationOptions()
      options.agents = []
      try await Federation.with(options) { federation in
        let flow = try DataFlow(federation)
        var agent = FederationOptions.Agent(name)
        agent.keys = keys
        federation.surround(name, with: .init(environment: environment))
        try await flow.join([agent])
        try await body(flow)
      }
    }

    /// Stores a secret as a user does, and leaves nothing of its values in files of this test.
    static func store(_ name: String, _ values: [String: String], _ flow: DataFlow) async throws {
      var words = ["secret", "set", name]
      for (field, value) in values.sorted(by: { $0.key < $1.key }) {
        let file = flow.federation.path("value-\(field)")
        try value.write(toFile: file, atomically: true, encoding: .utf8)
        words += ["--file", "\(field)=\(file)"]
      }
      let (code, output) = try await flow.federation.fubini(words)
      for field in values.keys { try FileManager.default.removeItem(atPath: flow.federation.path("value-\(field)")) }
      guard code == 0 else { throw HarnessError("secret set: \(output)") }
    }

    /// Submits a reader of a data set and waits for its success. All the while the value is in no process's arguments; at least once
    /// that is seen while an agent's rclone moves the data.
    static func read(_ dataset: String, whileNoArgumentHolds value: String, _ flow: DataFlow) async throws {
      expectNoArgument(holds: value)
      _ = try await flow.client.submit(DataFlow.reader(of: dataset, name: "reader"))
      var looksAmid = 0
      try await poll("the reader ends", timeout: .seconds(90)) {
        let before = try await flow.inward(dataset).map(\.phase)
        expectNoArgument(holds: value)
        let hasDaemon = !TransferDataFlowTests.daemons(of: try flow.federation.agent("one")).isEmpty
        if try await flow.inward(dataset).map(\.phase) == ["running"], before == ["running"], hasDaemon {
          looksAmid += 1
        }
        return try await flow.client.workflow("reader").summary.phase.isTerminal
      }
      _ = try await flow.succeeded("reader")
      try #require(looksAmid > 0, "nobody looked while it moved")
    }

    static func expectNoArgument(holds value: String) {
      let found = OwnedProcess.all(withCommandLineContaining: value)
      #expect(found.isEmpty, "I9: the secret is in the arguments of \(found.map { $0.words.prefix(3) })")
    }

    /// In no file of the federation: logs, journals, state, packs, nor in the database's files, its log of changes included.
    ///
    /// - Parameter known: what is in the database in plain: that it is found there shows that the value would be.
    static func expectNoFile(holds value: String, known: String, _ flow: DataFlow) async throws {
      try await flow.federation.query("CHECKPOINT")
      let control = try await files(holding: known, flow)
      #expect(control.contains(flow.federation.postgres.directory), "\"\(known)\" was not found in the database either")
      let found = try await files(holding: value, flow)
      #expect(found.isEmpty, "I9: the secret is in\n\(found)")
    }

    /// One path a line. What grep ends with says nothing: it is 2 as soon as one file goes while it walks.
    private static func files(holding text: String, _ flow: DataFlow) async throws -> String {
      let log = flow.federation.log("grep-\(UInt32.random(in: 0 ... .max))")
      _ = try await OwnedProcess.run(
        [
          "/bin/grep", "-srlaF", "--exclude=grep-*.log", "-e", text, flow.federation.directory,
          flow.federation.postgres.directory,
        ],
        // The database server is that of all tests, and holds what they wrote.
        log: log, timeout: .seconds(300))
      return try String(contentsOfFile: log, encoding: .utf8)
    }

    @Test("I9: an S3 origin opened by a project's secret: listed, staged, read; the secret is nowhere in plain")
    func s3() async throws {
      try await S3Service.with { url in
        let value = "hush-\(UInt64.random(in: .min ... .max))"
        // Slow enough to be looked at.
        try await Self.withOne(keys: ["transferLimit": "1MB/s"]) { flow in
          let tree = try await flow.makeTree("bucket", bytes: Self.size, files: 4)
          try await Self.upload(tree, to: url, flow)
          try await Self.store("genomes-s3", ["accessKeyId": "AKIATEST", "secretAccessKey": value], flow)
          try await flow.list(
            "genomes", origin: "s3://\(S3Service.bucket)/in?endpoint=\(url)&region=us-east-1", "--secret", "genomes-s3")
          try await Self.read("genomes", whileNoArgumentHolds: value, flow)
          #expect(try await flow.client.log("reader", node: "reader") == flow.digest(tree))
          let transfer = try #require(try await flow.inwardWithSources("genomes").first)
          #expect(transfer.source == "origin" && transfer.movedBytes == Self.size, "\(transfer)")
          try await Self.expectNoFile(holds: value, known: "genomes-s3", flow)
        }
      }
    }

    static func upload(_ tree: String, to url: String, _ flow: DataFlow) async throws {
      let remote =
        ":s3,provider=Other,access_key_id=a,secret_access_key=b,region=us-east-1,force_path_style=true,endpoint='\(url)':"
        + "\(S3Service.bucket)/in"
      let code = try await OwnedProcess.run(
        ["/usr/bin/rclone", "--config", "", "copy", "--s3-no-check-bucket", tree, remote],
        log: flow.federation.log("upload"))
      guard code == 0 else { throw HarnessError("the upload failed:\n\(LogTail.of(flow.federation.log("upload")))") }
    }

    @Test("I9: an HTTPS origin behind a password, with a certificate of its own; a wrong password is told, not shown")
    func https() async throws {
      let value = "hush-\(UInt64.random(in: .min ... .max))"
      let port = try FreePort.next()
      // The agent's rclone believes this authority, as it believes the system's.
      let directory = "/tmp/fub-https-\(port)"
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
      defer { try? FileManager.default.removeItem(atPath: directory) }
      let made = try await OwnedProcess.run(
        [
          "/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
          "2",
          "-subj", "/CN=origin", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", directory + "/key.pem", "-out",
          directory + "/cert.pem",
        ], log: directory + "/openssl.log")
      try #require(made == 0, "\(LogTail.of(directory + "/openssl.log"))")
      let environment = ["SSL_CERT_FILE": directory + "/cert.pem"]
      // Slow enough to be looked at.
      try await Self.withOne(keys: ["transferLimit": "1MB/s"], environment: environment) { flow in
        let tree = try await flow.makeTree("www", bytes: Self.size, files: 4)
        let server = try OwnedProcess.spawn(
          [
            "/usr/bin/rclone", "serve", "http", tree, "--config", "", "--addr", "127.0.0.1:\(port)", "--cert",
            directory + "/cert.pem", "--key", directory + "/key.pem", "--read-only",
          ], environment: ["RCLONE_USER": "alice", "RCLONE_PASS": value], log: flow.federation.log("origin"))
        try await FreePort.answers(port, of: server, log: flow.federation.log("origin"))
        try await Self.store("lab-password", ["user": "alice", "password": value], flow)
        try await flow.list("web", origin: "https://127.0.0.1:\(port)/", "--secret", "lab-password")
        try await Self.read("web", whileNoArgumentHolds: value, flow)
        #expect(try await flow.client.log("reader", node: "reader") == flow.digest(tree))

        let wrong = "wrong-\(UInt64.random(in: .min ... .max))"
        try await Self.store("other", ["user": "alice", "password": wrong], flow)
        let created = try await flow.federation.fubini(
          ["dataset", "create", "shut", "--origin", "https://127.0.0.1:\(port)/", "--secret", "other"])
        #expect(created.code == 0, "\(created.output)")
        let refused = try await flow.federation.fubini(["dataset", "put", "shut", "--from-origin", "--wait"])
        #expect(refused.code != 0 && !refused.output.contains(wrong), "\(refused.output)")
        await server.end()
        for secret in [value, wrong] { try await Self.expectNoFile(holds: secret, known: "lab-password", flow) }
      }
    }

    @Test(
      "file:// on a named cluster is read there from its disk, and elsewhere from that cluster, though nobody had it before"
    )
    func file() async throws {
      var options = FederationOptions()
      options.agents = []
      try await Federation.with(options) { federation in
        let flow = try DataFlow(federation)
        let origins = federation.path("origins")
        let tree = try await flow.makeTree("genome", bytes: Self.size, files: 4, in: origins)
        let port = try FreePort.next()
        var home = FederationOptions.Agent("home", labels: ["side": "home"])
        home.keys = [
          "cache": "{origins: [\(origins)]}",
          "export": "{listen: \"127.0.0.1:\(port)\", url: \"https://127.0.0.1:\(port)\"}",
        ]
        try await flow.join([home, .init("away", labels: ["side": "away"])])
        try await flow.list("genome", origin: "file://home\(tree)")
        let digest = try await flow.digest(tree)
        _ = try await flow.client.submit(DataFlow.reader(of: "genome", name: "far", selector: ["side": "away"]))
        _ = try await flow.succeeded("far")
        #expect(try await flow.client.log("far", node: "far") == digest)
        let transfer = try #require(try await flow.inwardWithSources("genome", to: "away").first)
        #expect(transfer.source == "home", "\(transfer)")
        _ = try await flow.client.submit(DataFlow.reader(of: "genome", name: "near", selector: ["side": "home"]))
        _ = try await flow.succeeded("near")
        #expect(try await flow.client.log("near", node: "near") == digest)
        // What was not opened by the operator is no origin.
        let other = try await federation.fubini(["dataset", "create", "etc", "--origin", "file://home/etc"])
        #expect(other.code == 0, "\(other.output)")
        let refused = try await federation.fubini(["dataset", "put", "etc", "--from-origin", "--wait"])
        #expect(refused.code != 0 && refused.output.contains("origins"), "\(refused.output)")
      }
    }

    @Test(
      "residency: a data set never comes to a cluster outside its labels, and that is the reason that is given (I10)")
    func residency() async throws {
      var options = FederationOptions()
      options.agents = [.init("eu", slots: 1, labels: ["zone": "eu"]), .init("us", slots: 8, labels: ["zone": "us"])]
      try await Federation.with(options) { federation in
        let flow = try DataFlow(federation)
        try await flow.fubini("dataset", "create", "patients", "--allowed-clusters", "zone=eu")
        let tree = try await flow.makeTree("patients", bytes: Self.size, files: 3)
        try await flow.fubini("dataset", "put", "patients", tree)
        // One slot in the right place, eight in the wrong one.
        let names = (0..<3).map { "allowed-\($0)" }
        for name in names { _ = try await flow.client.submit(DataFlow.reader(of: "patients", name: name)) }
        _ = try await flow.client.submit(
          DataFlow.reader(of: "patients", name: "forbidden", selector: ["zone": "us"]))
        for name in names {
          #expect(try flow.run(of: try await flow.succeeded(name)).cluster == "eu")
        }
        let table = try await flow.explanation("allowed-0")
        let row = try #require(table.candidates.first { $0.cluster == "us" })
        #expect(row.rejected == "Residency" && row.reason?.contains("zone=eu") == true, "\(row)")
        let pending = try await flow.client.workflow("forbidden")
        #expect(!pending.summary.phase.isTerminal && pending.nodes.allSatisfy { $0.run == nil })
        let why = try await flow.explanation("forbidden")
        #expect(why.candidates.first { $0.cluster == "us" }?.rejected == "Residency", "\(why)")
        let (code, output) = try await federation.fubini(["explain", "forbidden/forbidden"])
        #expect(code == 3 && output.contains("zone=eu"), "\(output)")
        let fetched = try await federation.fubini(["prefetch", "patients", "--cluster", "us"])
        #expect(fetched.code != 0 && fetched.output.contains("zone=eu"), "\(fetched.output)")
        let pinned = try await federation.fubini(["dataset", "pin", "patients", "--cluster", "us"])
        #expect(pinned.code != 0, "\(pinned.output)")
        #expect(try await flow.inward(to: "us").isEmpty)
        #expect(try await flow.caches(of: "patients") == ["eu"])
        let trees = try FileManager.default.contentsOfDirectory(atPath: flow.cacheDirectory("us") + "/trees")
        #expect(trees.isEmpty && flow.leftovers("us").isEmpty, "\(trees)")
      }
    }
  }
}
