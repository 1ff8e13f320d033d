internal import FederationModel
internal import KubernetesExecutor
internal import Yams

/// The block `kubernetes`.
extension ConfigurationParser {
  static let kubernetesKeys = [
    "kubeconfig", "context", "namespace", "image", "imagePullPolicy", "imagePullSecrets", "filesAddress", "filesPort",
    "nodeSelector", "tolerations", "priorityClass", "serviceAccount", "serviceAccounts", "privileged", "cache",
    "claims", "kueue", "pools", "maxJobs", "fluid", "workflowClaims",
  ]
  private static let tolerationKeys = ["key", "operator", "value", "effect", "tolerationSeconds"]
  private static let poolKeys = ["name", "resources", "max", "startupTime", "nodeLabel"]

  /// - Throws: `.invalidArgument` with the key and what it may be.
  static func kubernetes(_ node: Node) throws -> KubernetesConfiguration {
    guard let mapping = node.mapping else { throw invalid("kubernetes", "a mapping", node) }
    var kubernetes = KubernetesConfiguration()
    for (key, value) in mapping {
      let key = try name(key, in: kubernetesKeys, of: "kubernetes.")
      let path = "kubernetes." + key
      switch key {
      case "kubeconfig": kubernetes.kubeconfig = try absolute(path, value)
      case "context": kubernetes.context = try text(path, value)
      case "namespace": kubernetes.namespace = try namespace(path, value)
      case "image": kubernetes.image = try text(path, value)
      case "imagePullPolicy":
        let policy = try text(path, value)
        guard KubernetesConfiguration.pullPolicies.contains(policy) else {
          throw invalid(path, "one of \(KubernetesConfiguration.pullPolicies.joined(separator: ", "))", value)
        }
        kubernetes.imagePullPolicy = policy
      case "imagePullSecrets": kubernetes.imagePullSecrets = try list(path, value) { try text(path, $0) }
      case "filesAddress": kubernetes.filesAddress = try text(path, value)
      case "filesPort": kubernetes.filesPort = try number(path, value, 0...65_535)
      case "nodeSelector": kubernetes.nodeSelector = try texts(path, value)
      case "tolerations": kubernetes.tolerations = try list(path, value) { try toleration(path, $0) }
      case "priorityClass": kubernetes.priorityClass = try text(path, value)
      case "serviceAccount": kubernetes.serviceAccount = try text(path, value)
      case "serviceAccounts": kubernetes.serviceAccounts = try serviceAccounts(path, value)
      case "privileged": kubernetes.isPrivileged = try flag(path, value)
      case "cache": kubernetes.cache = try cacheVolume(path, value)
      case "claims": kubernetes.claims = try list(path, value) { try text(path, $0) }
      case "kueue": try setKueue(path, value, in: &kubernetes)
      case "pools": kubernetes.pools = try list(path, value) { try pool(path, $0) }
      case "workflowClaims": kubernetes.workflowClaims = try workflowClaims(path, value)
      case "fluid": kubernetes.fluid = try fluid(path, value)
      case "maxJobs": kubernetes.maxJobs = try number(path, value, 1...1_000_000)
      default: throw FederationError(.internal, "The configuration key \(path) is not read")
      }
    }
    return kubernetes
  }

  static func namespace(_ key: String, _ node: Node) throws -> String {
    let text = try text(key, node)
    // Names of clusters are RFC 1123 labels, as those of namespaces are.
    guard ClusterName(text).isDNSLabel else { throw invalid(key, "a namespace's name", node) }
    return text
  }

  private static func toleration(_ key: String, _ node: Node) throws -> JSONValue {
    guard let mapping = node.mapping else { throw invalid(key, "a list of {key, operator, value, effect}", node) }
    var fields: [String: JSONValue] = [:]
    for (name, value) in mapping {
      let name = try self.name(name, in: tolerationKeys, of: key + ".")
      let path = "\(key).\(name)"
      fields[name] =
        name == "tolerationSeconds"
        ? .integer(Int64(try number(path, value, 0...Int(Int32.max)))) : .string(try text(path, value))
    }
    return .object(fields)
  }

