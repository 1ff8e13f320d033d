internal import FederationAPI
internal import FederationModel
internal import SwiftProtobuf

extension Fubini_Agent_V1_DataSource {
  init(_ source: FederationModel.DataSource) {
    self.init()
    switch source {
    case .repository(let key): repository = .with { $0.key = key ?? "" }
    case .origin(let known):
      origin = .with {
        $0.uri = known.uri
        $0.secret = known.secret ?? ""
      }
    case .archive(let known):
      archive = .with {
        $0.uri = known.uri
        $0.secret = known.secret ?? ""
      }
    case .export(let cluster, let url):
      export = .with {
        $0.cluster = cluster.text
        $0.url = url
      }
    }
  }

  /// nil for a kind that this version does not know: another source will do.
  var model: FederationModel.DataSource? {
    switch source {
    case .repository(let place): .repository(key: place.key.isEmpty ? nil : place.key)
    case .origin(let place):
      .origin(place.model)
    case .export(let place): .export(ClusterName(place.cluster), url: place.url)
    case .archive(let place): .archive(place.model)
    case nil: nil
    }
  }
}

extension Fubini_Agent_V1_Origin {
  var model: DataOrigin { DataOrigin(uri: uri, secret: secret.isEmpty ? nil : secret) }
}

extension Fubini_Agent_V1_DataObject {
  /// - Throws: `.invalidArgument` for what no replica can be made of.
  var model: FederationModel.DataObject {
    get throws {
      let name = DataKey(key)
      let isSound =
        if let sha256 = name.sha256 {
          sha256.utf8.count == 64
            && sha256.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
        } else {
          (key.hasPrefix("dataset:") && hasManifest || key.hasPrefix("source:")) && key.utf8.count <= 1024
            && !key.utf8.contains { $0 < 0x20 }
        }
      guard isSound, size >= 0, files >= 0 else {
        throw FederationError(.invalidArgument, "\(key.prefix(200)) names no data that this agent can keep")
      }
      return FederationModel.DataObject(
        key: name, project: ProjectName(project), size: ByteCount(size), files: files,
        manifest: hasManifest ? try manifest.model : nil, sources: sources.compactMap(\.model))
    }
  }
}

extension Fubini_Agent_V1_MountedDataset {
  var model: FederationModel.MountedDataset {
    get throws { FederationModel.MountedDataset(object: try object.model, mountPath: mountPath) }
  }
}
