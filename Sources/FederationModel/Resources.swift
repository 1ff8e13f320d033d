/// What a task asks for and what a cluster has free.
///
/// CPU in thousandths of a core, memory in bytes, GPUs in whole devices of any one type.
public struct Resources: Hashable, Sendable, Codable {
  public var cpuMillicores: Int64
  public var memory: ByteCount
  public var gpus: Int64
  /// The device type that `gpus` must have, in the cluster's own words; nil means any.
  public var gpuType: String?

  public init(cpuMillicores: Int64 = 0, memory: ByteCount = .zero, gpus: Int64 = 0, gpuType: String? = nil) {
    self.cpuMillicores = cpuMillicores
    self.memory = memory
    self.gpus = gpus
    self.gpuType = gpuType
  }

  public static let zero = Resources()

  /// What a program is priced for that asks for no CPU: one core, which is what a slot of a process cluster stands for, and what
  /// Slurm sets aside. It is a price's base alone: it takes no room from others, and limits nothing.
  public static let defaultCPUMillicores: Int64 = 1000

  /// What is priced when so many copies of a program ask for these resources each.
  public func priced(copies: Int) -> Resources {
    var copy = self
    if copy.cpuMillicores <= 0 { copy.cpuMillicores = Self.defaultCPUMillicores }
    return copies == 1 ? copy : copy * copies
  }

  /// Whether every amount asked for is there. GPU types are compared by the scheduler's filter, not here.
  public func fits(in free: Resources) -> Bool {
    cpuMillicores <= free.cpuMillicores && memory <= free.memory && gpus <= free.gpus
  }

  public static func + (a: Self, b: Self) -> Self {
    Resources(
      cpuMillicores: a.cpuMillicores &+ b.cpuMillicores, memory: a.memory + b.memory, gpus: a.gpus &+ b.gpus,
      gpuType: a.gpuType ?? b.gpuType)
  }

  public static func - (a: Self, b: Self) -> Self {
    Resources(
      cpuMillicores: a.cpuMillicores &- b.cpuMillicores, memory: a.memory - b.memory, gpus: a.gpus &- b.gpus,
      gpuType: a.gpuType)
  }

  public static func += (a: inout Self, b: Self) { a = a + b }
  public static func -= (a: inout Self, b: Self) { a = a - b }

  /// What so many copies take.
  public static func * (a: Self, copies: Int) -> Self {
    let copies = Int64(copies)
    return Resources(
      cpuMillicores: a.cpuMillicores &* copies, memory: ByteCount(a.memory.bytes &* copies), gpus: a.gpus &* copies,
      gpuType: a.gpuType)
  }
}

/// A number of bytes. Printed in binary units, because that is how memory and files are bought.
public struct ByteCount: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
  public var bytes: Int64
  public init(_ bytes: Int64) { self.bytes = bytes }
  public static let zero = ByteCount(0)
  public static func kibibytes(_ count: Int64) -> Self { ByteCount(count << 10) }
  public static func mebibytes(_ count: Int64) -> Self { ByteCount(count << 20) }
  public static func gibibytes(_ count: Int64) -> Self { ByteCount(count << 30) }

  public static func < (a: Self, b: Self) -> Bool { a.bytes < b.bytes }
  public static func + (a: Self, b: Self) -> Self { ByteCount(a.bytes &+ b.bytes) }
  public static func - (a: Self, b: Self) -> Self { ByteCount(a.bytes &- b.bytes) }
  public static func += (a: inout Self, b: Self) { a = a + b }
  public static func -= (a: inout Self, b: Self) { a = a - b }

  public var description: String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    var value = Double(bytes)
    var unit = 0
    while abs(value) >= 1024, unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    if unit == 0 { return "\(bytes) B" }
    let tenths = (value * 10).rounded() / 10
    return tenths == tenths.rounded() ? "\(Int64(tenths)) \(units[unit])" : "\(tenths) \(units[unit])"
  }

  public init(from decoder: any Decoder) throws { bytes = try decoder.singleValueContainer().decode(Int64.self) }
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(bytes)
  }
}
