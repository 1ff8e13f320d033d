internal import ArgumentParser
internal import FederationAPI
internal import FederationHarness
internal import Foundation
internal import Glibc
internal import Postgres

/// Durable no-op tasks end to end, against what the same PostgreSQL does for the plainest batch.
struct DispatchCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dispatch", abstract: "Throughput and latency with the null executor.")
  @OptionGroup var options: BenchOptions
  @Option(help: "Workflows at once.") var workflows = 20
  @Option(help: "Tasks of each.") var tasks = 1000
  @Option(help: "Agents.") var agents = 3
  @Option(help: "Tasks of the large dag; 0 leaves it out.") var dag = 20_000
  @Option(help: "Write perf data of the first dispatch round to FILE-NAME.data.") var perf: String?
  @Flag(help: "Only the dispatch rate and its limit.") var brief = false
  @Flag(help: "Tell what each statement costs PostgreSQL in the first round (which it slows by some percent).")
  var statements = false
  @Flag(help: "Leave the throughput out.") var skipThroughput = false

  func run() async throws {
    var federation = FederationOptions()
    federation.agents = (0..<agents).map { .init("null-\($0)", executor: "null", slots: 4000) }
    federation.hasOwnPostgres = true
    federation.agentLease = 15
    federation.leaderLease = 6
    federation.disconnectLimit = 60
    federation.fenceMargin = 10
    federation.logLevel = "warning"
    if statements {
      federation.postgresSettings = [
        "shared_preload_libraries=pg_stat_statements", "pg_stat_statements.track_planning=on",
      ]
    }
    try await Federation.with(federation, binaries: options.directory) { federation in
      let bench = Dispatch(federation: federation, connection: try await .connect(federation.database))
      try await measure(bench)
      await bench.connection.close()
    }
  }

  private func measure(_ bench: Dispatch) async throws {
    let settings = try await bench.connection.query(
      "SELECT string_agg(name || '=' || setting, ' ') FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')"
    )
    Report.line("postgres", try settings[0].text(0))
    if skipThroughput { return try await small(bench) }
    if statements { try await bench.connection.script(["CREATE EXTENSION pg_stat_statements"]) }
    var rates: [Double] = [], limits: [Double] = []
    for round in 0..<options.repeats {
      let profile = round == 0 ? try perf.map { try Profile(bench.federation, $0) } : nil
      let rate = try await bench.dispatch("d\(round)", workflows: workflows, tasks: tasks)
      await profile?.stop()
      if statements, round == 0 { try await bench.reportStatements(tasks: workflows * tasks) }
      rates.append(rate)
      limits.append(try await bench.limit())
      Report.say("  round \(round): dispatch \(Int(rate)) tasks/s, limit \(Int(limits[round])) transitions/s")
    }
    Report.figure("dispatch", rates, "tasks/s")
    Report.figure("limit", limits, "transitions/s")
    Report.figure("ratio 4N/M", zip(rates, limits).map { 4 * $0 / $1 }, "", digits: 2)
    if !brief { try await small(bench) }
  }

  /// Everything but the throughput.
  private func small(_ bench: Dispatch) async throws {
    var singles: [Double] = []
    for round in 0..<options.repeats { singles.append(try await bench.singles("s\(round)", count: 1000)) }
    Report.figure("single-task workflows by REST", singles, "workflows/s")
    try await bench.latency(repeats: options.repeats)
    try await bench.chains(repeats: options.repeats)
    if dag > 0 { try await bench.large(tasks: dag) }
  }
}

/// The measurements; one connection to the database looks on.
struct Dispatch {
  let federation: Federation
  let connection: PostgresConnection

  /// Waits until all workflows with this prefix have succeeded.
  func awaitAll(_ prefix: String, _ count: Int, timeout: Duration = .seconds(300)) async throws {
    var done: Int64 = 0
    try await poll("\(count) workflows \(prefix)* have succeeded (\(done))", timeout: timeout) {
      let row = try await connection.query(
        """
        SELECT count(*) FILTER (WHERE phase = 'Succeeded'), count(*) FILTER (WHERE phase IN ('Failed', 'Error'))
        FROM workflows WHERE project = 'default' AND name >= $1 AND name < $2
        """, .text(prefix), .text(prefix + "~"))[0]
      done = try row.int(0)
      guard try row.int(1) == 0 else { throw HarnessError("workflows \(prefix)* failed") }
      return done == count
    }
  }

