import Postgres
import TestSupport
import Testing

@Suite("PostgresConnection against a real server", .timeLimit(.minutes(2)))
struct PostgresConnectionTests {
  func connect() async throws -> PostgresConnection {
    try await PostgresConnection.connect(try PostgresServer.shared().createDatabase())
  }

  @Test("scalars and nulls of every type come back as they went")
  func scalars() async throws {
    let connection = try await connect()
    let row = try await connection.query(
      "SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9", .text("Fubini \u{1F9EA}"), .int8(.min), .int4(-7), .int2(.max),
      .bool(true),
      .float8(-0.125), .bytes([0, 255]), .text(""), .int8(nil))[0]
    #expect(try row.text(0) == "Fubini \u{1F9EA}")
    #expect(try row.int(1) == .min)
    #expect(try row.int(2) == -7)
    #expect(try row.int(3) == Int64(Int16.max))
    #expect(try row.bool(4))
    #expect(try row.double(5) == -0.125)
    #expect(try row.bytes(6) == [0, 255])
    #expect(try row.text(7).isEmpty)
    #expect(try row.optionalInt(8) == nil)
    #expect(throws: PostgresError.self) { try row.int(0) }
    #expect(throws: PostgresError.self) { try row.int(9) }
    #expect(throws: PostgresError.self) { try row.int(8) }
    await connection.close()
  }

  @Test("arrays keep order and nulls", arguments: [[], [nil], ["a", nil, "", "b\"{,}"]] as [[String?]])
  func arrays(_ values: [String?]) async throws {
    let connection = try await connect()
    let numbers: [Int64?] = values.enumerated().map { $0.element == nil ? nil : Int64($0.offset) << 40 }
    let row = try await connection.query("SELECT $1, $2", .texts(values), .int8s(numbers))[0]
    #expect(try row.optionalTexts(0) == values)
    #expect(try row.optionalInts(1) == numbers)
    await connection.close()
  }

  @Test("a unit is one transaction; one that fails does not disturb those around it")
  func units() async throws {
    let connection = try await connect()
    try await connection.script(["CREATE TABLE t (a int8 PRIMARY KEY)"])
    func insert(_ value: Int64) -> PostgresStatement { PostgresStatement("INSERT INTO t VALUES ($1)", .int8(value)) }
    let first = connection.send([insert(1)])
    let second = connection.send([insert(2), insert(1), insert(3)])
    let third = connection.send([insert(4)])
    _ = try await first.answer()
    let error = await #expect(throws: PostgresError.self) { try await second.answer() }
    #expect(error?.kind == .uniqueViolation(constraint: "t_pkey"))
    #expect(error?.isConnectionLoss == false)
    _ = try await third.answer()
    let rows = try await connection.query("SELECT array_agg(a ORDER BY a) FROM t")
    #expect(try rows[0].optionalInts(0) == [1, 4])
    await connection.close()
  }

  @Test("a statement whose first unit fails before its PREPARE works in the next unit, already on the wire")
  func preparedAfterError() async throws {
    let connection = try await connect()
    let fails = connection.send([
      PostgresStatement("SELECT 1/$1", .int8(0)), PostgresStatement("SELECT $1 + 1", .int8(1)),
    ])
    let next = connection.send([PostgresStatement("SELECT $1 + 1", .int8(2))])
    let bad = connection.send([PostgresStatement("SELECT nonsense")])
    let again = connection.send([PostgresStatement("SELECT nonsense")])
    await #expect(throws: PostgresError.self) { try await fails.answer() }
    #expect(try await next.answer()[0][0].int(0) == 3)
    for unit in [bad, again] {
      let error = await #expect(throws: PostgresError.self) { try await unit.answer() }
      #expect(error?.sqlstate == "42703")
    }
    try await connection.script(["DEALLOCATE ALL"])
    await #expect(throws: PostgresError.self) { try await connection.query("SELECT $1 + 1", .int8(2)) }
    #expect(try await connection.query("SELECT $1 + 1", .int8(5))[0].int(0) == 6)
    await connection.close()
  }

  @Test("a cut connection fails every unit in flight as lost", arguments: [false, true])
  func cut(byKill: Bool) async throws {
    let server = byKill ? try PostgresServer() : try PostgresServer.shared()
    let victim = try await PostgresConnection.connect(server.configuration())
    let process = try await victim.query("SELECT pg_backend_pid()")[0].int(0)
    let first = victim.send([PostgresStatement("SELECT pg_sleep(60)")])
    let second = victim.send([PostgresStatement("SELECT 1")])
    if byKill {
      try await server.kill()
    } else {
      let other = try await PostgresConnection.connect(server.configuration())
      try await other.query("SELECT pg_terminate_backend($1)", .int4(Int32(process)))
      await other.close()
    }
    for unit in [first, second] {
      let error = await #expect(throws: PostgresError.self) { try await unit.answer() }
      #expect(error?.isConnectionLoss == true, "\(String(describing: error))")
    }
    try await waitUntil("the connection knows") { victim.isClosed }
    await #expect(throws: PostgresError.self) { try await victim.query("SELECT 1") }
    if byKill {
      await #expect(throws: PostgresError.self) { try await PostgresConnection.connect(server.configuration()) }
      try server.start()
      let back = try await PostgresConnection.connect(server.configuration())
      #expect(try await back.query("SELECT 1")[0].int(0) == 1)
      await back.close()
      try server.stopImmediately()
    }
  }

