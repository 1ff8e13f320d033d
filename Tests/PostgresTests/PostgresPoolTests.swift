import Postgres
import TestSupport
import Testing

@Suite("PostgresPool against a real server", .timeLimit(.minutes(2)))
struct PostgresPoolTests {
  @Test("never opens more connections than its limit, and serves everybody")
  func bounded() async throws {
    let configuration = try await PostgresServer.shared().createDatabase()
    let pool = PostgresPool(configuration, limits: .init(connections: 3))
    let processes = try await withThrowingTaskGroup(of: Int64.self) { group in
      for _ in 0..<60 {
        group.addTask { try await pool.withConnection { try await $0.query("SELECT pg_backend_pid()")[0].int(0) } }
      }
      return try await group.reduce(into: [Int64]()) { $0.append($1) }
    }
    #expect(processes.count == 60)
    #expect(Set(processes).count <= 3)
    await pool.close()
    await #expect(throws: PostgresError.self) { try await pool.withConnection { $0.isClosed } }
  }

  @Test("refuses more waiters than its limit, and a waiter gives up in time")
  func waiters() async throws {
    let configuration = try await PostgresServer.shared().createDatabase()
    let pool = PostgresPool(configuration, limits: .init(connections: 1, waiters: 1, waitTimeout: .seconds(2)))
    try await pool.withConnection { _ in
      async let waiting: Bool = pool.withConnection { $0.isClosed }
      var refusals: [PostgresError.Kind] = []
      do { _ = try await waiting } catch let error as PostgresError { refusals.append(error.kind) }
      #expect(refusals == [.timeout(isConnectionLoss: false)])
    }
    let none = PostgresPool(configuration, limits: .init(connections: 1, waiters: 0))
    let error = await #expect(throws: PostgresError.self) { try await none.withConnection { $0.isClosed } }
    #expect(error?.kind == .insufficientResources)
    await pool.close()
  }

  @Test("replaces broken connections after the server was killed and started again")
  func restart() async throws {
    let server = try PostgresServer()
    let pool = PostgresPool(server.configuration(), limits: .init(connections: 2), random: { 0.5 })
    func one() async throws -> Int64 { try await pool.withConnection { try await $0.query("SELECT 1")[0].int(0) } }
    #expect(try await one() == 1)
    try await server.kill()
    let pending = Task { try await one() }
    try server.start()
    do {
      #expect(try await pending.value == 1)
    } catch let error as PostgresError {
      // It may have been given the dying connection.
      #expect(error.isConnectionLoss)
    }
    #expect(try await one() == 1)
    await pool.close()
    try server.stopImmediately()
  }
}
