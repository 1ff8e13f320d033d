public import FederationModel

/// The workflow that a submission becomes.
public struct JobDocument: Sendable {
  public var request: BatchRequest
  /// Of the job.
  public var name: String
  /// Absolute: where the script runs, and whose files go along.
  public var directory: String
  public var host: String
  public var user: String
  public var project: String
  /// Of the submission in the project's artifact repository.
  public var submissionKey: String
  /// Given to the script.
  public var arguments: [String]
  /// Where it may not run: those that `--clusters` or `--partition` do not name.
  public var excludedClusters: [String] = []
  /// What it runs in: the operator of a cluster maps names of images to the host's tools or to root file systems.
  public var image = JobDocument.standardImage
  public var datasets: [Mount] = []
  /// Patterns of files below the directory that come back; empty: all that are new or changed.
  public var outputFiles: [String] = []
  /// The directory is used in place: no file goes along or comes back.
  public var shared: SharedDirectory?
  /// What a job that works in place writes at once: patterns of its output and, where that is another file, of its standard error.
  /// nil: they come back.
  public var direct: (output: String, error: String)? {
    guard let shared else { return nil }
    let output = request.output ?? FileNamePattern.standard(isArray: request.array != nil).text
    let error = request.error == request.output ? nil : request.error
    let patterns = [output] + (error.map { [$0] } ?? [])
    // The node's name is another one to who reads, and a backslash is another language.
    guard
      patterns.allSatisfy({ pattern in
        absolute(pattern).hasPrefix(shared.path + "/") && !pattern.contains("\\") && !pattern.contains(/%[0-9]*N/)
          && !pattern.contains("..")
      })
    else { return nil }
    return (absolute(output), error.map(absolute) ?? "")
  }

  /// A data set that it reads.
  public struct Mount: Hashable, Sendable {
    public var name: String
    public var version: Int32?
    /// Absolute.
    public var path: String
    public init(name: String, version: Int32?, path: String) {
      self.name = name
      self.version = version
      self.path = path
    }
  }

  public static let standardImage = "slurm-job"

  public init(
    _ request: BatchRequest, name: String, directory: String, host: String, user: String, project: String,
    submissionKey: String, arguments: [String]
  ) {
    self.request = request
    self.name = name
    self.directory = directory
    self.host = host
    self.user = user
    self.project = project
    self.submissionKey = submissionKey
    self.arguments = arguments
  }

  /// The argument that the control plane fills with the job's number.
  public static let numberParameter = "job"
  /// The template of the script, and the parameters that tell array tasks apart.
  public static let template = "job"
  public static let taskParameter = "task"
  public static let ordinalParameter = "ordinal"
  public static let resultsArtifact = "results"

  public func json() throws(SlurmRefusal) -> JSONValue {
    var templates: [JSONValue] = [try script()]
    if let array = request.array { templates.append(fanOut(array)) }
    var spec: [String: JSONValue] = [
      "entrypoint": request.array == nil ? .string(Self.template) : "array",
      "arguments": ["parameters": [["name": .string(Self.numberParameter), "value": "0"]]],
      "templates": .array(templates),
    ]
    if let shared {
      spec["volumes"] = [
        ["name": .string(Self.volume), "persistentVolumeClaim": ["claimName": .string(shared.claim)]]
      ]
    }
    return [
      "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow",
      "metadata": ["generateName": .string(Self.workflowName(of: name))], "spec": .object(spec),
    ]
  }

  private static let volume = "submit"

  /// What the names of the workflows of a job called `name` begin with.
  public static func workflowName(of name: String) -> String {
    var text = ""
    for character in name.lowercased() {
      let isPlain = character.isASCII && (character.isLetter || character.isNumber)
      if isPlain { text.append(character) } else if !text.isEmpty, !text.hasSuffix("-") { text.append("-") }
    }
    while text.hasSuffix("-") { text.removeLast() }
    text = String(text.prefix(40))
    while text.hasSuffix("-") { text.removeLast() }
    return (text.isEmpty ? "job" : text) + "-"
  }

