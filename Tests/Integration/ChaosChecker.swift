import FederationHarness
import FederationModel
import Foundation
import Postgres
import TestSupport

/// One violation, with everything that shows it.
struct Violation: CustomStringConvertible, Sendable {
  var invariant: String
  var what: String
  var evidence: [String]
  var description: String {
    "\(invariant): \(what)\n" + evidence.prefix(30).map { "    \($0)" }.joined(separator: "\n")
  }
}

/// Holds the runs' own lines against the database, and both against what was promised to clients.
///
/// Pure: everything that it looks at was read before.
struct ChaosChecker: Sendable {
  struct Run: Sendable {
    var id: String
    var workflow: String
    var ordinal: Int64
    var epoch: Int64
    var phase: RunPhase
    var cluster: String
    var text: String { "run \(id) of \(workflow)#\(ordinal) epoch \(epoch) on \(cluster): \(phase.name)" }
  }
  struct Node: Sendable {
    var workflow: String
    var ordinal: Int64
    var name: String
    var type: String
    var phase: NodePhase
  }

  var seed: UInt64
  /// Names of the workflows whose submission was acknowledged.
  var acknowledged: [String]
  var workflows: [String: NodePhase]
  var nodes: [Node]
  var runs: [Run]
  /// What the database itself recorded of changes that must not be.
  var recorded: [String]
  var lines: [TraceLine]
  var broken: [String]
  /// Run processes that still live although everything is over.
  var leftovers: [String]

  static func read(
    _ federation: Federation, seed: UInt64, acknowledged: [String], trace: TraceCollector
  ) async throws -> ChaosChecker {
    let workflows = try await federation.query("SELECT name, phase FROM workflows").rows.map {
      (try $0.text(0), NodePhase(rawValue: try $0.text(1)) ?? .pending)
    }
    let nodes = try await federation.query(
      "SELECT w.name, n.ordinal, n.name, n.type, n.phase FROM nodes n JOIN workflows w ON w.id = n.workflow_id"
    ).rows.map {
      Node(
        workflow: try $0.text(0), ordinal: try $0.int(1), name: try $0.text(2), type: try $0.text(3),
        phase: NodePhase(rawValue: try $0.text(4)) ?? .pending)
    }
    let runs = try await federation.query(
      """
      SELECT r.run_id, w.name, r.ordinal, r.epoch, r.phase, r.cluster
      FROM runs r JOIN workflows w ON w.id = r.workflow_id ORDER BY r.workflow_id, r.ordinal, r.epoch
      """
    ).rows.map {
      Run(
        id: RunID(try $0.int(0)).hexadecimal, workflow: try $0.text(1), ordinal: try $0.int(2), epoch: try $0.int(3),
        phase: RunPhase(rawValue: Int16(try $0.int(4))) ?? .bound, cluster: try $0.text(5))
    }
    let recorded = try await federation.query("SELECT what FROM chaos_violations ORDER BY at").rows.map {
      try $0.text(0)
    }
    let (lines, broken) = trace.arrived()
    return ChaosChecker(
      seed: seed, acknowledged: acknowledged, workflows: Dictionary(workflows) { $1 }, nodes: nodes, runs: runs,
      recorded: recorded, lines: lines, broken: broken, leftovers: ChaosWorkload.liveRuns(federation).map(\.text))
  }

  func violations() -> [Violation] {
    lost() + unfinished() + doubled() + unknown() + untrue()
      + recorded.map { Violation(invariant: "I1/I2", what: "the database saw what must not be", evidence: [$0]) }
      + broken.map { Violation(invariant: "harness", what: "a line that no run of ours writes", evidence: [$0]) }
      + leftovers.map {
        Violation(invariant: "I1", what: "a run still lives although every task has ended", evidence: [$0])
      }
  }

  /// I2: what was acknowledged is there, once, and nothing else is.
  private func lost() -> [Violation] {
    let promised = Set(acknowledged)
    let missing = promised.subtracting(workflows.keys).sorted()
    let extra = Set(workflows.keys).subtracting(promised).sorted()
    var found: [Violation] = []
    if !missing.isEmpty {
      found.append(Violation(invariant: "I2", what: "acknowledged submissions are gone", evidence: missing))
    }
    if !extra.isEmpty {
      found.append(Violation(invariant: "I2", what: "one idempotency key made several workflows", evidence: extra))
    }
    return found
  }

  /// I2: every accepted task has reached a terminal state, and so has each of its runs.
  private func unfinished() -> [Violation] {
    var evidence = workflows.filter { !$0.value.isTerminal }.map { "workflow \($0.key) is \($0.value.rawValue)" }
    evidence += nodes.filter { !$0.phase.isTerminal }.map { "\($0.type) \($0.name) is \($0.phase.rawValue)" }
    evidence += runs.filter { !$0.phase.isTerminal }.map(\.text)
    return evidence.isEmpty ? [] : [Violation(invariant: "I2", what: "not everything has ended", evidence: evidence)]
  }

