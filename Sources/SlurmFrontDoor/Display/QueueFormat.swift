/// How `squeue` prints: `-o "%.18i %.9P"`, and `-O name:20,...`.
public struct QueueFormat: Hashable, Sendable {
  enum Part: Hashable, Sendable {
    case text(String)
    case field(JobField, heading: String, width: Int?, isRight: Bool)
  }
  var parts: [Part]

  public static let standard = try! QueueFormat("%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R")
  /// `squeue -l`.
  public static let long = try! QueueFormat("%.18i %.9P %.8j %.8u %.8T %.10M %.9l %.6D %R")

  public static var knownLetters: [Character] { letters.keys.sorted() }
  public static var knownNames: [String] { names.keys.sorted() }

  static let letters: [Character: (field: JobField, heading: String)] = [
    "a": (.account, "ACCOUNT"), "A": (.number, "JOBID"), "B": (.execHost, "EXEC_HOST"), "c": (.minimum, "MIN_CPUS"),
    "C": (.cpus, "CPUS"), "d": (.zero, "MIN_TMP_DISK"), "D": (.nodes, "NODES"), "e": (.endTime, "END_TIME"),
    "E": (.dependency, "DEPENDENCY"), "f": (.features, "FEATURES"), "F": (.arrayJob, "ARRAY_JOB_ID"),
    "h": (.oversubscribe, "OVER_SUBSCRIBE"), "i": (.id, "JOBID"), "j": (.name, "NAME"), "k": (.comment, "COMMENT"),
    "K": (.arrayTask, "ARRAY_TASK_ID"), "l": (.timeLimit, "TIME_LIMIT"), "L": (.timeLeft, "TIME_LEFT"),
    "m": (.memory, "MIN_MEMORY"), "M": (.timeUsed, "TIME"), "n": (.requiredNodes, "REQ_NODES"),
    "N": (.nodeList, "NODELIST"), "o": (.command, "COMMAND"), "p": (.priority, "PRIORITY"),
    "P": (.partition, "PARTITION"), "q": (.qos, "QOS"), "Q": (.priority, "PRIORITY"), "r": (.reason, "REASON"),
    "R": (.nodeListReason, "NODELIST(REASON)"), "S": (.startTime, "START_TIME"), "t": (.compactState, "ST"),
    "T": (.state, "STATE"), "u": (.user, "USER"), "v": (.reservation, "RESERVATION"), "V": (.submitTime, "SUBMIT_TIME"),
    "w": (.empty, "WCKEY"), "W": (.licences, "LICENSES"), "x": (.requiredNodes, "EXC_NODES"), "y": (.zero, "NICE"),
    "Z": (.directory, "WORK_DIR"), "b": (.gres, "TRES_PER_NODE"), "H": (.any, "SOCKETS_PER_NODE"),
    "I": (.any, "CORES_PER_SOCKET"), "J": (.any, "THREADS_PER_CORE"), "O": (.zero, "CONTIGUOUS"),
    "X": (.notSaid, "CORE_SPEC"), "Y": (.empty, "SCHEDNODES"), "z": (.anySockets, "S:C:T"),
  ]

  /// - Throws: for a letter that means nothing here.
  public init(_ format: String) throws(SlurmRefusal) {
    parts = []
    var literal = ""
    var rest = format[...]
    while let character = rest.popFirst() {
      guard character == "%" else {
        literal.append(character)
        continue
      }
      let isRight = rest.first == "."
      if isRight { rest.removeFirst() }
      let digits = rest.prefix { $0.isASCII && $0.isNumber }
      rest = rest.dropFirst(digits.count)
      guard let letter = rest.popFirst() else { break }
      guard let known = Self.letters[letter] else {
        throw .error("Invalid job format specification: \(letter)")
      }
      if !literal.isEmpty { parts.append(.text(literal)) }
      literal = ""
      parts.append(.field(known.field, heading: known.heading, width: Int(digits), isRight: isRight))
    }
    if !literal.isEmpty { parts.append(.text(literal)) }
  }

