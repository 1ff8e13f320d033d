public import FederationModel
public import SchedulerCore

/// The scheduler behind a line protocol: events in, and at each `now` its answers. See docs/reference/simulator.md.
///
/// A line that is refused changes nothing.
public struct DecisionSession {
  private enum State: Hashable { case waiting, ready, bound, running, ended }

  private let names: [String]
  private let sites: [String: Int]
  private var scheduler: CoScheduler
  private var states: [State] = []
  private var sizes: [Double] = []
  private var events: [SimulationEvent] = []
  private var now = 0.0

  public init(_ platform: Platform, _ options: CoSchedulingOptions = CoSchedulingOptions()) {
    names = platform.sites.map(\.name)
    sites = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($1, $0) })
    scheduler = CoScheduler(
      sites: platform.sites.map(\.compute), paths: platform.paths, options: options)
  }

  /// Takes one line and returns what is answered to it: nothing to an event; actions and `done` to `now`; `error` with a sentence
  /// to a line that means nothing.
  ///
  /// - Parameter parse: reads a JSON text.
  public mutating func answer(_ line: String, parse: (String) throws -> JSONValue) -> [String] {
    do {
      let words = line.split(separator: " ", maxSplits: 1).map(String.init)
      guard let verb = words.first else { return [] }
      return try take(verb, words.count > 1 ? words[1] : "", parse)
    } catch let error as FederationError {
      return ["error \(error.publicMessage)"]
    } catch {
      return ["error the JSON of this line cannot be read"]
    }
  }

  private mutating func take(_ verb: String, _ rest: String, _ parse: (String) throws -> JSONValue) throws -> [String] {
    let words = rest.split(separator: " ").map(String.init)
    switch verb {
    case "submitted": try submit(parse(rest))
    case "ready": try change(words, from: [.waiting], to: .ready) { .ready($0) }
    case "started": try change(words, from: [.bound], to: .running) { .started($0) }
    case "finished": try change(words, from: [.running], to: .ended) { .finished($0) }
    case "lost": try change(words, from: [.bound, .running], to: .ready) { .lost($0) }
    case "transferred":
      let (datum, site) = try copy(words)
      events.append(.transferFinished(datum: datum, to: site))
    case "failed":
      let (datum, site) = try copy(words)
      events.append(.transferFailed(datum: datum, to: site))
    case "down", "up":
      guard words.count == 1 else { throw Self.wrong("\(verb) CLUSTER") }
      events.append(.reachabilityChanged(site: try site(words[0]), isDown: verb == "down"))
    case "price": try events.append(priceChange(words))
    case "now": return try decide(words)
    default:
      throw FederationError(
        .invalidArgument,
        "\(verb) is no event; there are submitted, ready, started, finished, lost, transferred, failed, down, up, price, "
          + "now")
    }
    return []
  }

  private mutating func decide(_ words: [String]) throws -> [String] {
    guard words.count == 1, let time = Double(words[0]), time.isFinite, time >= now else {
      throw Self.wrong("now SECONDS, which never go back")
    }
    now = time
    for event in events { scheduler.happened(event, at: now) }
    events = []
    return scheduler.decide(at: now).map { action in
      switch action {
      case .stage(let datum, let from, let to): return "stage \(datum) \(names[from]) \(names[to])"
      case .evict(let datum, let site): return "evict \(datum) \(names[site])"
      case .bind(let task, let site, let rank):
        states[task] = .bound
        return "bind \(task) \(names[site]) \(rank)"
      }
    } + ["done"]
  }

  private mutating func change(
    _ words: [String], from allowed: Set<State>, to state: State, _ event: (Int) -> SimulationEvent
  ) throws {
    guard words.count == 1, let task = Int(words[0]), states.indices.contains(task) else {
      throw Self.wrong("a task's number, below \(states.count)")
    }
    guard allowed.contains(states[task]) else {
      throw FederationError(.failedPrecondition, "task \(task) is \(states[task]); the event does not follow from that")
    }
    states[task] = state
    events.append(event(task))
  }

  private func priceChange(_ words: [String]) throws -> SimulationEvent {
    guard words.count == 3, let hour = Double(words[1]), let gigabyte = Double(words[2]), hour >= 0, gigabyte >= 0,
      hour.isFinite, gigabyte.isFinite
    else { throw Self.wrong("price CLUSTER PER_SLOT_HOUR EGRESS_PER_GIGABYTE, neither below 0") }
    return .priceChanged(site: try site(words[0]), perSecond: hour / 3600, egressPerByte: gigabyte / 1e9)
  }

  private func copy(_ words: [String]) throws -> (datum: Int, site: Int) {
    guard words.count == 2, let datum = Int(words[0]), sizes.indices.contains(datum) else {
      throw Self.wrong("a datum's number, below \(sizes.count), and a cluster")
    }
    return (datum, try site(words[1]))
  }

  private func site(_ name: String) throws -> Int {
    guard let site = sites[name] else {
      throw FederationError(.notFound, "the platform has no cluster \(name)")
    }
    return site
  }

  private static func wrong(_ expected: String) -> FederationError {
    FederationError(.invalidArgument, "the line must have \(expected)")
  }

  private mutating func submit(_ json: JSONValue) throws {
    let data = try (json["data"]?.arrayValue ?? []).map { datum in
      guard let bytes = datum["bytes"]?.doubleValue, bytes >= 0, bytes.isFinite else {
        throw Self.wrong("\"bytes\" for each of \"data\", at least 0")
      }
      let holders = try (datum["clusters"]?.arrayValue ?? []).map { try site($0.stringValue ?? "") }
      return TaskGraph.Datum(size: bytes, sites: Set(holders).sorted())
    }
    guard let list = json["tasks"]?.arrayValue, !list.isEmpty, states.count + list.count <= Workload.tasksLimit else {
      throw Self.wrong("\"tasks\": a list of at least one, \(Workload.tasksLimit) in all")
    }
    func numbers(_ key: String, of task: JSONValue, below limit: Int) throws -> [Int] {
      try (task[key]?.arrayValue ?? []).map { member in
        guard let number = member.integerValue, number >= 0, number < limit else {
          throw Self.wrong("\(key) below \(limit), counted from this workflow's own first")
        }
        return Int(number)
      }
    }
    let tasks = try list.map { task in
      guard let runtime = task["runtimeSeconds"]?.doubleValue, runtime >= 0, runtime.isFinite else {
        throw Self.wrong("\"runtimeSeconds\" for each task, at least 0")
      }
      let upper = task["runtimeP90Seconds"]?.doubleValue
      guard task["runtimeP90Seconds"] == nil || (upper ?? -1) >= runtime, upper?.isFinite != false else {
        throw Self.wrong("\"runtimeP90Seconds\", where it is told, at least runtimeSeconds")
      }
      return TaskGraph.Task(
        inputs: Set(try numbers("inputs", of: task, below: data.count)).sorted(),
        outputs: Set(try numbers("outputs", of: task, below: data.count)).sorted(), runtime: runtime,
        runtimeSpread: upper.map { $0 - runtime },
        parents: Set(try numbers("parents", of: task, below: list.count)).sorted())
    }
    var graph = TaskGraph(tasks: tasks, data: data)
    graph.linkProducers()
    guard graph.isAcyclic else {
      throw FederationError(.invalidArgument, "the tasks of this workflow depend on each other")
    }
    events.append(.submitted(graph))
    states += tasks.map { _ in .waiting }
    sizes += data.map(\.size)
  }
}
