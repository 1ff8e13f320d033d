internal import FederationModel
internal import Testing

@testable internal import KubernetesExecutor

/// What becomes of a gang, by what the API server says of its pods.
@Suite struct GangVerdictTests {
  private static let running = Objects.job(spec: ["completionMode": "Indexed", "completions": 3])
  private static func job(
    suspended: Bool = false, _ status: JSONValue = [:], _ more: [String: JSONValue] = [:]
  ) -> JobFacts {
    var job = Objects.job(
      status, spec: ["completionMode": "Indexed", "completions": 3, "suspend": .bool(suspended)], more)
    job.queue = "team"
    return job
  }

  /// - Parameter at: seconds of the minute in which its main container ended.
  private static func member(
    _ rank: Int, _ status: JSONValue, uid: String? = nil, deleting: Bool = false, node: String? = "n1"
  ) -> PodFacts {
    var more: [String: JSONValue] = ["annotations": [ObjectName.rankAnnotation: .string(String(rank))]]
    if deleting { more["deletionTimestamp"] = "2026-11-21T02:07:00Z" }
    return Objects.pod(status, uid: uid ?? "pod-\(rank)", node: node, more)
  }

  private static func running(_ rank: Int, uid: String? = nil, deleting: Bool = false) -> PodFacts {
    member(rank, ["phase": "Running", "containerStatuses": [Objects.running()]], uid: uid, deleting: deleting)
  }

  private static func ended(
    _ rank: Int, _ code: Int64, at second: Int = 7, deleting: Bool = false, message: String = "",
    conditions: JSONValue = [], uid: String? = nil
  ) -> PodFacts {
    let finished = "2026-11-21T02:06:\(second < 10 ? "0" : "")\(second)Z"
    return member(
      rank,
      [
        "phase": code == 0 ? "Succeeded" : "Failed", "conditions": conditions,
        "containerStatuses": [
          [
            "name": "main",
            "state": [
              "terminated": [
                "exitCode": .integer(code), "reason": "Error", "message": .string(message),
                "startedAt": "2026-11-21T02:06:00Z", "finishedAt": .string(finished),
              ]
            ],
          ]
        ],
      ], uid: uid, deleting: deleting)
  }

  private static func starting(_ rank: Int) -> PodFacts {
    member(
      rank,
      [
        "phase": "Pending",
        "initContainerStatuses": [Objects.running(JobManifest.initName)],
        "containerStatuses": [Objects.waiting("PodInitializing")],
      ])
  }

  private static func unscheduled(_ rank: Int) -> PodFacts {
    member(
      rank,
      [
        "phase": "Pending",
        "conditions": [
          ["type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"]
        ],
      ], node: nil)
  }

  private static func verdict(
    _ pods: [PodFacts], job: JobFacts = running, cancelled: Bool = false, stopped: Bool = false,
    event: EventFacts? = nil
  ) -> PodVerdict {
    PodVerdict(PodSituation(job: job, pods: pods, event: event, isCancelRequested: cancelled, isStopped: stopped))
  }

  @Test("it has succeeded when every member has, with the time of the longest")
  func success() {
    let pods = [Self.ended(0, 0, at: 3), Self.ended(1, 0, at: 9), Self.ended(2, 0, at: 5)]
    guard case .ended(let end) = Self.verdict(pods) else {
      Issue.record("\(Self.verdict(pods))")
      return
    }
    #expect(end.phase == .succeeded && end.exitCode == 0 && end.wallTime == .seconds(9))
    #expect(Self.verdict([pods[0], pods[1], Self.running(2)]) == .running(""))
    #expect(Self.verdict([pods[0], pods[1]]) == .running("2 of 3 members run"))
  }

  @Test("I6: one member that fails ends all, with its exit code, whatever becomes of the others then")
  func failure() {
    let first = Self.ended(1, 7, at: 4)
    guard case .stop(let stop) = Self.verdict([Self.running(0), first, Self.running(2)]) else {
      Issue.record("the others go on")
      return
    }
    #expect(stop.phase == .failed && stop.exitCode == 7 && stop.message.hasPrefix("member 1: "), "\(stop)")
    // Another one fails because of it, and the third is ended.
    let pods = [Self.ended(0, 1, at: 6), first, Self.ended(2, 143, at: 4, deleting: true)]
    guard case .ended(let end) = Self.verdict(pods, stopped: true) else {
      Issue.record("\(Self.verdict(pods, stopped: true))")
      return
    }
    #expect(end.phase == .failed && end.exitCode == 7 && end.message.hasPrefix("member 1: "), "\(end)")
    #expect(end.wallTime == .seconds(6))
  }

  @Test("a member that is lost loses the gang, also when others fail because of it")
  func lost() {
    var gone = Self.running(2)
    gone.isGone = true
    guard case .stop(let stop) = Self.verdict([Self.running(0), Self.running(1), gone]) else {
      Issue.record("the others go on")
      return
    }
    #expect(stop.phase == .lost && stop.message == "member 2: its pod was deleted, not by the federation", "\(stop)")
    let evicted = Self.ended(
      0, 137, at: 5, deleting: true,
      conditions: [["type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"]])
    let pods = [evicted, Self.ended(1, 1, at: 5), Self.ended(2, 1, at: 6)]
    guard case .ended(let end) = Self.verdict(pods, stopped: true) else {
      Issue.record("\(Self.verdict(pods, stopped: true))")
      return
    }
    #expect(end.phase == .lost && end.cause == .nodeFailure, "\(end)")
    // Somebody deleted a pod, long before another's program noticed.
    let deleted = [Self.ended(0, 143, at: 3, deleting: true), Self.ended(1, 1, at: 9), Self.ended(2, 0)]
    guard case .ended(let other) = Self.verdict(deleted, stopped: true) else {
      Issue.record("\(Self.verdict(deleted, stopped: true))")
      return
    }
    #expect(other.phase == .lost && other.message.hasPrefix("member 0: its pod was deleted"), "\(other)")
  }