  /// Tasks a second, from the first submission until the last workflow's end is durable.
  func dispatch(_ prefix: String, workflows: Int, tasks: Int) async throws -> Double {
    let name = "\(prefix)-\(getpid())-"
    let documents = (0..<workflows).map { Documents.fan(name + String($0), tasks) }
    let client = try federation.client()
    let began = ContinuousClock.now
    try await withThrowingTaskGroup(of: Void.self) { group in
      for document in documents { group.addTask { _ = try await client.submit(document) } }
      try await group.waitForAll()
    }
    try await awaitAll(name, workflows)
    let took = ContinuousClock.now - began
    // Every transition of every task was made durable: bound, dispatched, started, ended.
    let complete = try await connection.query(
      """
      SELECT count(*) FROM runs r JOIN workflows w ON w.id = r.workflow_id
      WHERE w.name >= $1 AND w.name < $2 AND r.phase = 5
        AND r.dispatched_ms IS NOT NULL AND r.started_ms IS NOT NULL AND r.finished_ms IS NOT NULL
      """, .text(name), .text(name + "~"))[0].int(0)
    guard complete == workflows * tasks else {
      throw HarnessError("\(complete) of \(workflows * tasks) runs have all of their moments")
    }
    return Double(workflows * tasks) / took.seconds
  }

  /// The dearest statements so far, by their time in the server, and what became of the tables' rows.
  func reportStatements(tasks: Int) async throws {
    let rows = try await connection.query(
      """
      SELECT left(regexp_replace(query, '[[:space:]]+', ' ', 'g'), 70), calls, rows,
        round((total_exec_time + total_plan_time)::numeric * 1000 / $1::int8, 1)::text, wal_bytes::int8 / $1::int8
      FROM pg_stat_statements ORDER BY total_exec_time + total_plan_time DESC LIMIT 24
      """, .int8(Int64(tasks)))
    for row in rows.rows {
      Report.say(
        "  \(try row.text(3)) us/task, \(try row.int(4)) bytes/task of WAL, \(try row.int(1)) calls, "
          + "\(try row.int(2)) rows: \(try row.text(0))")
    }
    try await Task.sleep(for: .seconds(2))
    let tables = try await connection.query(
      """
      SELECT relname::text, n_tup_ins, n_tup_upd, n_tup_hot_upd, n_tup_del FROM pg_stat_user_tables
      WHERE n_tup_ins + n_tup_upd > 100 ORDER BY n_tup_ins + n_tup_upd DESC
      """)
    for row in tables.rows {
      Report.say(
        "  \(try row.text(0)): \(try row.int(1)) inserted, \(try row.int(2)) updated, of them \(try row.int(3)) in their page, "
          + "\(try row.int(4)) deleted")
    }
  }

  /// Row transitions a second of the plain batch: `unnest` of 1,000 rows, 4 connections, no core.
  func limit(seconds: Double = 4) async throws -> Double {
    let rows = 200_000
    try await connection.script([
      "DROP TABLE IF EXISTS bench_task, bench_event",
      """
      CREATE TABLE bench_task (id bigint PRIMARY KEY, run_id bigint NOT NULL, state int2 NOT NULL,
        version int NOT NULL DEFAULT 0, cluster int, updated_at timestamptz NOT NULL DEFAULT now(), payload jsonb)
        WITH (fillfactor = 70)
      """,
      """
      CREATE TABLE bench_event (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, task_id bigint NOT NULL,
        version int NOT NULL, state int2 NOT NULL, at timestamptz NOT NULL DEFAULT now())
      """,
      """
      INSERT INTO bench_task (id, run_id, state, payload)
        SELECT g, g / 1000, 1, '{"cmd":"echo hello","image":"busybox"}' FROM generate_series(1, \(rows)) g
      """,
      "CREATE INDEX ON bench_task (id) WHERE state = 1",
    ])
    _ = try await connection.run([PostgresStatement("VACUUM ANALYZE bench_task", [], isPrepared: false)])
    let began = ContinuousClock.now
    let end = began + .seconds(seconds)
    let database = federation.database
    let total = try await withThrowingTaskGroup(of: Int.self) { group in
      for worker in 0..<4 {
        group.addTask {
          try await Self.transitions(database, first: worker * rows / 4 + 1, count: rows / 4, until: end)
        }
      }
      return try await group.reduce(0, +)
    }
    let took = ContinuousClock.now - began
    try await connection.script(["DROP TABLE bench_task, bench_event"])
    return Double(total) / took.seconds
  }

