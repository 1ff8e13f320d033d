/// How `sacct` prints: columns with widths, or with `|` between them.
public struct AccountingFormat: Hashable, Sendable {
  struct Field: Hashable, Sendable {
    var field: JobField
    var heading: String
    var width: Int
    var isLeft = false
  }
  var fields: [Field]

  public static let standard = try! AccountingFormat("jobid,jobname,partition,account,alloccpus,state,exitcode")

  /// `sacct -l`, as far as there is something to show.
  public static let long = try! AccountingFormat(
    "jobid,jobidraw,jobname,user,account,partition,qos,state,exitcode,submit,start,end,elapsed,timelimit,reqcpus,reqmem,nodelist,workdir"
  )

  public static var fieldNames: [String] { names.values.map(\.heading).sorted() }

  static let names = told.merging(
    untold.split(whereSeparator: \.isWhitespace).map { ($0.lowercased(), (.nothing, String($0), 10)) }
  ) { told, _ in told }

  private static let told: [String: (field: JobField, heading: String, width: Int)] = [
    // Nobody measures these here; Slurm shows them so where nothing gathers them.
    "averss": (.nothing, "AveRSS", 10), "avecpu": (.nothing, "AveCPU", 10), "maxrss": (.nothing, "MaxRSS", 10),
    "maxvmsize": (.nothing, "MaxVMSize", 10), "systemcpu": (.noTime, "SystemCPU", 10),
    "totalcpu": (.noTime, "TotalCPU", 10), "usercpu": (.noTime, "UserCPU", 10),
    "cputime": (.cpuTime, "CPUTime", 10), "cputimeraw": (.cpuSeconds, "CPUTimeRAW", 10),
    "account": (.account, "Account", 10), "alloccpus": (.allocatedCPUs, "AllocCPUS", 10),
    "allocnodes": (.allocatedNodes, "AllocNodes", 10), "cluster": (.cluster, "Cluster", 10),
    "alloctres": (.resources, "AllocTRES", 10), "reqtres": (.resources, "ReqTRES", 10),
    "constraints": (.features, "Constraints", 18), "comment": (.comment, "Comment", 14),
    "derivedexitcode": (.derivedExit, "DerivedExitCode", 15),
    "elapsed": (.elapsed, "Elapsed", 10), "elapsedraw": (.elapsedRaw, "ElapsedRaw", 10),
    "eligible": (.eligibleTime, "Eligible", 19), "end": (.endTime, "End", 19), "exitcode": (.exitCode, "ExitCode", 8),
    "jobid": (.id, "JobID", 12), "jobidraw": (.rawID, "JobIDRaw", 12), "jobname": (.name, "JobName", 10),
    "ncpus": (.allocatedCPUs, "NCPUS", 10), "nnodes": (.allocatedNodes, "NNodes", 8),
    "nodelist": (.nodeList, "NodeList", 15), "ntasks": (.tasks, "NTasks", 8),
    "partition": (.partition, "Partition", 10),
    "priority": (.priority, "Priority", 10), "qos": (.qos, "QOS", 10), "reason": (.reason, "Reason", 22),
    "reqcpus": (.cpus, "ReqCPUS", 8), "reqmem": (.memory, "ReqMem", 10), "reqnodes": (.nodes, "ReqNodes", 8),
    "reservation": (.reservation, "Reservation", 20), "start": (.startTime, "Start", 19),
    "state": (.sacctState, "State", 10), "submit": (.submitTime, "Submit", 19),
    "timelimit": (.limitLong, "Timelimit", 10),
    "timelimitraw": (.limitRaw, "TimelimitRaw", 12), "user": (.user, "User", 9), "workdir": (.directory, "WorkDir", 20),
  ]

  /// What `sacct` can be asked for and nobody tells here: empty, as where nothing gathers it.
  private static let untold = """
    AdminComment AssocID AveCPUFreq AveDiskRead AveDiskWrite AvePages AveVMSize BlockID ConsumedEnergy
    ConsumedEnergyRaw Container DBIndex Flags GID Group Layout MaxDiskRead MaxDiskReadNode MaxDiskReadTask
    MaxDiskWrite MaxDiskWriteNode MaxDiskWriteTask MaxPages MaxPagesNode MaxPagesTask MaxRSSNode MaxRSSTask
    MaxVMSizeNode MaxVMSizeTask McsLabel MinCPU MinCPUNode MinCPUTask QOSRAW ReqCPUFreq ReqCPUFreqGov ReqCPUFreqMax
    ReqCPUFreqMin ReservationId Reserved ResvCPU ResvCPURAW SubmitLine Suspended SystemComment
    TRESUsageInAve TRESUsageInMax TRESUsageInMaxNode TRESUsageInMaxTask TRESUsageInMin TRESUsageInMinNode
    TRESUsageInMinTask TRESUsageInTot TRESUsageOutAve TRESUsageOutMax TRESUsageOutMaxNode TRESUsageOutMaxTask
    TRESUsageOutMin TRESUsageOutMinNode TRESUsageOutMinTask TRESUsageOutTot UID WCKey WCKeyID
    """

  /// Names in any case, each with `%WIDTH` or `%-WIDTH` for the left.
  public init(_ text: String) throws(SlurmRefusal) {
    fields = []
    for word in text.split(separator: ",") {
      let halves = word.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
      let name = halves[0].lowercased()
      let near = Self.names.keys.filter { $0.hasPrefix(name) }.sorted()
      guard let key = Self.names[name] != nil ? name : near.first, let known = Self.names[key], !name.isEmpty else {
        throw .error("Invalid field requested: \"\(halves[0])\"")
      }
      var field = Field(field: known.field, heading: known.heading, width: known.width)
      if halves.count == 2 {
        guard let width = Int(halves[1]) else { throw .error("Invalid field requested: \"\(word)\"") }
        (field.width, field.isLeft) = (abs(width), width < 0)
      }
      fields.append(field)
    }
    guard !fields.isEmpty else { throw .error("No fields requested") }
  }

  public enum Style: Hashable, Sendable {
    case columns
    /// With the separator after each field, the last one too.
    case parsable(String)
    /// Between fields alone.
    case parsable2(String)
  }

  public func heading(_ style: Style) -> String {
    let titles = fields.map(\.heading)
    guard case .columns = style else { return Self.join(titles, style) + "\n" }
    let first = zip(titles, fields).map { Column.fit($0, $1.width, isRight: !$1.isLeft) + " " }.joined()
    return first + "\n" + fields.map { String(repeating: "-", count: $0.width) + " " }.joined() + "\n"
  }

  public func line(_ line: JobLine, _ style: Style, _ moment: DisplayMoment) -> String {
    let values = fields.map { field in
      let text = field.field.value(line, moment)
      return text == "(null)" ? "" : text == "N/A" && field.field != .cluster ? "Unknown" : text
    }
    guard case .columns = style else { return Self.join(values, style) + "\n" }
    return zip(values, fields).map { value, field in
      // What is cut says so by a plus, as in Slurm.
      let text = value.count > field.width ? String(value.prefix(max(0, field.width - 1))) + "+" : value
      return Column.fit(text, field.width, isRight: !field.isLeft) + " "
    }.joined() + "\n"
  }

  private static func join(_ values: [String], _ style: Style) -> String {
    switch style {
    case .columns: values.joined(separator: " ")
    case .parsable(let separator): values.map { $0 + separator }.joined()
    case .parsable2(let separator): values.joined(separator: separator)
    }
  }
}
