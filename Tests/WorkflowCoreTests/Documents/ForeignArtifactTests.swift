import FederationModel
import Testing

@testable import WorkflowCore

@Suite("Artifacts in buckets and on web servers")
struct ForeignArtifactTests {
  private func document(_ artifact: String, output: String = "{name: o, path: /o}") -> String {
    """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {name: w}
    spec:
      entrypoint: main
      arguments: {parameters: [{name: day, value: "2026 03"}]}
      templates:
      - name: main
        inputs: {artifacts: [\(artifact)]}
        outputs: {artifacts: [\(output)]}
        container: {image: any, command: ["true"]}
    """
  }

  private func source(_ artifact: String) throws -> InputArtifact.Source? {
    let definition = try WorkflowDefinition.decode(Array(document(artifact).utf8))
    var machine = try WorkflowMachine(
      program: try WorkflowProgram(definition),
      identity: WorkflowIdentity(name: "w", uid: "u", project: "p", createdAt: .epoch))
    let actions = machine.handle(.start, at: .epoch, limit: 10)
    guard case .launch(let node)? = actions.first else { return nil }
    return try machine.taskSpec(for: node).inputs.first?.source
  }

  @Test(
    "An unmodified document says where its input is, and which secret opens it",
    arguments: [
      (
        "s3: {bucket: b, key: \"in/{{workflow.parameters.day}}/x.tar.gz\", endpoint: \"minio:9000\", insecure: true, "
          + "accessKeySecret: {name: my-s3, key: id}, secretKeySecret: {name: my-s3, key: key}}",
        ForeignArtifact(
          origin: DataOrigin(
            uri: "s3://b/in/2026%2003/x.tar.gz?endpoint=http://minio:9000", secret: "my-s3",
            fields: ["accessKeyId": "id", "secretAccessKey": "key"]), archive: .tar)
      ),
      (
        "s3: {bucket: b, key: dir/, endpoint: s3.amazonaws.com, region: eu-west-1}",
        ForeignArtifact(origin: DataOrigin(uri: "s3://b/dir/?region=eu-west-1"))
      ),
      ("http: {url: \"https://host/x/kubectl\"}", ForeignArtifact(origin: DataOrigin(uri: "https://host/x/kubectl"))),
      (
        "http: {url: \"https://host/x.tgz\", auth: {basicAuth: {usernameSecret: {name: web, key: u}, passwordSecret: {name: web, "
          + "key: p}}}}, archive: {none: {}}",
        ForeignArtifact(
          origin: DataOrigin(uri: "https://host/x.tgz", secret: "web", fields: ["user": "u", "password": "p"]))
      ),
    ] as [(String, ForeignArtifact)])
  func reads(text: String, expected: ForeignArtifact) throws {
    #expect(try source("{name: i, path: /i, \(text)}") == .foreign(expected))
  }

  @Test(
    "What cannot be fetched is refused by name",
    arguments: [
      ("s3: {bucket: b}", "key"), ("s3: {key: k, endpoint: e}", "bucket"),
      ("s3: {bucket: b, key: k, roleARN: r}", "roleARN"),
      ("s3: {bucket: b, key: k, accessKeySecret: {name: s, key: a}}", "secretKeySecret"),
      (
        "s3: {bucket: b, key: k, accessKeySecret: {name: s, key: a}, secretKeySecret: {name: t, key: b}}",
        "one secret"
      ),
      ("http: {}", "url"), ("http: {url: \"https://h/x\", headers: [{name: a, value: b}]}", "headers"),
      ("http: {url: \"https://h/x\"}, raw: {data: x}", "one of"),
    ])
  func refuses(text: String, word: String) throws {
    let error = #expect(throws: DocumentErrors.self) {
      _ = try WorkflowDefinition.decode(Array(document("{name: i, path: /i, \(text)}").utf8))
    }
    #expect(error.map { "\($0)".contains(word) } == true, "\(error.map { "\($0)" } ?? "")")
  }

  @Test(
    "Addresses that only turn out to be none when tags are replaced end their task with a word",
    arguments: [
      "s3: {bucket: \"{{workflow.parameters.day}}\", key: k}", "http: {url: \"ftp://{{workflow.parameters.day}}\"}",
      "http: {url: \"https://h/x?{{workflow.parameters.day}}\"}",
    ])
  func late(text: String) throws {
    #expect(throws: (any Error).self) {
      if try source("{name: i, path: /i, \(text)}") == nil { throw FederationError(.invalidArgument, "not launched") }
    }
  }

  @Test("Outputs go to the project's own repository alone")
  func outputs() throws {
    let error = #expect(throws: DocumentErrors.self) {
      _ = try WorkflowDefinition.decode(
        Array(
          document("{name: i, path: /i, optional: true}", output: "{name: o, path: /o, s3: {bucket: b, key: k}}").utf8))
    }
    #expect(error.map { "\($0)".contains("project's own repository") } == true)
  }
}
