import FederationModel

/// Probes of containers.
///
/// - Source: Kubernetes v1.33, `Probe` and its defaults.
extension DocumentReader {
  /// The probes among a container's fields; nil when there are none.
  mutating func readProbes(of container: DocumentNode) -> ProbesTemplate? {
    var probes = ProbesTemplate()
    let ports = namedPorts(of: container)
    for (key, place) in [
      ("startupProbe", \ProbesTemplate.startup), ("readinessProbe", \.readiness), ("livenessProbe", \.liveness),
    ] {
      guard let node = container[key], !node.isNull else { continue }
      probes[keyPath: place] = at(key) { $0.readProbe(node, isReadiness: key == "readinessProbe", ports) }
    }
    return probes == ProbesTemplate() ? nil : probes
  }

  /// `ports`: a probe may call one by its name.
  private mutating func namedPorts(of container: DocumentNode) -> [String: String] {
    guard let node = container["ports"] else { return [:] }
    var ports: [String: String] = [:]
    at("ports") { reader in
      _ = reader.list(node) { reader, item -> Bool? in
        var (name, number) = ("", "")
        reader.fields(of: item, FieldTables.port) { reader, key, value in
          if key == "name" { name = reader.text(value) ?? "" } else { number = reader.text(value) ?? "" }
        }
        if !name.isEmpty { ports[name] = number }
        return nil
      }
    }
    return ports
  }

  private mutating func readProbe(
    _ node: DocumentNode, isReadiness: Bool, _ ports: [String: String]
  ) -> ProbeTemplate? {
    var probe = ProbeTemplate(.exec([]))
    var actions = 0
    fields(of: node, FieldTables.probe) { reader, key, value in
      if value.isNull { return }
      switch key {
      case "exec":
        actions += 1
        var command: [String] = []
        reader.fields(of: value, FieldTables.execAction) { reader, _, value in command = reader.texts(value) }
        if command.isEmpty { reader.report("needs a command", at: value.mark) }
        probe.action = .exec(command)
      case "httpGet":
        actions += 1
        probe.action = reader.readHTTPAction(value, ports)
      case "tcpSocket":
        actions += 1
        var (host, port) = ("", "")
        reader.fields(of: value, FieldTables.tcpAction) { reader, key, value in
          if key == "host" { host = reader.text(value) ?? "" } else { port = reader.port(value, ports) }
        }
        if port.isEmpty { reader.report("needs a port", at: value.mark) }
        probe.action = .tcp(host: host, port: port)
      default: reader.readTiming(key, value, isReadiness: isReadiness, into: &probe)
      }
    }
    guard actions == 1 else {
      if case .mapping = node.value { report("a probe has one of exec, httpGet and tcpSocket", at: node.mark) }
      return nil
    }
    return probe
  }

  private mutating func readTiming(
    _ key: String, _ value: DocumentNode, isReadiness: Bool, into probe: inout ProbeTemplate
  ) {
    func seconds(_ reader: inout DocumentReader, from least: Int64) -> Int64? {
      reader.integer(value, in: least...1_000_000)
    }
    // 0 is what Go writes for "not given", as Kubernetes takes it.
    func count(_ reader: inout DocumentReader, _ fallback: Int64) -> Int64 {
      let number = reader.integer(value, in: 0...1_000_000) ?? fallback
      return number == 0 ? fallback : number
    }
    switch key {
    case "initialDelaySeconds": probe.initialDelaySeconds = seconds(&self, from: 0) ?? 0
    case "periodSeconds": probe.periodSeconds = count(&self, 10)
    case "timeoutSeconds": probe.timeoutSeconds = count(&self, 1)
    case "failureThreshold": probe.failureThreshold = count(&self, 3)
    case "terminationGracePeriodSeconds":
      probe.graceSeconds = seconds(&self, from: 1)
      if isReadiness { report("nothing is ended for what a readinessProbe finds", at: value.mark) }
    default:
      probe.successThreshold = count(&self, 1)
      if probe.successThreshold > 1, !isReadiness { report("must be 1 but in a readinessProbe", at: value.mark) }
    }
  }

  private mutating func readHTTPAction(_ node: DocumentNode, _ ports: [String: String]) -> ProbeTemplate.Action {
    var (host, port, path) = ("", "", "/")
    var headers: [EnvironmentVariable] = []
    fields(of: node, FieldTables.httpAction) { reader, key, value in
      switch key {
      case "host": host = reader.text(value) ?? ""
      case "port": port = reader.port(value, ports)
      case "path": path = reader.text(value).flatMap { $0.isEmpty ? nil : $0 } ?? "/"
      case "scheme":
        // A probe of the kubelet's checks no certificate, so that it tells no more than a connection does.
        if let scheme = reader.text(value), !["", "HTTP"].contains(scheme) {
          reader.report("probes over \(scheme) are not supported: use tcpSocket, or exec with a client", at: value.mark)
        }
      default:
        headers = reader.list(value) { reader, item in
          var header = EnvironmentVariable(name: "", value: "")
          reader.fields(of: item, FieldTables.probeHeader) { reader, key, value in
            if key == "name" { header.name = reader.text(value) ?? "" } else { header.value = reader.text(value) ?? "" }
          }
          if header.name.isEmpty || (header.name + header.value).contains(where: \.isNewline) {
            reader.report("a header has a name, and no line breaks", at: item.mark)
          }
          return header
        }
      }
    }
    if port.isEmpty { report("needs a port", at: node.mark) }
    if !path.hasPrefix("/"), !path.hasTags { path = "/" + path }
    return .http(host: host, port: port, path: path, headers: headers)
  }

  /// A number, or the name of one of the container's ports.
  private mutating func port(_ node: DocumentNode, _ ports: [String: String]) -> String {
    guard let text = text(node), !text.isEmpty else { return "" }
    if text.hasTags || Int32(text).map({ (1...65_535).contains($0) }) == true { return text }
    guard let number = ports[text] else {
      report(
        "\"\(text)\" is neither a port from 1 to 65535 nor the name of one of the container's ports", at: node.mark,
        suggestion: NearestName.find(text, among: ports.keys.sorted()))
      return "1"
    }
    return number
  }
}
