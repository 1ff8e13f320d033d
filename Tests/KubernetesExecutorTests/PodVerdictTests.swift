internal import FederationModel
internal import Testing

@testable internal import KubernetesExecutor

/// Objects as an API server writes them.
enum Objects {
  static let mark = ObjectNameTests.mark
  static let name = ObjectName(mark: mark, run: ObjectNameTests.run)

  static func metadata(_ name: String, uid: String, _ more: [String: JSONValue] = [:]) -> JSONValue {
    var fields: [String: JSONValue] = [
      "name": .string(name), "namespace": "runs", "uid": .string(uid), "creationTimestamp": "2026-11-21T02:06:00Z",
      "labels": .object(Self.name.labels(project: "p")),
    ]
    fields.merge(more) { $1 }
    return .object(fields)
  }

  static func job(_ status: JSONValue = [:], spec: JSONValue = [:], _ more: [String: JSONValue] = [:]) -> JobFacts {
    JobFacts(
      [
        "metadata": metadata(
          name.text, uid: "job-1", more.merging(["finalizers": [.string(ObjectName.finalizer)]]) { a, _ in a }),
        "spec": spec, "status": status,
      ], mark: mark)!
  }

  static func failed(_ reason: String, _ message: String) -> JSONValue {
    [
      "conditions": [
        ["type": "Failed", "status": "True", "reason": .string(reason), "message": .string(message)]
      ]
    ]
  }

  static func pod(
    _ status: JSONValue, uid: String = "pod-1", node: String? = "n1", _ more: [String: JSONValue] = [:]
  ) -> PodFacts {
    PodFacts(
      [
        "metadata": metadata(name.text + "-" + uid, uid: uid, more),
        "spec": node.map { ["nodeName": .string($0)] } ?? [:], "status": status,
      ], mark: mark)!
  }

  static func container(_ name: String, _ state: JSONValue) -> JSONValue { ["name": .string(name), "state": state] }
  static func running(_ name: String = "main") -> JSONValue {
    container(name, ["running": ["startedAt": "2026-11-21T02:06:00Z"]])
  }
  static func waiting(_ reason: String, _ message: String = "", _ name: String = "main") -> JSONValue {
    container(name, ["waiting": ["reason": .string(reason), "message": .string(message)]])
  }
  static func ended(
    _ code: Int64, reason: String = "Error", message: String = "", signal: Int64 = 0, _ name: String = "main"
  ) -> JSONValue {
    container(
      name,
      [
        "terminated": [
          "exitCode": .integer(code), "reason": .string(reason), "message": .string(message),
          "signal": .integer(signal), "startedAt": "2026-11-21T02:06:00Z", "finishedAt": "2026-11-21T02:06:07Z",
        ]
      ])
  }

  /// A pod whose main container has ended.
  static func finished(
    _ code: Int64, reason: String = "Error", message: String = "", signal: Int64 = 0,
    _ status: [String: JSONValue] = [:]
  ) -> PodFacts {
    var fields: [String: JSONValue] = [
      "phase": code == 0 ? "Succeeded" : "Failed",
      "containerStatuses": [ended(code, reason: reason, message: message, signal: signal)],
    ]
    fields.merge(status) { $1 }
    return pod(.object(fields))
  }

  static func event(_ reason: String, _ message: String) -> EventFacts {
    EventFacts(
      [
        "involvedObject": ["kind": "Job", "name": .string(name.text)], "reason": .string(reason),
        "message": .string(message), "type": "Warning", "lastTimestamp": "2026-11-21T02:06:00Z",
      ], mark: mark)!
  }
}

/// What becomes of a run, by what the API server says.
@Suite struct PodVerdictTests {
  private static let job = Objects.job()
  private static func verdict(_ pod: PodFacts, job: JobFacts? = job, cancelled: Bool = false) -> PodVerdict {
    PodVerdict(PodSituation(job: job, pods: [pod], isCancelRequested: cancelled))
  }

  // MARK: Waiting

