import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import TestSupport
import Testing

extension Integration {
  @Suite(
    "End to end: data in buckets and on web servers, files of origins for users, and archives", .timeLimit(.minutes(6)))
  struct ForeignDataTests {
    /// A federation of one process cluster, and an S3 service with some objects.
    private static func withBucket(
      _ body: @Sendable @escaping (Federation, _ url: String) async throws -> Void
    ) async throws {
      try await S3Service.with { url in
        var options = FederationOptions()
        options.agents = []
        try await Federation.with(options) { federation in
          for (name, text) in [("in/reads.txt", "one\ntwo\n"), ("in/dir/a", "A"), ("in/dir/deep/b", "BB")] {
            try await upload(text, to: "\(url)/\(S3Service.bucket)/\(name)", federation)
          }
          try await federation.join(FederationOptions.Agent("one"))
          try federation.startAgent("one")
          try await federation.connected("one")
          for (field, text) in [("id", "a"), ("key", "b")] {
            try text.write(toFile: federation.path("s3-\(field)"), atomically: true, encoding: .utf8)
          }
          let files = ["id", "key"].flatMap { ["--file", "\($0)=\(federation.path("s3-\($0)"))"] }
          let (code, output) = try await federation.fubini(["secret", "set", "lab"] + files)
          try #require(code == 0, "\(output)")
          try await body(federation, url)
        }
      }
    }

    private static func upload(_ text: String, to url: String, _ federation: Federation) async throws {
      let file = federation.path("upload")
      try text.write(toFile: file, atomically: true, encoding: .utf8)
      let code = try await OwnedProcess.run(
        ["/usr/bin/curl", "-fsS", "-H", "x-amz-acl: public-read", "-T", file, url], log: federation.path("log/curl.log")
      )
      try #require(
        code == 0, "\((try? String(contentsOfFile: federation.path("log/curl.log"), encoding: .utf8)) ?? "")")
    }

    /// Waits until the only task of a workflow has said this.
    private static func expect(_ text: String, by name: String, _ client: RESTClient) async throws {
      var seen = ""
      try await poll("\(name) said \(text), not \(seen)", timeout: .seconds(30)) {
        seen = try await client.log(name, node: name)
        return seen == text
      }
    }

    private static func document(_ name: String, _ url: String) -> String {
      let host = url.dropFirst("http://".count)
      let s3 = """
        endpoint: "\(host)", bucket: \(S3Service.bucket), insecure: true, region: us-east-1,
                    accessKeySecret: {name: lab, key: id}, secretKeySecret: {name: lab, key: key}
        """
      return """
        apiVersion: argoproj.io/v1alpha1
        kind: Workflow
        metadata: {name: \(name)}
        spec:
          entrypoint: main
          arguments: {parameters: [{name: dir, value: in}]}
          templates:
          - name: main
            inputs:
              artifacts:
              - name: reads
                path: /tmp/reads
                s3: {key: "{{workflow.parameters.dir}}/reads.txt", \(s3)}
              - name: tree
                path: /tmp/tree
                s3: {key: in/dir/, \(s3)}
              - name: page
                path: /tmp/page
                http: {url: "\(url)/\(S3Service.bucket)/in/reads.txt"}
            container:
              image: debian:12
              command: [sh, -c]
              args: ["cat /tmp/reads /tmp/page /tmp/tree/a /tmp/tree/deep/b; { echo more >>/tmp/tree/a; } 2>/dev/null || true"]
        """
    }

    @Test(
      "An unmodified Argo document reads a bucket and a web server; a second workflow moves nothing; changed bytes are seen"
    )
    func artifacts() async throws {
      try await Self.withBucket { federation, url in
        let client = try federation.client()
        func moved() async throws -> Int {
          let list: TransferList = try await client.get("/v1/projects/default/transfers")
          return list.items.count { $0.phase == "done" && $0.origin != nil }
        }
        // A plan has them looked at: 8 bytes twice, and 3 of the directory.
        // On a busy machine that takes longer than a plan waits for it; the next one knows then.
        let flow = try DataFlow(federation)
        var plan = try await flow.plan(Self.document("first", url))
        try await poll("they were looked at: \(plan.unknowns)", timeout: .seconds(60)) {
          if plan.unknowns.contains(where: { $0.contains("looked at") }) {
            plan = try await flow.plan(Self.document("first", url))
          }
          return !plan.unknowns.contains { $0.contains("looked at") }
        }
        #expect(plan.groups.map(\.bytesMoved) == [19], "\(plan.unknowns)")
        #expect(try await moved() == 0)
        for name in ["first", "second"] {
          _ = try await client.submit(Self.document(name, url))
          let detail = try await client.finished(name, timeout: .seconds(90))
          try #require(detail.summary.phase == .succeeded, "\(detail.nodes.map(\.message)) \(federation.logs())")
          try await Self.expect("one\ntwo\none\ntwo\nABB", by: name, client)
        }
        #expect(try await moved() == 3)
        // What was found serves for a minute, unless whoever knew it is gone.
        try await Self.upload("three\n", to: "\(url)/\(S3Service.bucket)/in/reads.txt", federation)
        try await federation.controlPlane(0).kill()
        try federation.startControlPlane(0)
        try await federation.awaitReady()
        _ = try await client.submit(Self.document("third", url))
        let third = try await client.finished("third", timeout: .seconds(90))
        try #require(third.summary.phase == .succeeded, "\(third.nodes.map(\.message)) \(federation.logs())")
        try await Self.expect("three\nthree\nABB", by: "third", client)
        #expect(try await moved() == 5, "the directory stayed as it was")
        let list: DatasetList = try await client.get("/v1/projects/default/datasets")
        #expect(list.items.isEmpty, "what documents name is nobody's data set")
      }
    }

