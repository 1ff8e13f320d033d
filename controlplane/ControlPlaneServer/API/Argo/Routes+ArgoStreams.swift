import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import Hummingbird
import WorkflowCore

extension APIServer {
  // MARK: Changes

  /// How many of a namespace's newest workflows one stream watches.
  private static let watchedMax = 100

  /// What was last told of a workflow.
  private struct Told: Hashable {
    var head: WorkflowHead
    var tasks: [String: Int]
    /// Of a workflow that is watched by name: the last commit that changed a node of it.
    var commit: Int64 = 0
  }

  /// Everything once as `ADDED`, then what changes. With a `resourceVersion` (of a list or a workflow) what has finished and did not change
  /// since is not told, and what was there already is `MODIFIED`: what was removed since is not known any more. The stream of one named workflow ends when that has finished; a stream of many goes
  /// on until its client leaves or the server shuts down.
  func argoWatch(_ request: Request, _ context: APIContext) async throws -> Response {
    let project = ProjectName(try context.parameter("namespace"))
    let selector = try request.argoSelector()
    let fields = try ArgoFields(request.query("fields"))
    if let name = selector.name,
      try await services.store.workflowHead(WorkflowReference(project: project, name: name)) == nil
    {
      throw FederationError(.notFound, "there is no workflow \(name) in namespace \(project)")
    }
    let since = try Self.resourceVersion(request)
    return ArgoStreamWriter.response(to: request) { stream in
      try services.changes.enter()
      defer { services.changes.leave() }
      var told: [WorkflowID: Told] = [:]
      var known: [WorkflowID: WorkflowCommits] = [:]
      var isFirst = true
      while true {
        let version = services.changes.version
        let began = ContinuousClock.now
        let sequence = try await services.store.position().sequence
        let current = try await watched(project, selector, told)
        if isFirst, let since, since <= sequence {
          known = try await services.store.commits(of: current.map(\.head.id)).filter { $0.value.created <= since }
          for entry in current where entry.head.status.phase.isTerminal {
            if let commits = known[entry.head.id], commits.changed <= since { told[entry.head.id] = entry }
          }
        }
        isFirst = false
        for entry in current where told[entry.head.id] != entry {
          let type = told[entry.head.id] == nil && known[entry.head.id] == nil ? "ADDED" : "MODIFIED"
          guard let loaded = try await services.store.workflow(uid: entry.head.uid) else { continue }
          let object = fields.apply(try await argoObject(loaded, sequence), at: ["result", "object"])
          told[entry.head.id] = entry
          try await stream.send(["type": .string(type), "object": object])
        }
        for gone in Self.gone(told, current) {
          told[gone.head.id] = nil
          let object = ArgoObject.outline(gone.head, gone.head.status.message, resourceVersion: sequence)
          try await stream.send(["type": "DELETED", "object": fields.apply(object, at: ["result", "object"])])
        }
        if selector.name != nil, current.first?.head.status.phase.isTerminal ?? true { return }
        if services.changes.isClosed { return }
        // Argo's clients get whole objects: of a large workflow that is much work, and is done less often.
        try await Task.sleep(for: max(.milliseconds(100), (ContinuousClock.now - began) * 4))
        let waited = ContinuousClock.now
        await services.changes.wait(after: version, timeout: .seconds(15))
        if .now - waited >= .seconds(15) { try await stream.comment() }
      }
    }
  }

  /// What the client has seen already; nil: nothing.
  private static func resourceVersion(_ request: Request) throws -> Int64? {
    let text = request.query("listOptions.resourceVersion") ?? ""
    // As in Kubernetes: as it is now.
    if text.isEmpty || text == "0" { return nil }
    guard let version = Int64(text), version > 0 else {
      throw FederationError(
        .invalidArgument, "listOptions.resourceVersion is that of a list or a workflow, not \"\(text.prefix(40))\"")
    }
    return version
  }