  static let waits: [(PodSituation, String)] = [
    (PodSituation(job: job), "its Job has no pod yet"),
    (PodSituation(job: Objects.job(spec: ["suspend": true])), "its Job is suspended"),
    (
      PodSituation(
        job: job,
        pods: [
          Objects.pod(
            [
              "phase": "Pending",
              "conditions": [
                [
                  "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                  "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
                ]
              ],
            ], node: nil)
        ]), "FailedScheduling: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    ),
    (
      PodSituation(
        job: job,
        pods: [
          Objects.pod([
            "phase": "Pending",
            "containerStatuses": [Objects.waiting("ImagePullBackOff", "Back-off pulling image \"nowhere/x:1\"")],
          ])
        ]), "ImagePullBackOff: main: Back-off pulling image \"nowhere/x:1\""
    ),
    (
      PodSituation(
        job: job,
        pods: [
          Objects.pod([
            "phase": "Pending", "initContainerStatuses": [Objects.running(JobManifest.initName)],
            "containerStatuses": [Objects.waiting("PodInitializing")],
          ])
        ]), "its inputs are fetched into its pod"
    ),
    (
      PodSituation(
        job: job, event: Objects.event("FailedCreate", "pods \"x\" is forbidden: exceeded quota: cpu, requested: 2")),
      "FailedCreate: pods \"x\" is forbidden: exceeded quota"
    ),
  ]

  @Test("A run that waits says for what (I10)", arguments: waits)
  func waiting(_ situation: PodSituation, _ reason: String) {
    guard case .queued(let said) = PodVerdict(situation) else {
      Issue.record("\(PodVerdict(situation))")
      return
    }
    #expect(said.hasPrefix(reason))
  }

  @Test("An image that cannot be pulled is waited for a while, and then ends the run, once its pod is gone")
  func patience() {
    let pod = Objects.pod(["phase": "Pending", "containerStatuses": [Objects.waiting("ErrImagePull", "not found")]])
    let early = PodSituation(job: Self.job, pods: [pod], age: .seconds(30))
    guard case .queued = PodVerdict(early) else {
      Issue.record("\(PodVerdict(early))")
      return
    }
    let late = PodVerdict(PodSituation(job: Self.job, pods: [pod], age: PodVerdict.startPatience))
    #expect(late == .stop(.init(phase: .error, message: "ErrImagePull: main: not found")))
    let wrong = Objects.pod(["phase": "Pending", "containerStatuses": [Objects.waiting("InvalidImageName", "bad")]])
    #expect(Self.verdict(wrong) == .stop(.init(phase: .error, message: "InvalidImageName: main: bad")))
  }

  /// A container set of `a`, `main` and `z`.
  private static func set(_ phase: String, _ containers: [JSONValue]) -> PodFacts {
    Objects.pod(
      ["phase": .string(phase), "containerStatuses": .array(containers)],
      ["annotations": [PodFacts.speakerAnnotation: "main"]])
  }
  private static let good = #"{"fubini":"ended","wallMilliseconds":10}"#
  private static let skipped = #"{"fubini":"skipped","error":"not started: container a"}"#

  @Test(
    "A container set ends when all of it has, by its container main, else by the first that failed; its time is all of theirs"
  )
  func sets() {
    func end(_ containers: [JSONValue]) -> PodVerdict.End? {
      guard case .ended(let end) = Self.verdict(Self.set("Failed", containers)) else { return nil }
      return end
    }
    let done = Objects.ended(0, message: Self.good, "a"), main = Objects.ended(0, message: Self.good)
    #expect(end([done, main])?.phase == .succeeded)
    #expect(end([done, main])?.wallTime == .seconds(7))
    let failed = Objects.ended(3, message: Self.good, "a")
    #expect(end([failed, main])?.phase == .failed && end([failed, main])?.exitCode == 3)
    #expect(end([failed, Objects.ended(4, message: Self.good)])?.exitCode == 4)
    let never = Objects.ended(64, message: Self.skipped)
    #expect(end([failed, never])?.exitCode == 3)
    #expect(Self.set("Failed", [failed, never]).memberCodes.map(\.name) == ["a"])
    let killed = Objects.ended(137, reason: "OOMKilled", "z")
    #expect(end([killed, Objects.ended(143, message: Self.good)])?.message.hasPrefix("OOMKilled") == true)
  }

  @Test(
    "A container set runs while one of it does, waits with a reason for one that cannot begin, and is stopped where one was killed"
  )
  func livingSets() {
    let done = Objects.ended(0, message: Self.good, "a")
    #expect(Self.verdict(Self.set("Running", [done, Objects.running()])) == .running(""))
    #expect(
      Self.verdict(Self.set("Running", [Objects.running("a"), Objects.ended(0, message: Self.good)])) == .running(""))
    let missing = Self.set("Pending", [Objects.running("a"), Objects.waiting("ImagePullBackOff", "no x")])
    #expect(Self.verdict(missing) == .queued("ImagePullBackOff: main: no x"))
    #expect(
      Self.verdict(Self.set("Running", [Objects.ended(3, message: Self.good, "a"), Objects.running()])) == .running(""))
    let killed = Self.set("Running", [Objects.ended(137, reason: "OOMKilled", "a"), Objects.running()])
    #expect(
      Self.verdict(killed)
        == .stop(.init(phase: .failed, message: "container a: OOMKilled", exitCode: 137, cause: .outOfMemory)))
    #expect(Self.verdict(killed, cancelled: true) == .running(""))
  }

  @Test("What a policy forbids ends the run, a quota does not")
  func forbidden() {
    let text = "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true"
    #expect(
      PodVerdict(PodSituation(job: Self.job, event: Objects.event("FailedCreate", text)))
        == .stop(.init(phase: .error, message: "FailedCreate: " + text)))
  }

  // MARK: Ends

  static let ends: [(PodFacts, RunPhase, String, Int32?)] = [
    (Objects.finished(0, reason: "Completed"), .succeeded, "", 0),
    (Objects.finished(3), .failed, "exit code 3", 3),
    (Objects.finished(139), .failed, "ended by signal 11, exit code 139", 139),
    (Objects.finished(137, reason: "OOMKilled"), .failed, "OOMKilled: it needed more memory", 137),
    (
      Objects.finished(137, ["reason": "Evicted", "message": "The node was low on resource: memory."]), .lost,
      "Evicted: The node was low on resource: memory.", 137
    ),
    (
      Objects.finished(
        137,
        [
          "reason": "Evicted",
          "message": "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi.",
        ]
      ), .failed, "Evicted: Pod ephemeral local storage usage exceeds", 137
    ),
    (
      Objects.finished(143, ["reason": "DeadlineExceeded", "message": "Pod was active too long"]), .failed,
      "the walltime has passed", 143
    ),
    (
      Objects.finished(
        143,
        [
          "conditions": [
            [
              "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
              "message": "preempting to accommodate a higher priority pod",
            ]
          ]
        ]), .lost, "preempted by a pod of higher priority: preempting", 143
    ),
    (
      Objects.finished(64, message: #"{"fubini":"outputs","error":"the agent refused /mnt/out/x"}"#), .error,
      "the agent refused /mnt/out/x", nil
    ),
    (Objects.finished(143, message: #"{"fubini":"walltime","error":""}"#), .failed, "the walltime has passed", 143),
    (
      Objects.finished(137, message: #"{"fubini":"fenced","error":""}"#), .lost,
      "fenced: the agent had no contact for longer than the disconnect limit", 137
    ),
    (
      Objects.pod([
        "phase": "Failed",
        "initContainerStatuses": [
          Objects.ended(64, message: #"{"fubini":"inputs","error":"no certificate"}"#, JobManifest.initName)
        ],
      ]), .error, "its inputs could not be brought into its pod: no certificate", nil
    ),
    (
      Objects.pod(["phase": "Failed", "initContainerStatuses": [Objects.ended(2, "prepare")]]), .failed,
      "init container prepare: exit code 2", 2
    ),
    (
      Objects.pod(["phase": "Failed", "reason": "OutOfcpu", "message": "Node didn't have enough resource: cpu"]), .lost,
      "OutOfcpu: Node didn't have enough", nil
    ),
  ]

  @Test("An end says whose fault it is: its author's, the cluster's, or nobody's", arguments: ends)
  func endings(_ pod: PodFacts, _ phase: RunPhase, _ message: String, _ code: Int32?) {
    guard case .ended(let end) = Self.verdict(pod) else {
      Issue.record("\(Self.verdict(pod))")
      return
    }
    #expect(end.phase == phase)
    #expect(end.message.hasPrefix(message))
    #expect(end.exitCode == code)
    if message.isEmpty { #expect(end.message.isEmpty) }
  }

  @Test("A wall time is the program's, where the agent's program has said it, and else the container's")
  func wallTimes() {
    guard
      case .ended(let exact) = Self.verdict(
        Objects.finished(0, message: #"{"fubini":"ended","wallMilliseconds":1234}"#)),
      case .ended(let rough) = Self.verdict(Objects.finished(0))
    else { return #expect(Bool(false)) }
    #expect(exact.wallTime == .milliseconds(1234))
    #expect(rough.wallTime == .seconds(7))
  }

  @Test("A cancelled run is Cancelled, unless it had ended well before")
  func cancelled() {
    guard case .ended(let killed) = Self.verdict(Objects.finished(143), cancelled: true),
      case .ended(let well) = Self.verdict(Objects.finished(0), cancelled: true)
    else { return #expect(Bool(false)) }
    #expect(killed.phase == .cancelled)
    #expect(killed.exitCode == 143)
    #expect(well.phase == .succeeded)
  }

  // MARK: What others do

  @Test("I1: a node that does not answer ends nothing")
  func silentNode() {
    let pod = Objects.pod([
      "phase": "Running", "containerStatuses": [Objects.running()],
      "conditions": [
        ["type": "Ready", "status": "False"], ["type": "ContainersReady", "status": "True"],
      ],
    ])
    guard case .running(let why) = Self.verdict(pod) else { return #expect(Bool(false)) }
    #expect(why.contains("does not answer"))
  }

  @Test("I1: a pod that vanished is lost, and its Job is stopped before it can make another")
  func vanished() {
    var pod = Objects.pod(["phase": "Running", "containerStatuses": [Objects.running()]])
    pod.isGone = true
    guard case .stop(let end) = Self.verdict(pod) else { return #expect(Bool(false)) }
    #expect(end.phase == .lost)
    let gone = PodVerdict(PodSituation(job: Self.job, isJobGone: true, pods: [pod]))
    #expect(gone == .ended(end))
  }

  @Test("I1: a second pod of the same Job does not begin after the run's end")
  func replaced() {
    let second = Objects.pod(["phase": "Pending"], uid: "pod-2", node: nil)
    guard
      case .stop(let end) = PodVerdict(
        PodSituation(job: Self.job, pods: [second, Objects.finished(1)]))
    else { return #expect(Bool(false)) }
    #expect(end.phase == .failed)
    #expect(end.exitCode == 1)
  }

  @Test("A Job that somebody deletes ends its run as Cancelled, and says that it was not the federation")
  func deletedByOthers() {
    let deleting = Objects.job([:], spec: [:], ["deletionTimestamp": "2026-11-21T02:07:00Z"])
    guard case .ended(let end) = PodVerdict(PodSituation(job: deleting)) else { return #expect(Bool(false)) }
    #expect(end.phase == .cancelled)
    #expect(end.message.contains("not by the federation"))
    // With a pod that runs, that is ended first.
    let pod = Objects.pod(["phase": "Running", "containerStatuses": [Objects.running()]])
    #expect(Self.verdict(pod, job: deleting) == .stop(end))
    guard case .running = Self.verdict(pod, job: deleting, cancelled: true) else { return #expect(Bool(false)) }
  }

  @Test("Nothing is said of a run whose Job has not been seen: no list is no proof")
  func unseen() {
    #expect(PodVerdict(PodSituation()) == .wait)
    guard case .ended(let end) = PodVerdict(PodSituation(isJobGone: true)) else { return #expect(Bool(false)) }
    #expect(end.phase == .lost)
  }

  @Test("Whatever statuses come, a verdict is a phase with a word (property)")
  func total() {
    var random = SystemRandomNumberGenerator()
    let seed = UInt64.random(in: 0 ... .max, using: &random)
    var state = seed
    func draw(_ count: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % count
    }
    let states = [
      Objects.running(), Objects.waiting("Strange"), Objects.ended(0), Objects.ended(9), Objects.container("main", [:]),
      Objects.container("main", "text"),
    ]
    for _ in 0..<5000 {
      let phases: [JSONValue] = ["Pending", "Running", "Succeeded", "Failed", "Unknown", "New"]
      var pod = Objects.pod(
        [
          "phase": phases[draw(6)], "reason": ["", "Evicted", "What"][draw(3)], "containerStatuses": [states[draw(6)]],
        ],
        node: draw(2) == 0 ? nil : "n1")
      pod.isGone = draw(4) == 0
      let situation = PodSituation(
        job: draw(3) == 0 ? nil : Self.job, isJobGone: draw(4) == 0, pods: draw(5) == 0 ? [] : [pod],
        isCancelRequested: draw(3) == 0, age: .seconds(draw(2000)))
      switch PodVerdict(situation) {
      case .wait, .queued, .running: break
      case .ended(let end), .stop(let end):
        #expect(end.phase.isTerminal, "seed \(seed)")
        #expect(end.phase == .succeeded || !end.message.isEmpty, "seed \(seed): \(situation)")
      }
    }
  }
}