  private func fanOut(_ array: TaskArray) -> JSONValue {
    let items: [JSONValue] = array.indices.enumerated().map { ordinal, index in
      [Self.taskParameter: .string("\(index)"), Self.ordinalParameter: .string("\(ordinal)")]
    }
    let arguments: JSONValue = [
      "parameters": [
        ["name": .string(Self.taskParameter), "value": "{{item.task}}"],
        ["name": .string(Self.ordinalParameter), "value": "{{item.ordinal}}"],
      ]
    ]
    var template: [String: JSONValue] = [
      "name": "array",
      "steps": [
        [
          [
            "name": "task", "template": .string(Self.template), "arguments": arguments, "withItems": .array(items),
          ]
        ]
      ],
    ]
    if let limit = array.parallelism { template["parallelism"] = .integer(Int64(limit)) }
    return .object(template)
  }

  /// A document of an array with some of its tasks alone.
  public static func keeping(_ document: JSONValue, _ isKept: (Int32) -> Bool) -> JSONValue {
    switch document {
    case .object(var members):
      if case .array(let items)? = members["withItems"] {
        members["withItems"] = .array(
          items.filter { item in
            guard case .object(let values) = item, case .string(let text)? = values[taskParameter],
              let task = Int32(text)
            else { return true }
            return isKept(task)
          })
      }
      return .object(members.mapValues { keeping($0, isKept) })
    case .array(let elements): return .array(elements.map { keeping($0, isKept) })
    default: return document
    }
  }

  private func script() throws(SlurmRefusal) -> JSONValue {
    var environment = JobEnvironment.variables(
      request, name: name, directory: directory, host: host, user: user, project: project)
    environment += [
      ("FUBINI_DIR", directory), ("FUBINI_INPUT", request.input.map(absolute) ?? ""),
      ("FUBINI_STDERR", request.error == nil || request.error == request.output ? "" : "1"),
      ("FUBINI_IN_PLACE", shared == nil ? "" : "1"), ("FUBINI_OUT", outputFiles.joined(separator: "\n")),
      ("FUBINI_OUTPUT", direct?.output ?? ""), ("FUBINI_ERROR", direct?.error ?? ""),
      ("FUBINI_APPENDS", request.appends ? "1" : ""),
    ]
    environment += warning
    // Nobody's text may be taken for a tag; a variable's value cannot be told apart from one.
    for (name, value) in environment where value.contains("{{") {
      throw .error("Two opening braces in a row cannot be in \(name): \(value)")
    }
    for argument in arguments where argument.contains("{{") {
      throw .error("Two opening braces in a row cannot be in an argument of the script: \(argument)")
    }
    var values = environment.map { ["name": .string($0.name), "value": .string($0.value)] as JSONValue }
    values += [
      ["name": "FUBINI_JOB", "value": "{{workflow.parameters.job}}"],
      ["name": "FUBINI_TASK", "value": "{{inputs.parameters.task}}"],
      ["name": "FUBINI_ORDINAL", "value": "{{inputs.parameters.ordinal}}"],
    ]
    var script: [String: JSONValue] = [
      "image": .string(image), "command": ["/bin/sh"], "source": .string(JobWrapper.text), "env": .array(values),
      "workingDir": .string(directory), "resources": resources,
    ]
    if let shared {
      script["volumeMounts"] = [["name": .string(Self.volume), "mountPath": .string(shared.path)]]
    }
    if !arguments.isEmpty { script["args"] = .array(arguments.map { .string($0) }) }
    return [
      "name": .string(Self.template),
      "inputs": [
        "parameters": [
          ["name": .string(Self.taskParameter), "value": ""], ["name": .string(Self.ordinalParameter), "value": "0"],
        ],
        "artifacts": [
          [
            "name": "submission", "path": .string(JobWrapper.submissionPath), "archive": ["none": [:]],
            "s3": ["key": .string(submissionKey)],
          ]
        ],
      ],
      "outputs": [
        "artifacts": [
          [
            "name": .string(Self.resultsArtifact), "path": .string(JobWrapper.resultsPath), "archive": ["none": [:]],
            "optional": true,
          ]
        ]
      ],
      "script": .object(script), "federation": federation,
    ]
  }