  /// `[NAME, ...]`: each is itself; or `{NAME: ACCOUNT, "*": ACCOUNT}`.
  private static func serviceAccounts(_ key: String, _ node: Node) throws -> [String: String] {
    let accounts =
      node.mapping != nil
      ? try texts(key, node)
      : Dictionary(try list(key, node) { try text(key, $0) }.map { ($0, $0) }) { first, _ in first }
    guard accounts.count <= 256, !accounts.values.contains(ClusterInventory.anyServiceAccount) else {
      throw invalid(key, "at most 256 names, or {NAME: ACCOUNT}, where NAME may be * and ACCOUNT may not", node)
    }
    return accounts
  }

  private static func cacheVolume(_ key: String, _ node: Node) throws -> KubernetesConfiguration.Cache {
    guard let mapping = node.mapping, mapping.count == 1, let (name, value) = mapping.first else {
      throw invalid(key, "{claim: NAME} or {hostPath: DIRECTORY}", node)
    }
    switch try self.name(name, in: ["claim", "hostPath"], of: key + ".") {
    case "claim": return .claim(try text(key + ".claim", value))
    default: return .hostPath(try absolute(key + ".hostPath", value))
    }
  }

  private static func workflowClaims(
    _ key: String, _ node: Node
  ) throws -> KubernetesExecutorConfiguration.WorkflowClaims {
    guard let mapping = node.mapping else { throw invalid(key, "{storageClass, maxSize}, which may be empty", node) }
    var claims = KubernetesExecutorConfiguration.WorkflowClaims()
    for (name, value) in mapping {
      switch try self.name(name, in: ["storageClass", "maxSize"], of: key + ".") {
      case "storageClass": claims.storageClass = try text(key + ".storageClass", value)
      default: claims.sizeMax = ByteCount(try size(key + ".maxSize", value))
      }
    }
    return claims
  }

  private static func setKueue(
    _ key: String, _ node: Node, in kubernetes: inout KubernetesConfiguration
  ) throws {
    guard let mapping = node.mapping else { throw invalid(key, "{queue, queues}", node) }
    for (name, value) in mapping {
      switch try self.name(name, in: ["queue", "queues"], of: key + ".") {
      case "queue": kubernetes.queue = try text(key + ".queue", value)
      default:
        for (project, queue) in try texts(key + ".queues", value) { kubernetes.queues[ProjectName(project)] = queue }
      }
    }
  }

  private static func pool(_ key: String, _ node: Node) throws -> KubernetesConfiguration.Pool {
    guard let mapping = node.mapping else {
      throw invalid(key, "a list of {name, resources, max, startupTime, nodeLabel}", node)
    }
    var pool = KubernetesConfiguration.Pool()
    for (name, value) in mapping {
      let name = try self.name(name, in: poolKeys, of: key + ".")
      let path = "\(key).\(name)"
      switch name {
      case "name": pool.name = try text(path, value)
      case "max": pool.nodesMax = try number(path, value, 1...100_000)
      case "startupTime": pool.startupTime = try duration(path, value)
      case "nodeLabel":
        pool.nodeLabel = try texts(path, value)
        guard pool.nodeLabel.count == 1 else { throw invalid(path, "one label, {KEY: VALUE}", value) }
      default: pool.resources = try resources(path, value)
      }
    }
    guard !pool.name.isEmpty, pool.resources.cpuMillicores > 0 else {
      throw invalid(key, "a list of {name, resources: {cpu, memory, gpus, gpuType}, max, startupTime, nodeLabel}", node)
    }
    guard pool.name != "nodes" else {
      throw invalid(key, "a name other than nodes, which are those that are in no pool", node)
    }
    return pool
  }

  private static func resources(_ key: String, _ node: Node) throws -> Resources {
    guard let mapping = node.mapping else { throw invalid(key, "{cpu, memory, gpus, gpuType}", node) }
    var resources = Resources.zero
    for (name, value) in mapping {
      let name = try self.name(name, in: ["cpu", "memory", "gpus", "gpuType"], of: key + ".")
      let path = "\(key).\(name)"
      switch name {
      case "cpu":
        guard let amount = Quantity.parse(try text(path, value), scale: 1000) else {
          throw invalid(path, "an amount like 500m or 16", value)
        }
        resources.cpuMillicores = amount
      case "memory":
        guard let amount = Quantity.parse(try text(path, value)) else {
          throw invalid(path, "an amount like 64Gi", value)
        }
        resources.memory = ByteCount(amount)
      case "gpus": resources.gpus = Int64(try number(path, value, 0...1024))
      default: resources.gpuType = try text(path, value)
      }
    }
    return resources
  }
}
