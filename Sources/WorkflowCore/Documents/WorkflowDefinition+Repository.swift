public import FederationModel

/// The entry of a config map in which a bucket for artifacts is described.
public struct ArtifactRepositoryReference: Hashable, Sendable {
  /// What Argo looks at when a workflow names none.
  public static let usualConfigMap = "artifact-repositories"
  /// The annotation of that config map that names the entry which is meant when nobody names one.
  public static let defaultAnnotation = "workflows.argoproj.io/default-artifact-repository"

  public var configMap: String
  /// nil: the one that the config map's annotation names.
  public var key: String?
  public init(configMap: String = ArtifactRepositoryReference.usualConfigMap, key: String? = nil) {
    self.configMap = configMap
    self.key = key
  }
}

/// A bucket of the project's own choice in the place of the repository. It is put into the document when that is submitted: artifacts of
/// which only a key is known are then that bucket's, as if their author had written it, and so are outputs of which nothing is said.
///
/// - Source: Argo Workflows v3.7, docs/artifact-repository-ref.md; `workflow/artifactrepositories/artifactrepositories.go`.
extension WorkflowDefinition {
  /// `spec.artifactRepositoryRef`; nil: the document names none.
  public var artifactRepositoryReference: ArtifactRepositoryReference? {
    guard canonicalJSON.contains("\"artifactRepositoryRef\""),
      let root = try? JSONDocumentParser.parse(Array(canonicalJSON.utf8), limits: .stored),
      let reference = root["spec"]?["artifactRepositoryRef"], !reference.isNull
    else { return nil }
    func text(_ key: String) -> String? { reference[key]?.scalarText.flatMap { $0.isEmpty ? nil : $0 } }
    return ArtifactRepositoryReference(
      configMap: text("configMap") ?? ArtifactRepositoryReference.usualConfigMap, key: text("key"))
  }

  /// Whether any artifact is handed on, so that it matters where.
  public var mentionsArtifacts: Bool {
    canonicalJSON.contains("\"artifacts\"") || canonicalJSON.contains("\"artifactPaths\"")
  }

  /// The same workflow with its artifacts in a bucket.
  ///
  /// - Parameter description: YAML: `s3: {bucket: ..., endpoint: ..., ...}`.
  /// - Throws: `DocumentErrors` for a description of another kind, and for what is wrong in the document then.
  public func withArtifactRepository(_ description: String) throws(DocumentErrors) -> WorkflowDefinition {
    let bucket = try ArtifactBucket(description)
    guard mentionsArtifacts else { return self }
    let root = try JSONDocumentParser.parse(Array(canonicalJSON.utf8), limits: .stored)
    return try WorkflowDefinition(json: bucket.filled(root, isOutput: false).canonicalJSON)
  }

  /// Where a key of a bucket is.
  ///
  /// - Throws: `DocumentErrors` for a description of another kind; `FederationError` for a key that is none.
  public static func origin(ofKey key: String, in description: String) throws -> DataOrigin {
    try ArtifactBucket(description).origin(of: key)
  }
}

/// An entry of `artifact-repositories`.
private struct ArtifactBucket {
  /// Of `s3`, without key and keyFormat.
  let members: [DocumentNode.Member]
  let keyFormat: String
  private let source: ForeignSource

  init(_ description: String) throws(DocumentErrors) {
    let documents = try YAMLDocumentParser.parse(
      Array(description.utf8), limits: .standard, documentCountMax: 1)
    guard let root = documents.first, let s3 = root["s3"], case .mapping(let all) = s3.value else {
      throw Self.refusal("artifacts can go into a bucket alone: the entry needs s3, with bucket, endpoint and secrets")
    }
    var reader = DocumentReader(isStrict: false)
    var artifact = WorkflowArtifact(name: "repository")
    reader.takesWholeBuckets = true
    // Of a bucket's object and of a bucket the fields are the same, but for the format of keys.
    var plain = s3
    for name in ["keyFormat", "keyPrefix"] { plain.remove(name) }
    reader.readS3(plain, into: &artifact)
    if let problem = reader.problems.first { throw Self.refusal("its entry: \(problem.message)") }
    guard let foreign = artifact.foreign else { throw Self.refusal("its entry names no bucket") }
    source = foreign
    members = all.filter { !["key", "keyFormat", "keyPrefix"].contains($0.key) }
    keyFormat = s3["keyFormat"]?.scalarText ?? "{{workflow.name}}/{{pod.name}}"
  }

  private static func refusal(_ message: String) -> DocumentErrors {
    DocumentErrors(problems: [DocumentProblem(path: "spec.artifactRepositoryRef", message: message)])
  }

  func origin(of key: String) throws -> DataOrigin {
    var source = source
    if case .s3(let endpoint, let bucket, _, let region, let isInsecure) = source.place {
      source.place = .s3(endpoint: endpoint, bucket: bucket, key: key, region: region, isInsecure: isInsecure)
    }
    return try source.origin { $0 }
  }

  /// - Parameter isOutput: the node is in `outputs`.
  func filled(_ node: DocumentNode, isOutput: Bool) -> DocumentNode {
    var node = node
    switch node.value {
    case .sequence(let items): node.value = .sequence(items.map { filled($0, isOutput: isOutput) })
    case .mapping(var members):
      for index in members.indices {
        let value = members[index].value
        switch members[index].key {
        case "artifacts":
          guard case .sequence(let items) = value.value else { continue }
          members[index].value.value = .sequence(items.map { placed($0, isOutput: isOutput) })
        case "artifactPaths": members[index].value = placed(value, isOutput: false)
        // What is in them is data.
        case "env", "parameters", "raw", "withItems": continue
        default: members[index].value = filled(value, isOutput: members[index].key == "outputs")
        }
      }
      node.value = .mapping(members)
    default: break
    }
    return node
  }

  private func placed(_ artifact: DocumentNode, isOutput: Bool) -> DocumentNode {
    var artifact = artifact
    if var s3 = artifact["s3"], case .mapping = s3.value {
      guard s3["bucket"]?.scalarText?.isEmpty ?? true else { return artifact }
      for member in members { s3.set(member.key, to: member.value) }
      artifact.set("s3", to: s3)
      return artifact
    }
    let sources = ["azure", "from", "fromExpression", "gcs", "git", "http", "oss", "raw", "s3"]
    guard isOutput, artifact["path"] != nil, !sources.contains(where: { artifact[$0].map { !$0.isNull } == true }),
      let name = artifact["name"]?.scalarText
    else { return artifact }
    let archive = artifact["archive"]
    let ending = archive?["none"] != nil ? "" : archive?["zip"] != nil ? ".zip" : ".tgz"
    artifact.set(
      "s3",
      to: DocumentNode(
        .mapping(members + [.init("key", .string("\(keyFormat)/\(name)\(ending)"))])))
    return artifact
  }
}
