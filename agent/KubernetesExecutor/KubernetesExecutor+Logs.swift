internal import Execution
internal import FederationModel
internal import Glibc
internal import KubernetesAPI
internal import Logging
internal import ProcessExecutor

/// A log that is being copied into the run's file.
struct LogCopy: Sendable {
  /// Whether the stream ended by itself, so that all there is has been read.
  var task: Task<Bool, Never>
}

/// Logs of pods: followed while runs live, a few at once, and read to their end before a run's end is told. What was read is known by
/// its length, so that every byte is kept once.
extension KubernetesExecutor {
  static var streamsMax: Int { 64 }
  private static var attempts: Int { 4 }
  /// The stream of a container that has ended is closed by its node.
  private static var lastWordsPatience: Duration { .seconds(10) }
  private static var readingPatience: Duration { .seconds(60) }
  private static var echoes: Int { 30 }
  private static var echoPause: Duration { .milliseconds(100) }
  private static let cutNotice = "\n[fubini: the log is cut here: it is longer than is kept]\n"

  static func logSize(_ path: String) -> Int64 {
    var status = stat()
    return lstat(path, &status) == 0 ? Int64(status.st_size) : 0
  }

  func followLog(_ id: RunID) {
    guard logs[id] == nil, let pod = runs[id]?.logPod else { return }
    guard logs.count < Self.streamsMax else {
      logsWaiting.insert(id)
      return
    }
    let task = Task { [weak self] in await self?.follow(id, pod) ?? false }
    logs[id] = LogCopy(task: task)
  }

  /// Until its container has ended. A stream that breaks, or ends before its time, is opened again: what it brings anew is skipped.
  ///
  /// - Returns: whether all that there is was read.
  private func follow(_ id: RunID, _ pod: PodFacts) async -> Bool {
    while !Task.isCancelled {
      let isWhole = await copyLog(id, of: pod, follows: true)
      // The watch says a moment later than the stream that the container has ended.
      for _ in 0..<Self.echoes where runs[id]?.logPod?.isMainRunning == true && !Task.isCancelled {
        try? await Task.sleep(for: Self.echoPause)
      }
      guard runs[id]?.isOver == false, runs[id]?.logPod?.isMainRunning == true else { return isWhole }
    }
    return false
  }

  /// What its stream has not brought is read now.
  func completeLog(_ id: RunID) async {
    guard let pod = runs[id]?.logPod else { return }
    logsWaiting.remove(id)
    if let copy = logs[id] {
      let isWhole = await Self.outcome(of: copy.task, within: Self.lastWordsPatience)
      logs[id] = nil
      if isWhole { return }
    }
    guard !pod.isGone else { return }
    let isWhole = await reads.run { await readLog(id, of: pod) }
    guard !isWhole else { return }
    logger.warning("the log of a run could not be read to its end", metadata: ["run": "\(id.hexadecimal)"])
  }

  /// A node that does not answer must not keep an end from being told.
  private func readLog(_ id: RunID, of pod: PodFacts) async -> Bool {
    let reading = Task { [weak self] in
      for attempt in 1...Self.attempts {
        if await self?.copyLog(id, of: pod, follows: false) ?? true { return true }
        guard (try? await Task.sleep(for: .milliseconds(300 * attempt))) != nil else { return false }
      }
      return false
    }
    return await Self.outcome(of: reading, within: Self.readingPatience)
  }

  /// - Returns: false, too, for a task that took too long, which is cancelled.
  private static func outcome(of task: Task<Bool, Never>, within patience: Duration) async -> Bool {
    let watchdog = Task {
      guard (try? await Task.sleep(for: patience)) != nil else { return }
      task.cancel()
    }
    defer { watchdog.cancel() }
    return await task.value
  }

  /// - Returns: whether all that there is was read.
  private func copyLog(_ id: RunID, of pod: PodFacts, follows: Bool) async -> Bool {
    let path = KubernetesPath.object("v1", "pods", namespace: pod.namespace, name: pod.name, "log")
    var query = [("container", RunContainers.resultName)]
    if follows { query.append(("follow", "true")) }
    guard let file = LogFile(workspace(for: id).log, limit: configuration.logLimit.bytes, notice: Self.cutNotice) else {
      return false
    }
    let observer = LogGrowth(file) { [weak self] size in await self?.logGrew(id, to: size) }
    do throws(FederationError) {
      try await client.text(path, query: query, silence: follows ? nil : .seconds(20)) { bytes in
        await observer.take(bytes)
      }
      await observer.flush()
      return true
    } catch {
      await observer.flush()
      if error.code == .permissionDenied { noteRefusal("read logs", error) }
      // Its pod is gone, or its container never wrote one: there is no more to be had.
      return [.notFound, .invalidArgument, .permissionDenied].contains(error.code) && !follows
    }
  }

  private func logGrew(_ id: RunID, to size: Int64) {
    guard let run = runs[id], !run.isOver, run.told.phase == .running, size > run.told.logBytes else { return }
    runs[id]!.told.logBytes = size
    observers.yield(runs[id]!.told)
  }
}

/// The file of a log. What comes is what the log has from its beginning: what the file has already is skipped.
private final class LogFile: @unchecked Sendable {
  private let descriptor: Int32
  private var skip: Int64
  private(set) var size: Int64
  private let limit: Int64
  private let notice: String

  /// Used by one stream at a time.
  init?(_ path: String, limit: Int64, notice: String) {
    descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { return nil }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      Glibc.close(descriptor)
      return nil
    }
    size = Int64(status.st_size)
    skip = size
    self.limit = limit
    self.notice = notice
  }
  deinit { Glibc.close(descriptor) }

  func write(_ bytes: [UInt8]) {
    var rest = bytes[...]
    if skip > 0 {
      let known = min(skip, Int64(rest.count))
      skip -= known
      rest = rest.dropFirst(Int(known))
    }
    guard !rest.isEmpty, size < limit else { return }
    if size + Int64(rest.count) > limit {
      rest = rest.prefix(Int(limit - size))
      put(rest)
      return put(Array(notice.utf8)[...])
    }
    put(rest)
  }

  private func put(_ bytes: ArraySlice<UInt8>) {
    var rest = bytes
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return }
      size += Int64(count)
      rest = rest.dropFirst(count)
    }
  }
}

/// Tells the growth of a log a few times a second at most.
private actor LogGrowth {
  private let file: LogFile
  private let tell: @Sendable (Int64) async -> Void
  private var told: Int64
  private var toldAt: ContinuousClock.Instant?
  private static let pause = Duration.milliseconds(300)

  init(_ file: LogFile, _ tell: @Sendable @escaping (Int64) async -> Void) {
    self.file = file
    self.tell = tell
    told = file.size
  }

  func take(_ bytes: [UInt8]) async {
    file.write(bytes)
    let now = ContinuousClock.now
    if let toldAt, now - toldAt < Self.pause { return }
    toldAt = now
    await flush()
  }

  func flush() async {
    guard file.size > told else { return }
    told = file.size
    await tell(told)
  }
}
