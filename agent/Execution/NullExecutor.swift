public import FederationModel
internal import Synchronization

/// Ends every run at once, with success and without running anything: what benchmarks of everything else use.
public final class NullExecutor: Executor {
  private struct State {
    var ended: Set<RunID> = []
    var continuation: AsyncStream<RunObservation>.Continuation?
  }

  private let state = Mutex(State())
  private let directory: String
  private let reported: ClusterInventory

  /// - Parameters:
  ///   - capacity: what the inventory says is there.
  ///   - slots: runs at once; nil for as many as the capacity allows.
  ///   - directory: where workspaces would be. Nothing is made there.
  public init(capacity: Resources, slots: Int? = nil, directory: String = "/nonexistent") {
    self.directory = directory
    reported = ClusterInventory(
      capacity: capacity, slots: slots, images: [ImageRule(pattern: "*", runsAs: "nothing")], canFence: true,
      notices: ["this cluster runs nothing: every task ends at once with success"])
  }

  public func prepare(_ run: RunRequest) async throws -> RunWorkspace { workspace(for: run.id) }

  public func workspace(for id: RunID) -> RunWorkspace {
    let path = directory + "/" + id.hexadecimal
    return RunWorkspace(directory: path, root: path + "/root")
  }

  public func submit(_ runs: [RunRequest]) async throws {
    state.withLock { state in
      for run in runs where state.ended.insert(run.id).inserted { state.continuation?.yield(Self.end(of: run.id)) }
    }
  }

  public func cancel(_ id: RunID, grace: Duration, signal: PreemptionHook.Signal?) async throws {}

  /// Nothing here lasts.
  public func canExtend() async -> Bool { true }

  public func observe() -> AsyncStream<RunObservation> {
    let (stream, continuation) = AsyncStream.makeStream(of: RunObservation.self)
    let previous = state.withLock { state in
      let previous = state.continuation
      state.continuation = continuation
      return previous
    }
    previous?.finish()
    return stream
  }

  public func reattach(known: [RunID]) async throws -> [RunObservation] {
    state.withLock { state in
      known.map { state.ended.contains($0) ? Self.end(of: $0) : RunObservation(id: $0, phase: .bound) }
    }
  }

  public func discardRoot(of run: RunID) async {}

  public func forget(_ ids: [RunID]) async throws { state.withLock { $0.ended.subtract(ids) } }

  public func inventory() async -> ClusterInventory { reported }

  public func renewLease(boottimeNanoseconds: UInt64) async throws {}

  private static func end(of id: RunID) -> RunObservation {
    RunObservation(id: id, phase: .succeeded, exitCode: 0, runsAs: "nothing", wallTime: .zero)
  }
}
