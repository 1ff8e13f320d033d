public import FederationModel

/// A moment as the REST documents write it: RFC 3339, UTC, milliseconds (`2026-03-01T12:00:00.250Z`).
public struct WireTime: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
  public var timestamp: Timestamp
  public init(_ timestamp: Timestamp) { self.timestamp = timestamp }

  public static func < (a: Self, b: Self) -> Bool { a.timestamp < b.timestamp }

  /// nil for anything but RFC 3339 in UTC.
  public init?(_ text: some StringProtocol) {
    guard let moment = RFC3339.parse(text) else { return nil }
    timestamp = moment
  }

  /// Moments outside the years 0 to 9999 are shown as the nearest one inside.
  public var description: String { RFC3339.formatMilliseconds(timestamp) }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let text = try container.decode(String.self)
    guard let value = WireTime(text) else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "\"\(text)\" is no RFC 3339 moment in UTC")
    }
    self = value
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

extension Timestamp {
  public var wire: WireTime { WireTime(self) }
}
