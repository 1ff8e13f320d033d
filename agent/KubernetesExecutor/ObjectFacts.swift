internal import FederationModel

/// What counts of a Job. Read leniently: what is not there is as if empty.
struct JobFacts: Hashable, Sendable {
  var name: String
  var namespace: String
  var uid: String
  var run: RunID
  var createdAt: Timestamp?
  var isDeleting = false
  var hasFinalizer = false
  var isSuspended = false
  /// Of Kueue: the one that it waits in while it is suspended.
  var queue: String?
  /// Copies that start together; nil: one pod is the run.
  var gangSize: Int?
  /// Of its condition `Failed`.
  var failure: Reason?
  var isComplete = false

  struct Reason: Hashable, Sendable {
    var reason: String
    var message: String
  }

  /// nil for a Job that is not ours.
  init?(_ object: JSONValue, mark: String) {
    guard let metadata = object["metadata"], let name = ObjectName(metadata: metadata, mark: mark),
      let uid = metadata["uid"]?.stringValue
    else { return nil }
    self.name = name.text
    // The Job itself, not what merely begins with its name.
    guard metadata["name"]?.stringValue == name.text else { return nil }
    self.uid = uid
    run = name.run
    namespace = metadata["namespace"]?.stringValue ?? ""
    createdAt = metadata["creationTimestamp"]?.stringValue.flatMap { RFC3339.parse($0) }
    isDeleting = metadata["deletionTimestamp"]?.stringValue != nil
    hasFinalizer = metadata["finalizers"]?.arrayValue?.contains(.string(ObjectName.finalizer)) ?? false
    isSuspended = object["spec"]?["suspend"]?.boolValue ?? false
    queue = metadata["labels"]?[ObjectName.queueLabel]?.stringValue
    if object["spec"]?["completionMode"]?.stringValue == "Indexed" {
      gangSize = object["spec"]?["completions"]?.integerValue.flatMap { Int(exactly: $0) }
    }
    for condition in object["status"]?["conditions"]?.arrayValue ?? []
    where condition["status"]?.stringValue == "True" {
      switch condition["type"]?.stringValue {
      case "Complete": isComplete = true
      case "Failed": failure = Reason(condition)
      default: break
      }
    }
  }
}

extension JobFacts.Reason {
  init(_ object: JSONValue) {
    reason = object["reason"]?.stringValue ?? ""
    message = bounded(object["message"]?.stringValue ?? "")
  }
}

/// What counts of a pod.
struct PodFacts: Hashable, Sendable {
  enum State: Hashable, Sendable {
    case unknown
    case waiting(JobFacts.Reason)
    case running(since: Timestamp?)
    case terminated(End)
  }
  struct End: Hashable, Sendable {
    var exitCode: Int32
    var signal: Int32
    var reason: String
    /// The termination message.
    var message: String
    var startedAt: Timestamp?
    var finishedAt: Timestamp?
    /// Its times are those of a whole container set, and not of the container that decides.
    var isOfSet = false