  static let names: [String: (field: JobField, heading: String)] = [
    "account": (.account, "ACCOUNT"), "arrayjobid": (.arrayJob, "ARRAY_JOB_ID"),
    "arraytaskid": (.arrayTask, "ARRAY_TASK_ID"), "cluster": (.cluster, "CLUSTER"), "command": (.command, "COMMAND"),
    "comment": (.comment, "COMMENT"), "dependency": (.dependency, "DEPENDENCY"), "endtime": (.endTime, "END_TIME"),
    "exit_code": (.exitCode, "EXIT_CODE"), "feature": (.features, "FEATURES"), "jobarrayid": (.id, "JOBID"),
    "jobid": (.number, "JOBID"), "licenses": (.licences, "LICENSES"), "minmemory": (.memory, "MIN_MEMORY"),
    "mincpus": (.minimum, "MIN_CPUS"), "name": (.name, "NAME"), "nodelist": (.nodeList, "NODELIST"),
    "numcpus": (.cpus, "CPUS"), "numnodes": (.nodes, "NODES"), "numtasks": (.tasks, "TASKS"),
    "partition": (.partition, "PARTITION"), "prioritylong": (.priority, "PRIORITY"), "qos": (.qos, "QOS"),
    "reason": (.reason, "REASON"), "reasonlist": (.nodeListReason, "NODELIST(REASON)"),
    "reservation": (.reservation, "RESERVATION"), "starttime": (.startTime, "START_TIME"), "state": (.state, "STATE"),
    "statecompact": (.compactState, "ST"), "stderr": (.error, "STDERR"), "stdout": (.output, "STDOUT"),
    "submittime": (.submitTime, "SUBMIT_TIME"), "timeleft": (.timeLeft, "TIME_LEFT"),
    "timelimit": (.timeLimit, "TIME_LIMIT"), "timeused": (.timeUsed, "TIME"), "username": (.user, "USER"),
    "workdir": (.directory, "WORK_DIR"), "tres-per-node": (.gres, "TRES_PER_NODE"), "tres": (.gres, "TRES_ALLOC"),
    "message": (.message, "MESSAGE"), "workflow": (.workflow, "WORKFLOW"),
  ]

  /// `-O`: names, each with `:[.]WIDTH`; 20 wide where nothing is said.
  public init(fields text: String) throws(SlurmRefusal) {
    parts = []
    for word in text.split(separator: ",") {
      let halves = word.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      guard let known = Self.names[halves[0].lowercased()] else {
        throw .error("Invalid job format specification: \(halves[0])")
      }
      let size = halves.count == 2 ? halves[1] : ""
      let isRight = size.hasPrefix(".")
      let digits = size.dropFirst(isRight ? 1 : 0).prefix { $0.isASCII && $0.isNumber }
      parts.append(.field(known.field, heading: known.heading, width: Int(digits) ?? 20, isRight: isRight))
      let suffix = size.dropFirst((isRight ? 1 : 0) + digits.count)
      if !suffix.isEmpty { parts.append(.text(String(suffix))) }
    }
    guard !parts.isEmpty else { throw .error("Format specification is empty") }
  }

  public var heading: String { render { $1 } }

  public func line(_ line: JobLine, _ moment: DisplayMoment) -> String {
    render { field, _ in field.value(line, moment) }
  }

  private func render(_ value: (JobField, String) -> String) -> String {
    parts.map { part in
      switch part {
      case .text(let text): text
      case .field(let field, let heading, let width, let isRight):
        Column.fit(value(field, heading), width, isRight: isRight)
      }
    }.joined()
  }
}

/// Text in columns, as Slurm's commands have it.
enum Column {
  /// Exactly `width` characters: cut, or filled up with blanks.
  static func fit(_ text: String, _ width: Int?, isRight: Bool) -> String {
    guard let width else { return text }
    let cut = String(text.prefix(width))
    let blanks = String(repeating: " ", count: width - cut.count)
    return isRight ? blanks + cut : cut + blanks
  }
}
