internal import FederationAPI
internal import FederationModel
internal import Supervisor
internal import Yams

/// Reads the agent's YAML file and environment. Every key is known or refused with the nearest known one.
enum ConfigurationParser {
  static let sizeMax = 256 << 10
  static let keys = [
    "controlPlane", "stateDirectory", "executor", "slots", "resources", "images", "rootFileSystems", "allowedHostPaths",
    "sandbox", "network", "cgroups", "processLimit", "transferLimit", "linkLimits", "artifactCacheSize", "logLevel",
    "slurm", "kubernetes",
    "protocolMax", "tenancy", "project", "projects", "proxy", "cache", "export", "runAddress",
    "claims",
  ]
  static let resourceKeys = ["cpu", "memory", "gpus"]
  static let imageKeys = ["command", "pattern", "runsAs"]

  /// Variables that override single keys; lists are separated by commas.
  static let variables = [
    "FUBINI_CONTROL_PLANE": "controlPlane", "FUBINI_STATE_DIR": "stateDirectory", "FUBINI_EXECUTOR": "executor",
    "FUBINI_SLOTS": "slots", "FUBINI_SANDBOX": "sandbox", "FUBINI_NETWORK": "network",
    "FUBINI_CGROUPS": "cgroups",
    "FUBINI_TRANSFER_LIMIT": "transferLimit", "FUBINI_ARTIFACT_CACHE_SIZE": "artifactCacheSize",
    "FUBINI_LOG_LEVEL": "logLevel", "FUBINI_PROXY": "proxy", "FUBINI_TENANCY": "tenancy",
    "FUBINI_AGENT_PROJECT": "project",
    "FUBINI_PROTOCOL_MAX": "protocolMax",
  ]

  /// - Throws: `.invalidArgument` with the key and what it may be.
  static func parse(yaml: String, environment: [String: String] = [:]) throws -> AgentConfiguration {
    guard yaml.utf8.count <= sizeMax else {
      throw FederationError(.invalidArgument, "The configuration is larger than 256 KiB")
    }
    var configuration = AgentConfiguration()
    configuration.proxy = ProxySettings(environment: environment)
    let root: Node?
    do { root = try Yams.compose(yaml: yaml) } catch {
      throw FederationError(.invalidArgument, "The configuration is no YAML: \(error)")
    }
    if let root, root.null == nil {
      guard let mapping = root.mapping else {
        throw FederationError(.invalidArgument, "The configuration must be a mapping")
      }
      for (key, value) in mapping { try set(try name(key, in: keys, of: ""), value, in: &configuration) }
    }
    for (variable, key) in variables.sorted(by: { $0.key < $1.key }) {
      guard let text = environment[variable], !text.isEmpty else { continue }
      if key == "controlPlane" {
        configuration.controlPlane = text.split(separator: ",").map(String.init)
      } else {
        do { try set(key, Node(text), in: &configuration) } catch let error as FederationError {
          throw FederationError(.invalidArgument, "\(variable): \(error.publicMessage)")
        }
      }
    }
    return configuration
  }

  static func name(_ node: Node, in known: [String], of parent: String) throws -> String {
    let key = node.string ?? ""
    guard known.contains(key) else {
      let nearest = known.min { distance($0, key) < distance($1, key) } ?? ""
      throw FederationError(
        .invalidArgument,
        "Unknown key \"\(parent)\(key)\" in the configuration: did you mean \"\(parent)\(nearest)\"?\(place(node))")
    }
    return key
  }

  private static func place(_ node: Node) -> String { node.mark.map { " (line \($0.line))" } ?? "" }

  static func invalid(_ key: String, _ expected: String, _ node: Node) -> FederationError {
    FederationError(.invalidArgument, "\(key) must be \(expected)\(place(node))")
  }

  static func text(_ key: String, _ node: Node) throws -> String {
    guard let text = node.scalar?.string, !text.isEmpty else { throw invalid(key, "a text", node) }
    return text
  }