    /// Whether it has ended under the agent's program, which then says how.
    var hasNotice: Bool { message.utf8.first == 0x7b }
    /// It was not started, because one that it depends on has failed.
    var isSkipped: Bool { message.hasPrefix(#"{"#) && message.contains(#""fubini":"skipped""#) }
  }
  struct Container: Hashable, Sendable {
    var name: String
    var isInitial: Bool
    var state: State
  }
  struct Condition: Hashable, Sendable {
    var isTrue: Bool
    var reason: String
    var message: String
  }

  var name: String
  var namespace: String
  var uid: String
  var run: RunID
  /// The Job that made it.
  var owner: String?
  /// Which copy of a gang it is.
  var rank: Int?
  var phase: String
  var reason: String
  var message: String
  var node: String?
  var createdAt: Timestamp?
  var isDeleting: Bool
  var conditions: [String: Condition]
  var containers: [Container]
  /// Of a container set: the container whose output is the run's; nil: it is none.
  var speaker: String?
  var address: String?
  /// The object is gone; this is how it was last seen.
  var isGone = false

  static let speakerAnnotation = "fubini.dev/container-set"

  /// nil for a pod that is not ours.
  init?(_ object: JSONValue, mark: String) {
    guard let metadata = object["metadata"], let owner = ObjectName(metadata: metadata, mark: mark),
      let name = metadata["name"]?.stringValue, let uid = metadata["uid"]?.stringValue
    else { return nil }
    self.name = name
    self.uid = uid
    run = owner.run
    namespace = metadata["namespace"]?.stringValue ?? ""
    self.owner =
      metadata["ownerReferences"]?.arrayValue?
      .first { $0["controller"]?.boolValue == true }?["uid"]?.stringValue
    rank = metadata["annotations"]?[ObjectName.rankAnnotation]?.stringValue.flatMap { Int($0) }
    createdAt = metadata["creationTimestamp"]?.stringValue.flatMap { RFC3339.parse($0) }
    isDeleting = metadata["deletionTimestamp"]?.stringValue != nil
    let status = object["status"] ?? .null
    phase = status["phase"]?.stringValue ?? "Pending"
    reason = status["reason"]?.stringValue ?? ""
    message = bounded(status["message"]?.stringValue ?? "")
    node = object["spec"]?["nodeName"]?.stringValue
    speaker = metadata["annotations"]?[Self.speakerAnnotation]?.stringValue
    address = status["podIP"]?.stringValue.flatMap { $0.isEmpty ? nil : $0 }
    conditions = [:]
    for condition in status["conditions"]?.arrayValue ?? [] {
      guard let type = condition["type"]?.stringValue else { continue }
      conditions[type] = Condition(
        isTrue: condition["status"]?.stringValue == "True", reason: condition["reason"]?.stringValue ?? "",
        message: bounded(condition["message"]?.stringValue ?? ""))
    }
    containers = []
    for (key, isInitial) in [("initContainerStatuses", true), ("containerStatuses", false)] {
      for container in status[key]?.arrayValue ?? [] {
        guard let name = container["name"]?.stringValue else { continue }
        containers.append(
          Container(name: name, isInitial: isInitial, state: Self.state(container["state"] ?? .null)))
      }
    }
  }

  private static func state(_ value: JSONValue) -> State {
    if let end = value["terminated"] {
      return .terminated(
        End(
          exitCode: Int32(truncatingIfNeeded: end["exitCode"]?.integerValue ?? 0),
          signal: Int32(truncatingIfNeeded: end["signal"]?.integerValue ?? 0),
          reason: end["reason"]?.stringValue ?? "", message: bounded(end["message"]?.stringValue ?? ""),
          startedAt: end["startedAt"]?.stringValue.flatMap { RFC3339.parse($0) },
          finishedAt: end["finishedAt"]?.stringValue.flatMap { RFC3339.parse($0) }))
    }
    if let running = value["running"] {
      return .running(since: running["startedAt"]?.stringValue.flatMap { RFC3339.parse($0) })
    }
    if let waiting = value["waiting"] { return .waiting(JobFacts.Reason(waiting)) }
    return .unknown
  }

  var main: Container? { containers.first { !$0.isInitial && $0.name == RunContainers.resultName } }
  /// All but the init containers.
  private var lasting: [Container] { containers.filter { !$0.isInitial } }

  /// How the main container ended; of a container set, how all of them did.
  var mainEnd: End? {
    guard speaker == nil else { return setEnd }
    return if case .terminated(let end)? = main?.state { end } else { nil }
  }
  var isMainRunning: Bool {
    guard speaker == nil else {
      // Those that have not begun yet may have a reason for that.
      return lasting.contains(where: \.isRunning) && lasting.allSatisfy { $0.isRunning || $0.end != nil }
    }
    return main?.isRunning == true
  }
  /// Whether the main container has begun at any time.
  var hasStarted: Bool {
    speaker == nil ? isMainRunning || mainEnd != nil : lasting.contains { $0.isRunning || $0.end != nil }
  }
  /// Whether any container of it has begun at any time: then it may have its files, and no other pod may be the run.
  var hasBegun: Bool {
    containers.contains { if case .waiting = $0.state { false } else { $0.state != .unknown } }
  }
  /// Whose log is the run's.
  var logContainer: String { speaker ?? RunContainers.resultName }

  /// What decides is what was ended from outside, else the container `main`, else the first that failed.
  private var setEnd: End? {
    let ends = lasting.compactMap(\.end)
    guard !ends.isEmpty, ends.count == lasting.count else { return nil }
    let failed = lasting.filter { $0.end.map { $0.exitCode != 0 && !$0.isSkipped } ?? false }
    let decisive =
      failed.first { $0.end?.hasNotice == false } ?? failed.first { $0.name == RunContainers.resultName }
      ?? failed.first ?? lasting.first { $0.name == speaker } ?? lasting[0]
    var end = decisive.end!
    end.startedAt = ends.compactMap(\.startedAt).min()
    end.finishedAt = ends.compactMap(\.finishedAt).max()
    end.isOfSet = true
    return end
  }

  /// A member that was ended from outside, so that those which depend on it cannot know that: all of the set is to end.
  var brokenMember: Container? {
    guard speaker != nil, !isTerminal else { return nil }
    return lasting.first { $0.end.map { $0.exitCode != 0 && !$0.hasNotice } ?? false }
  }

  /// Exit codes of the members of a container set that were started and have ended.
  var memberCodes: [(name: String, code: Int32)] {
    guard speaker != nil else { return [] }
    return lasting.compactMap { container in
      container.end.flatMap { $0.isSkipped ? nil : (container.name, $0.exitCode) }
    }
  }
  /// Nothing of it runs any more, as its node says.
  var isTerminal: Bool { phase == "Succeeded" || phase == "Failed" }
}

extension PodFacts.Container {
  var isRunning: Bool { if case .running = state { true } else { false } }
  var end: PodFacts.End? { if case .terminated(let end) = state { end } else { nil } }
}

/// One event about an object of a run.
struct EventFacts: Hashable, Sendable {
  var run: RunID
  var reason: String
  var message: String
  var isWarning: Bool
  var at: Timestamp

