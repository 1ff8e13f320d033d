internal import FederationModel
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#endif

/// How far a copy is: one line that is drawn again and again on a terminal, and a line now and then elsewhere. On standard error, so
/// that standard output stays what was asked for.
final class ProgressMeter: Sendable {
  private struct State {
    var bytes: Int64 = 0
    /// Of them, those that did not have to be moved.
    var present: Int64 = 0
    var files = 0
    var width = 0
  }
  private let state = Mutex(State())
  private let title: String
  private let totalBytes: Int64
  private let totalFiles: Int
  private let isTerminal: Bool
  private let began = ContinuousClock.now

  init(_ title: String, bytes: Int64, files: Int, isTerminal: Bool = isatty(STDERR_FILENO) == 1) {
    self.title = title
    totalBytes = bytes
    totalFiles = files
    self.isTerminal = isTerminal
  }

  func moved(_ bytes: Int64) { state.withLock { $0.bytes += bytes } }
  /// Bytes that are where they belong already. Negative: they had to be moved after all.
  func found(_ bytes: Int64) {
    state.withLock {
      $0.bytes += bytes
      $0.present += bytes
    }
  }
  /// Bytes that were sent and did not arrive.
  func lost(_ bytes: Int64) { state.withLock { $0.bytes -= bytes } }
  func finished(files: Int) { state.withLock { $0.files += files } }

  var seconds: Double { (ContinuousClock.now - began).seconds }
  /// Bytes that really moved.
  var movedBytes: Int64 { state.withLock { $0.bytes - $0.present } }

  /// Draws until `body` ends.
  func showing<Result: Sendable>(_ body: @Sendable () async throws -> Result) async throws -> Result {
    try await withThrowingTaskGroup(of: Result?.self) { group in
      group.addTask {
        while !Task.isCancelled {
          try? await Task.sleep(for: self.isTerminal ? .milliseconds(250) : .seconds(10))
          if !Task.isCancelled { self.draw() }
        }
        return nil
      }
      defer {
        group.cancelAll()
        clear()
      }
      // Before it can fail: what it throws ends the drawing, too.
      let result = try await body()
      return result
    }
  }

  /// `water-md: 1.2GiB of 3.4GiB  112MiB/s  ETA 20s  1234 of 5678 files`
  var line: String {
    let (bytes, files, moved) = state.withLock { ($0.bytes, $0.files, $0.bytes - $0.present) }
    let rate = Double(moved) / max(0.001, seconds)
    // What a broken connection loses is sent again: until that is noticed it may look like more than there is.
    var text = "\(title): \(ByteCount(min(bytes, totalBytes))) of \(ByteCount(totalBytes))"
    if moved > 0 {
      text += "  \(ByteCount(Int64(rate)))/s"
      if seconds > 1 { text += "  ETA \(Display.duration(Double(max(0, totalBytes - bytes)) / max(1, rate)))" }
    }
    return text + "  \(files) of \(totalFiles) files"
  }

  private func draw() {
    let line = Terminal.printable(line)
    guard isTerminal else { return Terminal.note(line) }
    let width = state.withLock { state in
      defer { state.width = line.count }
      return state.width
    }
    Terminal.write("\r" + line + String(repeating: " ", count: max(0, width - line.count)), to: STDERR_FILENO)
  }

  private func clear() {
    let width = state.withLock { state in
      defer { state.width = 0 }
      return state.width
    }
    if isTerminal, width > 0 { Terminal.write("\r" + String(repeating: " ", count: width) + "\r", to: STDERR_FILENO) }
  }
}
