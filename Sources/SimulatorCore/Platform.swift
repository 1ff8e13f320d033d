public import FederationModel
public import SchedulerCore

/// How long a cluster's own queue holds a run that nothing else holds, by quantiles; in between they are joined by lines.
public struct QueueWaitModel: Hashable, Sendable {
  public var p50: Double
  public var p90: Double
  public init(p50: Double, p90: Double) {
    self.p50 = p50
    self.p90 = p90
  }

  /// Seconds at a quantile in [0, 1); the last tenth ends as far behind p90 as p90 is behind p50.
  public func seconds(at quantile: Double) -> Double {
    if quantile < 0.5 { return p50 * quantile / 0.5 }
    if quantile < 0.9 { return p50 + (p90 - p50) * (quantile - 0.5) / 0.4 }
    return p90 + (p90 - p50) * (quantile - 0.9) / 0.1
  }
}

/// A time in which a cluster cannot be reached and what runs there is lost.
public struct Outage: Hashable, Sendable {
  public var at: Double
  public var seconds: Double
  public init(at: Double, seconds: Double) {
    self.at = at
    self.seconds = seconds
  }
}

/// One cluster of a platform; one with no slots only stores.
public struct PlatformSite: Hashable, Sendable {
  public var name: String
  public var compute: ComputeSite
  public var wait: QueueWaitModel?
  public var outages: [Outage]
  /// Whether data that no task makes is here before a workflow begins.
  public var holdsInputs: Bool
  public init(
    name: String, compute: ComputeSite, wait: QueueWaitModel? = nil, outages: [Outage] = [], holdsInputs: Bool = false
  ) {
    self.name = name
    self.compute = compute
    self.compute.queueWait = wait?.p50 ?? 0
    self.wait = wait
    self.outages = outages
    self.holdsInputs = holdsInputs
  }
}

/// Where a simulation runs. See docs/reference/simulator.md for the file.
public struct Platform: Hashable, Sendable {
  public var name: String
  public var sites: [PlatformSite]
  /// Transfers into one cluster at a time; the others wait for their turn.
  public var transfersAtOnce: Int
  public init(name: String, sites: [PlatformSite], transfersAtOnce: Int = 8) {
    self.name = name
    self.sites = sites
    self.transfersAtOnce = transfersAtOnce
  }

  public static let sitesLimit = 4096

  /// Reads a platform file.
  ///
  /// - Throws: `invalidArgument` that names the member which is missing or out of range.
  public init(_ json: JSONValue) throws {
    guard let list = json["clusters"]?.arrayValue, !list.isEmpty, list.count <= Self.sitesLimit else {
      throw FederationError(
        .invalidArgument, "the platform file needs \"clusters\": a list of 1 to \(Self.sitesLimit) clusters")
    }
    var seen: Set<String> = []
    let sites = try list.map { member in
      let site = try PlatformSite(member)
      guard seen.insert(site.name).inserted else {
        throw FederationError(.invalidArgument, "the platform has two clusters named \(site.name); rename one")
      }
      return site
    }
    guard sites.contains(where: { $0.compute.slots > 0 }) else {
      throw FederationError(.invalidArgument, "no cluster of the platform has slots; give one \"slots\" above 0")
    }
    guard sites.contains(where: \.holdsInputs) else {
      throw FederationError(
        .invalidArgument, "no cluster of the platform holds the inputs; give one \"holdsInputs\": true")
    }
    let atOnce = json["transfersAtOnce"]?.integerValue ?? 8
    guard (1...10_000).contains(atOnce) else {
      throw FederationError(.invalidArgument, "transfersAtOnce is \(atOnce), it must be 1 to 10000")
    }
    self.init(name: json["name"]?.stringValue ?? "platform", sites: sites, transfersAtOnce: Int(atOnce))
  }
}

extension PlatformSite {
  init(_ json: JSONValue) throws {
    guard let name = json["name"]?.stringValue, !name.isEmpty, !name.contains(where: \.isWhitespace) else {
      throw FederationError(.invalidArgument, "each cluster of the platform needs a \"name\" without spaces")
    }
    func number(_ key: String, _ fallback: Double, above least: Double = 0, of value: JSONValue? = nil) throws -> Double
    {
      guard let member = (value ?? json)[key] else { return fallback }
      guard let number = member.doubleValue, number >= least, number.isFinite else {
        throw FederationError(.invalidArgument, "\(key) of cluster \(name) must be a number, at least \(least)")
      }
      return number
    }
    let slots = try number("slots", 0)
    guard slots <= 1_000_000, slots == slots.rounded() else {
      throw FederationError(.invalidArgument, "slots of cluster \(name) must be a whole number up to 1000000")
    }
    let wait = try json["wait"].map {
      QueueWaitModel(p50: try number("p50", 0, of: $0), p90: try number("p90", 0, of: $0))
    }
    if let wait, wait.p90 < wait.p50 {
      throw FederationError(.invalidArgument, "the p90 of the wait of cluster \(name) is below its p50")
    }
    let outages = try (json["outages"]?.arrayValue ?? []).map {
      Outage(at: try number("at", 0, of: $0), seconds: try number("seconds", 0, of: $0))
    }
    let capacity = try number("cacheBytes", -1, above: 0)
    self.init(
      name: name,
      compute: ComputeSite(
        slots: Int(slots), speed: try number("speed", 1, above: 1e-6),
        bandwidthIn: try number("bytesPerSecondIn", 1e9, above: 1),
        bandwidthOut: try number("bytesPerSecondOut", 1e9, above: 1),
        pricePerSecond: try number("pricePerSlotHour", 0) / 3600,
        egressPerByte: try number("egressPerGigabyte", 0) / 1e9, cacheCapacity: capacity < 0 ? nil : capacity),
      wait: wait, outages: outages, holdsInputs: json["holdsInputs"]?.boolValue ?? false)
  }
}