  private func watched(
    _ project: ProjectName, _ selector: ArgoSelector, _ told: [WorkflowID: Told]
  ) async throws -> [Told] {
    if selector.isContradictory { return [] }
    if let name = selector.name {
      guard let head = try await services.store.workflowHead(WorkflowReference(project: project, name: name)),
        selector.matches(head),
        let changes = try await services.store.changes(
          of: head.uid, after: told[head.id]?.commit ?? -1, event: Int64.max)
      else { return [] }
      let commit = changes.changed.isEmpty ? told[head.id]?.commit : nil
      return [Told(head: changes.head, tasks: changes.tasks, commit: commit ?? changes.commit)]
    }
    var filter = selector.filter
    filter.project = project
    let heads = try await services.store.workflowHeads(filter, limit: Self.watchedMax)
    let counts = try await services.store.taskCounts(of: heads.map(\.id))
    return heads.reversed().map { Told(head: $0, tasks: counts[$0.id] ?? [:]) }
  }

  /// What was told and is not there any more. What only made room for newer ones is forgotten without a word.
  private static func gone(_ told: [WorkflowID: Told], _ current: [Told]) -> [Told] {
    let ids = Set(current.map(\.head.id))
    let oldest = current.count == watchedMax ? current.map(\.head.id).min() : nil
    return told.values.filter { entry in
      !ids.contains(entry.head.id) && (oldest.map { entry.head.id > $0 } ?? true)
    }.sorted { $0.head.id < $1.head.id }
  }

  // MARK: Events

  /// What happens to a namespace's workflows, from now on, as Kubernetes tells events.
  func argoEvents(_ request: Request, _ context: APIContext) async throws -> Response {
    let project = ProjectName(try context.parameter("namespace"))
    guard (request.query("listOptions.labelSelector") ?? "").isEmpty else {
      throw FederationError(.invalidArgument, "events have no labels: leave listOptions.labelSelector out")
    }
    let name = try ArgoSelector(
      fields: (request.query("listOptions.fieldSelector") ?? "").split(separator: ",")
        .filter { $0 != "involvedObject.kind=Workflow" }.joined(separator: ",")
        .replacing("involvedObject.name=", with: "metadata.name=")
    ).onlyName()
    let first = try await services.store.lastEvent()
    return ArgoStreamWriter.response(to: request) { stream in
      try services.changes.enter()
      defer { services.changes.leave() }
      var last = first
      while true {
        let version = services.changes.version
        let events = try await services.store.events(in: project, after: last, limit: 500)
        for event in events {
          last = event.sequence
          guard name.map({ $0 == event.workflow }) ?? true else { continue }
          try await stream.send(event.rendered(in: project))
        }
        if services.changes.isClosed { return }
        guard events.count < 500 else { continue }
        let waited = ContinuousClock.now
        await services.changes.wait(after: version, timeout: .seconds(15))
        if .now - waited >= .seconds(15) { try await stream.comment() }
        // A busy federation commits all the time; there are at most five looks a second.
        try await Task.sleep(for: .milliseconds(200))
      }
    }
  }

  // MARK: Logs

  /// The lines of one pod, or of all, until they are complete; with `logOptions.follow` also what comes, from before the first run
  /// exists to the end of the workflow.
  func argoLogs(_ request: Request, _ context: APIContext) async throws -> Response {
    let podName = context.parameters.get("pod") == nil ? nil : try context.parameter("pod")
    let options = try ArgoLogOptions(request, podName: podName)
    let first = try await argoLoaded(context)
    // Of a workflow that still runs, the pod may come later.
    if let pod = options.pod, first.row.status.phase.isTerminal,
      !first.nodes.contains(where: { $0.isPod(pod, of: first.row.name) })
    {
      throw FederationError(.notFound, "workflow \(first.row.name) has no pod \(pod.prefix(200))")
    }
    return ArgoStreamWriter.response(to: request) { stream in
      try await logLines(first, options) {
        try await stream.comment()
      } send: { line in
        try await stream.send(["content": .string(line.content), "podName": .string(line.pod)])
      }
    }
  }

