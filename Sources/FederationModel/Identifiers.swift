/// The name of a project. Argo's *namespace* names a project.
public struct ProjectName: NameValue {
  public let text: String
  public init(_ text: String) { self.text = text }
}

/// The name of an organisation: who has projects.
public struct OrganisationName: NameValue {
  public let text: String
  public init(_ text: String) { self.text = text }

  /// The one that runs the federation: its roles hold in all organisations, and for what belongs to none.
  public static let federation = OrganisationName("default")
}

/// The name of a cluster, unique in the federation and never reused for another agent's identity.
public struct ClusterName: NameValue {
  public let text: String
  public init(_ text: String) { self.text = text }
}

/// A workflow's number in its database. Unique for the life of the database; users see the name and the UID instead.
public struct WorkflowID: NumberValue {
  public let number: Int64
  public init(_ number: Int64) { self.number = number }
}

/// A node's place in its workflow, in creation order; 0 is the root.
public struct NodeID: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
  public let ordinal: Int32
  public init(_ ordinal: Int32) { self.ordinal = ordinal }
  public static let root = NodeID(0)
  public static func < (a: Self, b: Self) -> Bool { a.ordinal < b.ordinal }
  public var description: String { String(ordinal) }
}

/// A task: the leaf node of a workflow that needs compute.
public struct TaskID: Hashable, Comparable, Sendable, CustomStringConvertible {
  public let workflow: WorkflowID
  public let node: NodeID
  public init(workflow: WorkflowID, node: NodeID) {
    self.workflow = workflow
    self.node = node
  }
  public static func < (a: Self, b: Self) -> Bool {
    (a.workflow.number, a.node.ordinal) < (b.workflow.number, b.node.ordinal)
  }
  public var description: String { "\(workflow)/\(node)" }
}

/// One attempt at a task on one cluster.
///
/// The upper 31 bits are the *incarnation* that the leader drew when its term began, the lower 32 a counter of that term. So a
/// database that was restored to an earlier moment cannot hand out an identifier that an agent has already seen.
public struct RunID: NumberValue {
  public let number: Int64
  public init(_ number: Int64) { self.number = number }
  public init(incarnation: UInt32, counter: UInt32) {
    number = Int64(incarnation & 0x7fff_ffff) << 32 | Int64(counter)
  }

  /// 16 lower-case hexadecimal digits: a directory name, a Slurm comment and a label value alike.
  public var hexadecimal: String {
    let digits = String(UInt64(bitPattern: number), radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }

  /// Reads what `hexadecimal` wrote; nil for anything else.
  public init?(hexadecimal text: some StringProtocol) {
    guard text.utf8.count == 16, let value = UInt64(text, radix: 16), value <= UInt64(Int64.max) else { return nil }
    number = Int64(value)
  }
}

/// A string identifier with a type of its own.
public protocol NameValue: Hashable, Comparable, Sendable, Codable, CustomStringConvertible, ExpressibleByStringLiteral
{
  var text: String { get }
  init(_ text: String)
}

extension NameValue {
  public init(stringLiteral value: String) { self.init(value) }
  public static func < (a: Self, b: Self) -> Bool { a.text < b.text }
  public var description: String { text }
  public init(from decoder: any Decoder) throws { self.init(try decoder.singleValueContainer().decode(String.self)) }
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(text)
  }

  /// Whether the text is an RFC 1123 label of at most 63 characters: what clusters and projects must be called.
  public var isDNSLabel: Bool {
    let bytes = Array(text.utf8)
    func isAlphanumeric(_ byte: UInt8) -> Bool { (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte) }
    guard (1...63).contains(bytes.count), isAlphanumeric(bytes[0]), isAlphanumeric(bytes[bytes.count - 1]) else {
      return false
    }
    return bytes.allSatisfy { isAlphanumeric($0) || $0 == 0x2d }
  }
}

/// A 64-bit identifier with a type of its own.
public protocol NumberValue: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
  var number: Int64 { get }
  init(_ number: Int64)
}

extension NumberValue {
  public static func < (a: Self, b: Self) -> Bool { a.number < b.number }
  public var description: String { String(number) }
  public init(from decoder: any Decoder) throws { self.init(try decoder.singleValueContainer().decode(Int64.self)) }
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(number)
  }
}
