import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Testing

extension Integration {
  @Suite("End to end: secrets and config maps of a run", .timeLimit(.minutes(5)))
  struct ProjectObjectTests {
    private static let canary = "canary-\(UInt64.random(in: .min ... .max))"

    private static func workflow(_ name: String, _ container: String, volumes: String = "[]") -> String {
      """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: \(name)}
      spec:
        entrypoint: main
        volumes: \(volumes)
        templates:
        - name: main
          container:
            image: debian:12
            command: [sh, -c]
      \(container.split(separator: "\n").map { "      " + $0 }.joined(separator: "\n"))
      """
    }

    private static func keep(_ federation: Federation) async throws {
      let file = federation.path("token")
      try Data(canary.utf8).write(to: URL(filePath: file))
      let (code, output) = try await federation.fubini(["secret", "set", "lab", "--file", "token=\(file)"])
      try #require(code == 0, "\(output)")
      let map = try await federation.client().send(
        "POST", "/api/v1/namespaces/default/configmaps",
        body: Data(#"{"metadata":{"name":"settings"},"data":{"mode":"fast","extra.conf":"x=1\n"}}"#.utf8))
      try #require(map.status == 200 || map.status == 201, "\(map.status) \(String(decoding: map.body, as: UTF8.self))")
    }

    @Test("a run reads secrets and config maps from its environment and from files, and nobody else reads them (I9)")
    func values() async throws {
      try await Federation.with { federation in
        try await Self.keep(federation)
        let client = try federation.client()
        _ = try await client.submit(
          Self.workflow(
            "reads",
            """
            env:
            - {name: TOKEN, valueFrom: {secretKeyRef: {name: lab, key: token}}}
            - {name: GONE, valueFrom: {configMapKeyRef: {name: settings, key: gone, optional: true}}}
            envFrom: [{prefix: C_, configMapRef: {name: settings}}]
            volumeMounts: [{name: keys, mountPath: /etc/keys}, {name: conf, mountPath: /etc/x.conf, subPath: extra.conf}]
            args:
            - |
              echo "${#TOKEN} $C_mode ${GONE-none}"
              [ "$(cat /etc/keys/t)" = "$TOKEN" ] && echo same
              cat /etc/x.conf
              stat -c %a /etc/keys/t
            """,
            volumes: """
              [{name: keys, secret: {secretName: lab, defaultMode: 256, items: [{key: token, path: t}]}}, \
              {name: conf, configMap: {name: settings}}]
              """))
        let detail = try await client.finished("reads")
        let log = try await client.log("reads", node: "reads")
        try #require(detail.summary.phase == .succeeded, "\(detail.nodes.map(\.message)) \(log)")
        #expect(log.contains("\(Self.canary.utf8.count) fast none"), "\(log)")
        #expect(log.contains("same\nx=1\n400"), "\(log)")
        // Nowhere below the federation's directory (journals, states, logs of processes), but in the file of this test.
        let holders = try await federation.holders(of: Self.canary)
        #expect(holders == [federation.path("token")], "\(holders)")
        let read = try await client.send("GET", "/v1/projects/default/workflows/reads")
        #expect(!String(decoding: read.body, as: UTF8.self).contains(Self.canary))
      }
    }

    @Test(
      "what is missing ends the node in Error with the reason",
      arguments: [
        (
          "env: [{name: A, valueFrom: {secretKeyRef: {name: lab, key: nokey}}}]\nargs: [\"true\"]", "[]",
          "couldn't find key nokey in Secret default/lab"
        ),
        (
          "envFrom: [{configMapRef: {name: nomap}}]\nargs: [\"true\"]", "[]", "configmap \"nomap\" not found"
        ),
        (
          "volumeMounts: [{name: v, mountPath: /v}]\nargs: [\"true\"]", "[{name: v, secret: {secretName: nosecret}}]",
          "MountVolume.SetUp failed for volume \"v\" : secret \"nosecret\" not found"
        ),
      ])
    func missing(container: String, volumes: String, reason: String) async throws {
      try await Federation.with { federation in
        try await Self.keep(federation)
        let client = try federation.client()
        _ = try await client.submit(Self.workflow("lacks", container, volumes: volumes))
        let detail = try await client.finished("lacks")
        #expect(detail.summary.phase == .error)
        #expect(detail.nodes.first?.message.contains(reason) == true, "\(detail.nodes.map(\.message))")
      }
    }
  }
}

extension Federation {
  /// Files below the federation's directory that hold a text.
  func holders(of text: String) async throws -> [String] {
    let process = Process()
    process.executableURL = URL(filePath: "/bin/grep")
    process.arguments = ["-rlaF", text, path("")]
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = FileHandle.nullDevice
    try process.run()
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return String(decoding: output, as: UTF8.self).split(separator: "\n").map { String($0) }
      .map { $0.replacingOccurrences(of: "//", with: "/") }.sorted()
  }
}