  /// Hands over the lines that are wanted, until there can be no more.
  ///
  /// - Parameter idle: called now and then while nothing comes.
  @concurrent
  func logLines(
    _ first: LoadedWorkflow, _ options: ArgoLogOptions, idle: @concurrent () async throws -> Void,
    send: @concurrent (ArgoLogFollower.Line) async throws -> Void
  ) async throws {
    let reference = WorkflowReference(project: first.row.project, name: first.row.name)
    let labels = PodLabels(first.row)
    try services.changes.enter()
    defer { services.changes.leave() }
    var follower = ArgoLogFollower(
      services: services, tailLines: options.tailLines, isPrevious: options.isPrevious, since: options.since,
      keepsTimes: options.showsTimes)
    var bytes: [String: Int64] = [:]
    var known = first
    var version = services.changes.version
    var quietSince = ContinuousClock.now
    let began = ContinuousClock.now
    @concurrent func put(_ line: ArgoLogFollower.Line) async throws {
      guard bytes[line.pod, default: 0] < options.bytesMax ?? .max,
        options.pattern?.isFound(in: line.content) ?? true
      else { return }
      var line = line
      if options.showsTimes, let moment = line.moment {
        line.content = RFC3339.formatMilliseconds(moment) + " " + line.content
      }
      bytes[line.pod, default: 0] += Int64(line.content.utf8.count) + 1
      try await send(line)
      quietSince = .now
    }
    while true {
      let isChosen = { (node: NodeRecord) in
        options.conditions.isEmpty || options.conditions.allSatisfy { $0.holds(for: labels.labels(of: node)) }
      }
      let isComplete = try await follower.pull(known, options.pod, where: isChosen, put)
      if isComplete || services.changes.isClosed { return }
      if !options.isFollowing || options.isPrevious {
        // The output of a run that has just ended follows its end by a moment: who asks right then wants it whole.
        guard follower.isArriving, .now - began < .seconds(5) else {
          return try await follower.flush(of: known, put)
        }
      }
      await services.changes.wait(after: version, timeout: .milliseconds(500))
      if .now - quietSince > .seconds(15) {
        try await idle()
        quietSince = .now
      }
      guard services.changes.version != version else { continue }
      version = services.changes.version
      guard let loaded = try await services.store.workflow(reference) else { return }
      known = loaded
    }
  }
}

/// What a client wants of a log. Options that cannot be obeyed are refused.
struct ArgoLogOptions: Sendable {
  /// A node's id, pod name, full name or display name; nil: every pod of the workflow.
  var pod: String?
  var isFollowing: Bool
  /// Of each pod.
  var tailLines: Int?
  /// Only lines in which this is found.
  var pattern: LinePattern?
  /// Of each pod, no more lines when it has had so many bytes of them.
  var bytesMax: Int64?
  /// Of pods with labels for which these hold.
  var conditions: [LabelCondition] = []
  /// What the run before the newest one wrote.
  var isPrevious: Bool
  static let tailLinesMax = 10_000

  /// Lines that came before it are none; nil: all are.
  var since: Timestamp?
  /// Whether each line begins with when it came.
  var showsTimes: Bool

  /// - Parameters:
  ///   - podName: where the path names it.
  ///   - prefix: of the names of Kubernetes' own options.
  init(_ request: Request, podName: String? = nil, prefix: String = "logOptions.") throws {
    func given(_ name: String) -> String? { request.query(name).flatMap { $0.isEmpty ? nil : $0 } }
    if let stream = given(prefix + "stream"), stream != "All" {
      throw FederationError(
        .invalidArgument, "\(prefix)stream is All: a task's output is one, not \(stream.prefix(40))")
    }
    since = try Self.since(prefix, given)
    showsTimes = try request.flag(prefix + "timestamps")
    isPrevious = try request.flag(prefix + "previous")
    conditions = try LabelCondition.selector(given("selector") ?? "")
    pattern = try given("grep").map { try LinePattern($0) }
    bytesMax = try given(prefix + "limitBytes").map { text in
      guard let count = Int64(text), count > 0 else {
        throw FederationError(.invalidArgument, "\(prefix)limitBytes is a positive number")
      }
      return count
    }
    if let container = given(prefix + "container"), container != "main" {
      throw FederationError(.invalidArgument, "tasks have one container, main, and none called \(container.prefix(80))")
    }
    pod = podName ?? given("podName")
    isFollowing = try request.flag(prefix + "follow")
    tailLines = try given(prefix + "tailLines").map { text in
      guard let count = Int(text), (0...Self.tailLinesMax).contains(count) else {
        throw FederationError(.invalidArgument, "\(prefix)tailLines is a number from 0 to \(Self.tailLinesMax)")
      }
      return count
    }
  }