  @Test("a cancelled task cancels its unit alone")
  func cancellation() async throws {
    let connection = try await connect()
    let task = Task { try await connection.query("SELECT pg_sleep(60)") }
    let process = try await runningBackend(connection)
    #expect(process > 0)
    task.cancel()
    let next = connection.send([PostgresStatement("SELECT 7")])
    let error = await #expect(throws: PostgresError.self) { try await task.value }
    #expect(error?.kind == .cancelled)
    #expect(try await next.answer()[0][0].int(0) == 7)
    await connection.close()
  }

  /// Waits until a backend other than the asker's sleeps.
  private func runningBackend(_ connection: PostgresConnection) async throws -> Int64 {
    let other = try await PostgresConnection.connect(try PostgresServer.shared().configuration())
    var process: Int64 = 0
    try await waitUntil("the statement runs") {
      let rows = try await other.query(
        "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%pg_sleep(60)%'")
      if rows.rowCount > 0 { process = try rows[0].int(0) }
      return process > 0
    }
    await other.close()
    return process
  }

  @Test(
    "a unit that takes too long is cancelled and the connection lives on; with others behind it the connection is closed"
  )
  func timeout() async throws {
    let connection = try await connect()
    let error = await #expect(throws: PostgresError.self) {
      try await connection.run([PostgresStatement("SELECT pg_sleep(60)")], timeout: .milliseconds(100))
    }
    #expect(error?.kind == .timeout(isConnectionLoss: false))
    #expect(try await connection.query("SELECT 1")[0].int(0) == 1)
    let slow = connection.send([PostgresStatement("SELECT pg_sleep(60)")], timeout: .milliseconds(100))
    let behind = connection.send([PostgresStatement("SELECT 1")])
    for unit in [slow, behind] {
      let error = await #expect(throws: PostgresError.self) { try await unit.answer() }
      #expect(error?.kind == .timeout(isConnectionLoss: true))
    }
    #expect(connection.isClosed)
  }

  @Test("a result of tens of megabytes arrives whole, and so does a parameter")
  func big() async throws {
    let connection = try await connect()
    let rows = try await connection.query("SELECT g::int8, repeat('x', 100) FROM generate_series(1, 200000) g")
    #expect(rows.rowCount == 200_000)
    #expect(try rows[199_999].int(0) == 200_000)
    let text = String(repeating: "y", count: 20_000_000)
    #expect(try await connection.query("SELECT length($1)", .text(text))[0].int(0) == 20_000_000)
    await connection.close()
  }

  @Test("NOTIFY reaches a listener")
  func notify() async throws {
    let server = try PostgresServer.shared()
    let listener = try await PostgresConnection.connect(server.configuration())
    let sender = try await PostgresConnection.connect(server.configuration())
    var stream = listener.notifications().makeAsyncIterator()
    try await listener.script(["LISTEN fubini"])
    try await sender.query("SELECT pg_notify('fubini', $1)", .text("42"))
    #expect(await stream.next()?.payload == "42")
    await listener.close()
    #expect(await stream.next() == nil)
    await sender.close()
  }

  @Test("COPY takes more than the socket holds, and a refused row leaves nothing behind")
  func copy() async throws {
    let connection = try await connect()
    try await connection.script(["CREATE TABLE t (a int8 PRIMARY KEY, b text)"])
    let pad = String(repeating: "z", count: 200)
    func chunks(_ range: Range<Int>, bad: Bool = false) -> AsyncStream<[UInt8]> {
      let (stream, continuation) = AsyncStream.makeStream(of: [UInt8].self)
      for start in stride(from: range.lowerBound, to: range.upperBound, by: 1000) {
        continuation.yield(Array((start..<start + 1000).map { "\($0)\t\(pad)\n" }.joined().utf8))
      }
      if bad { continuation.yield(Array("x\ty\n".utf8)) }
      continuation.finish()
      return stream
    }
    #expect(try await connection.copyIn("COPY t FROM STDIN", chunks(0..<50_000)) == 50_000)
    let error = await #expect(throws: PostgresError.self) {
      try await connection.copyIn("COPY t FROM STDIN", chunks(50_000..<60_000, bad: true))
    }
    #expect(error?.sqlstate == "22P02")
    await #expect(throws: PostgresError.self) {
      try await connection.copyIn("COPY nowhere FROM STDIN", chunks(0..<1000))
    }
    #expect(try await connection.query("SELECT count(*) FROM t")[0].int(0) == 50_000)
    await connection.close()
  }

  @Test("an unreachable server is named without the password")
  func unreachable() async throws {
    let error = await #expect(throws: PostgresError.self) {
      try await PostgresConnection.connect(PostgresConfiguration("host=/nonexistent user=u password=hunter2 dbname=d"))
    }
    #expect(error?.isConnectionLoss == true)
    #expect(!"\(String(describing: error))".contains("hunter2"))
  }
}
