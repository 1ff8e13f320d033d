internal import Execution
internal import FederationModel
internal import Glibc
internal import KubernetesAPI
internal import Logging
internal import ProcessExecutor

/// Whose log: a run's, or of a gang one member's.
struct LogKey: Hashable, Comparable, Sendable {
  var run: RunID
  var rank: Int?
  static func < (a: Self, b: Self) -> Bool { (a.run, a.rank ?? 0) < (b.run, b.rank ?? 0) }
}

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

  func followLog(_ key: LogKey, _ pod: PodFacts) {
    guard logs[key] == nil else { return }
    guard logs.count < Self.streamsMax else {
      logsWaiting.insert(key)
      return
    }
    let task = Task { [weak self] in await self?.follow(key, pod) ?? false }
    logs[key] = LogCopy(task: task)
  }

  /// Until its container has ended. A stream that breaks, or ends before its time, is opened again: what it brings anew is skipped.
  ///
  /// - Returns: whether all that there is was read.
  private func follow(_ key: LogKey, _ pod: PodFacts) async -> Bool {
    func isRunning() -> Bool { runs[key.run]?.logPod(key.rank)?.isMainRunning == true }
    while !Task.isCancelled {
      let isWhole = await copyLog(key, of: pod, follows: true)
      // The watch says a moment later than the stream that the container has ended.
      for _ in 0..<Self.echoes where isRunning() && !Task.isCancelled { try? await Task.sleep(for: Self.echoPause) }
      guard runs[key.run]?.isOver == false, isRunning() else { return isWhole }
    }
    return false
  }

  /// What its stream has not brought is read now.
  func completeLog(_ id: RunID) async {
    await withTaskGroup(of: Void.self) { group in
      for pod in runs[id]?.logPods ?? [] {
        group.addTask { [self] in await completeLog(LogKey(run: id, rank: pod.rank), pod) }
      }
    }
  }

  private func completeLog(_ key: LogKey, _ pod: PodFacts) async {
    logsWaiting.remove(key)
    if let copy = logs[key] {
      let isWhole = await Self.outcome(of: copy.task, within: Self.lastWordsPatience)
      logs[key] = nil
      if isWhole { return }
    }
    guard !pod.isGone else { return }
    let isWhole = await reads.run { await readLog(key, of: pod) }
    guard !isWhole else { return }
    logger.warning("the log of a run could not be read to its end", metadata: ["run": "\(key.run.hexadecimal)"])
  }

  /// A node that does not answer must not keep an end from being told.
  private func readLog(_ key: LogKey, of pod: PodFacts) async -> Bool {
    let reading = Task { [weak self] in
      for attempt in 1...Self.attempts {
        if await self?.copyLog(key, of: pod, follows: false) ?? true { return true }
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
  private func copyLog(_ key: LogKey, of pod: PodFacts, follows: Bool) async -> Bool {
    let path = KubernetesPath.object("v1", "pods", namespace: pod.namespace, name: pod.name, "log")
    var query = [("container", pod.logContainer)]
    if follows { query.append(("follow", "true")) }
    guard let file = logSink(key) else { return false }
    let observer = LogGrowth(file) { [weak self] size in await self?.logGrew(key.run, to: size) }
    do throws(FederationError) {
      try await client.text(path, query: query, silence: follows ? nil : .seconds(20)) { bytes in
        await observer.take(bytes)
      }
      return await observer.finish(isLast: !follows)
    } catch {
      await observer.flush()
      if error.code == .permissionDenied { noteRefusal("read logs", error) }
      // Its pod is gone, or its container never wrote one: there is no more to be had.
      return [.notFound, .invalidArgument, .permissionDenied].contains(error.code) && !follows
    }
  }

  /// Where what a stream brings goes to.
  private func logSink(_ key: LogKey) -> (any LogSink)? {
    let (path, limit) = (workspace(for: key.run).log, configuration.logLimit.bytes)
    guard let rank = key.rank else { return LogFile(path, limit: limit, notice: Self.cutNotice) }
    if gangLogs[key.run] == nil { gangLogs[key.run] = GangLog(path, limit: limit, notice: Self.cutNotice) }
    return gangLogs[key.run].map { MemberLog($0, rank: rank) }
  }

  private func logGrew(_ id: RunID, to size: Int64) {
    guard let run = runs[id], !run.isOver, run.told.phase == .running, size > run.told.logBytes else { return }
    runs[id]!.told.logBytes = size
    observers.yield(runs[id]!.told)
  }
}
