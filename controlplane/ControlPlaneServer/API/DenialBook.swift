import ControlPlaneCore
import FederationModel

/// Which denials get a line of the audit log, so that a flood of them cannot fill the database.
///
/// The first of a kind in a minute is a line at once; its repetitions are counted, and their number is one more line when the minute is
/// over. What is beyond the bounds is one number for all. A minute has at most `2 * linesMax + 1` lines.
struct DenialBook {
  struct Kind: Hashable {
    var actor: String
    var address: String
    var action: String
    var reason: String
  }
  static let period = Duration.seconds(60)
  static let linesMax = 10
  /// So that one that knocks at every door does not use up the lines of all others.
  static let linesPerAddress = 4

  /// Repetitions by kind, in the minute that ends at `end`.
  private var repetitions: [Kind: Int] = [:]
  private var order: [Kind] = []
  private var others = 0
  /// nil: no minute has begun.
  private(set) var end: Timestamp?

  /// Returns the lines to write now.
  mutating func note(_ kind: Kind, object: String, at now: Timestamp) -> [AuditRow] {
    var rows = close(at: now)
    if end == nil { end = now + Self.period }
    if repetitions[kind] != nil {
      repetitions[kind]! += 1
    } else if order.count < Self.linesMax, order.count(where: { $0.address == kind.address }) < Self.linesPerAddress {
      repetitions[kind] = 0
      order.append(kind)
      rows.append(Self.row(kind, object, kind.reason, at: now))
    } else {
      others += 1
    }
    return rows
  }

  /// The numbers of the last minute, when it is over by now.
  ///
  /// - Parameter isFinal: whether it is over or not.
  mutating func close(at now: Timestamp, isFinal: Bool = false) -> [AuditRow] {
    guard let end, isFinal || now >= end else { return [] }
    var rows = order.filter { repetitions[$0]! > 0 }.map { kind in
      Self.row(kind, "", "\(repetitions[kind]!) more times within a minute: \(kind.reason)", at: now)
    }
    if others > 0 {
      let kind = Kind(actor: "", address: "", action: "denied", reason: "")
      rows.append(Self.row(kind, "", "\(others) more denials within a minute, of other kinds", at: now))
    }
    self = DenialBook()
    return rows
  }

  private static func row(_ kind: Kind, _ object: String, _ detail: String, at now: Timestamp) -> AuditRow {
    AuditRow(
      at: now, actor: kind.actor, address: kind.address, action: kind.action, object: object,
      detail: String(detail.prefix(300)), isDenied: true)
  }
}
