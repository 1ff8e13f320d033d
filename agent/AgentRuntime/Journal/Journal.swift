internal import FederationModel
internal import FoundationEssentials
internal import GRDB

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// What the agent must still know after it was killed: a SQLite database in the state directory.
///
/// Everything that the control plane may rely on (an assignment once its `dispatched` event was sent, an event once it was sent)
/// is in a transaction that has been synced before (`synchronous=FULL`): it survives `kill -9` and loss of power alike, as far
/// as the disk keeps what it acknowledged. One transaction holds everything that arrived while the one before was written, so
/// the price of a sync is shared.
///
/// Should the disk lose a tail of the journal all the same, no run executes twice: the control plane assigns it again, and
/// the fence beside the run (`started`, created once) refuses a second start (I1). Its events are told again from there.
///
/// On a network file system shared-memory WAL is not safe between hosts, so the journal keeps a rollback journal and an
/// exclusive lock there.
final class Journal: Sendable {
  private let database: DatabaseQueue
  /// Drawn when the journal was made.
  let id: String

  /// Opens the journal at `path`, or makes it.
  ///
  /// - Throws: `.failedPrecondition` for a file that is no journal or was written by a later version; `.internal` from SQLite.
  init(path: String, isOnNetworkFileSystem: Bool, drawID: () -> String = { Journal.drawID() }) throws {
    var configuration = GRDB.Configuration()
    configuration.label = "journal"
    configuration.maximumReaderCount = 1
    configuration.busyMode = .timeout(5)
    configuration.prepareDatabase { db in
      if isOnNetworkFileSystem {
        try db.execute(sql: "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE")
      } else {
        try db.execute(sql: "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 4000")
      }
      try db.execute(sql: "PRAGMA synchronous = FULL; PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY")
    }
    do {
      database = try DatabaseQueue(path: path, configuration: configuration)
      id = try database.write { db in
        try Self.migrate(db)
        if let id = try String.fetchOne(db, sql: "SELECT value FROM meta WHERE key = 'journal_id'") { return id }
        let id = drawID()
        try db.execute(sql: "INSERT INTO meta (key, value) VALUES ('journal_id', ?)", arguments: [id])
        return id
      }
    } catch let error as FederationError {
      throw error
    } catch let error as DatabaseError where error.resultCode == .SQLITE_NOTADB || error.resultCode == .SQLITE_CORRUPT {
      throw FederationError(
        .failedPrecondition,
        "\(path) is damaged: move it away and start the agent again; its runs are told by the executor",
        cause: error)
    } catch let error as DatabaseError where Self.isFullDisk(error) {
      throw FederationError(
        .resourceExhausted, "The journal \(path) cannot be opened: the disk is full; free some space there",
        cause: error)
    } catch {
      throw FederationError(.internal, "The journal \(path) cannot be opened", cause: error)
    }
    chmod(path, 0o600)
  }

  private static let schemaVersion = 1

  private static func migrate(_ db: Database) throws {
    let version = try Int.fetchOne(db, sql: "PRAGMA user_version") ?? 0
    guard version <= schemaVersion else {
      throw FederationError(
        .failedPrecondition,
        "The journal was written by a later fubini-agent (schema \(version)): install that version again")
    }
    if version < 1 { try makeTables(db) }
    // What an earlier release does not know it need not know: it never lets a run go on for longer.
    try db.execute(
      sql: """
        CREATE TABLE IF NOT EXISTS slices (run INTEGER PRIMARY KEY, milliseconds INTEGER NOT NULL);
        DELETE FROM slices WHERE run NOT IN (SELECT id FROM runs);
        """)
  }

  private static func makeTables(_ db: Database) throws {
    try db.execute(
      sql: """
        CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
        CREATE TABLE runs (
          id INTEGER PRIMARY KEY, assignment BLOB NOT NULL, cancel INTEGER NOT NULL DEFAULT 0,
          submitted INTEGER NOT NULL DEFAULT 0, end_phase INTEGER, log_bytes INTEGER NOT NULL DEFAULT 0,
          log_acked INTEGER NOT NULL DEFAULT 0, log_complete INTEGER NOT NULL DEFAULT 0);
        CREATE TABLE events (sequence INTEGER PRIMARY KEY, run INTEGER NOT NULL, payload BLOB NOT NULL);
        PRAGMA user_version = 1;
        """)
  }

  /// Writes all changes in one transaction, and returns when they are on disk. Idempotent.
  ///
  /// - Throws: `.resourceExhausted` when the disk is full, `.internal` otherwise; nothing of the batch is then written.
  func write(_ changes: [JournalChange]) async throws {
    guard !changes.isEmpty else { return }
    do {
      try await database.write { db in
        for change in changes { try Self.apply(change, to: db) }
      }
    } catch let error as DatabaseError {
      let isFull = Self.isFullDisk(error)
      throw FederationError(
        isFull ? .resourceExhausted : .internal,
        isFull
          ? "The agent's disk is full: free space in its state directory" : "The agent's journal cannot be written",
        cause: error)
    }
  }

