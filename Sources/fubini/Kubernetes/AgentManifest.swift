internal import FederationModel

/// What `kubectl apply -f -` makes an agent of in a Kubernetes cluster. Pure.
///
/// All values come from people and end in YAML: each is checked to be of characters that mean nothing there.
struct AgentManifest: Hashable {
  /// Of the federation.
  var cluster: String
  /// Secret, and good for one time.
  var token: String
  /// `host:port` of the control plane.
  var server: String
  /// Of the agent.
  var image: String
  /// Where the agent is.
  var agentNamespace = "fubini-system"
  /// Whose runs it takes, and where they are. One alone makes an agent of that project's.
  var namespaces: [(project: String, namespace: String)]
  /// nil: the cluster's default.
  var storageClass: String?
  /// Of the agent's volume: journal, staged files, cache.
  var storage = "20Gi"
  /// `volumeClaimTemplates` run there.
  var hasWorkflowClaims = false
  /// Of a cluster with Fluid: the kind of runtime that Datasets of ours get, and what they may hold in sum.
  var fluid: (runtime: String, capacity: String)?
  /// Of Kueue, in each namespace of runs; nil: pods start as there is room, and no gang can.
  var queue: String?

  static let name = "fubini-agent"
  static let runAccount = "fubini-run"
  static let filesPort = 7443
  private static let user = 65532

  static func == (a: Self, b: Self) -> Bool { a.text == b.text }
  func hash(into hasher: inout Hasher) { hasher.combine(text) }

  /// What an agent does in the namespaces of runs, and nothing else: what `KubernetesPreflight.rights` asks for.
  static let rights: [(group: String, resource: String, verbs: [String])] = [
    ("batch", "jobs", ["create", "get", "list", "watch", "patch", "delete"]),
    ("", "pods", ["list", "watch", "delete"]),
    ("", "pods/log", ["get"]),
    ("", "events", ["list", "watch"]),
    ("", "secrets", ["create", "get", "delete"]),
    ("", "resourcequotas", ["list"]),
  ]
  /// Beside them where gangs may start: `KubernetesPreflight.gangRights`.
  static let gangRights: [(group: String, resource: String, verbs: [String])] = [("", "services", ["create", "get"])]
  /// In the whole cluster: what there is of it, and what others take.
  static let clusterRights: [(group: String, resource: String, verbs: [String])] = [
    ("", "nodes", ["list"]), ("", "pods", ["list"]),
  ]

  /// Where workflows have volume claims of their own.
  static let claimRights: [(group: String, resource: String, verbs: [String])] = [
    ("", "persistentvolumeclaims", ["create", "get", "list", "watch", "delete"])
  ]

  /// Where Fluid is declared.
  static func fluidRights(runtime: String) -> [(group: String, resource: String, verbs: [String])] {
    let verbs = ["create", "get", "list", "watch", "delete"]
    return [
      ("data.fluid.io", "dataloads", verbs), ("data.fluid.io", "datasets", verbs),
      ("data.fluid.io", runtime.lowercased() + "s", ["create", "get"]),
    ]
  }

