public import FederationModel

/// `arguments` of a workflow, step, task or hook.
public struct WorkflowArguments: Hashable, Sendable, Codable {
  public var parameters: [WorkflowParameter]
  public var artifacts: [WorkflowArtifact]
  public init(parameters: [WorkflowParameter] = [], artifacts: [WorkflowArtifact] = []) {
    self.parameters = parameters
    self.artifacts = artifacts
  }
  public var isEmpty: Bool { parameters.isEmpty && artifacts.isEmpty }
}

/// `inputs` of a template.
public struct TemplateInputs: Hashable, Sendable, Codable {
  public var parameters: [WorkflowParameter]
  public var artifacts: [WorkflowArtifact]
  public init(parameters: [WorkflowParameter] = [], artifacts: [WorkflowArtifact] = []) {
    self.parameters = parameters
    self.artifacts = artifacts
  }
}

/// `outputs` of a template.
public struct TemplateOutputs: Hashable, Sendable, Codable {
  public var parameters: [WorkflowParameter]
  public var artifacts: [WorkflowArtifact]
  public init(parameters: [WorkflowParameter] = [], artifacts: [WorkflowArtifact] = []) {
    self.parameters = parameters
    self.artifacts = artifacts
  }
}

/// A named text. Numbers and booleans of the document are texts here, as in Argo.
public struct WorkflowParameter: Hashable, Sendable, Codable {
  public var name: String
  /// May hold tags.
  public var value: String?
  /// Used when no value is supplied. May hold tags.
  public var defaultValue: String?
  /// The allowed values; nil allows every text.
  public var allowedValues: [String]?
  public var valueFrom: ValueFrom?
  /// An output that is also a workflow output, as `workflow.outputs.parameters.<globalName>`.
  public var globalName: String?
  /// Told beside the value: clients keep there what they know of it (pydflow its type).
  public var about: String?
  public init(
    name: String, value: String? = nil, defaultValue: String? = nil, allowedValues: [String]? = nil,
    valueFrom: ValueFrom? = nil, globalName: String? = nil
  ) {
    self.name = name
    self.value = value
    self.defaultValue = defaultValue
    self.allowedValues = allowedValues
    self.valueFrom = valueFrom
    self.globalName = globalName
  }
}

/// `valueFrom` of a parameter.
public struct ValueFrom: Hashable, Sendable, Codable {
  public enum Source: Hashable, Sendable, Codable {
    /// A file in the container.
    case path(String)
    /// Another parameter, as a tag: `{{steps.a.outputs.parameters.b}}`.
    case parameter(String)
    /// expr-lang, without braces.
    case expression(String)
    /// Of a `resource` template: a value of its object, as `kubectl get -o jsonpath=` takes it.
    case jsonPath(String)
    /// Given at `resume`, or taken from the node that is asked.
    case supplied
  }
  /// nil when only a default is given.
  public var source: Source?
  /// Used when the source gives nothing.
  public var defaultValue: String?
  public init(source: Source?, defaultValue: String? = nil) {
    self.source = source
    self.defaultValue = defaultValue
  }
}

/// A file or directory that is handed on.
public struct WorkflowArtifact: Hashable, Sendable, Codable {
  public var name: String
  /// Absolute; where it appears, or is found, in the container. May hold tags. nil in arguments and in outputs of
  /// steps and dags.
  public var path: String?
  /// POSIX permission bits.
  public var mode: Int32?
  /// Whether `mode` is for everything in a directory.
  public var isModeRecursive = false
  /// Of an input: the part of it that is meant. May hold tags.
  public var subPath: String?
  /// Of an output's gzip, 1 to 9; nil: the agent's own.
  public var compressionLevel: Int32?
  /// The bytes themselves (`raw.data`). May hold tags.
  public var raw: String?
  /// A key in the project's artifact repository (`s3.key`). May hold tags.
  public var key: String?
  /// Somebody else's object (`s3` with a bucket, `http`, of inputs also `git`).
  public var foreign: ForeignSource?
  /// A tag that names another artifact.
  public var from: String?
  /// expr-lang that names another artifact.
  public var fromExpression: String?
  public var optional: Bool
  /// nil means Argo's default: `tar` for outputs, whatever the stored artifact is for inputs.
  public var archive: ArchiveFormat?
  /// An output that is also a workflow output, as `workflow.outputs.artifacts.<globalName>`.
  public var globalName: String?
  /// When an output goes from the repository (`artifactGC`); nil: as the workflow says.
  public var collection: ArtifactGCStrategy?
  public init(
    name: String, path: String? = nil, mode: Int32? = nil, raw: String? = nil, key: String? = nil,
    foreign: ForeignSource? = nil, from: String? = nil,
    fromExpression: String? = nil, optional: Bool = false, archive: ArchiveFormat? = nil,
    globalName: String? = nil, collection: ArtifactGCStrategy? = nil
  ) {
    self.collection = collection
    self.name = name
    self.path = path
    self.mode = mode
    self.raw = raw
    self.key = key
    self.foreign = foreign
    self.from = from
    self.fromExpression = fromExpression
    self.optional = optional
    self.archive = archive
    self.globalName = globalName
  }
}
