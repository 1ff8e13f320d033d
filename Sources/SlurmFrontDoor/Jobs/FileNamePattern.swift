/// The names of a job's output files: `--output` and `--error`.
///
/// - Source: sbatch(1), "filename pattern".
public struct FileNamePattern: Hashable, Sendable {
  public var text: String
  public init(_ text: String) { self.text = text }

  /// What stands for the letters.
  public struct Values: Hashable, Sendable {
    /// Of the job itself, and of its array; the same for a job that is none.
    public var job: Int64
    public var arrayJob: Int64
    public var arrayTask: Int32?
    public var name: String
    public var user: String
    /// The short name of the first node.
    public var node: String
    public init(job: Int64, arrayJob: Int64, arrayTask: Int32?, name: String, user: String, node: String) {
      self.job = job
      self.arrayJob = arrayJob
      self.arrayTask = arrayTask
      self.name = name
      self.user = user
      self.node = node
    }
  }

  /// What sbatch takes where nothing is said.
  public static func standard(isArray: Bool) -> FileNamePattern {
    FileNamePattern(isArray ? "slurm-%A_%a.out" : "slurm-%j.out")
  }

  /// Slurm's own value where there is no array task.
  private static let noTask = "4294967294"

  public func name(_ values: Values) -> String {
    // With a backslash anywhere, Slurm replaces nothing and takes the backslashes away.
    if text.contains("\\") { return text.replacing("\\", with: "") }
    var name = ""
    var rest = text[...]
    while let character = rest.popFirst() {
      guard character == "%" else {
        name.append(character)
        continue
      }
      let digits = rest.prefix { $0.isASCII && $0.isNumber }
      let letter = rest.dropFirst(digits.count).first
      guard let value = letter.flatMap({ Self.value($0, values) }) else {
        name.append("%")
        if letter == "%" { rest = rest.dropFirst(digits.count + 1) }
        continue
      }
      rest = rest.dropFirst(digits.count + 1)
      let width = min(Int(digits) ?? 0, 10)
      let isNumber = value.allSatisfy(\.isNumber)
      name += isNumber ? String(repeating: "0", count: max(0, width - value.count)) + value : value
    }
    return name
  }

  private static func value(_ letter: Character, _ values: Values) -> String? {
    switch letter {
    case "A": "\(values.arrayJob)"
    case "a": values.arrayTask.map { "\($0)" } ?? noTask
    case "J", "j": "\(values.job)"
    case "N": values.node
    case "n", "t": "0"
    case "s": "batch"
    case "u": values.user
    case "x": values.name
    default: nil
    }
  }
}
