/// The indices of a job array, `--array`: `0-15`, `1,3,5-7`, `1-10:2`, each with `%4` for how many may run at once.
public struct TaskArray: Hashable, Sendable, Codable {
  /// Ascending, each once.
  public var indices: [Int32]
  /// nil: all.
  public var parallelism: Int?

  /// Of one array, and the largest index.
  public static let countMax = 10_000
  public static let indexMax: Int32 = 4_000_000

  public init(indices: [Int32], parallelism: Int? = nil) {
    self.indices = indices
    self.parallelism = parallelism
  }

  /// nil for what is no list of indices, or is beyond the bounds.
  public init?(_ text: String) {
    let halves = text.split(separator: "%", omittingEmptySubsequences: false)
    guard (1...2).contains(halves.count), !halves[0].isEmpty else { return nil }
    if halves.count == 2 {
      guard let limit = Int(halves[1]), limit > 0, halves[1].first != "+" else { return nil }
      parallelism = limit
    }
    var list = halves[0]
    if list.hasPrefix("["), list.hasSuffix("]") { list = list.dropFirst().dropLast() }
    var found: Set<Int32> = []
    for part in list.split(separator: ",", omittingEmptySubsequences: false) {
      guard let range = Self.range(part) else { return nil }
      for index in stride(from: range.first, through: range.last, by: range.step) {
        found.insert(index)
        guard found.count <= Self.countMax else { return nil }
      }
    }
    indices = found.sorted()
  }

  private static func range(_ text: Substring) -> (first: Int32, last: Int32, step: Int32.Stride)? {
    let steps = text.split(separator: ":", omittingEmptySubsequences: false)
    let ends = steps[0].split(separator: "-", omittingEmptySubsequences: false)
    guard steps.count <= 2, (1...2).contains(ends.count), let first = index(ends[0]), let last = index(ends.last!),
      first <= last
    else { return nil }
    guard steps.count == 2 else { return (first, last, 1) }
    guard ends.count == 2, let step = index(steps[1]), step > 0 else { return nil }
    return (first, last, Int(step))
  }

  private static func index(_ text: Substring) -> Int32? {
    guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let index = Int32(text),
      index <= indexMax
    else { return nil }
    return index
  }

  /// `1-3,7,9-10` as Slurm shows what of an array waits: runs of neighbours, and the others by themselves.
  public static func text(of indices: [Int32]) -> String {
    var parts: [String] = []
    var rest = indices[...]
    while let first = rest.popFirst() {
      var last = first
      while let next = rest.first, next == last + 1 {
        last = next
        rest = rest.dropFirst()
      }
      parts.append(first == last ? "\(first)" : "\(first)-\(last)")
    }
    return parts.joined(separator: ",")
  }

  /// `SLURM_ARRAY_TASK_STEP`.
  public var step: Int32 { indices.count > 1 ? indices[1] - indices[0] : 1 }
}
