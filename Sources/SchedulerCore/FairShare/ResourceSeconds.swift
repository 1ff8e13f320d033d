public import FederationModel

/// How much of each resource was held for how long: core seconds, GiB seconds, GPU seconds.
public struct ResourceSeconds: Hashable, Sendable, Codable {
  public var cpu: Double
  public var memory: Double
  public var gpu: Double

  public init(cpu: Double = 0, memory: Double = 0, gpu: Double = 0) {
    self.cpu = cpu
    self.memory = memory
    self.gpu = gpu
  }

  public static let zero = ResourceSeconds()

  /// What these resources are when they are held for so many seconds.
  public init(_ resources: Resources, seconds: Double = 1) {
    cpu = Double(resources.cpuMillicores) / 1000 * seconds
    memory = Double(resources.memory.bytes) / 1_073_741_824 * seconds
    gpu = Double(resources.gpus) * seconds
  }

  public static func + (a: Self, b: Self) -> Self {
    ResourceSeconds(cpu: a.cpu + b.cpu, memory: a.memory + b.memory, gpu: a.gpu + b.gpu)
  }
  public static func - (a: Self, b: Self) -> Self {
    ResourceSeconds(cpu: a.cpu - b.cpu, memory: a.memory - b.memory, gpu: a.gpu - b.gpu)
  }
  public static func * (a: Self, factor: Double) -> Self {
    ResourceSeconds(cpu: a.cpu * factor, memory: a.memory * factor, gpu: a.gpu * factor)
  }
  public static func += (a: inout Self, b: Self) { a = a + b }
  public static func -= (a: inout Self, b: Self) { a = a - b }

  /// The largest part that this is of a capacity, and of which resource. What the capacity lacks counts for nothing, but for CPU,
  /// of which there is always a core: somebody's use must not be free because no cluster has told its size.
  public func dominant(of capacity: ResourceSeconds) -> (share: Double, resource: DominantResource) {
    var most: (share: Double, resource: DominantResource) = (cpu / max(1, capacity.cpu), .cpu)
    if capacity.memory > 0, memory / capacity.memory > most.share { most = (memory / capacity.memory, .memory) }
    if capacity.gpu > 0, gpu / capacity.gpu > most.share { most = (gpu / capacity.gpu, .gpu) }
    return most
  }
}

/// The resource of which a project has the largest part.
///
/// - Source: A. Ghodsi et al.: Dominant resource fairness: fair allocation of multiple resource types. NSDI 2011.
public enum DominantResource: String, Hashable, Sendable, Codable, CaseIterable {
  case cpu, memory, gpu
}
