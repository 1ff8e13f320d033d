internal import Glibc

/// What a batch step is told: where, and which runs.
struct BatchStepArguments {
  var sharedDirectory: String
  /// nil: in the shared directory.
  var leaseFile: String?
  /// Never empty: its own run, then those of its array that it may take up afterwards.
  var runs: [UInt64]
  /// Whether the tasks of its array take runs from each other.
  var isShared = false
  /// The runs were queued before their inputs were there: for so many seconds the step waits for them. nil: they are there.
  var inputWaitSeconds: UInt64?

  struct Refusal: Error {
    var text: String
    var code: Int32
  }

  private static let usage =
    "usage: batch-step --state-dir DIR (--run ID | --map FILE [--share STRIDE]) [--lease FILE] [--await SECONDS]"
  private static let names: Set<String> = ["--state-dir", "--run", "--map", "--share", "--lease", "--await"]

  /// `--map FILE` and `SLURM_ARRAY_TASK_ID`: the line of that number (from 0) is the run. With `--share` also each `STRIDE`-th line
  /// after it: tasks that run at the same time then look at different runs, as long as they are at most `STRIDE`.
  init(_ arguments: [String], environment: (String) -> String?) throws(Refusal) {
    var options: [String: String] = [:]
    for index in stride(from: 0, to: arguments.count, by: 2) {
      guard index + 1 < arguments.count, Self.names.contains(arguments[index]),
        options.updateValue(arguments[index + 1], forKey: arguments[index]) == nil
      else { throw Refusal(text: Self.usage, code: 2) }
    }
    guard let directory = options["--state-dir"], directory.hasPrefix("/") else {
      throw Refusal(text: Self.usage, code: 2)
    }
    sharedDirectory = directory
    leaseFile = options["--lease"]
    if let wait = options["--await"] {
      guard let seconds = UInt64(wait), seconds <= 3600 else { throw Refusal(text: Self.usage, code: 2) }
      inputWaitSeconds = seconds
    }
    switch (options["--run"], options["--map"], options["--share"]) {
    case (let run?, nil, nil): runs = [try Self.run(run)]
    case (nil, let map?, let share):
      isShared = share != nil
      guard let index = environment("SLURM_ARRAY_TASK_ID").flatMap({ Int($0) }) else {
        throw Refusal(text: "SLURM_ARRAY_TASK_ID is no number", code: 66)
      }
      runs = try Self.runs(in: map, from: index, share: share)
    default: throw Refusal(text: Self.usage, code: 2)
    }
  }

  private static func runs(in map: String, from index: Int, share: String?) throws(Refusal) -> [UInt64] {
    let text = String(decoding: Files.read(map, limit: 4 << 20) ?? [], as: UTF8.self)
    let lines = text.split(separator: "\n", omittingEmptySubsequences: true)
    guard lines.indices.contains(index) else {
      throw Refusal(text: "\(map) names no run for this task of the array", code: 66)
    }
    var found = [try run(String(lines[index]))]
    guard let share else { return found }
    guard let step = Int(share), step > 0 else { throw Refusal(text: usage, code: 2) }
    for other in stride(from: index + step, to: lines.count, by: step) { found.append(try run(String(lines[other]))) }
    return found
  }

  private static func run(_ text: String) throws(Refusal) -> UInt64 {
    guard let id = RunDirectory.id(fromHexadecimal: text) else { throw Refusal(text: "\(text) is no run", code: 2) }
    return id
  }
}