  /// - Throws: a usage error that names the option.
  func validate() throws {
    func check(_ isValid: Bool, _ option: String, _ value: String, _ what: String) throws {
      guard isValid else { throw CommandFailure(.usage, "\(option) must be \(what), not \"\(value)\".") }
    }
    let label = "lower-case letters, digits and dashes, at most 63"
    try check(Self.isLabel(agentNamespace), "--agent-namespace", agentNamespace, label)
    try check(!namespaces.isEmpty, "--project or --namespace", "", "given: whose runs are to run there")
    for (project, namespace) in namespaces {
      try check(Self.isLabel(project), "--project", project, label)
      try check(Self.isLabel(namespace), "--namespace", namespace, label)
      try check(namespace != agentNamespace, "--namespace", namespace, "another one than the agent's own")
    }
    try check(
      Set(namespaces.map(\.project)).count == namespaces.count
        && Set(namespaces.map(\.namespace)).count == namespaces.count,
      "--namespace", "PROJECT=NAMESPACE", "one namespace for each project, and one project for each namespace")
    try check(Self.isPlain(image), "--image", image, "an image's reference")
    if let storageClass {
      try check(
        storageClass.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { Self.isLabel(String($0)) },
        "--storage-class", storageClass, "a storage class's name")
    }
    if let queue { try check(Self.isLabel(queue), "--kueue-queue", queue, label) }
    try check(
      Self.isPlain(storage) && (Quantity.parse(storage) ?? 0) > 0, "--storage", storage, "an amount like 20Gi")
    if let fluid {
      try check(
        fluid.runtime.hasSuffix("Runtime")
          && fluid.runtime.utf8.allSatisfy { (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0) },
        "--fluid", fluid.runtime, "a kind of Fluid's runtimes, as AlluxioRuntime")
      try check(
        Self.isPlain(fluid.capacity) && (Quantity.parse(fluid.capacity) ?? 0) > 0, "--fluid-capacity", fluid.capacity,
        "an amount like 1Ti")
    }
    // What the control plane says goes through the same sieve.
    try check(Self.isPlain(token) && Self.isPlain(server), "the control plane's answer", server, "HOST:PORT")
  }

  private static func isLabel(_ text: String) -> Bool { ClusterName(text).isDNSLabel }

  /// Letters, digits and - . / : @ _ [ ].
  private static func isPlain(_ text: String) -> Bool {
    (1...512).contains(text.utf8.count)
      && text.utf8.allSatisfy { byte in
        switch byte {
        case 0x2d...0x3a, 0x40...0x5b, 0x5d, 0x5f, 0x61...0x7a: true
        default: false
        }
      }
  }

  // MARK: Text

  var text: String {
    ([header, namespace(agentNamespace, level: "restricted")]
      + namespaces.map { namespace($0.namespace, level: "baseline") } + [agentAccount]
      + namespaces.flatMap { runRights(in: $0.namespace) } + [
        clusterRights, joinSecret, configuration, volume, service,
      ]
      + [networkPolicy, deployment]).joined(separator: "---\n")
  }

  private var header: String {
    """
    # The agent of cluster \(cluster) of a Fubini federation: kubectl apply -f -
    # The Secret fubini-agent-join holds a token that is good for one time; it may be deleted once the agent has joined.

    """
  }

  private func metadata(_ name: String, in namespace: String?, indent: String = "  ") -> String {
    let place = namespace.map { "\(indent)namespace: \($0)\n" } ?? ""
    return "\(indent)name: \(name)\n\(place)\(indent)labels: {app.kubernetes.io/name: fubini-agent}"
  }

  private func namespace(_ name: String, level: String) -> String {
    """
    apiVersion: v1
    kind: Namespace
    metadata:
      name: \(name)
      labels:
        app.kubernetes.io/name: fubini-agent
        fubini.dev/agent: \(agentNamespace)
        pod-security.kubernetes.io/enforce: \(level)

    """
  }

  private var agentAccount: String {
    """
    apiVersion: v1
    kind: ServiceAccount
    metadata:
    \(metadata(Self.name, in: agentNamespace))

    """
  }

  private static func rules(_ rights: [(group: String, resource: String, verbs: [String])]) -> String {
    rights.map { right in
      "  - {apiGroups: [\"\(right.group)\"], resources: [\(right.resource)], verbs: [\(right.verbs.joined(separator: ", "))]}"
    }.joined(separator: "\n")
  }

  private var namespaceRights: [(group: String, resource: String, verbs: [String])] {
    Self.rights + (hasWorkflowClaims ? Self.claimRights : [])
      + (fluid.map { Self.fluidRights(runtime: $0.runtime) } ?? []) + (queue == nil ? [] : Self.gangRights)
  }