  static func choice<Choice: RawRepresentable & CaseIterable>(_ key: String, _ node: Node) throws -> Choice
  where Choice.RawValue == String {
    guard let choice = node.scalar.flatMap({ Choice(rawValue: $0.string) }) else {
      throw invalid(key, "one of \(Choice.allCases.map(\.rawValue).joined(separator: ", "))", node)
    }
    return choice
  }

  static func list<Element>(_ key: String, _ node: Node, _ element: (Node) throws -> Element) throws
    -> [Element]
  {
    guard let sequence = node.sequence, sequence.count <= 1000 else {
      throw invalid(key, "a list of at most 1,000", node)
    }
    return try sequence.map(element)
  }

  private static func set(_ key: String, _ node: Node, in configuration: inout AgentConfiguration) throws {
    switch key {
    case "controlPlane": configuration.controlPlane = try list(key, node) { try text(key, $0) }
    case "stateDirectory": configuration.stateDirectory = try text(key, node)
    case "executor": configuration.executor = try choice(key, node)
    case "slots":
      guard let slots = Int(try text(key, node)), (1...1_000_000).contains(slots) else {
        throw invalid(key, "a number from 1 to 1,000,000", node)
      }
      configuration.slots = slots
    case "resources": try setResources(node, in: &configuration)
    case "images":
      configuration.images = try list(key, node) { node in
        var image = AgentConfiguration.Image(pattern: "", runsAs: "")
        guard let mapping = node.mapping else { throw invalid(key, "a list of {pattern, runsAs}", node) }
        for (name, value) in mapping {
          let name = try self.name(name, in: imageKeys, of: "images.")
          switch name {
          case "pattern": image.pattern = try text(name, value)
          case "command": image.command = try list(name, value) { try text(name, $0) }
          default: image.runsAs = try text(name, value)
          }
        }
        guard !image.pattern.isEmpty, !image.runsAs.isEmpty else {
          throw invalid(key, "a list of {pattern, runsAs}", node)
        }
        return image
      }
    case "rootFileSystems":
      guard let mapping = node.mapping else { throw invalid(key, "a mapping of names to directories", node) }
      for (name, value) in mapping {
        let path = try text(key, value)
        guard path.hasPrefix("/") else { throw invalid(key, "absolute directories", value) }
        configuration.rootFileSystems[try text(key, name)] = path
      }
    case "allowedHostPaths":
      configuration.allowedHostPaths = try list(key, node) { node in
        let path = try text(key, node)
        guard path.hasPrefix("/") else { throw invalid(key, "absolute paths", node) }
        return path
      }
    case "sandbox": configuration.sandbox = try choice(key, node)
    case "network": configuration.network = try choice(key, node)
    case "claims": try setClaims(node, in: &configuration)
    case "runAddress":
      let address = try text(key, node)
      guard address.utf8.count <= 253, !address.contains(where: { $0.isWhitespace || $0 == "/" }),
        !RunAddress.isLoopback(address)
      else { throw invalid(key, "a host's name or address that other clusters reach, without a port", node) }
      configuration.runAddress = address
    case "cgroups":
      guard let setting = ControlGroupSetting(try text(key, node)) else {
        throw invalid(key, "auto, none, or a control group like /fubini", node)
      }
      configuration.controlGroups = setting
    case "processLimit":
      guard let limit = Int(try text(key, node)), (1...4_194_304).contains(limit) else {
        throw invalid(key, "a number from 1 to 4,194,304", node)
      }
      configuration.processLimit = limit
    case "transferLimit":
      configuration.transferLimit = try timetable(key, node)
    case "linkLimits":
      guard let mapping = node.mapping, mapping.count <= 1000 else {
        throw invalid(key, "a mapping of repository, origin, archive or clusters' names to limits", node)
      }
      for (name, value) in mapping {
        let link = name.string ?? ""
        guard ClusterName(link).isDNSLabel else {
          throw invalid(key, "repository, origin, archive or clusters' names", name)
        }
        configuration.linkLimits[link] = try timetable("\(key).\(link)", value)
      }
    case "artifactCacheSize": configuration.cache.capacityBytes = try size(key, node)
    case "export": configuration.export = try export(node)
    case "cache": try setCache(node, in: &configuration.cache)
    case "logLevel": configuration.logLevel = try choice(key, node)
    case "slurm": configuration.slurm = try slurm(node)
    case "kubernetes": configuration.kubernetes = try kubernetes(node)
    case "proxy":
      let proxy = try text(key, node)
      if proxy != "none" { _ = try ForwardProxy(proxy) }
      configuration.proxy.configured = proxy
    case "tenancy": configuration.tenancy.kind = try choice(key, node) as TenancyConfiguration.Kind
    case "project": configuration.tenancy.project = try project(key, node)
    case "projects": configuration.tenancy.projects = try projects(node)
    case "protocolMax":
      let known = AgentProtocol.versions
      guard let version = UInt32(try text(key, node)), known.contains(version) else {
        throw invalid(key, "a protocol version from \(known.lowerBound) to \(known.upperBound)", node)
      }
      configuration.protocolMax = version
    default: throw FederationError(.internal, "The configuration key \(key) is not read")
    }
  }