  private static func transitions(
    _ database: PostgresConfiguration, first: Int, count: Int, until end: ContinuousClock.Instant
  ) async throws -> Int {
    let batch = 1000
    let sql = """
      WITH x AS (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS x(id, new, old)),
        u AS (UPDATE bench_task t SET state = x.new, version = t.version + 1, updated_at = now() FROM x
              WHERE t.id = x.id AND t.state = x.old RETURNING t.id, t.version, t.state)
      INSERT INTO bench_event (task_id, version, state) SELECT id, version, state FROM u
      """
    let connection = try await PostgresConnection.connect(database)
    var changed = 0, turn = 0
    while ContinuousClock.now < end {
      let slice = turn % (count / batch), pass = turn / (count / batch)
      let ids = (0..<batch).map { Int64(first + slice * batch + $0) }
      let (new, old): (Int64, Int64) = pass % 2 == 0 ? (2, 1) : (1, 2)
      var parameters = PostgresParameters()
      parameters.append(column: ids) { $0 }
      parameters.append(column: ids) { _ in new }
      parameters.append(column: ids) { _ in old }
      changed += try await connection.run([PostgresStatement(sql, parameters)])[0].affectedRows
      turn += 1
    }
    await connection.close()
    return changed
  }

  /// Workflows of one task a second, 32 submissions under way at a time.
  func singles(_ prefix: String, count: Int) async throws -> Double {
    let name = "\(prefix)-\(getpid())-"
    let client = try federation.client()
    let began = ContinuousClock.now
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in 0..<count {
        if index >= 32 { try await group.next() }
        group.addTask { _ = try await client.submit(Documents.single(name + String(index))) }
      }
      try await group.waitForAll()
    }
    try await awaitAll(name, count)
    return Double(count) / (ContinuousClock.now - began).seconds
  }

  /// Submit to running at 100 tasks a second, sent at fixed moments whatever the answers do.
  func latency(repeats: Int, perSecond: Int = 100, seconds: Int = 10) async throws {
    var middles: [Double] = [], tails: [Double] = [], answers: [Double] = []
    for round in 0..<repeats {
      let name = "l\(round)-\(getpid())-"
      let sent = try await submitSteadily(name, perSecond: perSecond, count: perSecond * seconds)
      try await awaitAll(name, sent.count)
      let rows = try await connection.query(
        """
        SELECT w.name, r.started_ms FROM runs r JOIN workflows w ON w.id = r.workflow_id
        WHERE w.name >= $1 AND w.name < $2
        """, .text(name), .text(name + "~")
      ).rows
      var waits: [Double] = []
      for row in rows { if let moment = sent[try row.text(0)] { waits.append(Double(try row.int(1)) - moment.sent) } }
      middles.append(Statistics.percentile(waits, 50))
      tails.append(Statistics.percentile(waits, 99))
      answers.append(Statistics.percentile(sent.values.map { $0.answered - $0.sent }, 50))
    }
    Report.figure("submit to running at \(perSecond) tasks/s, p50", middles, "ms", digits: 1)
    Report.figure("submit to running at \(perSecond) tasks/s, p99", tails, "ms", digits: 1)
    Report.figure("submit to durable answer, p50", answers, "ms", digits: 1)
  }

  /// Moments in milliseconds since 1970, by name: when the request was due, and when its answer had come.
  private func submitSteadily(_ prefix: String, perSecond: Int, count: Int) async throws
    -> [String: (sent: Double, answered: Double)]
  {
    let client = try federation.client()
    let start = ContinuousClock.now
    func wall() -> Double {
      var now = timespec()
      clock_gettime(CLOCK_REALTIME, &now)
      return Double(now.tv_sec) * 1000 + Double(now.tv_nsec) / 1e6
    }
    return try await withThrowingTaskGroup(of: (String, Double, Double).self) { group in
      for index in 0..<count {
        try await Task.sleep(until: start + .seconds(Double(index) / Double(perSecond)))
        let name = prefix + String(index)
        let sent = wall()
        group.addTask {
          _ = try await client.submit(Documents.single(name))
          return (name, sent, wall())
        }
      }
      return try await group.reduce(into: [:]) { $0[$1.0] = ($1.1, $1.2) }
    }
  }

  /// From the end of a step to the start of the next, in chains of 100.
  func chains(repeats: Int) async throws {
    var middles: [Double] = [], tails: [Double] = []
    for round in 0..<repeats {
      let name = "c\(round)-\(getpid())"
      _ = try await federation.client().submit(Documents.chain(name, 100))
      try await awaitAll(name, 1)
      let rows = try await connection.query(
        """
        SELECT r.started_ms, r.finished_ms FROM runs r JOIN workflows w ON w.id = r.workflow_id
        WHERE w.name = $1 ORDER BY r.ordinal
        """, .text(name)
      ).rows
      let moments = try rows.map { (started: Double(try $0.int(0)), finished: Double(try $0.int(1))) }
      let gaps = zip(moments, moments.dropFirst()).map { $1.started - $0.finished }
      middles.append(Statistics.percentile(gaps, 50))
      tails.append(Statistics.percentile(gaps, 99))
    }
    Report.figure("gap between sequential steps, p50", middles, "ms", digits: 1)
    Report.figure("gap between sequential steps, p99", tails, "ms", digits: 1)
  }

  /// One dag, and what it takes of the control plane's memory.
  func large(tasks: Int) async throws {
    let memory = try ControlPlaneMemory(federation)
    let name = "g-\(getpid())"
    let began = ContinuousClock.now
    _ = try await federation.client().submit(Documents.dag(name, tasks, width: 100), timeout: .seconds(60))
    try await awaitAll(name, 1, timeout: .seconds(600))
    let took = ContinuousClock.now - began
    Report.line(
      "dag of \(tasks) tasks",
      "\(Report.format(took.seconds, 1)) s, \(Report.format(Double(tasks) / took.seconds, 0)) tasks/s")
    try memory.report(tasks: tasks)
  }
}

