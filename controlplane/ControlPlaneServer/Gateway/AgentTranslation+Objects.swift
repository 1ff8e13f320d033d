import FederationAPI
import FederationModel
import FoundationEssentials
import SwiftProtobuf

// What a run takes from objects of its project, as it goes to an agent: by name. Values go by GetSecret alone.

extension Fubini_Agent_V1_ProjectObject {
  init(_ object: ProjectObject) {
    self.init()
    configMap = object.kind == .configMap
    name = object.name
  }
}

extension Fubini_Agent_V1_EnvironmentSource {
  init(_ source: EnvironmentSource) {
    self.init()
    object = Fubini_Agent_V1_ProjectObject(source.object)
    switch source {
    case .value(let variable, let key, _, let isOptional):
      (self.variable, self.key, optional) = (variable, key, isOptional)
    case .all(_, let prefix, let isOptional): (self.prefix, optional) = (prefix, isOptional)
    }
  }
}

extension Fubini_Agent_V1_FileVolume {
  init(_ volume: FileVolume) {
    self.init()
    (name, mode) = (volume.name, volume.mode)
    sources = volume.sources.map(Fubini_Agent_V1_FileSource.init)
    mounts = volume.mounts.map { mount in .with { ($0.path, $0.subPath) = (mount.path, mount.subPath ?? "") } }
  }
}

extension Fubini_Agent_V1_FileSource {
  init(_ source: FileVolume.Source) {
    self.init()
    switch source {
    case .object(let object, let items, let isOptional):
      self.object = Fubini_Agent_V1_ProjectObject(object)
      optional = isOptional
      allKeys = items == nil
      self.items = (items ?? []).map { item in
        .with {
          ($0.key, $0.path) = (item.key, item.path)
          if let mode = item.mode { $0.mode = mode }
        }
      }
    case .text(let text, let path, let mode):
      (self.text, self.path) = (text, path)
      if let mode { self.mode = mode }
    }
  }
}

extension Fubini_Agent_V1_RunContainers {
  init(_ several: RunContainers) {
    self.init()
    containers = several.list.map(Fubini_Agent_V1_RunContainer.init)
    retries = several.retries
    retryPauseMs = several.retryPause.milliseconds
    daemon = several.isDaemon == true
  }
}

extension Fubini_Agent_V1_RunContainer {
  init(_ container: RunContainers.Container) {
    self.init()
    name = container.name
    role = container.role.rawValue
    image = container.image
    command = container.command
    arguments = container.arguments
    environment = container.environment.map { variable in
      .with { ($0.name, $0.value) = (variable.name, variable.value) }
    }
    environmentSources = (container.environmentSources ?? []).map(Fubini_Agent_V1_EnvironmentSource.init)
    if let directory = container.workingDirectory { workingDirectory = directory }
    dependencies = container.dependencies
    let kinds: [(Fubini_Agent_V1_Probe.Kind, RunProbe?)] = [
      (.startup, container.probes?.startup), (.readiness, container.probes?.readiness),
      (.liveness, container.probes?.liveness),
    ]
    probes = kinds.compactMap { kind, probe in probe.map { Fubini_Agent_V1_Probe($0, kind) } }
  }
}

extension Fubini_Agent_V1_Probe {
  init(_ probe: RunProbe, _ kind: Kind) {
    self.init()
    self.kind = kind
    switch probe.action {
    case .exec(let command): (action, self.command) = (.exec, command)
    case .http(let host, let port, let path, let headers):
      (action, self.host, self.port, self.path) = (.http, host, port, path)
      self.headers = headers.map { header in .with { ($0.name, $0.value) = (header.name, header.value) } }
    case .tcp(let host, let port): (action, self.host, self.port) = (.tcp, host, port)
    }
    initialDelayMs = probe.initialDelay.milliseconds
    periodMs = probe.period.milliseconds
    timeoutMs = probe.timeout.milliseconds
    (successThreshold, failureThreshold) = (probe.successThreshold, probe.failureThreshold)
    graceMs = probe.grace?.milliseconds ?? 0
  }
}

extension Fubini_Agent_V1_ClaimVolume {
  init(_ claim: ClaimVolume) {
    self.init()
    name = claim.name
    if let owner = claim.workflow { (workflowUid, goesWithFailure) = (owner.uid, owner.goesWithFailure) }
    mounts = claim.mounts.map { mount in .with { ($0.path, $0.readOnly) = (mount.path, mount.isReadOnly) } }
    specification = claim.specification?.description ?? ""
  }
}

extension Fubini_Agent_V1_TaskSpec {
  /// Of what has the shape of another's API, which is told as it is. It was made of a document, so that there is no number without a text.
  static func json(_ value: some Encodable) -> String {
    (try? JSONEncoder().encode(value)).map { String(decoding: $0, as: UTF8.self) } ?? ""
  }
}

extension Fubini_Agent_V1_RunHTTP {
  init(_ request: RunHTTP) {
    self.init()
    (method, url, body) = (request.method, request.url, request.body)
    headers = request.headers.map { header in .with { ($0.name, $0.value) = (header.name, header.value) } }
    secretHeaders = request.secretHeaders.map(Fubini_Agent_V1_EnvironmentSource.init)
    timeoutMs = request.timeout.milliseconds
    skipVerification = request.skipsVerification
    successCondition = request.successCondition ?? ""
  }
}