  private static func setResources(_ node: Node, in configuration: inout AgentConfiguration) throws {
    guard let mapping = node.mapping else { throw invalid("resources", "a mapping of cpu, memory, gpus", node) }
    for (key, value) in mapping {
      let key = try name(key, in: resourceKeys, of: "resources.")
      let text = try text("resources.\(key)", value)
      switch key {
      case "cpu":
        guard let cpu = Quantity.parse(text, scale: 1000), cpu > 0 else {
          throw invalid("resources.cpu", "like 4 or 500m", value)
        }
        configuration.cpuMillicores = cpu
      case "memory": configuration.memoryBytes = try size("resources.memory", value)
      default:
        guard let gpus = Int64(text), (0...1024).contains(gpus) else {
          throw invalid("resources.gpus", "a number", value)
        }
        configuration.gpus = gpus
      }
    }
  }

  /// `512Mi`, `20GB`, `1000000`.
  static func size(_ key: String, _ node: Node) throws -> Int64 {
    var text = try text(key, node)
    if text.hasSuffix("B") { text.removeLast() }
    guard let bytes = Quantity.parse(text), bytes > 0 else { throw invalid(key, "a size like 20Gi or 500MB", node) }
    return bytes
  }

  /// `50MB/s`, `1Gi/s`, or bytes a second.
  static func rate(_ key: String, _ node: Node) throws -> Int64 {
    guard let bytes = bytesPerSecond(try text(key, node)) else { throw invalid(key, "a rate like 50MB/s", node) }
    return bytes
  }

  private static func timetable(_ key: String, _ node: Node) throws -> BandwidthTimetable {
    guard let limit = BandwidthTimetable(try text(key, node), rate: { bytesPerSecond($0) }) else {
      throw invalid(key, "a rate like 50MB/s, or a timetable like \"08:00,10MB/s 19:00,off\"", node)
    }
    return limit
  }

  /// nil for what is no rate.
  static func bytesPerSecond(_ text: String) -> Int64? {
    var text = text
    if text.hasSuffix("/s") { text.removeLast(2) }
    if text.hasSuffix("B") { text.removeLast() }
    return Quantity.parse(text).flatMap { $0 > 0 ? $0 : nil }
  }

  /// Levenshtein's distance, over letters of either case.
  static func distance(_ a: String, _ b: String) -> Int {
    let a = Array(a.lowercased()), b = Array(b.lowercased().prefix(64))
    var row = Array(0...b.count)
    for (i, x) in a.enumerated() {
      var diagonal = row[0]
      row[0] = i + 1
      for (j, y) in b.enumerated() {
        let substituted = diagonal + (x == y ? 0 : 1)
        diagonal = row[j + 1]
        row[j + 1] = min(substituted, row[j] + 1, row[j + 1] + 1)
      }
    }
    return row[b.count]
  }
}