    @Test("A key of the project's own repository is read by name; one that is not there is told")
    func ownRepository() async throws {
      try await Federation.with(FederationOptions()) { federation in
        let client = try federation.client()
        let file = federation.path("mine")
        try "mine\n".write(toFile: file, atomically: true, encoding: .utf8)
        let token = try federation.adminToken()
        let put = try await OwnedProcess.run(
          [
            "/usr/bin/curl", "-fsS", "-X", "PUT", "-H", "Authorization: Bearer \(token)", "--data-binary", "@\(file)",
            "http://127.0.0.1:\(federation.replicas[0].httpPort)/v1/projects/default/artifacts/in/mine",
          ], log: federation.path("log/curl.log"))
        try #require(put == 0)
        for (name, key) in [("there", "in/mine"), ("gone", "in/none")] {
          _ = try await client.submit(
            """
            apiVersion: argoproj.io/v1alpha1
            kind: Workflow
            metadata: {name: \(name)}
            spec:
              entrypoint: main
              templates:
              - name: main
                inputs: {artifacts: [{name: in, path: /tmp/in, s3: {key: \(key)}}]}
                container: {image: debian:12, command: [cat, /tmp/in]}
            """)
          let detail = try await client.finished(name)
          if name == "there" {
            #expect(try await client.log(name, node: name) == "mine\n")
          } else {
            #expect(detail.nodes.contains { $0.message.contains("there is no object in/none") }, "\(detail.nodes)")
          }
        }
      }
    }

    @Test(
      "A user gets the files of an origin's version, and of one that went to its archive, which runs read meanwhile")
    func places() async throws {
      try await Self.withBucket { federation, url in
        let origin = "s3://\(S3Service.bucket)/in/dir?endpoint=\(url)&region=us-east-1"
        let client = try federation.client()
        func run(_ words: [String]) async throws {
          let (code, output) = try await federation.fubini(words)
          try #require(code == 0, "\(words): \(output)\n\(federation.logs())")
        }
        // Agents call the values by other names than these.
        for (field, text) in [("accessKeyId", "a"), ("secretAccessKey", "b")] {
          try text.write(toFile: federation.path(field), atomically: true, encoding: .utf8)
        }
        try await run(
          ["secret", "set", "s3"]
            + ["accessKeyId", "secretAccessKey"].flatMap { ["--file", "\($0)=\(federation.path($0))"] })
        try await run(["dataset", "create", "far", "--origin", origin, "--secret", "s3"])
        try await run(["dataset", "put", "far", "--from-origin", "--wait"])
        try await run(["dataset", "get", "far@1", federation.path("far")])
        #expect(try String(contentsOfFile: federation.path("far/deep/b"), encoding: .utf8) == "BB")

        let source = federation.path("source")
        try FileManager.default.createDirectory(atPath: source + "/d", withIntermediateDirectories: true)
        try "small".write(toFile: source + "/d/small", atomically: true, encoding: .utf8)
        try String(repeating: "large ", count: 100_000).write(
          toFile: source + "/large", atomically: true, encoding: .utf8)
        let archive = "s3://\(S3Service.bucket)/cold?endpoint=\(url)&region=us-east-1"
        try await run(
          ["dataset", "create", "rare", "--archive-to", archive, "--archive-secret", "s3", "--archive-after", "1h"])
        try await run(["dataset", "put", "rare", source])
        // Nobody used it for long.
        try await federation.controlPlane(0).kill()
        _ = try await federation.query(
          "UPDATE dataset_versions SET created_ms = created_ms - 7200000 WHERE name = 'rare'")
        try federation.startControlPlane(0)
        try await federation.awaitReady()
        try await poll("the version is in its archive", timeout: .seconds(90)) {
          let version: DatasetVersionDocument = try await client.get("/v1/projects/default/datasets/rare/versions/1")
          return version.location == "archive" && version.stored == nil
        }
        _ = try await client.submit(
          """
          apiVersion: argoproj.io/v1alpha1
          kind: Workflow
          metadata: {name: reads}
          spec:
            entrypoint: main
            templates:
            - name: main
              federation: {datasets: [{name: rare, mountPath: /data/rare}]}
              container: {image: debian:12, command: [cat, /data/rare/d/small]}
          """)
        let detail = try await client.finished("reads", timeout: .seconds(90))
        try #require(detail.summary.phase == .succeeded, "\(detail.nodes.map(\.message)) \(federation.logs())")
        // How it came is told after the run has begun.
        try await poll("the version came from its archive", timeout: .seconds(30)) {
          let list: TransferList = try await client.get("/v1/projects/default/transfers")
          return list.items.contains { $0.source == "archive" && $0.phase == "done" }
        }
        try await run(["dataset", "get", "rare", federation.path("back")])
        #expect(try await DatasetTests.areEqual(source, federation.path("back"), in: federation))
      }
    }
  }
}
