/// The body of `PUT /v1/machine-types/{name}`.
public struct MachineTypeRequest: Hashable, Sendable, Codable {
  public var cpus: Int64
  public var memoryMebibytes: Int64
  /// nil: none.
  public var gpus: Int64?
  public var gpuType: String?
  /// A cluster, or a partition as `sbatch` has them; nil: any cluster.
  public var partition: String?
  public init(
    cpus: Int64, memoryMebibytes: Int64, gpus: Int64? = nil, gpuType: String? = nil, partition: String? = nil
  ) {
    self.cpus = cpus
    self.memoryMebibytes = memoryMebibytes
    self.gpus = gpus
    self.gpuType = gpuType
    self.partition = partition
  }
}

/// What a name of a job file's `machine_type` stands for.
public struct MachineTypeDocument: Hashable, Sendable, Codable {
  public var name: String
  public var cpus: Int64
  public var memoryMebibytes: Int64
  public var gpus: Int64
  public var gpuType: String?
  public var partition: String?
  public var changedAt: WireTime
  public var changedBy: String
  public init(
    name: String, cpus: Int64, memoryMebibytes: Int64, gpus: Int64, gpuType: String?, partition: String?,
    changedAt: WireTime, changedBy: String
  ) {
    self.name = name
    self.cpus = cpus
    self.memoryMebibytes = memoryMebibytes
    self.gpus = gpus
    self.gpuType = gpuType
    self.partition = partition
    self.changedAt = changedAt
    self.changedBy = changedBy
  }
}

/// By name. Names like `c2_m4_cpu` that are not in it say themselves what they stand for.
public struct MachineTypeList: Hashable, Sendable, Codable {
  public var items: [MachineTypeDocument]
  public init(items: [MachineTypeDocument]) { self.items = items }
}
