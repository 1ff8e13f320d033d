import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import TestSupport
import Testing

extension Integration {
  @Suite("End to end: where artifacts go, and which part of them", .timeLimit(.minutes(6)))
  struct ArtifactPlaceTests {
    private static func finish(_ name: String, _ document: String, _ federation: Federation) async throws {
      let client = try federation.client()
      _ = try await client.submit(document)
      let detail = try await client.finished(name, timeout: .seconds(90))
      try #require(detail.summary.phase == .succeeded, "\(detail.nodes.map(\.message)) \(federation.logs())")
    }

    private static func keep(_ federation: Federation, _ name: String, _ values: [String: String]) async throws {
      for (key, text) in values { try text.write(toFile: federation.path(key), atomically: true, encoding: .utf8) }
      let files = values.keys.sorted().flatMap { ["--file", "\($0)=\(federation.path($0))"] }
      let (code, output) = try await federation.fubini(["secret", "set", name] + files)
      try #require(code == 0, "\(output)")
    }

    @Test("A part of an artifact, modes of a whole directory, and a directory that is not to be packed")
    func parts() async throws {
      try await Federation.with { federation in
        try await Self.finish(
          "parts",
          """
          apiVersion: argoproj.io/v1alpha1
          kind: Workflow
          metadata: {name: parts}
          spec:
            entrypoint: main
            templates:
            - name: main
              steps:
              - - {name: make, template: make}
              - - name: read
                  template: read
                  arguments:
                    artifacts:
                    - {name: file, from: "{{steps.make.outputs.artifacts.packed}}", subPath: deep/f}
                    - {name: deep, from: "{{steps.make.outputs.artifacts.packed}}", subPath: deep}
                    - {name: plain, from: "{{steps.make.outputs.artifacts.plain}}"}
                - name: lacks
                  template: lacks
                  continueOn: {error: true}
                  arguments:
                    artifacts: [{name: file, from: "{{steps.make.outputs.artifacts.packed}}", subPath: deep/none}]
            - name: make
              container:
                image: debian:12
                command: [sh, -c]
                args: ["mkdir -p /tmp/o/deep && echo f >/tmp/o/deep/f && echo g >/tmp/o/g && cp -r /tmp/o /tmp/p"]
              outputs:
                artifacts:
                - {name: packed, path: /tmp/o, archive: {tar: {compressionLevel: 9}}}
                - {name: plain, path: /tmp/p, archive: {none: {}}}
            - name: read
              inputs:
                artifacts:
                - {name: file, path: /tmp/file}
                - {name: deep, path: /tmp/deep}
                - {name: plain, path: /tmp/plain, mode: 448, recurseMode: true}
              container:
                image: debian:12
                command: [sh, -c]
                args:
                - |
                  test "$(cat /tmp/file)" = f && test "$(cat /tmp/deep/f)" = f && test ! -e /tmp/deep/g &&
                  test "$(cat /tmp/plain/deep/f)" = f && test "$(stat -c %a /tmp/plain/deep/f)" = 700 &&
                  test "$(stat -c %a /tmp/plain/deep)" = 700
            - name: lacks
              inputs: {artifacts: [{name: file, path: /tmp/file}]}
              container: {image: debian:12, command: ["true"]}
          """, federation)
        let detail = try await federation.client().workflow("parts")
        let lacks = detail.nodes.first { $0.displayName == "lacks" }
        #expect(
          lacks?.phase == .error && lacks?.message.contains("there is no deep/none in it") == true,
          "\(lacks?.message ?? "no node")")
      }
    }