  @Test("I1: of two pods of a rank the one that began counts, and the other is ended")
  func secondPod() {
    let pods = [Self.ended(0, 0), Self.ended(1, 0), Self.ended(2, 0), Self.running(1, uid: "pod-9")]
    guard case .stop(let end) = Self.verdict(pods) else {
      Issue.record("\(Self.verdict(pods))")
      return
    }
    #expect(end.phase == .succeeded)
  }

  @Test("I10: what it waits for is said: Kueue's queue and why, pods, members that have no room")
  func waits() throws {
    func text(_ verdict: PodVerdict) -> String { if case .queued(let text) = verdict { text } else { "\(verdict)" } }
    let waiting = Self.job(suspended: true)
    #expect(text(Self.verdict([], job: waiting)) == "it waits in Kueue's queue team")
    let workload = try #require(
      EventFacts(
        [
          "involvedObject": ["kind": "Workload", "name": .string("job-\(Objects.name.text)-1a2b3")],
          "reason": "Pending", "message": "insufficient unused quota for cpu", "type": "Warning",
        ], mark: Objects.mark))
    #expect(workload.run == Objects.name.run)
    #expect(
      text(Self.verdict([], job: waiting, event: workload))
        == "it waits in Kueue's queue team: insufficient unused quota for cpu")
    #expect(text(Self.verdict([Self.starting(0)])) == "1 of 3 members are ready; 2 of 3 pods are not made yet")
    #expect(
      text(Self.verdict([Self.starting(0), Self.unscheduled(1), Self.unscheduled(2)]))
        == "1 of 3 members are ready; member 1 (and 1 more): FailedScheduling: 0/1 nodes are available")
    #expect(text(Self.verdict((0..<3).map(Self.starting))) == "its members get ready")
  }

  @Test("a gang whose members wait for each other in vain is lost, not failed")
  func incomplete() {
    let pod = Self.member(
      0,
      [
        "phase": "Failed",
        "initContainerStatuses": [
          Objects.ended(
            64, message: #"{"fubini":"incomplete","error":"1 of 3 members of the gang were there after 600 s"}"#,
            JobManifest.initName)
        ],
      ])
    guard case .stop(let end) = Self.verdict([pod, Self.unscheduled(1), Self.unscheduled(2)]) else {
      Issue.record("it goes on")
      return
    }
    #expect(end.phase == .lost && end.message.contains("1 of 3 members"), "\(end)")
  }

  // MARK: Kueue

  @Test("preempted by Kueue: once it had begun it is lost with that cause, however its programs end; never failed")
  func preempted() {
    let suspended = Self.job(suspended: true)
    let ending = [Self.running(0, deleting: true), Self.ended(1, 143, deleting: true), Self.running(2)]
    #expect(
      Self.verdict(ending, job: suspended)
        == .running("preempted: Kueue (queue team) has suspended its Job, and its pods are ending"))
    let over = [
      Self.ended(0, 143, deleting: true), Self.ended(1, 3, deleting: true), Self.ended(2, 0, deleting: true),
    ]
    guard case .stop(let end) = Self.verdict(over, job: suspended) else {
      Issue.record("\(Self.verdict(over, job: suspended))")
      return
    }
    #expect(end.phase == .lost && end.cause == .preempted && end.message.hasPrefix("preempted: Kueue"), "\(end)")
    // What it had done by itself before counts.
    let done = (0..<3).map { Self.ended($0, 0) }
    guard case .ended(let success) = Self.verdict(done, job: suspended) else {
      Issue.record("\(Self.verdict(done, job: suspended))")
      return
    }
    #expect(success.phase == .succeeded)
  }

  @Test("preempted by Kueue before anything had begun it waits on, and its next pods are as if they were the first")
  func preemptedEarly() throws {
    var run = TrackedRun(id: Objects.name.run, namespace: "runs", runsAs: nil, grace: .zero, now: .now)
    run.saw(Self.job(), isSeen: true)
    for rank in 0..<3 { run.saw(Self.unscheduled(rank)) }
    run.saw(Self.job(suspended: true), isSeen: true)
    #expect(
      PodVerdict(run.situation(now: .now))
        == .queued("preempted: Kueue (queue team) has suspended its Job before it began"))
    for rank in 0..<3 {
      var pod = Self.unscheduled(rank)
      pod.isGone = true
      run.saw(pod)
    }
    #expect(PodVerdict(run.situation(now: .now)) == .queued("it waits in Kueue's queue team"))
    run.saw(Self.job(), isSeen: true)
    for rank in 0..<3 { run.saw(Self.running(rank, uid: "second-\(rank)")) }
    #expect(PodVerdict(run.situation(now: .now)) == .running(""))
  }

  @Test("a single pod that Kueue preempts is lost with that cause, and no pod of another make is")
  func single() {
    var job = Objects.job(spec: ["suspend": true])
    job.queue = "team"
    var pod = Objects.pod(["phase": "Running", "containerStatuses": [Objects.running()]])
    pod.isGone = true
    guard case .stop(let end) = PodVerdict(PodSituation(job: job, pods: [pod])) else {
      Issue.record("it goes on")
      return
    }
    #expect(end.phase == .lost && end.cause == .preempted)
  }
}
