/// What single paths between two sites carry, where that is less than their links do: transfers on a path share it.
public struct PathLimits: Hashable, Sendable {
  public struct Path: Hashable, Sendable {
    public var from: Int
    public var to: Int
    public init(from: Int, to: Int) {
      self.from = from
      self.to = to
    }
  }

  /// Bytes per second.
  public private(set) var bytesPerSecond: [Path: Double]

  /// - Parameter bytesPerSecond: above zero; paths without an entry are limited by their links alone.
  public init(_ bytesPerSecond: [Path: Double] = [:]) { self.bytesPerSecond = bytesPerSecond }

  public var isEmpty: Bool { bytesPerSecond.isEmpty }

  /// Infinite where only the links limit it.
  public func limit(from: Int, to: Int) -> Double {
    isEmpty ? .infinity : bytesPerSecond[Path(from: from, to: to)] ?? .infinity
  }
}
