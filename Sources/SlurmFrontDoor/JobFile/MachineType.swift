/// What one job gets, as the `machine_type` of a job file names it.
public struct MachineType: Hashable, Sendable {
  public var cpus: Int64
  public var memoryMebibytes: Int64
  public var gpus: Int64 = 0
  public var gpuType: String?
  /// A cluster, or a partition as `sbatch` has them; nil: any cluster.
  public var partition: String?

  public init(
    cpus: Int64, memoryMebibytes: Int64, gpus: Int64 = 0, gpuType: String? = nil, partition: String? = nil
  ) {
    self.cpus = cpus
    self.memoryMebibytes = memoryMebibytes
    self.gpus = gpus
    self.gpuType = gpuType
    self.partition = partition
  }

  /// `c2_m4_cpu`: 2 CPUs and 4 GiB; `c8_m31_1 * NVIDIA V100`: with one GPU of the type `v100`. nil for any other name.
  ///
  /// - Source: bohrium-doc.dp.tech, "machine types".
  public init?(name: String) {
    let halves = name.split(separator: "*", maxSplits: 1, omittingEmptySubsequences: false)
    let parts = halves[0].split(separator: "_", omittingEmptySubsequences: false).map {
      $0.drop { $0 == " " }
    }
    guard parts.count == 3, let cpus = Self.number(parts[0], after: "c"), let memory = Self.number(parts[1], after: "m")
    else { return nil }
    self.init(cpus: cpus, memoryMebibytes: memory << 10)
    var last = String(parts[2])
    while last.hasSuffix(" ") { last.removeLast() }
    if halves.count == 1 {
      guard last == "cpu" else { return nil }
      return
    }
    guard let gpus = Self.number(last[...], after: nil) else { return nil }
    var words = halves[1].split(separator: " ").map { $0.lowercased() }
    if words.first == "nvidia" { words.removeFirst() }
    guard !words.isEmpty else { return nil }
    self.gpus = gpus
    gpuType = words.joined(separator: "-")
  }

  private static func number(_ text: Substring, after letter: Character?) -> Int64? {
    var digits = text
    if let letter {
      guard digits.first == letter else { return nil }
      digits.removeFirst()
    }
    guard (1...7).contains(digits.utf8.count), digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      let number = Int64(digits), number > 0
    else { return nil }
    return number
  }
}
