public import FederationModel
internal import Logging
internal import NIOHTTP1

/// One collection, as it is and as it changes: a complete list, then what a watch tells, for good.
///
/// What is told survives whatever happens to connection and server: a watch that ends goes on from the last version
/// that was seen; when that version is forgotten a new complete list follows. An object is gone when `deleted` says so,
/// or when a later `synchronized` does not have it; nothing else means that.
public struct Reflector<Object: Sendable>: Sendable {
  public enum Change: Sendable {
    /// All objects there are.
    case synchronized([Object])
    /// New or changed.
    case changed(Object)
    /// As it was last.
    case deleted(Object)
    /// The API server has not answered for so long, and why; nothing is known to have changed. Told again as long as it
    /// lasts.
    case silent(String)
  }

  public struct Timing: Sendable {
    /// How long a watch is asked to last, in seconds: drawn anew for each, so that not all end together.
    public var watch: ClosedRange<Int> = 90...150
    /// How long after its end a watch is waited for.
    public var grace = Duration.seconds(15)
    /// Without an answer, before `silent` is told, and between two of them.
    public var silence = Duration.seconds(20)
    public var backOff = BackOff(first: .milliseconds(500), most: .seconds(30))
    public init() {}
  }

  /// Of one event. etcd's own limit for an object is 1.5 MiB.
  static var lineMax: Int { 2 << 20 }
  /// Changes that wait to be taken; then the watch is not read on.
  static var waitingMax: Int { 256 }

  private let client: KubernetesClient
  private let path: String
  private let query: [(String, String)]
  private let page: Int
  private let timing: Timing
  private let decode: @Sendable (JSONValue) -> Object?

  /// - Parameters:
  ///   - path: of a collection.
  ///   - query: `labelSelector`, `fieldSelector`.
  ///   - decode: keeps of an object what matters; nil for one that does not.
  public init(
    client: KubernetesClient, path: String, query: [(String, String)] = [], page: Int = 250, timing: Timing = Timing(),
    decode: @Sendable @escaping (JSONValue) -> Object?
  ) {
    self.client = client
    self.path = path
    self.query = query
    self.page = page
    self.timing = timing
    self.decode = decode
  }

  /// Begins to list and watch; ends when the stream is no longer held, or the task that waits for it is cancelled.
  public func changes() -> AsyncStream<Change> {
    let channel = BoundedChannel<Change>(limit: Self.waitingMax)
    let work = Task { await run(channel) }
    let lifetime = Lifetime {
      work.cancel()
      channel.close()
    }
    return AsyncStream(
      unfolding: { [lifetime] in
        _ = lifetime
        return await channel.next()
      }, onCancel: { lifetime.end() })
  }

  // MARK: The loop

  private func run(_ channel: BoundedChannel<Change>) async {
    var state = WatchState()
    var silentSince: ContinuousClock.Instant?
    var told = ContinuousClock.now - timing.silence
    while !Task.isCancelled {
      let begun = ContinuousClock.now
      let step = state.step
      let end: WatchState.End?
      switch step {
      case .list: end = await list(&state, channel)
      case .watch(let version): end = await watch(from: version, &state, channel)
      }
      guard let end else {
        silentSince = nil
        continue
      }
      guard !Task.isCancelled else { return }
      let failures = state.ended(end, after: .now - begun)
      var retryAfter: Duration?
      if case .failed(let why, let after) = end {
        retryAfter = after
        // A watch that broke was an answer until then; a list that failed was none from its beginning.
        let since = failures > 1 ? silentSince ?? begun : step == .list ? silentSince ?? begun : .now
        silentSince = since
        if .now - since >= timing.silence, .now - told >= timing.silence {
          told = .now
          await channel.send(.silent(why))
        }
      } else {
        silentSince = nil
      }
      guard failures > 0 else { continue }
      client.logger.debug("a watch goes on after a pause", metadata: ["path": "\(path)", "end": "\(end)"])
      let pause = timing.backOff.pause(failures: failures, retryAfter: retryAfter, random: .random(in: 0...1))
      guard (try? await Task.sleep(for: pause)) != nil else { return }
    }
  }

  /// - Returns: nil after a complete list.
  private func list(_ state: inout WatchState, _ channel: BoundedChannel<Change>) async -> WatchState.End? {
    var objects: [Object] = []
    do {
      let version = try await client.list(path, query: query, page: page) { object in
        if let object = decode(object) { objects.append(object) }
      }
      await channel.send(.synchronized(objects))
      state.listed(version)
      return nil
    } catch { return Self.end(error) }
  }

  private func watch(from version: String, _ state: inout WatchState, _ channel: BoundedChannel<Change>) async
    -> WatchState.End
  {
    let seconds = Int.random(in: timing.watch)
    let query =
      query + [
        ("watch", "true"), ("allowWatchBookmarks", "true"), ("resourceVersion", version),
        ("timeoutSeconds", String(seconds)),
      ]
    let progress = Locked(Progress(state: state))
    let decode = decode
    var end = WatchState.End.finished
    do {
      try await client.stream(
        .init(method: .GET, path: path, query: query), timeout: .seconds(seconds) + timing.grace
      ) { bytes in
        for line in progress.withLock({ $0.lines.add(bytes) }) {
          guard case .whole(let line) = line else {
            progress.withLock { $0.end = .unreadable("an event larger than \(Self.lineMax >> 20) MiB") }
            return false
          }
          let event = WatchEvent(line: line)
          let object: JSONValue
          switch event {
          case .changed(let changed):
            object = changed
            if let value = decode(object) { await channel.send(.changed(value)) }
          case .deleted(let deleted):
            object = deleted
            if let value = decode(object) { await channel.send(.deleted(value)) }
          case .bookmark(let version):
            progress.withLock { $0.state.advanced(to: version) }
            continue
          case .failed(let status):
            progress.withLock { $0.end = Self.end(status.error) }
            return false
          case .unreadable(let why):
            progress.withLock { $0.end = .unreadable(why) }
            return false
          }
          progress.withLock { $0.state.advanced(to: WatchEvent.version(of: object)) }
        }
        return true
      }
    } catch { end = Self.end(error) }
    // What was told before it ended counts, however it ended.
    let last = progress.withLock { $0 }
    state = last.state
    return last.end ?? end
  }

  private struct Progress: Sendable {
    var state: WatchState
    var lines = LineSplitter(limit: Reflector.lineMax)
    var end: WatchState.End?
  }

  private static func end(_ error: FederationError) -> WatchState.End {
    if error.kubernetesStatus?.isExpired == true { return .expired }
    return .failed(error.publicMessage, retryAfter: error.retryAfter)
  }
}

/// Ends what it was made for when nobody holds it any longer.
private final class Lifetime: Sendable {
  private let body: @Sendable () -> Void
  init(_ body: @Sendable @escaping () -> Void) { self.body = body }
  func end() { body() }
  deinit { body() }
}
