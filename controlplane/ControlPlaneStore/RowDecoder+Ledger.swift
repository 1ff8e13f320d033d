import ControlPlaneCore
import FederationModel
import LedgerCore
import Postgres
import SchedulerCore

extension RowDecoder {
  static let organisations = """
    SELECT name, description, created_ms, weight, grant_micros, grant_currency FROM organisations ORDER BY name
    """

  static func organisation(_ row: PostgresRow) throws -> OrganisationRow {
    var found = OrganisationRow(
      name: OrganisationName(try row.text(0)), description: try row.text(1), createdAt: try time(row, 2),
      weight: try row.double(3))
    if let micros = try row.optionalInt(4), let currency = try row.optionalText(5) {
      found.grant = OrganisationGrant(amount: Amount(micros: micros), currency: currency)
    }
    return found
  }

  static let projects = """
    SELECT name, description, created_ms, archived_ms, limits, weight, organisation FROM projects ORDER BY name
    """

  static func project(_ row: PostgresRow) throws -> ProjectRow {
    ProjectRow(
      name: ProjectName(try row.text(0)), description: try row.text(1), createdAt: try time(row, 2),
      archivedAt: try moment(row, 3), limits: try RowJSON.decode(ProjectLimits.self, try row.text(4)),
      weight: try row.double(5), organisation: OrganisationName(try row.text(6)))
  }

  static let shares =
    "SELECT \(DeltaEncoder.shareColumns.map(\.name).joined(separator: ", ")) FROM project_usage ORDER BY project"

  static func share(_ row: PostgresRow) throws -> ShareRow {
    ShareRow(
      project: ProjectName(try row.text(0)),
      used: ResourceSeconds(cpu: try row.double(1), memory: try row.double(2), gpu: try row.double(3)),
      at: try time(row, 4))
  }

  static let budgets =
    "SELECT \(DeltaEncoder.budgetColumns.map(\.name).joined(separator: ", ")) FROM budgets ORDER BY project"
  static let reservations =
    "SELECT \(DeltaEncoder.reservationColumns.map(\.name).joined(separator: ", ")) FROM reservations ORDER BY run_id"

  static func budget(_ row: PostgresRow) throws -> Budget {
    func amount(_ column: Int) throws -> Amount { Amount(micros: try row.int(column)) }
    let spec = BudgetSpec(
      limit: try amount(2), currency: try row.text(1), period: try word(try row.text(3), BudgetPeriod.self),
      isHard: try row.bool(4), alerts: try RowJSON.decode([Int].self, try row.text(5)),
      onExhausted: try word(try row.text(6), ExhaustionPolicy.self), carriesOver: try row.bool(7),
      defaultWalltime: .milliseconds(try row.int(8)), slice: .milliseconds(try row.int(15)))
    return Budget(
      project: ProjectName(try row.text(0)), spec: spec, periodStart: try time(row, 9), periodEnd: try moment(row, 10),
      granted: try amount(11), reserved: try amount(12), spent: try amount(13), alerted: Int(try row.int(14)))
  }

  static let allowances =
    "SELECT \(DeltaEncoder.allowanceColumns.map(\.name).joined(separator: ", ")) FROM allowances"

  static func allowance(_ row: PostgresRow) throws -> Allowance {
    Allowance(
      name: Allowance.Name(ProjectName(try row.text(0)), try row.text(1)),
      limit: try row.optionalInt(2).map { Amount(micros: $0) }, reserved: Amount(micros: try row.int(3)),
      spent: Amount(micros: try row.int(4)))
  }

  static let storageHolds =
    "SELECT \(DeltaEncoder.storageColumns.map(\.name).joined(separator: ", ")) FROM storage_holds ORDER BY name"

  static func storageHold(_ row: PostgresRow) throws -> StorageHold {
    StorageHold(
      name: try row.text(0), project: ProjectName(try row.text(1)), member: try row.text(2), currency: try row.text(3),
      amount: Amount(micros: try row.int(4)), from: try time(row, 5), until: try time(row, 6))
  }

  static func reservation(_ row: PostgresRow) throws -> Reservation {
    Reservation(
      run: RunID(try row.int(0)), project: ProjectName(try row.text(1)), member: try row.text(5),
      currency: try row.text(2),
      amount: Amount(micros: try row.int(3)), bound: .milliseconds(try row.int(4)),
      slice: try row.optionalInt(6).map { .milliseconds($0) }, since: try moment(row, 7))
  }
}