  /// - Source: Kubernetes API v1, PodLogOptions; Argo's clients write a moment as seconds and nanoseconds, too.
  private static func since(_ prefix: String, _ given: (String) -> String?) throws -> Timestamp? {
    let times = ["sinceSeconds", "sinceTime", "sinceTime.seconds"].filter { given(prefix + $0) != nil }
    guard let name = times.first else { return nil }
    guard times.count == 1, let text = given(prefix + name) else {
      throw FederationError(.invalidArgument, "at most one of \(prefix)sinceSeconds and sinceTime is given")
    }
    if name == "sinceTime" {
      if let moment = RFC3339.parse(text) { return moment }
      throw FederationError(
        .invalidArgument, "\(prefix)sinceTime is a moment like 2026-01-31T08:00:00Z, not \(text.prefix(40))")
    }
    let range: ClosedRange<Int64> = name == "sinceSeconds" ? 1...10_000_000_000 : 0...10_000_000_000
    let nanoseconds = Int64(given(prefix + "sinceTime.nanos") ?? "0")
    guard let seconds = Int64(text), range.contains(seconds), let nanoseconds, (0..<1_000_000_000).contains(nanoseconds)
    else {
      throw FederationError(.invalidArgument, "\(prefix)\(name) is a whole number of seconds, not \(text.prefix(40))")
    }
    if name == "sinceSeconds" { return Timestamp.wallClock + .seconds(-seconds) }
    return Timestamp(milliseconds: seconds * 1000 + nanoseconds / 1_000_000)
  }
}

extension Request {
  /// A query that is yes or no, as Argo's server reads it; false when it is not there.
  ///
  /// - Source: Go documentation, `strconv.ParseBool`.
  func flag(_ name: String) throws -> Bool {
    switch query(name) ?? "" {
    case "1", "t", "T", "true", "True", "TRUE": return true
    case "", "0", "f", "F", "false", "False", "FALSE": return false
    default: throw FederationError(.invalidArgument, "\(name) is true or false")
    }
  }
}

extension NodeRecord {
  /// Whether Argo's clients may mean this node by `name`: its id, either of Argo's two pod names, or what people call it.
  ///
  /// - Source: Argo `workflow/util/pod_name.go`.
  func isPod(_ name: String, of workflow: String) -> Bool {
    guard type.isTask, !isSuperseded else { return false }
    let id = ArgoNames.nodeID(workflow: workflow, node: self.name)
    if name == id || name == self.name || name == displayName { return true }
    guard id != workflow else { return false }
    return name == "\(workflow)-\(templateName)\(id.dropFirst(workflow.count))"
  }
}

extension WorkflowEventRecord {
  /// - Source: Kubernetes API reference, `v1`, Event.
  fileprivate func rendered(in project: ProjectName) -> JSONValue {
    let at = RFC3339.format(row.at)
    return [
      "metadata": [
        "name": .string("\(workflow).\(sequence)"), "namespace": .string(project.text),
        "creationTimestamp": .string(at),
      ],
      "involvedObject": [
        "kind": "Workflow", "apiVersion": "argoproj.io/v1alpha1", "name": .string(workflow), "uid": .string(uid),
        "namespace": .string(project.text),
      ],
      "type": .string(row.reason == "Error" || row.reason == "Failed" ? "Warning" : "Normal"),
      "reason": .string(row.reason), "message": .string(row.message), "count": 1, "firstTimestamp": .string(at),
      "lastTimestamp": .string(at), "source": ["component": "fubini"],
    ]
  }
}
