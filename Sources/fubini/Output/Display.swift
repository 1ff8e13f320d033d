internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials

/// How values are shown to people.
enum Display {
  static var now: Timestamp { Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)) }

  /// `0.4s`, `12s`, `3m05s`, `2h10m`, `5d3h`.
  static func duration(_ seconds: Double) -> String {
    guard seconds.isFinite else { return "-" }
    let seconds = max(0, seconds)
    if seconds < 9.95 { return "\((seconds * 10).rounded() / 10)s" }
    let whole = Int64(min(seconds.rounded(), 1e15))
    func pad(_ value: Int64) -> String { value < 10 ? "0\(value)" : "\(value)" }
    if whole < 60 { return "\(whole)s" }
    if whole < 3600 { return "\(whole / 60)m\(pad(whole % 60))s" }
    if whole < 86_400 { return "\(whole / 3600)h\(pad(whole % 3600 / 60))m" }
    return "\(whole / 86_400)d\(whole % 86_400 / 3600)h"
  }

  static func span(_ start: WireTime?, _ end: WireTime?, now: Timestamp) -> String {
    guard let start else { return "-" }
    return duration(((end?.timestamp ?? now) - start.timestamp).seconds)
  }

  static func labels(_ labels: [String: String]) -> String {
    labels.isEmpty ? "-" : labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
  }

  static func progress(_ tasks: [String: Int]) -> String {
    let done = ["Succeeded", "Skipped", "Omitted"].reduce(0) { $0 + (tasks[$1] ?? 0) }
    return "\(done)/\(tasks.values.reduce(0, +))"
  }

  /// Prices of estimates are fractions of a minor unit.
  static func price(_ minorUnits: Double?, _ currency: String?) -> String {
    guard let minorUnits, let currency, minorUnits.isFinite, abs(minorUnits) < 1e15 else { return "-" }
    let scaled = Int64((minorUnits * 100).rounded())
    let digits = String(scaled.magnitude % 10_000)
    let fraction = String(repeating: "0", count: 4 - digits.count) + digits
    return "\(scaled < 0 ? "-" : "")\(scaled.magnitude / 10_000).\(fraction) \(currency)"
  }
}