  private func absolute(_ path: String) -> String { path.hasPrefix("/") ? path : directory + "/" + path }

  private var warning: [(name: String, value: String)] {
    guard let warning = request.warning, let limit = request.timeSeconds else {
      return [("FUBINI_SIGNAL", ""), ("FUBINI_SIGNAL_AFTER", ""), ("FUBINI_SIGNAL_SHELL", "")]
    }
    return [
      ("FUBINI_SIGNAL", warning.signal), ("FUBINI_SIGNAL_AFTER", "\(max(0, limit - warning.secondsBefore))"),
      ("FUBINI_SIGNAL_SHELL", warning.isForShell ? "1" : ""),
    ]
  }

  private var resources: JSONValue {
    var requests: [String: JSONValue] = ["cpu": .string("\(request.cpusOnNode)")]
    var limits: [String: JSONValue] = [:]
    if let memory = request.memoryOnNodeMebibytes {
      requests["memory"] = .string("\(memory)Mi")
      limits["memory"] = .string("\(memory)Mi")
    }
    if request.gpusOnNode > 0 { limits["nvidia.com/gpu"] = .string("\(request.gpusOnNode)") }
    return limits.isEmpty
      ? ["requests": .object(requests)] : ["requests": .object(requests), "limits": .object(limits)]
  }

  /// The classes of the federation, as QOS names them.
  public static let classes: Set<String> = ["realtime", "interruptible", "offline", "idle"]

  private var federation: JSONValue {
    // What the script leaves goes home, so it is in the repository when the job is seen to have ended.
    var members: [String: JSONValue] = [
      "stageOut": "eager",
      // Who is ended, or has to leave, has written until then.
      "onPreempt": ["checkpoint": .string(Self.resultsArtifact), "grace": "30s"],
    ]
    if let seconds = request.timeSeconds { members["walltime"] = .string("\(seconds)s") }
    if let qos = request.qos?.lowercased(), Self.classes.contains(qos) { members["priorityClass"] = .string(qos) }
    if let type = request.gpuType { members["gpuType"] = .string(type) }
    var slurm: [String: JSONValue] = [:]
    if let partition = request.partition { slurm["partition"] = .string(partition) }
    if let constraint = request.constraint { slurm["constraint"] = .string(constraint) }
    if let reservation = request.reservation { slurm["reservation"] = .string(reservation) }
    if let licences = request.licences { slurm["licences"] = .string(licences) }
    if let qos = request.qos, !Self.classes.contains(qos.lowercased()) { slurm["qos"] = .string(qos) }
    if request.isExclusive { slurm["exclusive"] = true }
    if request.nodeCount > 1 {
      // The script starts once, on the first node, and srun in it reaches all.
      members["gang"] = ["size": .integer(request.nodeCount)]
      slurm["nodes"] = .integer(request.nodeCount)
      slurm["batch"] = true
    }
    if let requeues = request.requeues { slurm["requeue"] = .bool(requeues) }
    if !excludedClusters.isEmpty { members["clusters"] = ["exclude": .array(excludedClusters.map { .string($0) })] }
    if !slurm.isEmpty { members["slurm"] = .object(slurm) }
    if !datasets.isEmpty {
      members["datasets"] = .array(
        datasets.map { mount in
          var member: [String: JSONValue] = ["name": .string(mount.name), "mountPath": .string(mount.path)]
          if let version = mount.version { member["version"] = .integer(Int64(version)) }
          return .object(member)
        })
    }
    return .object(members)
  }
}
