internal import Execution
internal import FederationModel
internal import ProcessExecutor
internal import Supervisor

/// The volumes of a run's pod, and where its containers see them. Pure.
struct PodVolumes {
  private let request: RunRequest
  private let configuration: KubernetesExecutorConfiguration
  private let circumstances: JobManifest.Circumstances
  private let secret: String

  /// Entries of the pod's `volumes`.
  private(set) var volumes: [JSONValue]
  /// Entries of `volumeMounts` of every container of the author's.
  private(set) var mounts: [JSONValue] = []
  private(set) var inputs: [PodPlan.Input] = []
  /// Where the agent has them.
  private(set) var sources: [SharedPodFiles.Source] = []
  /// Files of the Secret.
  private(set) var secretData: [String: [UInt8]] = [:]
  /// Of the run's workflow.
  private(set) var claims: [WorkflowClaim] = []
  private var hasCache = false
  private var dataClaims: [String] = []
  /// Paths of scratch directories, normalised, in the order of their volumes.
  private var scratch: [String] = []

  /// Of the one that asks the cluster's API.
  private(set) var accountMounts: [JSONValue] = []

  /// Of containers that the agent's program starts.
  let stepMounts: [JSONValue] = [
    ["name": "fubini-program", "mountPath": .string(PodPlan.Places().program), "readOnly": true],
    ["name": "fubini-state", "mountPath": .string(PodPlan.Places().state)],
  ]

  init(
    _ request: RunRequest, _ configuration: KubernetesExecutorConfiguration,
    _ circumstances: JobManifest.Circumstances, secret: String
  ) {
    self.request = request
    self.configuration = configuration
    self.circumstances = circumstances
    self.secret = secret
    volumes = [
      ["name": "fubini-program", "emptyDir": [:]], ["name": "fubini-files", "emptyDir": [:]],
      ["name": "fubini-state", "emptyDir": [:]],
    ]
  }

  static func absolute(_ path: String) throws(FederationError) -> String {
    guard let path = AbsolutePath.normalise(path), path != "/" else {
      throw FederationError(
        .invalidArgument, "the path \(path) is not absolute; paths of artifacts and volumes must be")
    }
    return path
  }

  static func parent(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
    return String(path[..<slash])
  }

  private mutating func mount(
    _ volume: String, at path: String, subPath: String? = nil, isReadOnly: Bool = false
  ) {
    var entry: [String: JSONValue] = ["name": .string(volume), "mountPath": .string(path)]
    if let subPath, !subPath.isEmpty { entry["subPath"] = .string(subPath) }
    if isReadOnly { entry["readOnly"] = true }
    mounts.append(.object(entry))
  }

  mutating func mountScratch() throws(FederationError) {
    for path in request.spec.scratchPaths {
      let path = try Self.absolute(path)
      guard !scratch.contains(path) else { continue }
      let name = "scratch-\(scratch.count)"
      scratch.append(path)
      volumes.append(["name": .string(name), "emptyDir": request.spec.pod?.directories?[path] ?? [:]])
      // One that is to be read-only, or a part, at its own path has its mount below.
      if !(request.spec.directoryMounts ?? []).contains(where: { $0.path == path }) { mount(name, at: path) }
    }
    for second in request.spec.directoryMounts ?? [] {
      let directory = try Self.absolute(second.directory)
      guard let index = scratch.firstIndex(where: { directory == $0 || directory.hasPrefix($0 + "/") }) else {
        throw FederationError(.unplaceable, "the directory \(directory) of a volume is none of the run's own")
      }
      mount(
        "scratch-\(index)", at: try Self.absolute(second.path),
        subPath: String(directory.dropFirst(scratch[index].count + 1)), isReadOnly: second.isReadOnly)
    }
  }

  /// Volumes of secrets, config maps and the like: files of the run's own Secret.
  mutating func mountPrivateFiles() throws(FederationError) {
    for (number, volume) in (request.spec.fileVolumes ?? []).enumerated() {
      let prefix = "\(number)/"
      var items: [JSONValue] = []
      for (index, file) in request.privateFiles.enumerated() where file.path.hasPrefix(prefix) {
        let path = String(file.path.dropFirst(prefix.count))
        // The volume itself, and directories, which come with their files.
        guard !path.isEmpty, !path.hasSuffix("/") else { continue }
        let key = "file-\(number)-\(index)"
        secretData[key] = file.bytes
        items.append([
          "key": .string(key), "path": .string(path), "mode": .integer(Int64(file.mode & 0o777)),
        ])
      }
      let name = "files-\(number)"
      volumes.append([
        "name": .string(name),
        // Without an item a Secret's volume would show all of it, the token too.
        items.isEmpty ? "emptyDir" : "secret": items.isEmpty
          ? [:]
          : [
            "secretName": .string(secret), "defaultMode": .integer(Int64(volume.mode & 0o777)), "items": .array(items),
          ],
      ])
      for one in volume.mounts {
        mount(name, at: try Self.absolute(one.path), subPath: one.subPath, isReadOnly: true)
      }
    }
    guard request.spec.http != nil || request.spec.transformations != nil || request.spec.resource != nil else {
      return
    }
    guard let file = request.privateFiles.first(where: { $0.path == RequestProgram.fileName }) else {
      throw FederationError(.internal, "the run's request is not there")
    }
    secretData[RequestProgram.fileName] = file.bytes
    volumes.append([
      "name": "request",
      "secret": [
        "secretName": .string(secret), "defaultMode": 0o444,
        "items": [["key": .string(RequestProgram.fileName), "path": .string(RequestProgram.fileName)]],
      ],
    ])
    mount("request", at: RequestProgram.path, subPath: RequestProgram.fileName, isReadOnly: true)
  }