  /// I1: the lines of two runs of one task never overlap in time. Hundredths of a second that are equal do not count:
  /// the clock cannot tell them apart.
  private func doubled() -> [Violation] {
    let task = Dictionary(runs.map { ($0.id, "\($0.workflow)#\($0.ordinal)") }) { $1 }
    var spans: [String: [String: (first: Int, last: Int, lines: [TraceLine])]] = [:]
    for line in lines {
      guard let key = task[line.run] else { continue }
      var span = spans[key, default: [:]][line.run] ?? (line.at, line.at, [])
      span = (min(span.first, line.at), max(span.last, line.at), span.lines + [line])
      spans[key, default: [:]][line.run] = span
    }
    return spans.flatMap { key, runs -> [Violation] in
      let ordered = runs.values.sorted { ($0.first, $0.last) < ($1.first, $1.last) }
      return zip(ordered, ordered.dropFirst()).filter { $0.last > $1.first }.map { earlier, later in
        Violation(
          invariant: "I1", what: "two runs of \(key) overlap",
          evidence: (earlier.lines + later.lines).sorted { $0.at < $1.at }.map(\.description))
      }
    }
  }

  /// I1: what executed was recorded before; a run starts once.
  private func unknown() -> [Violation] {
    let known = Set(runs.map(\.id))
    let strange = lines.filter { !known.contains($0.run) }.map(\.description)
    var found: [Violation] = []
    if !strange.isEmpty {
      found.append(Violation(invariant: "I2", what: "a run executed that the database never bound", evidence: strange))
    }
    let starts = Dictionary(grouping: lines.filter { $0.kind == .start }, by: \.run).filter { $0.value.count > 1 }
    for (_, lines) in starts.sorted(by: { $0.key < $1.key }) {
      found.append(Violation(invariant: "I1", what: "a run started twice", evidence: lines.map(\.description)))
    }
    return found
  }

  /// I2: a run that is said to have succeeded did write its last line, and a task that succeeded has such a run.
  private func untrue() -> [Violation] {
    let ended = Set(lines.filter { $0.kind == .end }.map(\.run))
    let liars = runs.filter { $0.phase == .succeeded && !ended.contains($0.id) }.map(\.text)
    var found: [Violation] = []
    if !liars.isEmpty {
      found.append(Violation(invariant: "I2", what: "a run succeeded without its last line", evidence: liars))
    }
    let byTask = Dictionary(grouping: runs) { "\($0.workflow)#\($0.ordinal)" }
    let baseless = nodes.filter { $0.type == "Pod" && $0.phase == .succeeded }.filter { node in
      byTask["\(node.workflow)#\(node.ordinal)"]?.filter { $0.phase == .succeeded }.count != 1
    }
    if !baseless.isEmpty {
      found.append(
        Violation(
          invariant: "I2", what: "a task succeeded without exactly one run that did", evidence: baseless.map(\.name)))
    }
    return found
  }
}

extension Federation {
  /// Lets the database itself watch every commit: no terminal phase changes, no task has two runs that have not ended.
  func watchCommits() async throws {
    let connection = try await PostgresConnection.connect(database)
    try await connection.script([
      "CREATE TABLE chaos_violations (at timestamptz NOT NULL DEFAULT clock_timestamp(), what text NOT NULL)",
      """
      CREATE FUNCTION chaos_terminal() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        INSERT INTO chaos_violations (what)
          VALUES (format('%s: terminal %s became %s', TG_TABLE_NAME, row_to_json(OLD), row_to_json(NEW)));
        RETURN NULL;
      END $$
      """,
      """
      CREATE FUNCTION chaos_single() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        INSERT INTO chaos_violations (what)
          SELECT format('two live runs of one task: %s and %s', row_to_json(a), row_to_json(b))
          FROM runs a JOIN runs b USING (workflow_id, ordinal)
          WHERE a.workflow_id = NEW.workflow_id AND a.ordinal = NEW.ordinal
            AND a.epoch < b.epoch AND a.phase < 5 AND b.phase < 5;
        RETURN NULL;
      END $$
      """,
      """
      CREATE TRIGGER chaos_nodes AFTER UPDATE ON nodes FOR EACH ROW
        WHEN (OLD.phase IN ('Succeeded', 'Failed', 'Error', 'Skipped', 'Omitted') AND NEW.phase <> OLD.phase)
        EXECUTE FUNCTION chaos_terminal()
      """,
      """
      CREATE TRIGGER chaos_runs AFTER UPDATE ON runs FOR EACH ROW
        WHEN (OLD.phase >= 5 AND NEW.phase <> OLD.phase) EXECUTE FUNCTION chaos_terminal()
      """,
      """
      CREATE CONSTRAINT TRIGGER chaos_one AFTER INSERT OR UPDATE ON runs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
        EXECUTE FUNCTION chaos_single()
      """,
    ])
    await connection.close()
  }
}