  /// nil for an event about something that is not ours, by its name: events have no labels.
  init?(_ object: JSONValue, mark: String) {
    guard let involved = object["involvedObject"], var name = involved["name"]?.stringValue else { return nil }
    let kind = involved["kind"]?.stringValue ?? ""
    // Kueue has an object of its own for each Job, and says there why it waits.
    if kind == "Workload", name.hasPrefix("job-") { name.removeFirst(4) }
    guard ["Job", "Pod", "Workload"].contains(kind), let owner = ObjectName(name, mark: mark, isPrefix: true) else {
      return nil
    }
    run = owner.run
    reason = object["reason"]?.stringValue ?? ""
    message = bounded(object["message"]?.stringValue ?? "")
    isWarning = object["type"]?.stringValue == "Warning"
    // One by the newer API has no lastTimestamp, and one that repeats says so in its series.
    let text =
      object["series"]?["lastObservedTime"]?.stringValue ?? object["lastTimestamp"]?.stringValue
      ?? object["eventTime"]?.stringValue ?? object["metadata"]?["creationTimestamp"]?.stringValue
    at = text.flatMap { RFC3339.parse($0) } ?? .epoch
  }
}

/// Texts of others are shown to people: one line, at most 1,000 bytes of it.
func bounded(_ text: String, to count: Int = 4096) -> String {
  guard text.utf8.count > count else { return text }
  return String(decoding: Array(text.utf8.prefix(count)), as: UTF8.self) + "…"
}
