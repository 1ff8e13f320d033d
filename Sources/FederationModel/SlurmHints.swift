/// What a task asks of a Slurm cluster beyond its resources (`federation.slurm`). Of it, other kinds of cluster look at `partition` alone: on
/// Kubernetes it is a node pool that its operator declares.
///
/// Texts are Slurm's own words for the option of that name. They become arguments of `sbatch`, never of a shell.
///
/// - Source: sbatch(1).
public struct SlurmHints: Hashable, Sendable, Codable {
  public var partition: String?
  public var account: String?
  public var qos: String?
  public var constraint: String?
  public var reservation: String?
  public var licences: String?
  /// Nodes of the allocation; nil: one, or for a gang as many as Slurm needs for its copies.
  public var nodes: Int?
  /// Copies of a gang's program on each node; nil leaves it to Slurm.
  public var tasksPerNode: Int?
  /// Whether no other job may share its nodes.
  public var exclusive: Bool
  /// Whether Slurm itself may put the job back into its queue. The run is lost then, and placed again.
  public var requeue: Bool
  /// Of a gang: the program is a batch script. It starts once, on the first node, and starts what it wants on all of them by `srun`,
  /// as in an allocation of Slurm's. What a copy asks for is what it has of each node then. nil: every copy is started.
  public var isBatch: Bool?

  public init(
    partition: String? = nil, account: String? = nil, qos: String? = nil, constraint: String? = nil,
    reservation: String? = nil, licences: String? = nil, nodes: Int? = nil, tasksPerNode: Int? = nil,
    exclusive: Bool = false, requeue: Bool = false, isBatch: Bool? = nil
  ) {
    self.partition = partition
    self.account = account
    self.qos = qos
    self.constraint = constraint
    self.reservation = reservation
    self.licences = licences
    self.nodes = nodes
    self.tasksPerNode = tasksPerNode
    self.exclusive = exclusive
    self.requeue = requeue
    self.isBatch = isBatch
  }

  public static let textBytesMax = 256

  /// Whether a text can be an option's value: visible ASCII that Slurm's own names and expressions are made of.
  public static func isOptionText(_ text: String) -> Bool {
    !text.isEmpty && text.utf8.count <= textBytesMax && !text.hasPrefix("-")
      && text.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"):
          true
        default: "_.:,&|*()@=+-[]!".utf8.contains(byte)
        }
      }
  }
}
