public import ControlPlaneCore
public import FederationModel
public import LedgerCore
import Postgres

/// A ledger entry with its place in the history; accounts as `kind/owner/currency`.
public struct NumberedLedgerEntry: Hashable, Sendable {
  public var sequence: Int64
  public var at: Timestamp
  public var kind: String
  public var from: String
  public var to: String
  public var amount: Amount
  public var run: RunID?
  /// What else it was for; empty: nothing.
  public var subject: String
  public var actor: String
}

/// How usage is grouped.
public enum UsageGrouping: Hashable, Sendable {
  case project, user, cluster, template
  /// By the priority class of runs; empty for those of earlier releases.
  case priorityClass
  /// By the value of this label of workflows; empty where there is none.
  case label(String)

  /// Reads `user` or `label:KEY`; nil for anything else.
  public init?(_ text: String) {
    switch text {
    case "project": self = .project
    case "user": self = .user
    case "cluster": self = .cluster
    case "template": self = .template
    case "class": self = .priorityClass
    default:
      guard text.hasPrefix("label:"), text.utf8.count > 6 else { return nil }
      self = .label(String(text.dropFirst(6)))
    }
  }

  /// Of SQL, over `w`, `r` and `n`; a label's key is parameter $3.
  var expression: String {
    switch self {
    case .project: "w.project"
    case .user: "w.created_by"
    case .cluster: "r.cluster"
    case .template: "n.template_name"
    case .priorityClass: "coalesce(r.priority_class, '')"
    case .label: "coalesce(w.labels->>$3, '')"
    }
  }
}

/// What the runs of one group have used.
public struct UsageRow: Hashable, Sendable {
  public var name: String
  /// nil: no run had a price.
  public var currency: String?
  public var runs: Int64
  public var coreSeconds: Double
  public var gpuSeconds: Double
  public var bytesIn: Int64
  public var charge: Amount
}

/// Whether the books agree.
public struct LedgerReview: Hashable, Sendable {
  public var entries: Int64
  public var budgets: Int
  public var reservations: Int
  /// For people; empty when everything agrees.
  public var differences: [String]
}

extension ControlPlaneStore {
  /// By name.
  public func organisations() async throws -> [OrganisationRow] {
    try await run(RowDecoder.organisations).rows.map(RowDecoder.organisation)
  }

  public func projects() async throws -> [ProjectRow] {
    try await run(RowDecoder.projects).rows.map(RowDecoder.project)
  }
  public func budgets() async throws -> [Budget] { try await run(RowDecoder.budgets).rows.map(RowDecoder.budget) }

  /// What the members of a project have used of its budget, by name; at most 1,000.
  public func allowances(of project: ProjectName) async throws -> [Allowance] {
    try await run(
      "\(RowDecoder.allowances) WHERE project = $1 ORDER BY member LIMIT 1000", .text(project.text)
    ).rows.map(RowDecoder.allowance)
  }

  /// What moved a project's money, the newest first, of sequences below `before`; at most 500.
  public func ledgerEntries(of project: ProjectName, before: Int64?, limit: Int) async throws -> [NumberedLedgerEntry] {
    let accounts = try await run(
      "SELECT account FROM ledger_balances WHERE split_part(account, '/', 2) = $1 AND account !~ '^(overrun|bearer)/'",
      .text(project.text)
    ).rows.map { try $0.text(0) }
    // Two searches through an index each, instead of one through all of history.
    let rows = try await run(
      """
      SELECT seq, at_ms, kind, from_account, to_account, amount, run_id, actor, subject FROM (
        (SELECT * FROM ledger_entries WHERE from_account = ANY ($1) AND seq < $2 ORDER BY seq DESC LIMIT $3)
        UNION (SELECT * FROM ledger_entries WHERE to_account = ANY ($1) AND seq < $2 ORDER BY seq DESC LIMIT $3)
      ) AS entries ORDER BY seq DESC LIMIT $3
      """, .texts(accounts), .int8(before ?? Int64.max), .int8(Int64(min(max(limit, 1), 500))))
    return try rows.rows.map {
      NumberedLedgerEntry(
        sequence: try $0.int(0), at: try RowDecoder.time($0, 1), kind: try $0.text(2), from: try $0.text(3),
        to: try $0.text(4), amount: Amount(micros: try $0.int(5)), run: try $0.optionalInt(6).map { RunID($0) },
        subject: try $0.text(8), actor: try $0.text(7))
    }
  }

