/// Slurm's reason for a job that waits, as a sentence (I10).
///
/// - Source: squeue(1), "JOB REASON CODES", 22.05 to 25.05.
enum PendingReason {
  static func sentence(_ word: String, partition: String) -> String {
    let place = partition.isEmpty ? "Slurm" : "the partition \(partition)"
    if let known = fixed[word] { return "\(known) (Slurm: \(word))" }
    if word.isEmpty || word == "None" { return "waits in \(place) for Slurm's scheduler to look at it" }
    if word.hasPrefix("ReqNodeNotAvail") {
      return "a node that it needs is down, drained or reserved (Slurm: \(word))"
    }
    for (prefix, text) in prefixes where word.hasPrefix(prefix) { return "\(text) (Slurm: \(word))" }
    return "waits in \(place) (Slurm: \(word))"
  }

  private static let fixed: [String: String] = [
    "Resources": "waits for resources to become free",
    "Priority": "other jobs of the same partition have a higher priority",
    "PartitionTimeLimit": "its walltime is beyond the partition's limit: it cannot start unless one of them is changed",
    "PartitionNodeLimit": "it asks for more nodes than the partition allows: it cannot start",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition starts no jobs at present",
    "PartitionConfig": "the partition's settings do not let it start",
    "JobHeldUser": "held by its owner: `scontrol release` lets it go on",
    "JobHeldAdmin": "held by an administrator of the cluster",
    "Dependency": "waits for another job to end",
    "DependencyNeverSatisfied": "depends on a job that did not end as needed: it can never start",
    "BeginTime": "its begin time has not come",
    "Licenses": "waits for a licence",
    "JobArrayTaskLimit": "its array's limit of tasks at once is reached",
    "Reservation": "waits for its reservation to begin",
    "ReservationDeleted": "its reservation has been deleted",
    "InvalidAccount": "its account is not valid: it cannot start",
    "InvalidQOS": "its QOS is not valid: it cannot start",
    "BadConstraints": "no node can ever give what it asks for",
    "NodeDown": "a node that it needs is down",
    "FrontEndDown": "no front end is up",
    "JobLaunchFailure": "its last start failed; an administrator may release it",
    "launch_failed_requeued_held": "its start failed, and Slurm holds it: an administrator may release it",
    "job_requeued_in_held_state": "requeued and held by an administrator",
    "Cleaning": "requeued; its earlier processes are being cleaned up",
    "Prolog": "its prologue runs",
    "WaitingForScheduling": "Slurm has not looked at it yet",
    "BurstBufferResources": "waits for burst buffer space",
    "BurstBufferStageIn": "its burst buffer is being filled",
    "SchedDefer": "Slurm starts nothing at once at submission; it will be looked at soon",
    "NodesPoweringUp": "its nodes are being started",
  ]

  private static let prefixes: [(String, String)] = [
    ("QOSMax", "a limit of its QOS is reached"), ("QOSGrp", "its QOS has reached a limit for all its jobs together"),
    ("QOSMin", "it asks for less than its QOS requires"), ("QOS", "its QOS does not let it start now"),
    ("AssocMax", "a limit of its account or user is reached"),
    ("AssocGrp", "its account has reached a limit for all its jobs together"),
    ("Assoc", "its account or user does not let it start now"),
    ("MaxCpuPerAccount", "its account has reached its cores"),
    ("MaxGRESPerAccount", "its account has reached its GPUs"),
    ("MaxNodePerAccount", "its account has reached its nodes"),
    ("MaxMemPerLimit", "it asks for more memory than the partition allows for each core or node"),
    ("MaxPerAccount", "its account has reached a limit"), ("MaxJob", "a limit of jobs at once is reached"),
    ("BurstBuffer", "waits for its burst buffer"),
    ("Nodes required for job are", "nodes that it needs are down, drained or reserved"),
    ("DeadLine", "its deadline has passed"), ("Reboot", "a node that it needs restarts"),
  ]
}
