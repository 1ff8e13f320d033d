internal import FederationModel
internal import KubernetesExecutor
internal import Yams

/// The block `kubernetes.fluid`.
extension ConfigurationParser {
  static let fluidKeys = ["capacity", "runtime", "datasets"]
  static let fluidDatasetKeys = ["dataset", "path", "version", "mountPoint", "options", "secretOptions", "replicas"]
  private static let runtimeKeys = ["kind", "spec"]
  private static let secretKeys = ["name", "key"]

  /// - Throws: `.invalidArgument` with the key and what it may be.
  static func fluid(_ key: String, _ node: Node) throws -> FluidConfiguration {
    guard let mapping = node.mapping else { throw invalid(key, "{capacity, runtime, datasets}", node) }
    var fluid = FluidConfiguration()
    for (name, value) in mapping {
      switch try self.name(name, in: fluidKeys, of: key + ".") {
      case "capacity": fluid.capacity = ByteCount(try size(key + ".capacity", value))
      case "runtime": fluid.runtime = try runtime(key + ".runtime", value)
      default:
        guard let datasets = value.mapping, datasets.count <= 1000 else {
          throw invalid(key + ".datasets", "a mapping of data sets (NAME or PROJECT/NAME)", value)
        }
        for (name, value) in datasets {
          let name = try text(key + ".datasets", name)
          let parts = name.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
          guard parts.count <= 2, parts.allSatisfy({ DatasetReference.isName($0) }) else {
            throw invalid(key + ".datasets", "names of data sets (NAME or PROJECT/NAME)", value)
          }
          fluid.datasets[name] = try source("\(key).datasets.\(name)", value)
        }
      }
    }
    guard fluid.capacity.bytes > 0 else {
      throw invalid(key, "{capacity: SIZE, ...}: what Fluid's caches hold in sum of what is declared here", node)
    }
    if fluid.runtime == nil, let name = fluid.datasets.filter({ $0.value.dataset == nil }).keys.min() {
      throw invalid(
        "\(key).datasets.\(name)", "{dataset: NAME}: without \(key).runtime no Dataset can be made for it", node)
    }
    return fluid
  }

  private static func runtime(_ key: String, _ node: Node) throws -> FluidConfiguration.Runtime {
    guard let mapping = node.mapping else { throw invalid(key, "{kind, spec}", node) }
    var runtime = FluidConfiguration.Runtime(kind: "")
    for (name, value) in mapping {
      switch try self.name(name, in: runtimeKeys, of: key + ".") {
      case "kind":
        runtime.kind = try text(key + ".kind", value)
        guard runtime.kind.hasSuffix("Runtime"), runtime.kind.utf8.allSatisfy(isLetter) else {
          throw invalid(key + ".kind", "a kind of Fluid's, as AlluxioRuntime", value)
        }
      default:
        guard value.mapping != nil else { throw invalid(key + ".spec", "the runtime's spec, as Fluid takes it", value) }
        runtime.spec = json(value)
      }
    }
    guard !runtime.kind.isEmpty else { throw invalid(key, "{kind: AlluxioRuntime, spec: {...}}", node) }
    return runtime
  }

  private static func isLetter(_ byte: UInt8) -> Bool { (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) }

  private static func source(_ key: String, _ node: Node) throws -> FluidConfiguration.Source {
    guard let mapping = node.mapping else {
      throw invalid(key, "a mapping of \(fluidDatasetKeys.joined(separator: ", "))", node)
    }
    var source = FluidConfiguration.Source()
    for (name, value) in mapping {
      let name = try self.name(name, in: fluidDatasetKeys, of: key + ".")
      let path = "\(key).\(name)"
      switch name {
      case "dataset": source.dataset = try namespace(path, value)
      case "path":
        let parts = try text(path, value).split(separator: "/").map(String.init)
        guard !parts.isEmpty, !parts.contains(where: { $0 == "." || $0 == ".." }) else {
          throw invalid(path, "a directory of the Dataset", value)
        }
        source.path = parts.joined(separator: "/")
      case "version": source.version = Int32(try number(path, value, 1...Int(Int32.max)))
      case "mountPoint": source.mountPoint = try text(path, value)
      case "options": source.options = try texts(path, value)
      case "secretOptions": source.secretOptions = try secretOptions(path, value)
      default: source.copies = try number(path, value, 1...1000)
      }
    }
    if source.dataset != nil {
      guard source.mountPoint == nil, source.options.isEmpty, source.secretOptions.isEmpty else {
        throw invalid(key, "{dataset: NAME}, or what a new Dataset mounts: not both", node)
      }
    } else if !source.path.isEmpty {
      throw invalid(key + ".path", "a directory of a Dataset that `dataset` names", node)
    }
    return source
  }

  private static func secretOptions(_ key: String, _ node: Node) throws -> [String: FluidConfiguration.SecretKey] {
    guard let mapping = node.mapping else { throw invalid(key, "{OPTION: {name: SECRET, key: KEY}}", node) }
    var options: [String: FluidConfiguration.SecretKey] = [:]
    for (option, value) in mapping {
      let option = try text(key, option)
      let path = "\(key).\(option)"
      guard let secret = value.mapping else { throw invalid(path, "{name: SECRET, key: KEY}", value) }
      var parts: [String: String] = [:]
      for (name, value) in secret {
        let name = try self.name(name, in: secretKeys, of: path + ".")
        parts[name] = try text("\(path).\(name)", value)
      }
      guard let name = parts["name"], let secretKey = parts["key"] else {
        throw invalid(path, "{name: SECRET, key: KEY}", value)
      }
      options[option] = .init(name: name, key: secretKey)
    }
    return options
  }

  /// As Kubernetes reads YAML: what is quoted is a text.
  private static func json(_ node: Node) -> JSONValue {
    switch node {
    case .mapping(let mapping):
      return .object(
        Dictionary(mapping.map { ($0.key.scalar?.string ?? "", json($0.value)) }, uniquingKeysWith: { $1 }))
    case .sequence(let sequence): return .array(sequence.map(json))
    case .scalar(let scalar):
      guard scalar.style == .any || scalar.style == .plain else { return .string(scalar.string) }
      if let flag = node.bool { return .bool(flag) }
      if let whole = node.int { return .integer(Int64(whole)) }
      if let number = node.float { return .number(number) }
      return node.null == nil ? .string(scalar.string) : .null
    default: return .null
    }
  }
}
