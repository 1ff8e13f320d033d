internal import FederationModel
internal import Yams

/// The block `slurm`.
extension ConfigurationParser {
  static let slurmKeys = [
    "sharedDirectory", "agentBinary", "slurmConf", "commands", "partition", "account", "qos", "accounts", "defaults",
    "partitions", "apptainer", "script", "options", "pollInterval", "defaultWalltime", "maxJobs", "arraySize",
    "shareJobs",
    "canFence", "inputWait", "accounting", "restd", "sandbox",
  ]

  /// - Throws: `.invalidArgument` with the key and what it may be.
  static func slurm(_ node: Node) throws -> SlurmConfiguration {
    guard let mapping = node.mapping else { throw invalid("slurm", "a mapping", node) }
    var slurm = SlurmConfiguration()
    for (key, value) in mapping {
      let key = try name(key, in: slurmKeys, of: "slurm.")
      let path = "slurm." + key
      switch key {
      case "sharedDirectory": slurm.sharedDirectory = try absolute(path, value)
      case "agentBinary": slurm.agentBinary = try absolute(path, value)
      case "slurmConf": slurm.slurmConf = try absolute(path, value)
      case "commands": slurm.commands = try texts(path, value, keys: SlurmConfiguration.commandNames)
      case "partition": slurm.partition = try text(path, value)
      case "account": slurm.account = try text(path, value)
      case "qos": slurm.qos = try text(path, value)
      case "accounts": slurm.accounts = try texts(path, value)
      case "defaults": slurm.defaults = try list(path, value) { try slurmDefault($0) }
      case "partitions": slurm.partitions = try list(path, value) { try text(path, $0) }
      case "apptainer": slurm.apptainer = try text(path, value)
      case "script": slurm.script = try text(path, value)
      case "options": slurm.options = try list(path, value) { try text(path, $0) }
      case "pollInterval": slurm.pollInterval = try duration(path, value)
      case "defaultWalltime": slurm.defaultWalltime = try duration(path, value)
      case "maxJobs": slurm.maxJobs = try number(path, value, 1...1_000_000)
      case "arraySize": slurm.arraySize = try number(path, value, 1...100_000)
      case "shareJobs": slurm.shareJobs = try flag(path, value)
      case "canFence": slurm.canFence = try flag(path, value)
      case "inputWait": slurm.inputWait = try text(path, value) == "0s" ? .zero : duration(path, value)
      case "restd": slurm.restd = try absolute(path, value)
      case "accounting": slurm.accounting = try choice(path, value)
      case "sandbox": slurm.sandbox = try choice(path, value)
      default: throw FederationError(.internal, "The configuration key \(path) is not read")
      }
    }
    return slurm
  }

  private static func slurmDefault(_ node: Node) throws -> SlurmConfiguration.SlurmDefault {
    typealias Rule = SlurmConfiguration.SlurmDefault
    guard let mapping = node.mapping else { throw invalid("slurm.defaults", "a list of rules", node) }
    var rule = Rule()
    for (key, value) in mapping {
      let key = try name(key, in: ["when"] + Rule.valueNames, of: "slurm.defaults.")
      guard key == "when" else {
        rule.values[key] = try text("slurm.defaults.\(key)", value)
        continue
      }
      guard let conditions = value.mapping else {
        throw invalid("slurm.defaults.when", "a mapping of \(Rule.conditionNames.joined(separator: ", "))", value)
      }
      for (key, value) in conditions {
        let key = try name(key, in: Rule.conditionNames, of: "slurm.defaults.when.")
        let path = "slurm.defaults.when." + key
        switch key {
        case "class": rule.priorityClass = try choice(path, value) as PriorityClass
        case "labels": rule.labels = try texts(path, value)
        case "project": rule.project = try text(path, value)
        default: rule.gpus = try flag(path, value)
        }
      }
    }
    return rule
  }

  static func absolute(_ key: String, _ node: Node) throws -> String {
    let path = try text(key, node)
    guard path.hasPrefix("/") else { throw invalid(key, "an absolute path", node) }
    return path
  }

  static func texts(_ key: String, _ node: Node, keys: [String]? = nil) throws -> [String: String] {
    guard let mapping = node.mapping, mapping.count <= 10_000 else { throw invalid(key, "a mapping of texts", node) }
    var values: [String: String] = [:]
    for (name, value) in mapping {
      let name = try keys.map { try self.name(name, in: $0, of: key + ".") } ?? text(key, name)
      values[name] = try text("\(key).\(name)", value)
    }
    return values
  }

  static func number(_ key: String, _ node: Node, _ range: ClosedRange<Int>) throws -> Int {
    guard let value = Int(try text(key, node)), range.contains(value) else {
      throw invalid(key, "a number from \(range.lowerBound) to \(range.upperBound)", node)
    }
    return value
  }

  static func flag(_ key: String, _ node: Node) throws -> Bool {
    switch try text(key, node) {
    case "true": true
    case "false": false
    default: throw invalid(key, "true or false", node)
    }
  }

  /// `500ms`, `5s`, `10m`, `2h`, `1d`.
  static func duration(_ key: String, _ node: Node) throws -> Duration {
    let text = try text(key, node)
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)]
    for (unit, milliseconds) in units where text.hasSuffix(unit) {
      if let count = Int64(text.dropLast(unit.utf8.count)), (1...1_000_000_000).contains(count) {
        return .milliseconds(count * Int64(milliseconds))
      }
    }
    throw invalid(key, "a duration like 500ms, 5s, 10m or 2h", node)
  }
}
