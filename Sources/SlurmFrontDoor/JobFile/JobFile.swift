public import FederationModel

/// A job file as Lebesgue's and Bohrium's commands take it: JSON with `job_name`, `command`, `machine_type` and so on.
///
/// - Source: bohrium-doc.dp.tech, "Job Commands"; the field names of `lbg` are the same.
public struct JobFile: Hashable, Sendable {
  public var jobName = "fubini-job"
  public var command: String
  public var machineType: String
  public var image: String
  /// A project's name, or a number that is one.
  public var project: String?
  public var timeSeconds: Int64?
  /// Each of the machine type; the command starts once, on the first.
  public var nodes: Int64 = 1
  public var datasets: [JobDocument.Mount] = []
  /// Patterns below the input directory that come back; empty: all that is new or changed.
  public var outputFiles: [String] = []
  /// Files below the input directory that come back, too, for `job log`.
  public var logFiles: [String] = []
  /// Where results are brought by themselves; nil: `job download` brings them.
  public var resultPath: String?
  public var inputDirectory: String?
  /// Fields that were taken without effect, and why.
  public var notes: [String] = []

  /// - Parameter overrides: what the command line says, by the same names.
  /// - Throws: for a field that is unknown, of the wrong kind, or cannot be obeyed.
  public init(_ document: JSONValue, overrides: [String: JSONValue] = [:]) throws(SlurmRefusal) {
    guard case .object(let members) = document else { throw Self.problem("a job file is a JSON object") }
    var fields = Fields(members.merging(overrides) { $1 })
    command = try fields.text("command") ?? ""
    machineType = try fields.text("machine_type", "scass_type") ?? ""
    image = try fields.text("image_address", "image_name") ?? ""
    for (value, name) in [(command, "command"), (machineType, "machine_type"), (image, "image_address")]
    where value.isEmpty { throw Self.problem("the job file says no \(name)") }
    if let name = try fields.text("job_name"), !name.isEmpty { jobName = name }
    project = try fields.text("project_id", "program_id", "project")
    if let minutes = try fields.number("max_run_time"), minutes > 0 { timeSeconds = minutes * 60 }
    outputFiles = try fields.texts("out_files", "backward_files")
    logFiles = try fields.texts("log_files", "log_file")
    for pattern in outputFiles + logFiles { try Self.checkInside(pattern) }
    for path in try fields.texts("dataset_path") { datasets.append(try Self.mount(path)) }
    resultPath = try fields.text("result_path", "result").flatMap { $0.isEmpty ? nil : $0 }
    inputDirectory = try fields.text("input_directory", "input_file", "input_file_dir")
    if let number = try fields.number("nnode"), number > 0 { nodes = min(number, 100_000) }
    try fields.ignore("job_type", "jobs are containers or programs as the cluster's images say")
    try fields.ignore("disk_size", "a job has the disk of its node")
    try fields.ignore("max_reschedule_times", "a job whose node is lost is placed again by itself")
    try fields.ignore("job_group_id", "`fubini job list` shows jobs by project")
    try fields.ignore("platform", "clusters are chosen by the federation, or by the machine type's partition")
    try fields.ignore("region", "clusters are chosen by the federation, or by the machine type's partition")
    try fields.ignore("on_demand", "spot capacity is bid for in workflows")
    notes = fields.notes
    if let unknown = fields.members.keys.min() {
      throw Self.problem("the job file has an unknown field \(unknown)")
    }
  }

  private static func problem(_ text: String) -> SlurmRefusal { SlurmRefusal(lines: [text], exitCode: 1) }

  private static func checkInside(_ pattern: String) throws(SlurmRefusal) {
    let parts = pattern.split(separator: "/", omittingEmptySubsequences: false)
    guard !pattern.isEmpty, !pattern.hasPrefix("/"), !parts.contains(".."), !pattern.contains(where: \.isNewline) else {
      throw problem("\"\(pattern)\" names no files below the input directory")
    }
  }