  private func runRights(in namespace: String) -> [String] {
    [
      """
      # Of runs' pods. It may do nothing, and its token is in no pod.
      apiVersion: v1
      kind: ServiceAccount
      metadata:
      \(metadata(Self.runAccount, in: namespace))
      automountServiceAccountToken: false

      """,
      """
      apiVersion: rbac.authorization.k8s.io/v1
      kind: Role
      metadata:
      \(metadata(Self.name, in: namespace))
      rules:
      \(Self.rules(namespaceRights))

      """,
      """
      apiVersion: rbac.authorization.k8s.io/v1
      kind: RoleBinding
      metadata:
      \(metadata(Self.name, in: namespace))
      roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: \(Self.name)}
      subjects:
        - {kind: ServiceAccount, name: \(Self.name), namespace: \(agentNamespace)}

      """,
    ]
  }

  /// Named by the agent's namespace: another federation's agent has its own.
  private var clusterRights: String {
    """
    # The cluster's capacity. Without these two the agent says so, and knows only the pools that its configuration declares.
    apiVersion: rbac.authorization.k8s.io/v1
    kind: ClusterRole
    metadata:
    \(metadata("\(Self.name)-\(agentNamespace)", in: nil))
    rules:
    \(Self.rules(Self.clusterRights))
    ---
    apiVersion: rbac.authorization.k8s.io/v1
    kind: ClusterRoleBinding
    metadata:
    \(metadata("\(Self.name)-\(agentNamespace)", in: nil))
    roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: \(Self.name)-\(agentNamespace)}
    subjects:
      - {kind: ServiceAccount, name: \(Self.name), namespace: \(agentNamespace)}

    """
  }

  private var joinSecret: String {
    """
    apiVersion: v1
    kind: Secret
    metadata:
    \(metadata("\(Self.name)-join", in: agentNamespace))
    type: Opaque
    stringData:
      token: "\(token)"

    """
  }

  private var tenancy: String {
    guard namespaces.count > 1 else { return "project: \(namespaces[0].project)" }
    let projects = namespaces.map { "\n      \($0.project): {namespace: \($0.namespace)}" }.joined()
    return "tenancy: mapped\n    projects:" + projects
  }

  private var declarations: String {
    let claims = hasWorkflowClaims ? "\n      workflowClaims: {}" : ""
    guard let fluid else { return claims }
    return claims + "\n      fluid: {capacity: \(fluid.capacity), runtime: {kind: \(fluid.runtime)}, datasets: {}}"
  }

  private var configuration: String {
    """
    apiVersion: v1
    kind: ConfigMap
    metadata:
    \(metadata(Self.name, in: agentNamespace))
    data:
      # docs/how-to/kubernetes.md says what else may be here. A change takes effect when the agent starts anew.
      agent.yaml: |
        controlPlane: ["\(server)"]
        stateDirectory: /var/lib/fubini-agent/state
        executor: kubernetes
        \(tenancy)
        kubernetes:
          namespace: \(namespaces[0].namespace)
          image: "\(image)"
          filesAddress: https://\(Self.name).\(agentNamespace).svc:\(Self.filesPort)
          filesPort: \(Self.filesPort)
          serviceAccount: \(Self.runAccount)\(declarations)\(kueue)

    """
  }

  private var kueue: String { queue.map { "\n      kueue: {queue: \($0)}" } ?? "" }

  private var volume: String {
    let storageClass = storageClass.map { "\n  storageClassName: \($0)" } ?? ""
    return """
      # The agent's certificate, journal, staged files and cache. Its certificate is lost with it: the agent then needs a new token.
      apiVersion: v1
      kind: PersistentVolumeClaim
      metadata:
      \(metadata(Self.name, in: agentNamespace))
      spec:
        accessModes: [ReadWriteOnce]\(storageClass)
        resources: {requests: {storage: \(storage)}}

      """
  }

