public import FederationModel

/// What an operator declares of Fluid: which data sets it keeps on this cluster, and how.
///
/// - Source: Fluid, api/v1alpha1 (`data.fluid.io/v1alpha1`: Dataset, DataLoad).
public struct FluidConfiguration: Sendable, Equatable {
  /// What Datasets that the agent makes are served by.
  public struct Runtime: Sendable, Equatable {
    /// `AlluxioRuntime`, `JindoRuntime`, ...
    public var kind: String
    /// As Fluid takes it.
    public var spec: JSONValue
    public init(kind: String, spec: JSONValue = [:]) {
      self.kind = kind
      self.spec = spec
    }
    /// As the API calls the collection.
    public var resource: String { kind.lowercased() + "s" }
  }

  /// One value of a Kubernetes Secret.
  public struct SecretKey: Sendable, Equatable {
    public var name: String
    public var key: String
    public init(name: String, key: String) {
      self.name = name
      self.key = key
    }
  }

  /// One data set of the federation.
  public struct Source: Sendable, Equatable {
    /// Of a Dataset that is there already, in the project's namespace; nil: the agent makes one.
    public var dataset: String?
    /// Where in that Dataset the data set is, without slashes at its ends; empty: it is all of it.
    public var path = ""
    /// The version that it is; nil: any. Others are fetched as elsewhere.
    public var version: Int32?
    /// What a Dataset that the agent makes mounts; nil: the data set's origin.
    public var mountPoint: String?
    public var options: [String: String] = [:]
    public var secretOptions: [String: SecretKey] = [:]
    /// Copies that a DataLoad makes of each block.
    public var copies = 1
    public init() {}
  }

  public var runtime: Runtime?
  /// By `PROJECT/NAME`, or by `NAME` for all projects.
  public var datasets: [String: Source] = [:]
  /// Of Fluid's caches, for what is declared here.
  public var capacity = ByteCount.zero

  public init() {}

  public static let version = "data.fluid.io/v1alpha1"

  /// Where Fluid keeps a replica; nil when that is not Fluid's.
  ///
  /// - Parameter namespace: of a project; nil for one that has no runs here.
  func place(of key: DataKey, mark: String, namespace: (ProjectName) -> String?) -> FluidPlace? {
    guard let (project, name, version) = Self.parts(key), let namespace = namespace(project),
      let source = datasets["\(project)/\(name)"] ?? datasets[name], source.version.map({ $0 == version }) ?? true
    else { return nil }
    let own = "fubini-\(mark)-\(FNV.text(key.text))"
    return FluidPlace(key: key, namespace: namespace, name: own, dataset: source.dataset ?? own, source: source)
  }

  /// Of `dataset:PROJECT/NAME@VERSION`.
  static func parts(_ key: DataKey) -> (ProjectName, String, Int32)? {
    guard key.text.hasPrefix("dataset:"), let slash = key.text.firstIndex(of: "/"),
      let at = key.text.lastIndex(of: "@"), slash < at, let version = Int32(key.text[key.text.index(after: at)...])
    else { return nil }
    return (
      ProjectName(String(key.text[..<slash].dropFirst(8))), String(key.text[key.text.index(after: slash)..<at]),
      version
    )
  }
}

/// Where Fluid keeps one replica.
public struct FluidPlace: Hashable, Sendable {
  public var key: DataKey
  public var namespace: String
  /// Of our DataLoad, and of a Dataset of ours and its runtime.
  var name: String
  /// Its volume claim is called the same.
  public var dataset: String
  /// Below the Dataset's root; empty: all of it.
  public var path: String
  var isMade: Bool
  var source: FluidConfiguration.Source

  init(key: DataKey, namespace: String, name: String, dataset: String, source: FluidConfiguration.Source) {
    self.key = key
    self.namespace = namespace
    self.name = name
    self.dataset = dataset
    self.source = source
    isMade = source.dataset == nil
    path = source.path
  }

  public static func == (a: Self, b: Self) -> Bool { a.key == b.key && a.text == b.text }
  public func hash(into hasher: inout Hasher) { hasher.combine(key) }

  /// Another one is another place.
  public var text: String { "fluid \(namespace)/\(dataset)/\(path)" }
}
