internal import FederationModel
internal import FoundationEssentials
internal import Yams

/// One local agent as `up --agent` describes it.
struct AgentSpecification: Codable, Sendable, Hashable {
  var name: String
  var labels: [String: String] = [:]
  var slots: Int?
  /// `50MB/s`.
  var transfer: String?
  /// `core-hour=4 CNY`.
  var price: String?

  init(name: String, labels: [String: String] = [:], slots: Int? = nil, transfer: String? = nil, price: String? = nil) {
    self.name = name
    self.labels = labels
    self.slots = slots
    self.transfer = transfer
    self.price = price
  }

  /// Left-out keys are their defaults; unknown ones are refused.
  init(from decoder: any Decoder) throws {
    struct Key: CodingKey {
      var stringValue: String
      var intValue: Int? { nil }
      init(stringValue: String) { self.stringValue = stringValue }
      init?(intValue: Int) { nil }
    }
    let container = try decoder.container(keyedBy: Key.self)
    for key in container.allKeys where !["name", "labels", "slots", "transfer", "price"].contains(key.stringValue) {
      throw CommandFailure(
        .usage, "Unknown key \"\(key.stringValue)\": an agent has name, labels, slots, transfer and price.")
    }
    name = try container.decode(String.self, forKey: Key(stringValue: "name"))
    labels = try container.decodeIfPresent([String: String].self, forKey: Key(stringValue: "labels")) ?? [:]
    slots = try container.decodeIfPresent(Int.self, forKey: Key(stringValue: "slots"))
    transfer = try container.decodeIfPresent(String.self, forKey: Key(stringValue: "transfer"))
    price = try container.decodeIfPresent(String.self, forKey: Key(stringValue: "price"))
  }

  /// `name=cloud,labels=kind=cloud;region=a,slots=4,transfer=50MB/s,price=core-hour=4 CNY;egress-gib=0.1 CNY`
  static func parse(_ text: String) throws -> AgentSpecification {
    var specification = AgentSpecification(name: "")
    for part in text.split(separator: ",") {
      guard let equals = part.firstIndex(of: "=") else {
        throw CommandFailure(.usage, "--agent is key=value,..., not \"\(text)\".")
      }
      let value = String(part[part.index(after: equals)...])
      switch part[..<equals] {
      case "name": specification.name = value
      case "labels": specification.labels = try ClusterText.labels(value)
      case "slots":
        guard let slots = Int(value) else { throw CommandFailure(.usage, "slots is a number, not \"\(value)\".") }
        specification.slots = slots
      case "transfer": specification.transfer = value
      case "price": specification.price = value
      default:
        throw CommandFailure(
          .usage, "Unknown key \"\(part[..<equals])\": an agent has name, labels, slots, transfer and price.")
      }
    }
    return try specification.validated()
  }

  func validated() throws -> Self {
    guard ClusterName(name).isDNSLabel else {
      throw CommandFailure(
        .usage, "An agent's name is lower-case letters, digits and dashes, at most 63, not \"\(name)\".")
    }
    if let slots, !(1...1_000_000).contains(slots) { throw CommandFailure(.usage, "slots is 1 to 1,000,000.") }
    if let price { _ = try ClusterText.prices(price) }
    return self
  }

  static func load(file: String) throws -> [AgentSpecification] {
    guard let data = FileManager.default.contents(atPath: file), data.count <= 1 << 20 else {
      throw CommandFailure(.usage, "Cannot read \(file), or it is larger than 1 MiB.")
    }
    do { return try YAMLDecoder().decode([AgentSpecification].self, from: data).map { try $0.validated() } } catch let
      error as CommandFailure
    {
      throw error
    } catch {
      throw CommandFailure(.usage, "\(file) must be a list of agents (name, labels, slots, transfer, price): \(error)")
    }
  }

  static func unique(_ specifications: [AgentSpecification]) throws -> [AgentSpecification] {
    guard Set(specifications.map(\.name)).count == specifications.count else {
      throw CommandFailure(.usage, "Two agents have the same name.")
    }
    return specifications
  }
}