  /// What was used by runs that ended at `since` or later, by name and currency; at most `limit` lines.
  ///
  /// - Parameter project: nil: of all projects.
  public func usage(by grouping: UsageGrouping, of project: ProjectName?, since: Timestamp, limit: Int) async throws
    -> [UsageRow]
  {
    var values: [PostgresValue] = [.text(project?.text), .int8(since.milliseconds)]
    if case .label(let key) = grouping { values.append(.text(key)) }
    let nodes =
      grouping == .template ? "JOIN nodes n ON n.workflow_id = r.workflow_id AND n.ordinal = r.ordinal" : ""
    let sql = """
      SELECT \(grouping.expression) AS name, r.quote::jsonb->>'currency' AS currency, count(*),
        sum(r.wall_ms::float8 * CASE WHEN r.cpu_millicores > 0 THEN r.cpu_millicores ELSE 1000 END) / 1e6,
        sum(r.wall_ms::float8 * r.gpus) / 1e3, sum(r.bytes_in)::int8, coalesce(sum(\(RowDecoder.charge)), 0)::int8
      FROM workflows w JOIN runs r ON r.workflow_id = w.id \(nodes)
      WHERE ($1::text IS NULL OR w.project = $1) AND r.finished_ms >= $2
      GROUP BY 1, 2 ORDER BY 1, 2 LIMIT \(min(max(limit, 1), 10_000))
      """
    let statement = PostgresStatement(sql, values)
    let rows = try await pool.withConnection { try await $0.run([statement])[0] }
    return try rows.rows.map {
      UsageRow(
        name: try $0.text(0), currency: try $0.optionalText(1), runs: try $0.int(2), coreSeconds: try $0.double(3),
        gpuSeconds: try $0.double(4), bytesIn: try $0.int(5), charge: Amount(micros: try $0.int(6)))
    }
  }

  /// A workflow's runs by task and epoch, with the display names of their nodes; at most `limit`, after one that is named.
  public func costs(of workflow: WorkflowID, after last: (node: NodeID, epoch: Int32)?, limit: Int) async throws
    -> [(node: String, run: RunRow)]
  {
    let rows = try await run(
      """
      SELECT \(RowDecoder.runs), (SELECT display_name FROM nodes n
        WHERE n.workflow_id = runs.workflow_id AND n.ordinal = runs.ordinal)
      FROM runs WHERE workflow_id = $1 AND (ordinal, epoch) > ($2, $3) ORDER BY ordinal, epoch LIMIT $4
      """, .int8(workflow.number), .int4(last?.node.ordinal ?? -1), .int4(last?.epoch ?? 0),
      .int8(Int64(min(max(limit, 1), 500))))
    return try rows.rows.map {
      (try $0.optionalText(DeltaEncoder.runColumns.count) ?? "", try RowDecoder.run($0))
    }
  }

  /// Counts the books anew, from the first entry: what the entries say, what the balances say, what the budgets say, and what runs are
  /// held for. One snapshot; it takes time in proportion to the history.
  public func reviewLedger() async throws -> LedgerReview {
    let results = try await pool.withConnection { connection in
      try await connection.snapshot(
        [
          "SELECT count(*) FROM ledger_entries", RowDecoder.budgets, RowDecoder.reservations,
          "SELECT project, side, image, balance FROM ledger_differences ORDER BY project, side LIMIT 100",
          """
          SELECT coalesce(s.account, b.account), coalesce(s.balance, 0)::int8, coalesce(b.balance, 0) FROM (
            SELECT account, sum(amount) AS balance FROM (
              SELECT to_account AS account, amount FROM ledger_entries
              UNION ALL SELECT from_account, -amount FROM ledger_entries
            ) AS sides GROUP BY account
          ) AS s FULL JOIN ledger_balances b ON b.account = s.account
          WHERE coalesce(s.balance, 0) <> coalesce(b.balance, 0) ORDER BY 1 LIMIT 100
          """,
          "SELECT coalesce(sum(balance), 0)::int8 FROM ledger_balances",
          """
          SELECT v.run_id FROM reservations v LEFT JOIN runs r ON r.run_id = v.run_id
          WHERE r.run_id IS NULL OR r.phase >= \(RunPhase.succeeded.rawValue) ORDER BY 1 LIMIT 100
          """,
          RowDecoder.allowances, RowDecoder.storageHolds,
        ].map { PostgresStatement($0) }, timeout: .seconds(120))
    }
    let budgets = try results[1].rows.map(RowDecoder.budget)
    let reservations = try results[2].rows.map(RowDecoder.reservation)
    var differences = try results[3].rows.map {
      "project \(try $0.text(0)): \(try $0.text(1)) is \(Amount(micros: try $0.int(2))), its entries say "
        + "\(Amount(micros: try $0.int(3)))"
    }
    differences += try results[4].rows.map {
      "account \(try $0.text(0)): its entries sum up to \(Amount(micros: try $0.int(1))), its balance is "
        + "\(Amount(micros: try $0.int(2)))"
    }
    let sum = Amount(micros: try results[5][0].int(0))
    if sum != .zero { differences.append("the balances of all accounts sum up to \(sum), not to 0") }
    differences += try results[6].rows.map {
      "money is held for run \(RunID(try $0.int(0)).hexadecimal), which is over"
    }
    let allowances = try results[7].rows.map(RowDecoder.allowance)
    let storage = try results[8].rows.map(RowDecoder.storageHold)
    let ledger = Ledger(budgets: budgets, reservations: reservations, allowances: allowances, storage: storage)
    if let violation = ledger.violation {
      differences.append(violation)
    }
    return LedgerReview(
      entries: try results[0][0].int(0), budgets: budgets.count, reservations: reservations.count,
      differences: differences)
  }
}