    @Test(
      "Outputs go into a bucket of their author's or of the project's choice, are read from there, and listed by a data template"
    )
    func bucket() async throws {
      try await S3Service.with { url in
        try await Federation.with { federation in
          try await Self.keep(federation, "lab", ["id": "a", "key": "b"])
          let place = """
            endpoint: "\(url.dropFirst("http://".count))", bucket: \(S3Service.bucket), insecure: true, region: us-east-1, \
            accessKeySecret: {name: lab, key: id}, secretKeySecret: {name: lab, key: key}
            """
          try await Self.finish("authors", Self.authors(place), federation)
          let listed = try await federation.client().workflow("authors").nodes.first { $0.displayName == "list" }
          #expect(listed?.outputs.result == #"["out/tree/deep/b"]"#, "\(listed?.outputs.result ?? "nothing")")

          // The project's own choice: keys alone, and what nothing is said of.
          let map = [
            "metadata": [
              "name": "artifact-repositories",
              "annotations": ["workflows.argoproj.io/default-artifact-repository": "lab"],
            ], "data": ["lab": "s3: {\(place), keyFormat: \"runs/{{workflow.name}}\"}"],
          ]
          let answer = try await federation.client().send(
            "POST", "/api/v1/namespaces/default/configmaps", body: try JSONSerialization.data(withJSONObject: map))
          try #require((200...201).contains(answer.status), "\(String(decoding: answer.body, as: UTF8.self))")
          try await Self.finish("chosen", Self.chosen, federation)
          let log = federation.path("log/curl.log")
          for key in ["runs/chosen/said.tgz", "in/named"] {
            let code = try await OwnedProcess.run(
              [
                "/usr/bin/curl", "-fsS", "-o", "/dev/null", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "a:b",
                "\(url)/\(S3Service.bucket)/\(key)",
              ], log: log)
            #expect(code == 0, "\(key) is not in the bucket: \(LogTail.of(log))")
          }
          let refused = try await federation.client().send(
            "POST", "/v1/projects/default/workflows",
            body: Data(
              Self.chosen.replacingOccurrences(of: "spec:", with: "spec:\n  artifactRepositoryRef: {key: none}").utf8),
            contentType: "application/yaml")
          #expect(
            String(decoding: refused.body, as: UTF8.self).contains(
              "there is no none in config map artifact-repositories"))
        }
      }
    }

    private static func authors(_ place: String) -> String {
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: authors}
      spec:
        entrypoint: main
        templates:
        - name: main
          steps:
          - - {name: make, template: make}
          - - name: read
              template: read
              arguments:
                artifacts:
                - {name: packed, from: "{{steps.make.outputs.artifacts.packed}}"}
                - {name: tree, from: "{{steps.make.outputs.artifacts.tree}}"}
            - {name: list, template: list}
          - - name: each
              template: each
              withParam: "{{steps.list.outputs.result}}"
              arguments: {parameters: [{name: key, value: "{{item}}"}]}
        - name: make
          container:
            image: debian:12
            command: [sh, -c]
            args: ["echo one >/tmp/one; mkdir -p /tmp/tree/deep; echo a >/tmp/tree/a; echo b >/tmp/tree/deep/b"]
          outputs:
            artifacts:
            - {name: packed, path: /tmp/one, s3: {key: "out/{{workflow.name}}.tgz", \(place)}}
            - {name: tree, path: /tmp/tree, archive: {none: {}}, s3: {key: out/tree, \(place)}}
        - name: read
          inputs:
            artifacts:
            - {name: packed, path: /tmp/one}
            - {name: tree, path: /tmp/tree}
            - {name: again, path: /tmp/again, s3: {key: out/authors.tgz, \(place)}}
          container:
            image: debian:12
            command: [sh, -c]
            args: ["test $(cat /tmp/one /tmp/again /tmp/tree/a /tmp/tree/deep/b | tr -d '\\n') = oneoneab"]
        - name: list
          data:
            source: {artifactPaths: {name: all, s3: {key: out/tree, \(place)}}}
            transformation: [{expression: "filter(data, {# endsWith 'b'})"}]
        - name: each
          inputs:
            parameters: [{name: key}]
            artifacts: [{name: in, path: /tmp/in, s3: {key: "{{inputs.parameters.key}}", \(place)}}]
          container: {image: debian:12, command: [sh, -c], args: ["test $(cat /tmp/in) = b"]}
      """
    }

    private static let chosen = """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: chosen}
      spec:
        entrypoint: main
        templates:
        - name: main
          dag:
            tasks:
            - {name: make, template: make}
            - name: read
              template: read
              dependencies: [make]
              arguments: {artifacts: [{name: said, from: "{{tasks.make.outputs.artifacts.said}}"}]}
        - name: make
          container: {image: debian:12, command: [sh, -c], args: ["echo said >/tmp/said; echo named >/tmp/named"]}
          outputs:
            artifacts:
            - {name: said, path: /tmp/said}
            - {name: named, path: /tmp/named, archive: {none: {}}, s3: {key: in/named}}
        - name: read
          inputs: {artifacts: [{name: said, path: /tmp/said}, {name: named, path: /tmp/named, s3: {key: in/named}}]}
          container: {image: debian:12, command: [sh, -c], args: ["test $(cat /tmp/said /tmp/named | tr -d '\\n') = saidnamed"]}
      """

    @Test("An output is PUT to a web server, and an input read from one, with headers and a password")
    func server() async throws {
      let directory = FileManager.default.temporaryDirectory.appendingPathComponent("fubini-web-\(UUID().uuidString)")
        .path
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      defer { try? FileManager.default.removeItem(atPath: directory) }
      try await Federation.with { federation in
        let port = directory + "/port"
        let process = try OwnedProcess.spawn(
          ["/usr/bin/python3", "-c", Self.web, directory, "sesame:open"], log: directory + "/log")
        defer { _ = process.signal(9) }
        var served = ""
        try await poll("the web server has a port", timeout: .seconds(20)) {
          served = (try? String(contentsOfFile: port, encoding: .utf8)) ?? ""
          return served.hasSuffix("\n")
        }
        try await Self.keep(federation, "web", ["user": "sesame", "password": "open"])
        let access = """
          headers: [{name: X-Lab, value: "a,b {{workflow.name}}"}], auth: {basicAuth: {usernameSecret: {name: web, key: user}, \
          passwordSecret: {name: web, key: password}}}
          """
        let url = "http://127.0.0.1:\(served.trimmingCharacters(in: .whitespacesAndNewlines))/made"
        try await Self.finish(
          "web",
          """
          apiVersion: argoproj.io/v1alpha1
          kind: Workflow
          metadata: {name: web}
          spec:
            entrypoint: main
            templates:
            - name: main
              steps:
              - - {name: make, template: make}
              - - {name: read, template: read}
            - name: make
              container: {image: debian:12, command: [sh, -c], args: ["seq 100000 >/tmp/made"]}
              outputs: {artifacts: [{name: made, path: /tmp/made, archive: {none: {}}, http: {url: "\(url)", \(access)}}]}
            - name: read
              inputs: {artifacts: [{name: made, path: /tmp/made, http: {url: "\(url)", \(access)}}]}
              container: {image: debian:12, command: [sh, -c], args: ["test $(tail -n 1 /tmp/made) = 100000"]}
          """, federation)
        let seen = try String(contentsOfFile: directory + "/seen", encoding: .utf8)
        #expect(seen.contains("PUT /made a,b web") && seen.contains("GET /made a,b web"), "\(seen)")
      }
    }

    private static let web = #"""
      import base64, http.server, os, sys
      root, password = sys.argv[1:]
      class Handler(http.server.BaseHTTPRequestHandler):
          def do(self):
              if self.headers.get("Authorization") != "Basic " + base64.b64encode(password.encode()).decode():
                  self.send_response(401); self.send_header("Content-Length", "0"); self.end_headers(); return
              with open(root + "/seen", "a") as f: f.write(f"{self.command} {self.path} {self.headers.get('X-Lab')}\n")
              body = b""
              if self.command == "PUT":
                  with open(root + "/body", "wb") as f: f.write(self.rfile.read(int(self.headers["Content-Length"])))
              elif os.path.exists(root + "/body"):
                  body = open(root + "/body", "rb").read()
              first, last = 0, len(body) - 1
              if self.headers.get("Range"): first = int(self.headers["Range"].split("=")[1].split("-")[0])
              self.send_response(206 if first else 200)
              self.send_header("Content-Length", str(len(body) - first)); self.send_header("Accept-Ranges", "bytes")
              self.send_header("Last-Modified", "Sun, 22 Nov 2026 10:00:00 GMT"); self.end_headers()
              if self.command == "GET": self.wfile.write(body[first:])
          do_GET = do_PUT = do_HEAD = do
          def log_message(self, *words): pass
      server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
      with open(root + "/port", "w") as f: f.write(f"{server.server_address[1]}\n")
      server.serve_forever()
      """#
  }
}
