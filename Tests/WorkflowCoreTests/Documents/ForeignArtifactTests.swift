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
      (
        "http: {url: \"https://host/x\", headers: [{name: X-Day, value: \"{{workflow.parameters.day}}\"}, {name: A, value: \"b,c\"}]}",
        ForeignArtifact(origin: DataOrigin(uri: "https://host/x?header=X-Day%3a2026%2003&header=A%3ab%2cc"))
      ),
      (
        "git: {repo: \"git@host:x/y.git\", revision: v1, insecureIgnoreHostKey: true, sshPrivateKeySecret: {name: s, key: id}}",
        ForeignArtifact(
          origin: DataOrigin(
            uri: "git+git@host:x/y.git?revision=v1&anyHostKey=true", secret: "s", fields: ["privateKey": "id"]),
          archive: .tar)
      ),
      (
        "s3: {bucket: b, key: dir/}, subPath: a/./b", ForeignArtifact(origin: DataOrigin(uri: "s3://b/dir/"))
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
      ("http: {}", "url"),
      ("http: {url: \"https://h/x\", headers: [{name: \"a b\", value: c}]}", "a header needs a name"),
      ("git: {}", "repo"), ("git: {repo: \"file:///etc\"}", "https://"), ("git: {repo: \"-oProxy@h:x\"}", "git"),
      ("git: {repo: \"https://u:p@h/x\"}", "secrets"),
      ("git: {repo: \"https://h/x\", revision: \"--upload-pack=x\"}", "revision"),
      ("git: {repo: \"https://h/x\", singleBranch: true}", "branch"), ("raw: {data: x}, subPath: ../y", "subPath"),
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

  @Test("An output may go to a bucket or a web server: its task says where, and who reads it reads that")
  func outputs() throws {
    let output =
      "{name: o, path: /o, archive: {tar: {compressionLevel: 1}}, s3: {bucket: b, key: \"{{workflow.name}}/k.tgz\"}}"
    let definition = try WorkflowDefinition.decode(
      Array(document("{name: i, path: /i, optional: true}", output: output).utf8))
    var machine = try WorkflowMachine(
      program: try WorkflowProgram(definition),
      identity: WorkflowIdentity(name: "w", uid: "u", project: "p", createdAt: .epoch))
    guard case .launch(let node)? = machine.handle(.start, at: .epoch, limit: 10).first else { throw Missing() }
    let spec = try machine.taskSpec(for: node)
    let target = try #require(spec.outputArtifacts.first?.target)
    #expect(target.uri == "s3://b/w/k.tgz" && spec.outputArtifacts[0].compressionLevel == 1)
    #expect(spec.features.contains(.artifacts))
    let made = StoredArtifact(key: "w/k.tgz", size: ByteCount(9), sha256: "ff", archive: .tar)
    let placed = try #require(machine.placed(["o": made], madeBy: node)["o"])
    #expect(placed.origin == target && placed.sha256.isEmpty)
    #expect(placed.source == .foreign(ForeignArtifact(origin: target, archive: .tar)))
  }

  @Test(
    "What cannot be put somewhere is refused by name",
    arguments: [
      ("git: {repo: \"https://h/x\"}", "inputs alone"), ("s3: {key: k}, subPath: x", "inputs alone"),
      ("s3: {bucket: b, key: k}, artifactGC: {strategy: OnWorkflowDeletion}", "artifactGC with strategy Never"),
    ])
  func refusesOutputs(text: String, word: String) throws {
    let error = #expect(throws: DocumentErrors.self) {
      _ = try WorkflowDefinition.decode(
        Array(document("{name: i, path: /i, optional: true}", output: "{name: o, path: /o, \(text)}").utf8))
    }
    #expect(error.map { "\($0)".contains(word) } == true, "\(error.map { "\($0)" } ?? "")")
  }

  @Test("A bucket of the project's takes keys alone and outputs of which nothing is said, and nothing else")
  func repository() throws {
    let bucket = """
      s3:
        bucket: ours
        endpoint: minio:9000
        insecure: true
        keyFormat: "runs/{{workflow.name}}"
        accessKeySecret: {name: cred, key: id}
        secretKeySecret: {name: cred, key: key}
      """
    let definition = try WorkflowDefinition.decode(
      Array(document("{name: i, path: /i, s3: {key: in/x}}, {name: j, path: /j, s3: {bucket: theirs, key: in/y}}").utf8)
    ).withArtifactRepository(bucket)
    let template = definition.spec.templates[0]
    #expect(template.inputs.artifacts.map { $0.foreign?.bucketKey } == ["in/x", "in/y"])
    #expect(template.inputs.artifacts.map { $0.foreign?.secret } == ["cred", nil])
    #expect(template.outputs.artifacts[0].foreign?.bucketKey == "runs/{{workflow.name}}/o.tgz")
    #expect(
      try WorkflowDefinition.origin(ofKey: "a b", in: bucket)
        == DataOrigin(
          uri: "s3://ours/a%20b?endpoint=http://minio:9000", secret: "cred",
          fields: ["accessKeyId": "id", "secretAccessKey": "key"]))
    let error = #expect(throws: DocumentErrors.self) { _ = try definition.withArtifactRepository("gcs: {bucket: b}") }
    #expect(error.map { "\($0)".contains("bucket alone") } == true)
  }

  @Test("A data template is a run without a program, of the names at one place")
  func data() throws {
    let definition = try WorkflowDefinition.decode(
      Array(
        """
        apiVersion: argoproj.io/v1alpha1
        kind: Workflow
        metadata: {name: w}
        spec:
          entrypoint: main
          templates:
          - name: main
            data:
              source: {artifactPaths: {name: all, s3: {bucket: b}}}
              transformation: [{expression: "filter(data, {# endsWith '.pdf'})"}, {expression: "map(data, {# + '!'})"}]
        """.utf8))
    var machine = try WorkflowMachine(
      program: try WorkflowProgram(definition),
      identity: WorkflowIdentity(name: "w", uid: "u", project: "p", createdAt: .epoch))
    guard case .launch(let node)? = machine.handle(.start, at: .epoch, limit: 10).first else { throw Missing() }
    let spec = try machine.taskSpec(for: node)
    #expect(spec.inputs.map(\.source) == [.foreign(ForeignArtifact(origin: DataOrigin(uri: "s3://b/")))])
    #expect(spec.capturesResult && spec.features.isSuperset(of: [.artifacts, .http]))
    let expressions = try #require(spec.transformations)
    #expect(try DataTransformation.result(of: ["a.pdf", "b", "c.pdf"], expressions) == #"["a.pdf!","c.pdf!"]"#)
    #expect(throws: FederationError.self) { try DataTransformation.result(of: ["a"], ["data.none()"]) }
  }

  @Test(
    "An output parameter of a container may have a value of its template's own; a name that nobody knows is left to the program"
  )
  func writtenOutput() throws {
    let definition = try WorkflowDefinition.decode(
      Array(
        """
        apiVersion: argoproj.io/v1alpha1
        kind: Workflow
        metadata: {name: w}
        spec:
          entrypoint: all
          templates:
          - name: all
            steps: [[{name: one, template: main, arguments: {parameters: [{name: item, value: i}]}}]]
          - name: main
            inputs: {parameters: [{name: item, value: "{{item.order}}", description: told}]}
            container: {image: any, command: ["true"], args: ["{{=inputs.parameters.none}} {{=workflow.name}}"]}
            outputs: {parameters: [{name: key, value: "{{workflow.name}}/{{pod.name}}"}]}
        """.utf8))
    var machine = try WorkflowMachine(
      program: try WorkflowProgram(definition),
      identity: WorkflowIdentity(name: "w", uid: "u", project: "p", createdAt: .epoch))
    guard case .launch(let node)? = machine.handle(.start, at: .epoch, limit: 10).first else { throw Missing() }
    #expect(machine[node].inputs.parameters == [NodeParameter(name: "item", value: "i")])
    #expect(try machine.taskSpec(for: node).arguments == ["{{=inputs.parameters.none}} w"])
    _ = machine.handle(.taskEnded(node, TaskOutcome(phase: .succeeded)), at: .epoch, limit: 10)
    #expect(machine[node].outputs.parameters["key"]?.hasPrefix("w/w-") == true)
  }

  private struct Missing: Error {}
}