  /// `NAME`, `NAME@3`, `/bohr/NAME/v3`; it is seen as `/bohr/NAME/v3`, without a version as `/bohr/NAME`, or where the path says.
  static func mount(_ path: String) throws(SlurmRefusal) -> JobDocument.Mount {
    var words = path.split(separator: "/").map(String.init)
    var version: Int32?
    if path.hasPrefix("/"), words.count >= 2, let last = words.last, last.first == "v",
      let number = Int32(last.dropFirst()), number > 0
    {
      version = number
      words.removeLast()
    }
    guard var name = words.last else { throw problem("\"\(path)\" names no data set") }
    if let at = name.firstIndex(of: "@") {
      guard let number = Int32(name[name.index(after: at)...]), number > 0 else {
        throw problem("\"\(path)\" names no version of a data set: NAME@3, or /bohr/NAME/v3")
      }
      version = number
      name = String(name[..<at])
    }
    let place = path.hasPrefix("/") ? path : "/bohr/\(name)" + (version.map { "/v\($0)" } ?? "")
    return JobDocument.Mount(name: name, version: version, path: place)
  }

  /// What a submission asks for with it.
  public func request(_ type: MachineType) -> BatchRequest {
    var request = BatchRequest()
    request.jobName = jobName
    request.account = project
    request.cpusPerTask = type.cpus
    request.nodesAsked = nodes
    request.memoryPerNode = type.memoryMebibytes
    if type.gpus > 0 { (request.gpusPerNode, request.gpuType) = (type.gpus, type.gpuType) }
    request.partition = type.partition
    request.timeSeconds = timeSeconds
    request.output = Self.outputName
    request.notes = notes
    // What the person's shell has is not what the image has.
    request.export = .none
    return request
  }

  /// Standard output and error, beside the results.
  public static let outputName = "STDOUTERR"

  /// All patterns of what comes back; empty: all that is new or changed.
  public var returned: [String] {
    outputFiles.isEmpty ? [] : outputFiles + logFiles.filter { !outputFiles.contains($0) }
  }
}

/// The members of a job file, taken one by one.
private struct Fields {
  var members: [String: JSONValue]
  var notes: [String] = []

  init(_ members: [String: JSONValue]) { self.members = members }

  /// The first of these names that is there.
  private mutating func take(_ names: [String]) -> (name: String, value: JSONValue)? {
    var found: (String, JSONValue)?
    for name in names {
      guard let value = members.removeValue(forKey: name), value != .null else { continue }
      if found == nil { found = (name, value) }
    }
    return found
  }

  private static func wrong(_ name: String, _ wanted: String) -> SlurmRefusal {
    SlurmRefusal(lines: ["\(name) of the job file must be \(wanted)"], exitCode: 1)
  }

  /// A number is as good as its digits.
  mutating func text(_ names: String...) throws(SlurmRefusal) -> String? {
    guard let (name, value) = take(names) else { return nil }
    switch value {
    case .string(let text): return text
    case .integer(let number): return "\(number)"
    default: throw Self.wrong(name, "a text")
    }
  }

  mutating func number(_ name: String) throws(SlurmRefusal) -> Int64? {
    guard let (_, value) = take([name]) else { return nil }
    switch value {
    case .integer(let number) where (0...1 << 24).contains(number): return number
    case .string(let text):
      if text.isEmpty { return nil }
      if let number = Int64(text), (0...1 << 24).contains(number) { return number }
    default: break
    }
    throw Self.wrong(name, "a whole number")
  }

  /// One text, or a list of them.
  mutating func texts(_ names: String...) throws(SlurmRefusal) -> [String] {
    guard let (name, value) = take(names) else { return [] }
    switch value {
    case .string(let text): return text.isEmpty ? [] : [text]
    case .array(let items):
      var texts: [String] = []
      for item in items {
        guard case .string(let text) = item else { throw Self.wrong(name, "a list of texts") }
        texts.append(text)
      }
      return texts
    default: throw Self.wrong(name, "a text or a list of texts")
    }
  }

  mutating func ignore(_ name: String, _ reason: String) throws(SlurmRefusal) {
    guard take([name]) != nil else { return }
    notes.append("\(name) has no effect here: \(reason)")
  }
}
