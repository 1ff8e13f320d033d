import ControlPlaneCore
import ControlPlaneStore
import DequeModule
import FederationModel
import WorkflowCore

/// Cuts the logs of a workflow's runs into lines, and remembers how far it has come in each.
struct ArgoLogFollower {
  struct Line: Hashable, Sendable {
    var pod: String
    var content: String
    /// When it came; nil where nobody asked (`ArgoLogFollower.keepsTimes`).
    var moment: Timestamp?
  }

  private struct Place {
    var run: RunID
    var offset: Int64 = 0
    /// The beginning of a line whose end has not come yet.
    var partial: [UInt8] = []
    var isComplete = false
  }

  private let services: APIServices
  private var places: [NodeID: Place] = [:]
  /// While the end of a log is looked for, its last lines so far.
  private var tail: Deque<Line>?
  /// nil once the logs that were there at first have been read.
  private var tailLines: Int?
  private let isPrevious: Bool
  /// Lines that came before it are passed over.
  private let since: Timestamp?
  /// Whether lines say when they came.
  private let keepsTimes: Bool
  /// Of a run that is over the rest is still on its way, as of the last `pull`.
  private(set) var isArriving = false

  /// A line longer than this is cut.
  static let lineBytesMax = 64 << 10

  /// - Parameters:
  ///   - tailLines: Of what is there at the first `pull`, only that many lines of each pod; nil for all.
  ///   - isPrevious: What the run before the newest one wrote: of a task that began again.
  ///   - since: Lines that came before it are passed over, and are none of `tailLines`.
  ///   - keepsTimes: Whether lines are to say when they came.
  init(
    services: APIServices, tailLines: Int?, isPrevious: Bool = false, since: Timestamp? = nil, keepsTimes: Bool = false
  ) {
    self.since = since
    self.keepsTimes = keepsTimes || since != nil
    self.services = services
    self.tailLines = tailLines
    self.isPrevious = isPrevious
  }

  /// Reads what is new, node by node.
  ///
  /// - Parameters:
  ///   - pod: one pod alone; nil: those of `isChosen`.
  /// - Returns: true when nothing more can come: the workflow, or the one pod that is followed, has finished and its logs are complete.
  @concurrent
  mutating func pull(
    _ workflow: LoadedWorkflow, _ pod: String?, where isChosen: (NodeRecord) -> Bool = { _ in true },
    _ emit: @concurrent (Line) async throws -> Void
  ) async throws -> Bool {
    let name = workflow.row.name
    let nodes = workflow.nodes.filter {
      $0.type.isTask && !$0.isSuperseded && (pod.map($0.isPodOf(name)) ?? true) && isChosen($0)
    }
    // In the order of their epochs.
    let runs = Dictionary(grouping: try await services.store.runs(of: workflow.row.id), by: \.task.node)
    var isComplete =
      workflow.row.status.phase.isTerminal || (pod != nil && !nodes.isEmpty && nodes.allSatisfy(\.phase.isTerminal))
    isArriving = false
    for node in nodes {
      let own = runs[node.id] ?? []
      guard let run = isPrevious ? own.dropLast().last : own.last else { continue }
      if places[node.id]?.run != run.id { places[node.id] = Place(run: run.id) }
      try await read(node, run, name, emit)
      guard !places[node.id]!.isComplete else { continue }
      isComplete = false
      if run.phase.isTerminal, run.startedAt != nil { isArriving = true }
    }
    tailLines = nil
    return isComplete
  }

  /// The beginnings of lines whose ends have not come: whoever does not wait for these gets them as they are.
  @concurrent
  mutating func flush(of workflow: LoadedWorkflow, _ emit: @concurrent (Line) async throws -> Void) async throws {
    for node in workflow.nodes {
      guard let place = places[node.id], !place.partial.isEmpty else { continue }
      places[node.id]!.partial = []
      let pod = ArgoNames.nodeID(workflow: workflow.row.name, node: node.name)
      let times = keepsTimes ? try await services.logs.times(place.run) : LogTimes()
      let line = Line(
        pod: pod, content: String(decoding: place.partial, as: UTF8.self), moment: times.moment(of: place.offset - 1))
      if isWanted(line) { try await emit(line) }
    }
  }

  @concurrent
  private mutating func read(
    _ node: NodeRecord, _ run: RunRow, _ workflow: String, _ emit: @concurrent (Line) async throws -> Void
  ) async throws {
    guard var place = places[node.id], !place.isComplete else { return }
    if tailLines != nil { tail = [] }
    let pod = ArgoNames.nodeID(workflow: workflow, node: node.name)
    // Asked before the log is read: what arrives in between is read the next time.
    let isOver = Self.isOver(run)
    // Of logs from before times were noted: when the run was there.
    let ageless = run.finishedAt ?? run.startedAt
    var times = LogTimes()
    while true {
      let slice = try await services.logs.read(run.id, from: place.offset, count: 64 << 10)
      if slice.bytes.isEmpty {
        let position = try await services.logs.position(run.id)
        if position?.isComplete == true ? position!.offset <= place.offset : isOver { place.isComplete = true }
        break
      }
      place.offset = slice.offset + Int64(slice.bytes.count)
      if keepsTimes { times = try await services.logs.times(run.id) }
      for (index, byte) in slice.bytes.enumerated() {
        if byte == UInt8(ascii: "\n") || place.partial.count >= Self.lineBytesMax {
          let moment = keepsTimes ? times.moment(of: slice.offset + Int64(index)) ?? ageless : nil
          try await put(Line(pod: pod, content: String(decoding: place.partial, as: UTF8.self), moment: moment), emit)
          place.partial.removeAll(keepingCapacity: true)
        }
        if byte != UInt8(ascii: "\n") { place.partial.append(byte) }
      }
    }
    if place.isComplete, !place.partial.isEmpty {
      if keepsTimes { times = try await services.logs.times(run.id) }
      let moment = keepsTimes ? times.moment(of: place.offset - 1) ?? ageless : nil
      try await put(Line(pod: pod, content: String(decoding: place.partial, as: UTF8.self), moment: moment), emit)
      place.partial = []
    }
    places[node.id] = place
    guard let lines = tail else { return }
    tail = nil
    for line in lines { try await emit(line) }
  }

  @concurrent
  private mutating func put(_ line: Line, _ emit: @concurrent (Line) async throws -> Void) async throws {
    guard isWanted(line) else { return }
    guard tail != nil, let tailLines else { return try await emit(line) }
    tail!.append(line)
    if tail!.count > tailLines { tail!.removeFirst() }
  }

  private func isWanted(_ line: Line) -> Bool {
    guard let since else { return true }
    return line.moment.map { $0 >= since } ?? true
  }

  /// A log that nobody seals is over when its run is: at once when the cluster was lost with it, else after the time that the last
  /// chunks may need.
  private static func isOver(_ run: RunRow) -> Bool {
    guard run.phase.isTerminal, let end = run.finishedAt else { return false }
    return run.phase == .lost || Timestamp.wallClock - end > .seconds(60)
  }
}

extension NodeRecord {
  fileprivate func isPodOf(_ workflow: String) -> (String) -> Bool { { isPod($0, of: workflow) } }
}
