import FederationModel
import FoundationEssentials
import Testing

@testable import AgentRuntime

@Suite struct JournalTests {
  private func open(_ directory: TemporaryDirectory, network: Bool = false) throws -> Journal {
    try Journal(path: directory.path + "/journal.sqlite", isOnNetworkFileSystem: network)
  }

  @Test("I2: what was written is there after reopening, on local and network file systems", arguments: [false, true])
  func reopen(network: Bool) async throws {
    let directory = try TemporaryDirectory()
    let first = try open(directory, network: network)
    let id = first.id
    try await first.write([
      .assigned(RunID(1), assignment: Data([1])), .assigned(RunID(2), assignment: Data([2])), .submitted(RunID(1)),
      .cancelRequested(RunID(2)), .event(sequence: 1, RunID(1), payload: Data([9])),
      .event(sequence: 2, RunID(2), payload: Data([8])), .ended(RunID(2), .cancelled, logBytes: 5),
      .logAcknowledged(RunID(2), offset: 3, isComplete: false), .positionSeen(term: 4, commitSequence: 44),
    ])
    first.close()
    let second = try open(directory, network: network)
    #expect(second.id == id)
    let contents = try await second.contents()
    #expect(contents.lastSequence == 2)
    #expect(contents.commitSequence == 44)
    #expect(contents.runs.map(\.isSubmitted) == [true, false])
    #expect(contents.runs[1].endPhase == .cancelled)
    #expect(contents.runs[1].logAcknowledged == 3)
    #expect(try await second.events(after: 1, limit: 10) == [Data([8])])
  }

  @Test("I3: what was held for a run is there after reopening, the longest counts, and it goes with its run")
  func slices() async throws {
    let directory = try TemporaryDirectory()
    let first = try open(directory)
    try await first.write([
      .assigned(RunID(1), assignment: Data([1])), .assigned(RunID(2), assignment: Data([2])),
      .extended(RunID(1), milliseconds: 7000), .extended(RunID(1), milliseconds: 5000),
      .assigned(RunID(1), assignment: Data([3])),
    ])
    first.close()
    let second = try open(directory)
    #expect(try await second.contents().runs.map(\.sliceMilliseconds) == [7000, nil])
    try await second.write([.forgotten(RunID(1)), .assigned(RunID(1), assignment: Data([1]))])
    #expect(try await second.contents().runs.map(\.sliceMilliseconds) == [nil, nil])
  }

  @Test("sequences are remembered when all events are acknowledged, and forgotten runs are gone")
  func acknowledged() async throws {
    let directory = try TemporaryDirectory()
    let journal = try open(directory)
    try await journal.write([
      .assigned(RunID(1), assignment: Data([1])), .event(sequence: 7, RunID(1), payload: Data()),
      .acknowledged(throughSequence: 7), .forgotten(RunID(1)),
    ])
    let contents = try await journal.contents()
    #expect(contents.lastSequence == 7)
    #expect(contents.runs.isEmpty)
    #expect(try await journal.events(after: 0, limit: 10).isEmpty)
  }

  @Test("a batch is written whole or not at all, and twice is as once")
  func idempotent() async throws {
    let directory = try TemporaryDirectory()
    let journal = try open(directory)
    let changes: [JournalChange] = [.assigned(RunID(1), assignment: Data([1])), .submitted(RunID(1))]
    try await journal.write(changes)
    try await journal.write(changes)
    #expect(try await journal.contents().runs.count == 1)
  }

  @Test("a file that is no journal is refused with its name")
  func damaged() throws {
    let directory = try TemporaryDirectory()
    try directory.write(String(repeating: "no database ", count: 1000), to: "journal.sqlite")
    let error = #expect(throws: FederationError.self) { try open(directory) }
    #expect(error?.publicMessage.contains("journal.sqlite") == true)
  }
}