  /// The token of the run's own service account, for the program that does what a `resource` template says; and for no other.
  ///
  /// - Source: Kubernetes documentation, "Managing Service Accounts", Bound service account token volume.
  mutating func mountAccount() {
    guard request.spec.resource != nil else { return }
    volumes.append([
      "name": "fubini-account",
      "projected": [
        "sources": [
          ["serviceAccountToken": ["path": "token", "expirationSeconds": 3607]],
          ["configMap": ["name": "kube-root-ca.crt", "items": [["key": "ca.crt", "path": "ca.crt"]]]],
          ["downwardAPI": ["items": [["path": "namespace", "fieldRef": ["fieldPath": "metadata.namespace"]]]]],
        ]
      ],
    ])
    accountMounts = [
      ["name": "fubini-account", "mountPath": .string(ResourceProgram.accountDirectory), "readOnly": true]
    ]
  }

  mutating func mountClaims(in namespace: String) throws(FederationError) {
    for (index, claim) in (request.spec.claims ?? []).enumerated() {
      let name = "claim-\(index)"
      let claimName = try claimName(claim, in: namespace)
      volumes.append(["name": .string(name), "persistentVolumeClaim": ["claimName": .string(claimName)]])
      for one in claim.mounts { mount(name, at: try Self.absolute(one.path), isReadOnly: one.isReadOnly) }
    }
  }

  private mutating func claimName(_ claim: ClaimVolume, in namespace: String) throws(FederationError) -> String {
    guard let owner = claim.workflow else {
      guard configuration.claims.contains(claim.name) else {
        throw FederationError(.unplaceable, "this cluster's operator declares no volume claim \(claim.name)")
      }
      return claim.name
    }
    guard let settings = configuration.workflowClaims else {
      throw FederationError(
        .unplaceable, "this cluster's operator gives workflows no volume claims (`kubernetes.workflowClaims`)")
    }
    let own = try WorkflowClaim(
      claim, owner, of: request.project, in: namespace, mark: circumstances.mark, settings)
    claims.append(own)
    return own.name
  }

  /// Artifacts, a script, data sets: what the agent has for the run. What lies in a cache that pods can mount is mounted from there.
  mutating func mountInputs() throws(FederationError) {
    let spec = request.spec
    for input in spec.inputs where input.source != .absent && spec.transformations == nil {
      let path = try Self.absolute(input.path)
      fetch(.root(spec.storedPath(of: path)), at: path)
    }
    if spec.script != nil {
      fetch(.host("\(circumstances.workspace.directory)/\(JobManifest.scriptFile)"), at: RunLayout.scriptPath)
    }
    for input in request.inputs {
      let path = try Self.absolute(input.path)
      let below = configuration.cacheDirectory + "/"
      if let claim = input.claim {
        guard try configuration.namespace(of: request.project) == claim.namespace else {
          throw FederationError(
            .unplaceable,
            "Fluid keeps a data set of another project in namespace \(claim.namespace), and pods mount claims of their own alone"
          )
        }
        mount(dataVolume(claim.name), at: path, subPath: claim.subPath, isReadOnly: true)
      } else if configuration.cache != nil, !configuration.cacheDirectory.isEmpty, input.hostPath.hasPrefix(below) {
        mountCache()
        mount("fubini-cache", at: path, subPath: String(input.hostPath.dropFirst(below.count)), isReadOnly: true)
      } else {
        fetch(.host(input.hostPath), at: path, isReadOnly: true)
      }
    }
  }

  private mutating func fetch(_ source: SharedPodFiles.Source, at path: String, isReadOnly: Bool = false) {
    let place =
      switch source {
      case .root(let path): circumstances.workspace.root + path
      case .host(let path): path
      }
    guard circumstances.exists(place) else { return }
    let index = inputs.count
    inputs.append(PodPlan.Input(index: index, path: path))
    sources.append(source)
    mount("fubini-files", at: path, subPath: "in/\(index)", isReadOnly: isReadOnly)
  }

  /// The volume of a claim that Fluid made, once for the pod.
  private mutating func dataVolume(_ claim: String) -> String {
    if let index = dataClaims.firstIndex(of: claim) { return "data-\(index)" }
    dataClaims.append(claim)
    let name = "data-\(dataClaims.count - 1)"
    volumes.append([
      "name": .string(name), "persistentVolumeClaim": ["claimName": .string(claim), "readOnly": true],
    ])
    return name
  }

  private mutating func mountCache() {
    guard !hasCache else { return }
    hasCache = true
    switch configuration.cache {
    case .claim(let name)?:
      volumes.append([
        "name": "fubini-cache", "persistentVolumeClaim": ["claimName": .string(name), "readOnly": true],
      ])
    case .hostPath(let path)?:
      volumes.append(["name": "fubini-cache", "hostPath": ["path": .string(path), "type": "Directory"]])
    case nil: break
    }
  }
}
