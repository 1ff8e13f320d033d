import ControlPlaneCore
import FederationModel
import LedgerCore
import Postgres
import SchedulerCore

/// Projects and their money.
extension DeltaEncoder {
  private static let organisationSQL = upsert(
    "organisations", key: ["name"], fixed: ["created_ms"],
    [
      ("name", "text"), ("description", "text"), ("created_ms", "int8"), ("weight", "float8"), ("grant_micros", "int8"),
      ("grant_currency", "text"),
    ])

  static func organisations(_ rows: [OrganisationRow]) -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.name.text }
    p.append(column: rows) { $0.description }
    p.append(column: rows) { $0.createdAt.milliseconds }
    p.append(column: rows) { $0.weight }
    p.append(column: rows) { $0.grant?.amount.micros }
    p.append(column: rows) { $0.grant?.currency }
    return PostgresStatement(organisationSQL, p)
  }

  private static let projectSQL = upsert(
    "projects", key: ["name"], fixed: ["organisation", "created_ms"],
    [
      ("name", "text"), ("organisation", "text"), ("description", "text"), ("created_ms", "int8"),
      ("archived_ms", "int8"), ("limits", "text"), ("weight", "float8"),
    ])

  static func projects(_ rows: [ProjectRow]) throws -> [PostgresStatement] {
    var p = PostgresParameters()
    p.append(column: rows) { $0.name.text }
    p.append(column: rows) { $0.organisation.text }
    p.append(column: rows) { $0.description }
    p.append(column: rows) { $0.createdAt.milliseconds }
    p.append(column: rows) { $0.archivedAt?.milliseconds }
    try p.append(column: rows) { try RowJSON.encode($0.limits) }
    p.append(column: rows) { $0.weight }
    return [PostgresStatement(projectSQL, p)]
  }

  static let shareColumns: [(name: String, type: String)] = [
    ("project", "text"), ("cpu_seconds", "float8"), ("gibibyte_seconds", "float8"), ("gpu_seconds", "float8"),
    ("at_ms", "int8"),
  ]
  private static let shareSQL = upsert("project_usage", key: ["project"], shareColumns)

  static func shares(_ rows: [ShareRow]) -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.project.text }
    p.append(column: rows) { $0.used.cpu }
    p.append(column: rows) { $0.used.memory }
    p.append(column: rows) { $0.used.gpu }
    p.append(column: rows) { $0.at.milliseconds }
    return PostgresStatement(shareSQL, p)
  }

  static let budgetColumns: [(name: String, type: String)] = [
    ("project", "text"), ("currency", "text"), ("limit_micros", "int8"), ("period", "text"), ("is_hard", "bool"),
    ("alerts", "text"), ("on_exhausted", "text"), ("carries_over", "bool"), ("default_walltime_ms", "int8"),
    ("period_start_ms", "int8"), ("period_end_ms", "int8"), ("granted", "int8"), ("reserved", "int8"),
    ("spent", "int8"), ("alerted", "int4"), ("slice_ms", "int8"),
  ]
  static let reservationColumns: [(name: String, type: String)] = [
    ("run_id", "int8"), ("project", "text"), ("currency", "text"), ("amount", "int8"), ("bound_ms", "int8"),
    ("member", "text"), ("slice_ms", "int8"), ("since_ms", "int8"),
  ]
  static let allowanceColumns: [(name: String, type: String)] = [
    ("project", "text"), ("member", "text"), ("limit_micros", "int8"), ("reserved", "int8"), ("spent", "int8"),
  ]
  static let storageColumns: [(name: String, type: String)] = [
    ("name", "text"), ("project", "text"), ("member", "text"), ("currency", "text"), ("amount", "int8"),
    ("from_ms", "int8"), ("until_ms", "int8"),
  ]
  private static let storageSQL = upsert("storage_holds", key: ["name"], storageColumns)
  private static let allowanceSQL = upsert("allowances", key: ["project", "member"], allowanceColumns)
  private static let budgetSQL = upsert("budgets", key: ["project"], budgetColumns)
  private static let reservationSQL = upsert("reservations", key: ["run_id"], reservationColumns)

  /// Entries and images, and at the end the proof that they agree: a unit in which they do not is refused whole.
  static func ledger(_ changes: LedgerChanges) throws -> [PostgresStatement] {
    var unit: [PostgresStatement] = []
    if !changes.entries.isEmpty { unit.append(entries(changes.entries)) }
    if !changes.budgets.isEmpty { unit.append(try budgets(changes.budgets)) }
    if !changes.reservations.isEmpty { unit.append(reservations(changes.reservations)) }
    if !changes.allowances.isEmpty { unit.append(allowances(changes.allowances)) }
    if !changes.storage.isEmpty { unit.append(storage(changes.storage)) }
    if !changes.endedStorage.isEmpty {
      unit.append(PostgresStatement("DELETE FROM storage_holds WHERE name = ANY ($1)", .texts(changes.endedStorage)))
    }
    if !changes.ended.isEmpty {
      unit.append(
        PostgresStatement("DELETE FROM reservations WHERE run_id = ANY ($1)", .int8s(changes.ended.map(\.number))))
    }
    unit.append(PostgresStatement("SELECT fubini_balance($1)", .texts(changes.budgets.map(\.project.text))))
    return unit
  }

  private static func budgets(_ rows: [Budget]) throws -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.project.text }
    p.append(column: rows) { $0.spec.currency }
    p.append(column: rows) { $0.spec.limit.micros }
    p.append(column: rows) { $0.spec.period.rawValue }
    p.append(column: rows) { $0.spec.isHard }
    try p.append(column: rows) { try RowJSON.encode($0.spec.alerts) }
    p.append(column: rows) { $0.spec.onExhausted.rawValue }
    p.append(column: rows) { $0.spec.carriesOver }
    p.append(column: rows) { $0.spec.defaultWalltime.milliseconds }
    p.append(column: rows) { $0.periodStart.milliseconds }
    p.append(column: rows) { $0.periodEnd?.milliseconds }
    p.append(column: rows) { $0.granted.micros }
    p.append(column: rows) { $0.reserved.micros }
    p.append(column: rows) { $0.spent.micros }
    p.append(column: rows) { Int32(clamping: $0.alerted) }
    p.append(column: rows) { $0.spec.slice.milliseconds }
    return PostgresStatement(budgetSQL, p)
  }

  private static func reservations(_ rows: [Reservation]) -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.run.number }
    p.append(column: rows) { $0.project.text }
    p.append(column: rows) { $0.currency }
    p.append(column: rows) { $0.amount.micros }
    p.append(column: rows) { $0.bound.milliseconds }
    p.append(column: rows) { $0.member }
    p.append(column: rows) { $0.slice.milliseconds }
    p.append(column: rows) { $0.since?.milliseconds }
    return PostgresStatement(reservationSQL, p)
  }

  private static func storage(_ rows: [StorageHold]) -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.name }
    p.append(column: rows) { $0.project.text }
    p.append(column: rows) { $0.member }
    p.append(column: rows) { $0.currency }
    p.append(column: rows) { $0.amount.micros }
    p.append(column: rows) { $0.from.milliseconds }
    p.append(column: rows) { $0.until.milliseconds }
    return PostgresStatement(storageSQL, p)
  }

  private static func allowances(_ rows: [Allowance]) -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.name.project.text }
    p.append(column: rows) { $0.name.member }
    p.append(column: rows) { $0.limit?.micros }
    p.append(column: rows) { $0.reserved.micros }
    p.append(column: rows) { $0.spent.micros }
    return PostgresStatement(allowanceSQL, p)
  }

  /// For those projects whose alerts somebody wants to be told.
  static func alerts(_ rows: [AlertRow]) -> PostgresStatement {
    var p = PostgresParameters()
    p.append(column: rows) { $0.project.text }
    p.append(column: rows) { $0.json.description }
    p.append(column: rows) { $0.at.milliseconds }
    return PostgresStatement(
      """
      INSERT INTO alert_deliveries (project, body, created_ms, next_ms)
      SELECT p, b, a, a FROM unnest($1::text[], $2::text[], $3::int8[]) WITH ORDINALITY AS x (p, b, a, position)
      WHERE EXISTS (SELECT FROM alert_hooks h WHERE h.project = p) ORDER BY position
      """, p)
  }

  private static func entries(_ rows: [LedgerEntry]) -> PostgresStatement {
    // An account's name stands in many rows of a unit.
    var names: [LedgerAccount: String] = [:]
    func name(_ account: LedgerAccount) -> String {
      if let known = names[account] { return known }
      names[account] = account.text
      return account.text
    }
    var p = PostgresParameters()
    p.append(column: rows) { $0.at.milliseconds }
    p.append(column: rows) { $0.kind.rawValue }
    p.append(column: rows) { name($0.from) }
    p.append(column: rows) { name($0.to) }
    p.append(column: rows) { $0.amount.micros }
    p.append(column: rows) { $0.run?.number }
    p.append(column: rows) { $0.actor }
    p.append(column: rows) { $0.subject }
    return PostgresStatement(
      """
      INSERT INTO ledger_entries (at_ms, kind, from_account, to_account, amount, run_id, actor, subject)
      SELECT a, k, f, t, m, r, w, s
      FROM unnest($1::int8[], $2::text[], $3::text[], $4::text[], $5::int8[], $6::int8[], $7::text[], $8::text[])
      WITH ORDINALITY AS x (a, k, f, t, m, r, w, s, position) ORDER BY position
      """, p)
  }
}

extension LedgerAccount {
  /// `kind/owner/currency`: owners are DNS labels, and have no stroke.
  var text: String { "\(kind.rawValue)/\(owner)/\(currency)" }
}

extension AlertRow {
  /// What a webhook is sent.
  fileprivate var json: JSONValue {
    [
      "kind": "budgetAlert", "project": .string(project.text), "percent": .integer(Int64(percent)),
      "spent": .string(spent.description), "granted": .string(granted.description), "currency": .string(currency),
      "periodStart": .string(RFC3339.format(periodStart)), "at": .string(RFC3339.format(at)),
    ]
  }
}
