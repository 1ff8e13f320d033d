import FederationHarness
import Foundation
import Glibc
import Synchronization

/// What one line of a run says.
struct TraceLine: Hashable, Sendable, CustomStringConvertible {
  enum Kind: String, Sendable { case start, beat, end }
  /// The run's id, 16 hexadecimal digits, as its supervisor put it into the environment.
  var run: String
  /// `WORKFLOW/ITEM/ATTEMPT`: the task, as the run itself was told.
  var task: String
  var kind: Kind
  /// CLOCK_BOOTTIME in hundredths of a second, as the run read it. - Source: proc(5), /proc/uptime.
  var at: Int

  var description: String { "\(run) \(task) \(kind.rawValue) \(at)" }

  init?(_ line: some StringProtocol) {
    let fields = line.split(separator: " ")
    guard fields.count == 4, let kind = Kind(rawValue: String(fields[2])),
      let at = Int(String(fields[3].filter { $0 != "." }))
    else { return nil }
    run = String(fields[0])
    task = String(fields[1])
    self.kind = kind
    self.at = at
  }
}

/// Takes the lines that runs write while they live, and keeps them in one file for each run.
///
/// A sandboxed run can write nowhere but in its own root, which goes with it. What it can do is write into a named pipe that
/// its cluster's operator shows to it: lines below 4 KiB arrive whole and in the order of writing. Everything that arrives
/// is appended to `traces/RUN` at once, so the record outlives every process that is killed.
final class TraceCollector: Sendable {
  let pipe: String
  private let directory: String
  private let descriptor: Int32
  private let lines = Mutex<(known: [TraceLine], rest: [UInt8], broken: [String])>(([], [], []))
  private let isClosed = Mutex(false)

  init(_ federation: Federation) throws {
    pipe = federation.shared + "/trace"
    directory = federation.path("traces")
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
    guard mkfifo(pipe, 0o666) == 0, chmod(pipe, 0o666) == 0 else { throw HarnessError("mkfifo: \(errno)") }
    // Open for both, so that it has a reader and a writer as long as this lives, and nobody's open waits.
    descriptor = open(pipe, O_RDWR | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw HarnessError("open \(pipe): \(errno)") }
    let thread = Thread { [self] in collect() }
    thread.start()
  }

  func close() { isClosed.withLock { $0 = true } }

  /// What has arrived so far.
  func arrived() -> (lines: [TraceLine], broken: [String]) { lines.withLock { ($0.known, $0.broken) } }

  private func collect() {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while !isClosed.withLock({ $0 }) {
      var ready = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      guard Glibc.poll(&ready, 1, 100) > 0 else { continue }
      let count = read(descriptor, &buffer, buffer.count)
      if count > 0 { take(buffer[..<count]) }
    }
    Glibc.close(descriptor)
  }

  private func take(_ bytes: ArraySlice<UInt8>) {
    let fresh = lines.withLock { state in
      state.rest += bytes
      var fresh: [TraceLine] = []
      while let end = state.rest.firstIndex(of: 0x0a) {
        let text = String(decoding: state.rest[..<end], as: UTF8.self)
        state.rest.removeSubrange(...end)
        if let line = TraceLine(text) { fresh.append(line) } else { state.broken.append(text) }
      }
      state.known += fresh
      return fresh
    }
    for line in fresh {
      let file = open("\(directory)/\(line.run)", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
      guard file >= 0 else { continue }
      let text = Array("\(line)\n".utf8)
      _ = write(file, text, text.count)
      Glibc.close(file)
    }
  }
}
