import Execution
import FederationAPI
import FederationModel
import SwiftProtobuf
import Synchronization
import Testing

@testable import AgentRuntime

@Suite struct SubmissionTests {
  /// Refuses what it is told to refuse, and else takes everything.
  private final class PickyExecutor: Executor {
    struct State {
      var prepareRefusals: [RunID: FederationError] = [:]
      var submitRefusals: [RunID: FederationError] = [:]
      var taken: [RunID] = []
      var failingAttaches = 0
    }
    let state = Mutex(State())

    func prepare(_ run: RunRequest) async throws -> RunWorkspace {
      if let error = state.withLock({ $0.prepareRefusals[run.id] }) { throw error }
      return workspace(for: run.id)
    }
    func workspace(for id: RunID) -> RunWorkspace { RunWorkspace(directory: "/nonexistent", root: "/nonexistent/root") }
    func submit(_ runs: [RunRequest]) async throws {
      try state.withLock { state in
        if let error = runs.compactMap({ state.submitRefusals[$0.id] }).first { throw error }
        state.taken += runs.map(\.id)
      }
    }
    func cancel(_ id: RunID, grace: Duration, signal: PreemptionHook.Signal?) async throws {}
    func observe() -> AsyncStream<RunObservation> { AsyncStream { _ in } }
    func reattach(known: [RunID]) async throws -> [RunObservation] {
      try state.withLock { state in
        guard state.failingAttaches == 0 else {
          state.failingAttaches -= 1
          throw FederationError(.unavailable, "the supervisor does not answer")
        }
      }
      return []
    }
    func discardRoot(of run: RunID) async {}
    func forget(_ ids: [RunID]) async throws {}
    func inventory() async -> ClusterInventory { ClusterInventory(capacity: .zero) }
    func renewLease(boottimeNanoseconds: UInt64) async throws {}
  }

  private func submitting(
    _ ids: ClosedRange<Int64>, to executor: PickyExecutor, until isDone: @Sendable ([RunTableInput]) -> Bool
  ) async throws -> [RunTableInput] {
    let told = Told()
    let submission = Submission(
      executor: executor, request: { try? assignment($0.number).request() }, tell: { told.append($0) },
      logger: silentLogger())
    let offers = Mailbox<Submission.Offer>(capacity: 1)
    offers.sendAtOnce(.init(ids: ids.map { RunID($0) }))
    let work = Task { await submission.run(offers) }
    try await waitUntil { isDone(told.inputs) }
    work.cancel()
    await work.value
    return told.inputs
  }

  private final class Told: Sendable {
    private let state = Mutex<[RunTableInput]>([])
    var inputs: [RunTableInput] { state.withLock { $0 } }
    func append(_ input: RunTableInput) { state.withLock { $0.append(input) } }
  }

  private static func accepted(_ inputs: [RunTableInput]) -> Set<Int64> {
    inputs.reduce(into: []) { if case .submissionAccepted(let ids) = $1 { $0.formUnion(ids.map(\.number)) } }
  }
  private static func failed(_ inputs: [RunTableInput]) -> [Int64: String] {
    inputs.reduce(into: [:]) { if case .submissionFailed(let id, let message) = $1 { $0[id.number] = message } }
  }

  @Test(
    "a run that can never start ends with the reason, and the others of its batch start", arguments: [true, false])
  func refusedForGood(atPrepare: Bool) async throws {
    let executor = PickyExecutor()
    let error = FederationError(.invalidArgument, "no such path")
    executor.state.withLock { state in
      if atPrepare { state.prepareRefusals[RunID(3)] = error } else { state.submitRefusals[RunID(3)] = error }
    }
    let inputs = try await submitting(1...5, to: executor) { Self.accepted($0).count + Self.failed($0).count == 5 }
    #expect(Self.failed(inputs) == [3: "no such path"])
    #expect(Self.accepted(inputs) == [1, 2, 4, 5])
  }

  @Test("a run that cannot start now is offered again alone, while the others go on")
  func refusedForNow() async throws {
    let executor = PickyExecutor()
    executor.state.withLock { $0.prepareRefusals[RunID(3)] = FederationError(.resourceExhausted, "disk full") }
    let inputs = try await submitting(1...5, to: executor) { inputs in
      if Self.accepted(inputs).count == 4 { executor.state.withLock { $0.prepareRefusals = [:] } }
      return Self.accepted(inputs).count == 5
    }
    let reasons = inputs.compactMap {
      if case .submissionPaused(let ids, let reason) = $0 { (ids, reason) } else { nil }
    }
    #expect(reasons.first?.0 == [RunID(3)])
    #expect(reasons.first?.1 == "disk full")
    let taken = executor.state.withLock { $0.taken }
    #expect(taken.count == 5 && taken.last == RunID(3))
  }

  @Test("an executor that cannot attach at the start is asked again, and meanwhile the agent says why it does nothing")
  func attachesLater() async throws {
    let directory = try TemporaryDirectory()
    let executor = PickyExecutor()
    executor.state.withLock { $0.failingAttaches = 1 }
    let journal = try Journal(path: directory.path + "/journal.sqlite", isOnNetworkFileSystem: false)
    let repository = RemoteArtifactRepository(connection: ConnectionSlot(), meter: TransferMeter(bytesPerSecond: nil))
    let driver = RunDriver(
      journal: journal, contents: try await journal.contents(), executor: executor,
      cache: try DataCache(
        layout: CacheLayout(directory: directory.path + "/cache"), capacity: 1000,
        fetching: StoreFixture.fetcher(repository, directory)),
      repository: repository,
      logger: silentLogger())
    let work = Task { try await driver.run() }
    try await waitUntil { driver.problem?.contains("the supervisor does not answer") == true }
    await driver.tell(.welcomed(.with { $0.assignments = [assignment(7)] }))
    try await waitUntil { executor.state.withLock { $0.taken } == [RunID(7)] }
    #expect(driver.problem == nil)
    work.cancel()
    _ = try? await work.value
  }
}
