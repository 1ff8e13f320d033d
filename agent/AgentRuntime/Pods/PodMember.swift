internal import CSupervisor
internal import Execution
internal import FederationModel
internal import Supervisor

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// One container of a container set: waits for those that it depends on, starts its command again where that fails, and tells the others of
/// its end, by files of a volume that all of them have.
///
/// - Source: Argo Workflows v3.7, cmd/argoexec/commands/emissary.go, which does so with files of its own.
final class PodMember {
  enum Wait: Equatable {
    case met, failed(String), signal(Int32), late
  }

  private static let lookMs: Int32 = 100
  private let plan: PodPlan
  private let container: PodPlan.Container
  private let signals: Int32
  private var forwarding: BlockingWork.Begun?
  /// The pipe; -1 for the one that reads it.
  private(set) var output: Int32 = -1

  var isSpeaker: Bool { plan.speaker == container.name }

  /// Made before anything that has threads, which would take signals.
  init(_ plan: PodPlan, _ container: PodPlan.Container) throws {
    self.plan = plan
    self.container = container
    signals = csupervisor_signals_create()
    guard signals >= 0 else { throw POSIXFile.failure("Cannot take signals", -signals) }
    let path = plan.places.output
    // Containers may have users of their own: it appears with the mode that all of them need.
    let own = "\(path)-\(container.name)-new"
    unlink(own)
    guard mkfifo(own, 0o666) == 0, chmod(own, 0o666) == 0 else { throw POSIXFile.failure("Cannot make \(own)") }
    defer { unlink(own) }
    guard link(own, path) == 0 || errno == EEXIST else { throw POSIXFile.failure("Cannot make \(path)") }
    // Open in both ways it is never at its end, and nobody has to be there to write to it.
    let pipe = try POSIXFile.open(path, O_RDWR | (isSpeaker ? 0 : O_NONBLOCK))
    if isSpeaker {
      forwarding = BlockingWork.begin { try Self.forward(from: pipe) }
    } else {
      output = pipe
    }
  }

  // MARK: Others' output

  /// Until the one byte that no line has.
  private static func forward(from pipe: Int32) throws {
    defer { POSIXFile.close(pipe) }
    while true {
      let bytes = try POSIXFile.read(pipe, upTo: 64 << 10)
      let end = bytes.firstIndex(of: 0)
      try POSIXFile.write(2, Array(bytes[..<(end ?? bytes.count)]), "output")
      if end != nil { return }
    }
  }

  /// After this nothing of the others is passed on.
  func stopForwarding() {
    guard let forwarding else { return }
    self.forwarding = nil
    if let pipe = try? POSIXFile.open(plan.places.output, O_RDWR) {
      try? POSIXFile.write(pipe, [0], "the end of the output")
      POSIXFile.close(pipe)
      try? forwarding.wait()
    }
  }

  // MARK: Time

  /// The run's limits count from the first member's beginning.
  ///
  /// - Returns: milliseconds that are left; nil: no limit.
  func remaining() throws -> UInt64? {
    let began = try beginning()
    guard let limit = [plan.walltimeMs, plan.activeDeadlineMs].compactMap(\.self).min() else { return nil }
    let now = SystemClock.boottimeNanoseconds
    let passed = (now > began ? now - began : 0) / 1_000_000
    return passed < limit ? limit - passed : 0
  }

  /// CLOCK_BOOTTIME, nanoseconds.
  func beginning() throws -> UInt64 {
    let path = plan.places.began
    while true {
      if let found = try Self.text(path).flatMap({ UInt64($0) }) { return found }
      try put(String(SystemClock.boottimeNanoseconds), at: path)
    }
  }

  /// Appears whole, and once.
  private func put(_ text: String, at path: String) throws {
    let own = "\(path)-\(container.name)-new"
    unlink(own)
    let file = try POSIXFile.open(own, O_WRONLY | O_CREAT | O_EXCL, mode: 0o644)
    defer { unlink(own) }
    do {
      defer { POSIXFile.close(file) }
      try POSIXFile.write(file, Array(text.utf8), own)
    }
    guard link(own, path) == 0 || errno == EEXIST else { throw POSIXFile.failure("Cannot make \(path)") }
  }

  private static func text(_ path: String) throws -> String? {
    guard let file = try? POSIXFile.open(path, O_RDONLY) else { return nil }
    defer { POSIXFile.close(file) }
    return String(decoding: try POSIXFile.readAll(file, limit: 64), as: UTF8.self)
  }

  // MARK: The others

  func tellEnd(_ code: Int32) throws { try put("\(code)", at: plan.places.ended(container.name)) }

  /// Until all that it depends on have ended well.
  func awaitDependencies() throws -> Wait {
    try wait(enforcesLimit: true) {
      var isMet = true
      for name in container.dependencies ?? [] {
        guard let code = try Self.text(plan.places.ended(name)) else {
          isMet = false
          continue
        }
        if code != "0" { return .failed(name) }
      }
      return isMet ? .met : nil
    }
  }

  /// Until every other one has ended: what they have written is then passed on, and files that all of them see are as they will be.
  func awaitOthers() throws {
    _ = try wait(enforcesLimit: false) {
      for other in plan.containers where other.name != container.name && other.role == .member {
        guard access(plan.places.ended(other.name), F_OK) == 0 else { return nil }
      }
      return .met
    }
  }

  /// - Returns: whether the time has passed without a signal.
  func pause(milliseconds: UInt64) throws -> Bool {
    let (span, overflow) = milliseconds.multipliedReportingOverflow(by: 1_000_000)
    let until = overflow ? .max : SystemClock.boottimeNanoseconds &+ span
    return try wait(enforcesLimit: true) { SystemClock.boottimeNanoseconds >= until ? .met : nil } == .met
  }

  private func wait(enforcesLimit: Bool, _ look: () throws -> Wait?) throws -> Wait {
    while true {
      if let found = try look() { return found }
      if enforcesLimit, access(plan.places.began, F_OK) == 0, try remaining() == 0 { return .late }
      var file = pollfd(fd: signals, events: Int16(POLLIN), revents: 0)
      poll(&file, 1, Self.lookMs)
      let signal = csupervisor_signals_next(signals)
      if signal == SIGTERM || signal == SIGINT { return .signal(signal) }
    }
  }
}
