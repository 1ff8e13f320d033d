public import FederationModel
import SchedulerCore

/// What a simulation came to.
public struct SimulationReport: Hashable, Sendable {
  /// One run on the Gantt chart; seconds since the start.
  public struct Span: Hashable, Sendable {
    public var task: Int
    public var name: String
    public var site: Int
    public var readyAt: Double
    public var boundAt: Double
    public var startedAt: Double
    public var endedAt: Double
    /// It ended with its cluster's outage.
    public var isLost: Bool
  }

  public let siteNames: [String]
  let sites: [ComputeSite]
  public internal(set) var makespan = 0.0
  /// Of slots and of bytes that left clusters.
  public internal(set) var money = 0.0
  public internal(set) var bytesMoved = 0.0
  public internal(set) var transfers = 0
  public internal(set) var spans: [Span] = []
  /// Seconds between ready and started, of runs that ended well.
  public internal(set) var meanWait = 0.0
  public internal(set) var longestWait = 0.0
  /// By cluster: the part of slots times makespan in which runs ran; nil for one without slots.
  public internal(set) var utilisation: [Double?] = []

  init(_ platform: Platform) {
    siteNames = platform.sites.map(\.name)
    sites = platform.sites.map(\.compute)
  }

  mutating func ended(_ task: Int, _ run: Simulation.Run, readyAt: Double, at now: Double, isLost: Bool) {
    guard let startedAt = run.startedAt else { return }
    money += (now - startedAt) * run.pricePerSecond
    spans.append(
      Span(
        task: task, name: "", site: run.site, readyAt: readyAt, boundAt: run.boundAt, startedAt: startedAt,
        endedAt: now, isLost: isLost))
  }

  mutating func moved(_ bytes: Double, egressPerByte: Double) {
    bytesMoved += bytes
    transfers += 1
    money += bytes * egressPerByte
  }

  mutating func finish(_ graph: TaskGraph, _ names: [String], at now: Double) {
    makespan = now
    for index in spans.indices { spans[index].name = names[spans[index].task] }
    let waits = spans.filter { !$0.isLost }.map { $0.startedAt - $0.readyAt }
    meanWait = waits.reduce(0, +) / Double(max(1, waits.count))
    longestWait = waits.max() ?? 0
    var busy = sites.map { _ in 0.0 }
    for span in spans { busy[span.site] += span.endedAt - span.startedAt }
    utilisation = sites.indices.map {
      sites[$0].slots > 0 && now > 0 ? busy[$0] / (Double(sites[$0].slots) * now) : nil
    }
  }

  /// As `simulator run` prints it; see docs/reference/simulator.md.
  public func json(withGantt: Bool = true) -> JSONValue {
    var members: [String: JSONValue] = [
      "makespanSeconds": .number(makespan), "money": .number(money), "bytesMoved": .number(bytesMoved),
      "transfers": .integer(Int64(transfers)), "meanWaitSeconds": .number(meanWait),
      "longestWaitSeconds": .number(longestWait),
      "utilisation": .object(
        Dictionary(
          uniqueKeysWithValues: siteNames.indices.compactMap { site in
            utilisation[site].map { (siteNames[site], .number($0)) }
          })),
    ]
    if withGantt {
      members["gantt"] = .array(
        spans.map {
          .object([
            "task": .string($0.name), "cluster": .string(siteNames[$0.site]), "readyAt": .number($0.readyAt),
            "boundAt": .number($0.boundAt), "startedAt": .number($0.startedAt), "endedAt": .number($0.endedAt),
            "lost": .bool($0.isLost),
          ])
        })
    }
    return .object(members)
  }
}
