internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials

extension Fubini_Agent_V1_ProjectObject {
  var model: FederationModel.ProjectObject { .init(configMap ? .configMap : .secret, name) }
}

extension Fubini_Agent_V1_EnvironmentSource {
  var model: FederationModel.EnvironmentSource {
    variable.isEmpty
      ? .all(of: object.model, prefix: prefix, isOptional: `optional`)
      : .value(variable: variable, key: key, of: object.model, isOptional: `optional`)
  }
}

extension Fubini_Agent_V1_FileVolume {
  var model: FederationModel.FileVolume {
    .init(
      name: name, sources: sources.map(\.model), mode: mode,
      mounts: mounts.map { .init(path: $0.path, subPath: $0.subPath.isEmpty ? nil : $0.subPath) })
  }
}

extension Fubini_Agent_V1_FileSource {
  var model: FederationModel.FileVolume.Source {
    guard hasObject else { return .text(text, path: path, mode: hasMode ? mode : nil) }
    let named = items.map {
      FederationModel.FileVolume.Item(key: $0.key, path: $0.path, mode: $0.hasMode ? $0.mode : nil)
    }
    return .object(object.model, items: allKeys ? nil : named, isOptional: `optional`)
  }
}

extension Fubini_Agent_V1_RunContainers {
  /// - Throws: `.invalidArgument` for a role that this version does not know.
  var model: FederationModel.RunContainers {
    get throws {
      FederationModel.RunContainers(
        list: try containers.map { try $0.model }, retries: retries, retryPause: .milliseconds(max(0, retryPauseMs)),
        isDaemon: daemon ? true : nil)
    }
  }
}

extension Fubini_Agent_V1_RunContainer {
  var model: FederationModel.RunContainers.Container {
    get throws {
      guard let known = FederationModel.RunContainers.Role(rawValue: role) else {
        throw FederationError(.invalidArgument, "Containers of the kind \(role) are unknown to this agent: upgrade it")
      }
      return FederationModel.RunContainers.Container(
        name: name, role: known, image: image, command: command, arguments: arguments,
        environment: environment.map { FederationModel.EnvironmentVariable(name: $0.name, value: $0.value) },
        environmentSources: environmentSources.isEmpty ? nil : environmentSources.map(\.model),
        workingDirectory: hasWorkingDirectory ? workingDirectory : nil, dependencies: dependencies,
        probes: try probeModels)
    }
  }

  private var probeModels: FederationModel.RunProbes? {
    get throws {
      guard !probes.isEmpty else { return nil }
      var models = FederationModel.RunProbes()
      for probe in probes {
        switch probe.kind {
        case .startup: models.startup = try probe.model
        case .readiness: models.readiness = try probe.model
        case .liveness: models.liveness = try probe.model
        case .UNRECOGNIZED: throw Fubini_Agent_V1_Probe.unknown
        }
      }
      return models
    }
  }
}

extension Fubini_Agent_V1_Probe {
  fileprivate static var unknown: FederationError {
    FederationError(.invalidArgument, "A probe of a kind that is unknown to this agent: upgrade it")
  }

  fileprivate var model: FederationModel.RunProbe {
    get throws {
      let asked: FederationModel.RunProbe.Action =
        switch action {
        case .exec: .exec(command)
        case .http:
          .http(
            host: host, port: port, path: path,
            headers: headers.map { FederationModel.EnvironmentVariable(name: $0.name, value: $0.value) })
        case .tcp: .tcp(host: host, port: port)
        case .UNRECOGNIZED: throw Self.unknown
        }
      return FederationModel.RunProbe(
        asked, initialDelay: .milliseconds(max(0, initialDelayMs)), period: .milliseconds(max(1, periodMs)),
        timeout: .milliseconds(max(1, timeoutMs)), successThreshold: successThreshold,
        failureThreshold: failureThreshold, grace: graceMs > 0 ? .milliseconds(graceMs) : nil)
    }
  }
}

extension Fubini_Agent_V1_ClaimVolume {
  /// - Throws: `.invalidArgument` for a specification that is no JSON.
  var model: FederationModel.ClaimVolume {
    get throws {
      FederationModel.ClaimVolume(
        name: name,
        workflow: workflowUid.isEmpty ? nil : .init(uid: workflowUid, goesWithFailure: goesWithFailure),
        mounts: mounts.map { .init(path: $0.path, isReadOnly: $0.readOnly) },
        specification: try Fubini_Agent_V1_TaskSpec.value(specification))
    }
  }
}

extension Fubini_Agent_V1_TaskSpec {
  /// What travels as JSON; nil: nothing was said.
  ///
  /// - Throws: `.invalidArgument` for what this agent cannot read.
  static func value<Value: Decodable>(_ json: String) throws -> Value? {
    guard !json.isEmpty else { return nil }
    do { return try JSONDecoder().decode(Value.self, from: Data(json.utf8)) } catch {
      throw FederationError(
        .invalidArgument, "The settings of the task for Kubernetes cannot be read by this agent: upgrade it",
        cause: error)
    }
  }
}

extension Fubini_Agent_V1_RunHTTP {
  var model: FederationModel.RunHTTP {
    FederationModel.RunHTTP(
      method: method, url: url, headers: headers.map { .init(name: $0.name, value: $0.value) },
      secretHeaders: secretHeaders.map(\.model), body: body, timeout: .milliseconds(max(1, timeoutMs)),
      skipsVerification: skipVerification, successCondition: successCondition.isEmpty ? nil : successCondition)
  }
}
