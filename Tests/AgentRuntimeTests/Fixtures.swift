import Execution
import FederationAPI
import FederationModel
import FoundationEssentials
import Logging
import SwiftProtobuf
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// A directory of the test's own, removed when the test is over.
final class TemporaryDirectory: Sendable {
  let path: String
  init() throws {
    path = "/tmp/fubini-\(UInt32.random(in: .min ... .max))"
    try POSIXFile.makeDirectories(path)
  }
  deinit { POSIXFile.removeTree(path) }

  func write(_ text: String, to name: String) throws {
    try write(Array(text.utf8), to: name)
  }

  func write(_ bytes: [UInt8], to name: String) throws {
    let file = try POSIXFile.open(path + "/" + name, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
    defer { POSIXFile.close(file) }
    try POSIXFile.write(file, bytes, name)
  }

  func read(_ name: String) throws -> String {
    let file = try POSIXFile.open(path + "/" + name, O_RDONLY)
    defer { POSIXFile.close(file) }
    return String(decoding: try POSIXFile.readAll(file, limit: 1 << 20), as: UTF8.self)
  }
}

func assignment(_ number: Int64, _ change: (inout Fubini_Agent_V1_Assignment) -> Void = { _ in })
  -> Fubini_Agent_V1_Assignment
{
  var assignment = Fubini_Agent_V1_Assignment()
  assignment.runID = number
  assignment.epoch = 1
  assignment.project = "p"
  assignment.spec.command = ["true"]
  change(&assignment)
  return assignment
}

func emptyJournal(_ runs: [JournaledRun] = [], lastSequence: UInt64 = 0) -> JournalContents {
  JournalContents(
    journalID: "j", term: 0, commitSequence: 0, lastSequence: lastSequence, acknowledgedSequence: 0, runs: runs)
}

/// Events among a turn's changes.
func events(_ changes: [JournalChange]) throws -> [Fubini_Agent_V1_RunEvent] {
  try changes.compactMap {
    if case .event(_, _, let payload) = $0 { try Fubini_Agent_V1_RunEvent(serializedBytes: payload) } else { nil }
  }
}

func waitUntil(timeout: Duration = .seconds(20), _ condition: () async -> Bool) async throws {
  let start = ContinuousClock.now
  while !(await condition()) {
    guard ContinuousClock.now - start < timeout else {
      Issue.record("the condition did not hold within \(timeout)")
      throw CancellationError()
    }
    try await Task.sleep(for: .milliseconds(10))
  }
}

/// `FUBINI_TEST_LOG=1` shows what agents under test say.
func silentLogger() -> Logger {
  let isWanted = getenv("FUBINI_TEST_LOG") != nil
  return Logger(
    label: "test",
    factory: { label in
      isWanted ? StreamLogHandler.standardError(label: label) as any LogHandler : SwiftLogNoOpLogHandler()
    })
}