/// What a measurement takes of the control plane's memory, from `init` on.
struct ControlPlaneMemory {
  private let process: OwnedProcess
  private let before: Int64

  init(_ federation: Federation) throws {
    process = try federation.controlPlane()
    // 5: forget the peak so far. - Source: proc(5), /proc/PID/clear_refs.
    try? "5".write(toFile: "/proc/\(process.pid)/clear_refs", atomically: false, encoding: .utf8)
    guard let memory = process.memory() else { throw HarnessError("the control plane is gone") }
    before = memory.resident
  }

  func report(tasks: Int) throws {
    guard let after = process.memory() else { throw HarnessError("the control plane is gone") }
    let perTask = Double(after.peak - before) / Double(tasks)
    Report.line(
      "control plane memory",
      "\(before >> 20) MiB before, \(after.peak >> 20) MiB at most, \(after.resident >> 20) MiB after; "
        + "\(Int(perTask)) bytes/task")
  }
}

/// `perf record` on the control plane and the first agent.
struct Profile {
  private let recorders: [OwnedProcess]

  init(_ federation: Federation, _ prefix: String) throws {
    let agent = federation.options.agents[0].name
    let targets = [("controlplane", try federation.controlPlane().pid), ("agent", try federation.agent(agent).pid)]
    recorders = try targets.map { name, pid in
      try OwnedProcess.spawn(
        ["/usr/bin/perf", "record", "-F", "499", "-g", "-o", "\(prefix)-\(name).data", "-p", String(pid)],
        log: "\(prefix)-\(name).log")
    }
  }

  func stop() async {
    for recorder in recorders { recorder.signal(SIGINT) }
    for recorder in recorders { try? await poll("perf ends", timeout: .seconds(30)) { !recorder.isAlive } }
  }
}