  private static func isFullDisk(_ error: DatabaseError) -> Bool {
    error.resultCode == .SQLITE_FULL
      || [.SQLITE_IOERR_WRITE, .SQLITE_IOERR_SHMSIZE].contains(error.extendedResultCode)
  }

  private static func apply(_ change: JournalChange, to db: Database) throws {
    func execute(_ sql: String, _ arguments: StatementArguments) throws {
      try db.cachedStatement(sql: sql).execute(arguments: arguments)
    }
    switch change {
    case .assigned(let run, let assignment):
      let sql =
        "INSERT INTO runs (id, assignment) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET assignment = excluded.assignment"
      try execute(sql, [run.number, assignment])
    case .extended(let run, let milliseconds):
      let sql =
        "INSERT INTO slices (run, milliseconds) VALUES (?, ?) ON CONFLICT (run) DO UPDATE SET milliseconds = "
        + "MAX(milliseconds, excluded.milliseconds)"
      try execute(sql, [run.number, milliseconds])
    case .cancelRequested(let run):
      try execute("UPDATE runs SET cancel = 1 WHERE id = ?", [run.number])
    case .submitted(let run):
      try execute("UPDATE runs SET submitted = 1 WHERE id = ?", [run.number])
    case .event(let sequence, let run, let payload):
      try execute(
        "INSERT OR REPLACE INTO events (sequence, run, payload) VALUES (?, ?, ?)",
        [Int64(sequence), run.number, payload])
    case .ended(let run, let phase, let logBytes):
      try execute(
        "UPDATE runs SET end_phase = ?, log_bytes = ? WHERE id = ?", [Int(phase.rawValue), logBytes, run.number])
    case .forgotten(let run):
      try execute("DELETE FROM runs WHERE id = ?", [run.number])
      try execute("DELETE FROM slices WHERE run = ?", [run.number])
    case .acknowledged(let sequence):
      // The last event ever written stays known by its number, so that numbers never come twice.
      let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES ('last_acknowledged', ?)"
      try execute(sql, [Int64(sequence)])
      try execute("DELETE FROM events WHERE sequence <= ?", [Int64(sequence)])
    case .positionSeen(let term, let commitSequence):
      let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)"
      try execute(sql, ["term", term])
      try execute(sql, ["commit_seq", commitSequence])
    case .logAcknowledged(let run, let offset, let isComplete):
      let sql = "UPDATE runs SET log_acked = MAX(log_acked, ?), log_complete = MAX(log_complete, ?) WHERE id = ?"
      try execute(sql, [offset, isComplete, run.number])
    }
  }

  func contents() async throws -> JournalContents {
    let id = id
    return try await database.read { db in
      func meta(_ key: String) throws -> Int64 {
        try Int64.fetchOne(db, sql: "SELECT value FROM meta WHERE key = ?", arguments: [key]) ?? 0
      }
      let acknowledged = UInt64(try meta("last_acknowledged"))
      let last = UInt64(try Int64.fetchOne(db, sql: "SELECT MAX(sequence) FROM events") ?? 0)
      let runs = try Row.fetchAll(db, sql: "SELECT * FROM runs LEFT JOIN slices ON run = id ORDER BY id").map { row in
        JournaledRun(
          id: RunID(row["id"]), assignment: row["assignment"], sliceMilliseconds: row["milliseconds"],
          isCancelRequested: row["cancel"],
          isSubmitted: row["submitted"], endPhase: (row["end_phase"] as Int?).flatMap { RunPhase(rawValue: Int16($0)) },
          logBytes: row["log_bytes"], logAcknowledged: row["log_acked"], isLogComplete: row["log_complete"])
      }
      return JournalContents(
        journalID: id, term: try meta("term"), commitSequence: try meta("commit_seq"),
        lastSequence: max(last, acknowledged),
        acknowledgedSequence: acknowledged, runs: runs)
    }
  }

  /// Events after `sequence`, oldest first: at most `limit`, and at most about `byteLimit` bytes (but always one).
  func events(after sequence: UInt64, limit: Int, byteLimit: Int = 1 << 20) async throws -> [Data] {
    try await database.read { db in
      let sql = "SELECT payload FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?"
      let rows = try Row.fetchCursor(db.cachedStatement(sql: sql), arguments: [Int64(sequence), limit])
      var payloads: [Data] = []
      var bytes = 0
      while let row = try rows.next() {
        let payload: Data = row[0]
        if !payloads.isEmpty, bytes + payload.count > byteLimit { break }
        bytes += payload.count
        payloads.append(payload)
      }
      return payloads
    }
  }

  func close() { try? database.close() }

  /// 128 random bits, hexadecimal.
  static func drawID() -> String {
    var random = SystemRandomNumberGenerator()
    return [random.next(), random.next()].map { RunID(Int64($0 >> 1)).hexadecimal }.joined()
  }
}
