import FederationModel
import Foundation
import Synchronization
import Testing

@testable import ControlPlaneServer

@Suite struct DirectoryLogStoreTests {
  private let run = RunID(incarnation: 7, counter: 42)

  @Test("I2: an acknowledged chunk survives reopening, and a repeated or overlapping one changes nothing")
  func idempotence() async throws {
    try await withScratchDirectory { directory in
      let store = try await DirectoryLogStore(directory: directory)
      #expect(try await store.append(run, offset: 0, bytes: Array("hello ".utf8), last: false).offset == 6)
      #expect(try await store.append(run, offset: 0, bytes: Array("hello ".utf8), last: false).offset == 6)
      #expect(try await store.append(run, offset: 3, bytes: Array("lo world".utf8), last: false).offset == 11)
      let reopened = try await DirectoryLogStore(directory: directory)
      #expect(try await reopened.read(run, from: 0, count: 100).bytes == Array("hello world".utf8))
      #expect(try await reopened.read(run, from: 6, count: 3).bytes == Array("wor".utf8))
      #expect(try await reopened.read(run, from: 50, count: 3).bytes.isEmpty)
    }
  }

  private final class Clock: Sendable {
    private let milliseconds = Mutex<Int64>(1000)
    func set(_ value: Int64) { milliseconds.withLock { $0 = value } }
    var now: Timestamp { milliseconds.withLock { Timestamp(milliseconds: $0) } }
  }

  @Test("When bytes came is known of each piece, after reopening, too; a log of one piece has no file for it")
  func times() async throws {
    try await withScratchDirectory { directory in
      let clock = Clock()
      let store = try await DirectoryLogStore(directory: directory) { clock.now }
      _ = try await store.append(run, offset: 0, bytes: Array("one\n".utf8), last: false)
      clock.set(2000)
      _ = try await store.append(run, offset: 2, bytes: Array("e\ntwo\n".utf8), last: true)
      clock.set(3000)
      _ = try await store.append(run, offset: 4, bytes: Array("two\n".utf8), last: true)
      let times = try await DirectoryLogStore(directory: directory).times(run)
      #expect(
        (Int64(0)..<9).map { times.moment(of: $0)?.milliseconds } == [
          1000, 1000, 1000, 1000, 2000, 2000, 2000, 2000, nil,
        ])
      let short = RunID(incarnation: 7, counter: 43)
      _ = try await store.append(short, offset: 0, bytes: [1], last: true)
      #expect(try await store.times(short).marks == [.init(end: 1, moment: Timestamp(milliseconds: 3000))])
      let files = FileManager.default.enumerator(atPath: directory)?.compactMap { $0 as? String } ?? []
      #expect(files.filter { $0.hasSuffix(".times") }.count == 1)
      try await store.delete(run)
      #expect(try await store.times(run) == LogTimes())
    }
  }

  @Test(
    "What a crash left of a note is passed over",
    arguments: ["4 1000\n8 20", "4 1000\n8 2012 3000\n", "4 1000\n9\n\nx y\n"])
  func tornTimes(text: String) {
    #expect(LogTimes(lines: Array(text.utf8)).marks == [.init(end: 4, moment: Timestamp(milliseconds: 1000))])
  }

  @Test("a gap is refused with the offset to send from")
  func gap() async throws {
    try await withScratchDirectory { directory in
      let store = try await DirectoryLogStore(directory: directory)
      _ = try await store.append(run, offset: 0, bytes: [1, 2], last: false)
      await #expect { _ = try await store.append(run, offset: 3, bytes: [4], last: false) } throws: { error in
        guard let error = error as? FederationError else { return false }
        return error.code == .failedPrecondition && error.publicMessage.contains("Send from 2")
      }
      #expect(try await store.position(run) == LogPosition(offset: 2, isComplete: false))
    }
  }

  @Test("a sealed log takes repetitions and refuses more")
  func sealing() async throws {
    try await withScratchDirectory { directory in
      let store = try await DirectoryLogStore(directory: directory)
      #expect(try await store.position(run) == nil)
      #expect(
        try await store.append(run, offset: 0, bytes: [1], last: true) == LogPosition(offset: 1, isComplete: true))
      #expect(
        try await store.append(run, offset: 0, bytes: [1], last: true) == LogPosition(offset: 1, isComplete: true))
      await #expect(throws: FederationError.self) { try await store.append(run, offset: 1, bytes: [2], last: false) }
      try await store.delete(run)
      #expect(try await store.position(run) == nil)
    }
  }

  @Test("a follower sees every byte of concurrent writers' logs, and the end")
  func following() async throws {
    try await withScratchDirectory { directory in
      let store = try await DirectoryLogStore(directory: directory)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for counter in UInt32(0)..<16 {
          let run = RunID(incarnation: 1, counter: counter)
          group.addTask {
            for chunk in 0..<10 {
              _ = try await store.append(
                run, offset: Int64(chunk * 3), bytes: [UInt8](repeating: UInt8(chunk), count: 3), last: chunk == 9)
            }
          }
          group.addTask {
            var seen: [UInt8] = []
            while true {
              let slice = try await store.read(run, from: Int64(seen.count), count: 7)
              seen += slice.bytes
              if slice.bytes.isEmpty {
                if slice.position.isComplete { break }
                try await store.waitForMore(run, than: slice.position, timeout: .seconds(10))
              }
            }
            #expect(seen == (0..<10).flatMap { [UInt8](repeating: UInt8($0), count: 3) })
          }
        }
        try await group.waitForAll()
      }
    }
  }

  @Test("waiting ends at its timeout")
  func timeout() async throws {
    try await withScratchDirectory { directory in
      let store = try await DirectoryLogStore(directory: directory)
      try await store.waitForMore(run, than: LogPosition(offset: 0, isComplete: false), timeout: .milliseconds(10))
    }
  }

  @Test("a log that is over without a byte is known at once, wakes who waits for it, and leaves nothing on the disk")
  func empty() async throws {
    try await withScratchDirectory { directory in
      let base = try await DirectoryLogStore(directory: directory)
      let store = EmptyLogs(beside: base, runsMax: 2)
      let other = RunID(incarnation: 7, counter: 43)
      _ = try await store.append(other, offset: 0, bytes: [1], last: false)
      let began = ContinuousClock.now
      async let waited: Void = store.waitForMore(
        run, than: LogPosition(offset: 0, isComplete: false), timeout: .seconds(60))
      #expect(
        try await store.append(run, offset: 0, bytes: [], last: true) == LogPosition(offset: 0, isComplete: true))
      try await waited
      #expect(ContinuousClock.now - began < .seconds(50))
      #expect(try await store.position(run) == LogPosition(offset: 0, isComplete: true))
      #expect(try await store.read(run, from: 0, count: 10).position.isComplete)
      #expect(try await base.position(run) == nil)
      // One that has bytes is sealed by the store itself.
      #expect(try await store.append(other, offset: 0, bytes: [1], last: true).isComplete)
      #expect(try await base.position(other) == LogPosition(offset: 1, isComplete: true))
      // The oldest are forgotten.
      for counter in UInt32(100)..<102 {
        _ = try await store.append(RunID(incarnation: 7, counter: counter), offset: 0, bytes: [], last: true)
      }
      #expect(try await store.position(run) == nil)
      try await store.delete(RunID(incarnation: 7, counter: 101))
      #expect(try await store.position(RunID(incarnation: 7, counter: 101)) == nil)
    }
  }
}