  private var service: String {
    """
    # Where runs' pods get their files and send them.
    apiVersion: v1
    kind: Service
    metadata:
    \(metadata(Self.name, in: agentNamespace))
    spec:
      selector: {app.kubernetes.io/name: fubini-agent}
      ports:
        - {name: files, port: \(Self.filesPort), targetPort: files}

    """
  }

  private var networkPolicy: String {
    """
    # Only runs' pods reach the agent, where the cluster's network keeps such policies.
    apiVersion: networking.k8s.io/v1
    kind: NetworkPolicy
    metadata:
    \(metadata(Self.name, in: agentNamespace))
    spec:
      podSelector: {matchLabels: {app.kubernetes.io/name: fubini-agent}}
      policyTypes: [Ingress]
      ingress:
        - from:
            - namespaceSelector: {matchLabels: {fubini.dev/agent: \(agentNamespace)}}
          ports:
            - {port: \(Self.filesPort)}

    """
  }
}

extension AgentManifest {
  private var containerSecurity: String {
    "{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}"
  }

  /// One agent at a time: `Recreate` ends the old one first, and the state directory has a lock besides.
  private var deployment: String {
    """
    apiVersion: apps/v1
    kind: Deployment
    metadata:
    \(metadata(Self.name, in: agentNamespace))
    spec:
      replicas: 1
      strategy: {type: Recreate}
      selector: {matchLabels: {app.kubernetes.io/name: fubini-agent}}
      template:
        metadata:
          labels: {app.kubernetes.io/name: fubini-agent}
        spec:
          serviceAccountName: \(Self.name)
          enableServiceLinks: false
          terminationGracePeriodSeconds: 30
          securityContext:
            runAsNonRoot: true
            runAsUser: \(Self.user)
            runAsGroup: \(Self.user)
            fsGroup: \(Self.user)
            # A volume's files are changed once, not at each start: the agent refuses keys that others may read.
            fsGroupChangePolicy: OnRootMismatch
            seccompProfile: {type: RuntimeDefault}
          initContainers:
            # Does nothing once the agent has joined.
            - name: join
              image: "\(image)"
              command: [fubini-agent, join, --if-needed, --config, /etc/fubini/agent.yaml, --token-file, /etc/fubini-join/token]
              securityContext: \(containerSecurity)
              resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {memory: 256Mi}}
              volumeMounts:
                - {name: config, mountPath: /etc/fubini, readOnly: true}
                - {name: join, mountPath: /etc/fubini-join, readOnly: true}
                - {name: state, mountPath: /var/lib/fubini-agent}
                - {name: tmp, mountPath: /tmp}
          containers:
            - name: agent
              image: "\(image)"
              command: [fubini-agent, run, --config, /etc/fubini/agent.yaml]
              env:
                - {name: HOME, value: /tmp}
              ports:
                - {name: files, containerPort: \(Self.filesPort)}
              securityContext: \(containerSecurity)
              resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: "2", memory: 512Mi}}
              startupProbe:
                exec: {command: [fubini-agent, status, --config, /etc/fubini/agent.yaml]}
                periodSeconds: 5
                timeoutSeconds: 10
                failureThreshold: 60
              livenessProbe:
                exec: {command: [fubini-agent, status, --config, /etc/fubini/agent.yaml]}
                periodSeconds: 30
                timeoutSeconds: 10
                failureThreshold: 4
              readinessProbe:
                tcpSocket: {port: files}
                periodSeconds: 10
              volumeMounts:
                - {name: config, mountPath: /etc/fubini, readOnly: true}
                - {name: state, mountPath: /var/lib/fubini-agent}
                - {name: tmp, mountPath: /tmp}
          volumes:
            - {name: config, configMap: {name: \(Self.name)}}
            - {name: join, secret: {secretName: \(Self.name)-join, optional: true, defaultMode: 0400}}
            - {name: state, persistentVolumeClaim: {claimName: \(Self.name)}}
            - {name: tmp, emptyDir: {}}

    """
  }
}
