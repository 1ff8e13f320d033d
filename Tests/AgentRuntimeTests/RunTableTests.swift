import Execution
import FederationAPI
import FederationModel
import FoundationEssentials
import SwiftProtobuf
import Testing

@testable import AgentRuntime

@Suite struct RunTableTests {
  private func welcome(
    _ assignments: [Fubini_Agent_V1_Assignment] = [], cancels: [Int64] = [], adopting: Bool = false
  ) -> RunTableInput {
    .welcomed(
      .with {
        $0.protocol = 1
        $0.assignments = assignments
        $0.cancels = cancels
        $0.adopting = adopting
      })
  }

  private func journaled(_ number: Int64, submitted: Bool) throws -> JournaledRun {
    JournaledRun(
      id: RunID(number), assignment: try assignment(number).serializedBytes() as Data, isCancelRequested: false,
      isSubmitted: submitted, endPhase: nil, logBytes: 0, logAcknowledged: 0, isLogComplete: false)
  }

  private func turn(_ table: inout RunTable, _ inputs: RunTableInput...) -> (
    changes: [JournalChange], actions: [RunTableAction]
  ) {
    for input in inputs { table.apply(input, at: Timestamp(milliseconds: 5)) }
    return table.takeTurn()
  }

  private func ended(_ id: Int64, _ phase: RunPhase = .succeeded) -> RunTableInput {
    .observed([RunObservation(id: RunID(id), phase: phase, exitCode: phase == .succeeded ? 0 : 1, runsAs: "host")])
  }

  @Test("I2: a run without inputs is journaled, submitted, and ends with exactly one terminal event")
  func wholeLife() throws {
    var table = RunTable(restoring: emptyJournal())
    let first = turn(&table, welcome([assignment(7)]))
    #expect(try events(first.changes).map(\.phase) == [.dispatched])
    #expect(first.changes.contains(.submitted(RunID(7))))
    #expect(first.actions == [.submit([RunID(7)]), .eventsJournaled(through: 1)])
    let last = turn(&table, ended(7), ended(7, .failed))
    #expect(try events(last.changes).map(\.phase) == [.running, .succeeded])
    #expect(try events(last.changes).map(\.sequence) == [2, 3])
    #expect(turn(&table, ended(7)).changes.isEmpty)
    let forgotten = turn(&table, .forgetRequested([RunID(7)]))
    #expect(forgotten.actions.contains(.erase([RunID(7)])))
    #expect(table.runs.isEmpty)
  }

  @Test("a daemon is asked for until it is ready, which is told once; after a restart it is asked for anew")
  func readyDaemon() throws {
    var assigned = assignment(7)
    assigned.spec.containers = .with { $0.daemon = true }
    var table = RunTable(restoring: emptyJournal())
    _ = turn(&table, welcome([assigned]))
    #expect(table.awaitedDaemons.isEmpty)
    let running = RunTableInput.observed([RunObservation(id: RunID(7), phase: .running, runsAs: "host")])
    _ = turn(&table, running)
    #expect(table.awaitedDaemons == [RunID(7)])
    let ready = RunTableInput.ready(RunID(7), address: "10.1.2.3")
    let told = try events(turn(&table, ready, ready).changes)
    #expect(told.map(\.phase) == [.running] && told.map(\.ready) == [true])
    #expect(told.map(\.address) == ["10.1.2.3"])
    #expect(table.awaitedDaemons.isEmpty)
    var restarted = RunTable(
      restoring: JournalContents(
        journalID: "j", term: 0, commitSequence: 0, lastSequence: 3, acknowledgedSequence: 3,
        runs: [
          JournaledRun(
            id: RunID(7), assignment: try assigned.serializedBytes() as Data, isCancelRequested: false,
            isSubmitted: true, endPhase: nil, logBytes: 0, logAcknowledged: 0, isLogComplete: false)
        ]))
    _ = turn(&restarted, running)
    #expect(restarted.awaitedDaemons == [RunID(7)])
    _ = turn(&restarted, ended(7))
    #expect(restarted.awaitedDaemons.isEmpty)
  }

  @Test(
    "a run of a project that is not served here is refused by the agent itself, whatever the control plane says",
    arguments: [
      Tenancy.single("other"), .single(nil), .mapped(["other"]),
    ])
  func foreignProject(_ tenancy: Tenancy) throws {
    // Assigned now, and found in a journal from before the tenancy was declared.
    for contents in [emptyJournal(), emptyJournal([try journaled(7, submitted: false)])] {
      var table = RunTable(restoring: contents, tenancy: tenancy)
      let turn = turn(&table, welcome([assignment(7)]))
      #expect(try events(turn.changes).last?.phase == .error)
      #expect(try events(turn.changes).last?.message.contains("project p") == true)
      #expect(!turn.changes.contains(.submitted(RunID(7))))
      #expect(!turn.actions.contains(.submit([RunID(7)])))
    }
    var served = RunTable(restoring: emptyJournal(), tenancy: .mapped(["p", "other"]))
    #expect(self.turn(&served, welcome([assignment(7)])).actions.contains(.submit([RunID(7)])))
  }

  @Test("I1: an assignment that comes again, by welcome or by delta, is not submitted again")
  func duplicate() {
    var table = RunTable(restoring: emptyJournal())
    _ = turn(&table, welcome([assignment(7)]))
    let again = turn(&table, .assigned([assignment(7)]), welcome([assignment(7)]))
    #expect(again.changes.isEmpty)
    #expect(again.actions.isEmpty)
  }

  @Test(
    "I3: an extension is journaled before the executor hears of it, only moves an end later, and is said again after a restart"
  )
  func slices() throws {
    var table = RunTable(restoring: emptyJournal())
    _ = turn(&table, welcome([assignment(7) { $0.sliceMs = 1000 }, assignment(8)]))
    #expect(table.runs[RunID(7)]?.request?.slice == .seconds(1))
    let more = turn(&table, .extended([RunID(7): .seconds(3), RunID(8): .seconds(3), RunID(9): .seconds(3)]))
    #expect(more.changes == [.extended(RunID(7), milliseconds: 3000)], "8 has no such end, 9 is not there")
    #expect(more.actions == [.extend([RunID(7): .seconds(3)])])
    let less = turn(
      &table, .extended([RunID(7): .seconds(2)]), welcome([assignment(7) { $0.sliceMs = 1000 }, assignment(8)]))
    #expect(less.changes.isEmpty && less.actions.isEmpty && table.isExtended(RunID(7), to: .seconds(3)))
    // What a lost message said is in the assignment that follows the next welcome.
    let told = turn(&table, welcome([assignment(7) { $0.sliceMs = 5000 }, assignment(8)]))
    #expect(told.changes == [.extended(RunID(7), milliseconds: 5000)])
    #expect(told.actions == [.extend([RunID(7): .seconds(5)])] && !table.isExtended(RunID(7), to: .seconds(3)))
    var journaled = try journaled(7, submitted: true)
    journaled.assignment = try assignment(7) { $0.sliceMs = 1000 }.serializedBytes() as Data
    journaled.sliceMilliseconds = 5000
    var restarted = RunTable(restoring: emptyJournal([journaled]))
    restarted.resume()
    #expect(restarted.takeTurn().actions == [.extend([RunID(7): .seconds(5)])])
    let ended = turn(
      &restarted, welcome([assignment(7) { $0.sliceMs = 5000 }]),
      .observed([
        RunObservation(id: RunID(7), phase: .failed, exitCode: 143, message: "m", isUnpaid: true, cause: .timeLimit)
      ]))
    let outcome = try #require(try events(ended.changes).last?.outcome)
    #expect(outcome.unpaid && outcome.cause == "timeLimit")
    #expect(turn(&restarted, .extended([RunID(7): .seconds(9)])).changes.isEmpty, "it is over")
  }

  @Test("I1: a run that was not begun before a restart begins only when a welcome confirms it")
  func heldUntilConfirmed() throws {
    var table = RunTable(restoring: emptyJournal([try journaled(7, submitted: false)]))
    #expect(turn(&table, .sessionLost).actions.isEmpty)
    #expect(turn(&table, welcome([assignment(7)])).actions == [.submit([RunID(7)])])
    var other = RunTable(restoring: emptyJournal([try journaled(7, submitted: false)]))
    let dropped = turn(&other, welcome())
    #expect(dropped.actions.contains(.erase([RunID(7)])))
    #expect(!dropped.actions.contains(.submit([RunID(7)])))
  }

  @Test("I1: with a disconnect limit, a run is submitted only while there is a session")
  func disconnectLimit() {
    var table = RunTable(restoring: emptyJournal())
    let limited = assignment(7) {
      $0.disconnectLimitMs = 1000
      $0.spec.inputs = [
        .with {
          $0.path = "/in"; $0.source = .raw("x")
        }
      ]
    }
    #expect(turn(&table, welcome([limited])).actions.first == .stage(RunID(7)))
    #expect(turn(&table, .sessionLost, .staged(RunID(7), bytesIn: 0, milliseconds: 1)).actions.isEmpty)
    #expect(turn(&table, welcome([limited])).actions == [.submit([RunID(7)])])
  }

  @Test("I4: a run with inputs is submitted only after all of them are staged; a pause is told once")
  func staging() throws {
    var table = RunTable(restoring: emptyJournal())
    let withInput = assignment(7) {
      $0.spec.inputs = [
        .with {
          $0.path = "/in"; $0.source = .raw("x")
        }
      ]
    }
    #expect(turn(&table, welcome([withInput])).actions == [.stage(RunID(7)), .eventsJournaled(through: 2)])
    let paused = turn(
      &table, .stagingPaused(RunID(7), reason: "disk full"), .stagingPaused(RunID(7), reason: "disk full"))
    #expect(try events(paused.changes).map(\.message) == ["disk full"])
    #expect(turn(&table, .staged(RunID(7), bytesIn: 3, milliseconds: 1)).actions == [.submit([RunID(7)])])
    #expect(try events(turn(&table, ended(7)).changes).last?.outcome.bytesIn == 3)
  }

  @Test("what was staged is told by the cluster that it came from, and what came from none by the empty name")
  func bytesFrom() throws {
    func told(_ bytes: Int64, _ fromClusters: [ClusterName: Int64]) throws -> [String: Int64]? {
      var table = RunTable(restoring: emptyJournal())
      var withInput = assignment(7)
      withInput.spec.inputs = [
        .with {
          $0.path = "/in"; $0.source = .raw("x")
        }
      ]
      _ = turn(&table, welcome([withInput]))
      _ = turn(&table, .staged(RunID(7), bytesIn: bytes, fromClusters: fromClusters, milliseconds: 1))
      return try events(turn(&table, ended(7)).changes).last?.outcome.bytesFrom
    }
    #expect(try told(9, ["a": 4, "b": 2]) == ["a": 4, "b": 2, "": 3])
    #expect(try told(6, ["a": 4, "b": 2]) == ["a": 4, "b": 2])
    #expect(try told(5, [:]) == ["": 5], "an agent that meters is told from one that does not")
    #expect(try told(0, [:]) == [:])
  }

  @Test("a cancel before the start ends the run without the executor; a cancel after it asks the executor")
  func cancel() throws {
    var table = RunTable(restoring: emptyJournal())
    let held = turn(&table, welcome([assignment(7)], cancels: [7]))
    #expect(try events(held.changes).map(\.phase) == [.dispatched, .cancelled])
    #expect(held.actions == [.eventsJournaled(through: 2)])
    var staging = RunTable(restoring: emptyJournal())
    let withInput = assignment(8) {
      $0.spec.inputs = [
        .with {
          $0.path = "/in"; $0.source = .raw("x")
        }
      ]
    }
    _ = turn(&staging, welcome([withInput]))
    let stopped = turn(&staging, .cancelRequested([RunID(8)]))
    #expect(stopped.actions.contains(.stopStaging(RunID(8))))
    #expect(try events(stopped.changes).map(\.phase) == [.cancelled])
    #expect(turn(&staging, .staged(RunID(8), bytesIn: 0, milliseconds: 0)).actions.isEmpty)
  }

  @Test("I1, I7: a welcome stops and erases marked runs that it does not list, and only those")
  func reconcile() throws {
    var table = RunTable(
      restoring: emptyJournal([try journaled(7, submitted: true), try journaled(8, submitted: true)]))
    _ = turn(&table, .observed([7, 8, 9].map { RunObservation(id: RunID($0), phase: .running) }))
    let actions = turn(&table, welcome([assignment(7)])).actions
    #expect(actions.contains { if case .cancel(RunID(8), _, _) = $0 { true } else { false } })
    #expect(actions.contains { if case .cancel(RunID(9), _, _) = $0 { true } else { false } })
    #expect(!actions.contains { if case .cancel(RunID(7), _, _) = $0 { true } else { false } })
    #expect(turn(&table, ended(9, .cancelled)).actions.contains(.erase([RunID(9)])))
  }

  @Test("adopting: nothing is started and nothing is stopped")
  func adopting() throws {
    var table = RunTable(
      restoring: emptyJournal([try journaled(7, submitted: true), try journaled(8, submitted: false)]))
    _ = turn(&table, .observed([RunObservation(id: RunID(7), phase: .running)]))
    let adopted = turn(&table, welcome([assignment(8), assignment(9)], cancels: [7], adopting: true))
    #expect(adopted.actions.isEmpty)
    #expect(table.runs.count == 2)
    #expect(turn(&table, .cancelRequested([RunID(7)]), .assigned([assignment(10)])).actions.isEmpty)
  }

  @Test("I1: a submitted run of which the executor has no trace begins again, but only after a welcome")
  func neverReachedTheExecutor() throws {
    var table = RunTable(restoring: emptyJournal([try journaled(7, submitted: true)]))
    #expect(turn(&table, .observed([RunObservation(id: RunID(7), phase: .bound)])).actions.isEmpty)
    #expect(turn(&table, welcome([assignment(7)])).actions == [.submit([RunID(7)])])
  }

  @Test("sequences go on after a restart and are never given twice")
  func sequences() throws {
    var table = RunTable(restoring: emptyJournal(lastSequence: 41))
    #expect(try events(turn(&table, welcome([assignment(7)])).changes).map(\.sequence) == [42])
  }

  @Test("a forgotten run's log is kept until the control plane holds it")
  func logBeforeForget() {
    var table = RunTable(restoring: emptyJournal())
    _ = turn(&table, welcome([assignment(7)]))
    let end = RunObservation(id: RunID(7), phase: .succeeded, exitCode: 0, logBytes: 10)
    #expect(turn(&table, .observed([end])).actions.contains(.shipLog(RunID(7), length: 10, isFinal: true)))
    #expect(!turn(&table, .forgetRequested([RunID(7)])).actions.contains(.erase([RunID(7)])))
    #expect(turn(&table, .logAcknowledged(RunID(7), offset: 10, isComplete: true)).actions.contains(.erase([RunID(7)])))
  }

  @Test("that a run wrote nothing is told, and keeps nothing waiting")
  func emptyLog() {
    var table = RunTable(restoring: emptyJournal())
    _ = turn(&table, welcome([assignment(7)]))
    let end = RunObservation(id: RunID(7), phase: .succeeded, exitCode: 0, logBytes: 0)
    #expect(turn(&table, .observed([end])).actions.contains(.shipLog(RunID(7), length: 0, isFinal: true)))
    #expect(turn(&table, .forgetRequested([RunID(7)])).actions.contains(.erase([RunID(7)])))
  }

  @Test("I2: the log of a run that had ended for the leader before is kept until its successor holds it")
  func logBeforeTakeover() {
    var table = RunTable(restoring: emptyJournal())
    _ = turn(&table, welcome([assignment(7)]))
    _ = turn(&table, .observed([RunObservation(id: RunID(7), phase: .succeeded, exitCode: 0, logBytes: 10)]))
    // Its end is durable, so the new leader does not name it; that its log is, nobody has said.
    #expect(!turn(&table, welcome()).actions.contains(.erase([RunID(7)])))
    #expect(turn(&table, .logAcknowledged(RunID(7), offset: 10, isComplete: true)).actions.contains(.erase([RunID(7)])))
  }

  @Test("I4, I10: a run that is queued ahead stays in staging, says so, and is submitted only when its inputs are here")
  func queuedAhead() throws {
    var table = RunTable(restoring: emptyJournal())
    let staged = assignment(7) {
      $0.spec.inputs = [
        .with {
          $0.name = "a"
          $0.path = "/a"
          $0.raw = "x"
        }
      ]
    }
    _ = turn(&table, welcome([staged]))
    let place = turn(&table, .observed([RunObservation(id: RunID(7), phase: .queued, message: "job 5")]))
    #expect(try events(place.changes).map(\.phase) == [.staging])
    #expect(try events(place.changes)[0].message == "while its inputs are on their way: job 5")
    #expect(!place.actions.contains(.submit([RunID(7)])))
    // Its job came too early, and gave its place back: nothing but the words change.
    let back = turn(&table, .observed([RunObservation(id: RunID(7), phase: .bound, message: "too early")]))
    #expect(try events(back.changes).map(\.message) == ["while its inputs are on their way: too early"])
    let ready = turn(&table, .staged(RunID(7), bytesIn: 1, milliseconds: 1))
    #expect(ready.actions.contains(.submit([RunID(7)])))
    let queued = turn(&table, .observed([RunObservation(id: RunID(7), phase: .queued, message: "job 5")]))
    #expect(try events(queued.changes).map(\.message) == ["job 5"])
    #expect(try events(turn(&table, ended(7)).changes).last?.phase == .succeeded)
  }

  @Test("I2: a run that is queued ahead and is lost there, or refused, ends once, and its staging stops")
  func lostAhead() throws {
    var table = RunTable(restoring: emptyJournal())
    _ = turn(
      &table,
      welcome([
        assignment(7) {
          $0.spec.inputs = [
            .with {
              $0.name = "a"
              $0.path = "/a"
              $0.raw = "x"
            }
          ]
        }
      ]))
    let lost = turn(&table, .observed([RunObservation(id: RunID(7), phase: .lost, message: "gone")]))
    #expect(lost.actions.contains(.stopStaging(RunID(7))))
    #expect(try events(lost.changes).map(\.phase) == [.lost])
    #expect(turn(&table, .staged(RunID(7), bytesIn: 1, milliseconds: 1), ended(7)).changes.isEmpty)
  }

  @Test("inputs about unknown runs, or at the wrong time, change nothing")
  func illegalInputs() {
    var table = RunTable(restoring: emptyJournal())
    _ = turn(&table, welcome())
    let unknown = RunID(99)
    let result = turn(
      &table, .cancelRequested([unknown]), .forgetRequested([unknown]), .staged(unknown, bytesIn: 0, milliseconds: 0),
      .stagingFailed(unknown, .error, message: ""), .submissionAccepted([unknown]),
      .collected(unknown, CollectedOutputs(phase: .succeeded, message: "", outputs: TaskOutputs(), bytesOut: 0)),
      .logAcknowledged(unknown, offset: 1, isComplete: true))
    #expect(result.changes.isEmpty)
    #expect(result.actions.isEmpty)
  }

  @Test("I1, I7: reconciliation goes by the list of desired runs; what is desired and not yet known arrives later")
  func firstOfMany() throws {
    var table = RunTable(
      restoring: emptyJournal([try journaled(7, submitted: true), try journaled(8, submitted: true)]))
    _ = turn(&table, .observed([7, 8].map { RunObservation(id: RunID($0), phase: .running) }))
    let welcomed = turn(
      &table,
      .welcomed(
        .with {
          $0.protocol = 1
          $0.assignments = [assignment(1)]
          $0.desiredRuns = [1, 7, 9, 10]
          $0.cancels = [10]
        }))
    #expect(welcomed.actions.contains { if case .cancel(RunID(8), _, _) = $0 { true } else { false } })
    #expect(!welcomed.actions.contains { if case .cancel(RunID(7), _, _) = $0 { true } else { false } })
    // The cancel of a run that was not known yet holds when it arrives.
    let later = turn(&table, .assigned([assignment(9), assignment(10)]))
    #expect(later.actions.contains(.submit([RunID(9)])))
    #expect(try events(later.changes).filter { $0.runID == 10 }.map(\.phase) == [.dispatched, .cancelled])
  }

  @Test("I2: a run whose journal entry is damaged is told of, healed by its assignment, and then ends with its outputs")
  func damagedEntry() throws {
    var damaged = try journaled(7, submitted: true)
    damaged.assignment = Data([0xff, 0xff, 0xff])
    var table = RunTable(restoring: emptyJournal([damaged]))
    #expect(table.reports.map(\.id) == [RunID(7)])
    #expect(turn(&table, ended(7)).changes.isEmpty)
    let welcomed = turn(&table, .welcomed(.with { $0.desiredRuns = [7] }))
    #expect(try events(welcomed.changes).first?.message.contains("damaged") == true)
    let whole = assignment(7) { $0.spec.capturesResult = true }
    let healed = turn(&table, .assigned([whole]))
    #expect(healed.changes.contains(.assigned(RunID(7), assignment: try whole.serializedBytes() as Data)))
    #expect(healed.actions.contains { if case .collect(RunID(7), _) = $0 { true } else { false } })
  }

  @Test("a run that the executor refuses for good ends in Error with the reason, once")
  func refused() throws {
    var table = RunTable(restoring: emptyJournal())
    _ = turn(&table, welcome([assignment(7)]))
    let paused = turn(
      &table, .submissionPaused([RunID(7)], reason: "busy"), .submissionPaused([RunID(7)], reason: "busy"))
    #expect(try events(paused.changes).map(\.message) == ["busy"])
    let failed = turn(&table, .submissionFailed(RunID(7), message: "no such path"), ended(7))
    #expect(try events(failed.changes).map(\.phase) == [.error])
    #expect(try events(failed.changes).map(\.message) == ["no such path"])
  }

  @Test("kept logs have a bound in all: the oldest goes first, and the operator is told")
  func keptLogs() {
    var table = RunTable(restoring: emptyJournal(), keptLogBytesMax: 25)
    _ = turn(&table, welcome((1...3).map { assignment($0) }))
    for id in 1...3 as ClosedRange<Int64> {
      _ = turn(&table, .observed([RunObservation(id: RunID(id), phase: .succeeded, exitCode: 0, logBytes: 10)]))
    }
    let two = turn(&table, .forgetRequested([RunID(1), RunID(2)]))
    #expect(two.actions == [.discardFiles(RunID(1)), .discardFiles(RunID(2))])
    let three = turn(&table, .forgetRequested([RunID(3)]))
    #expect(three.actions.contains(.erase([RunID(1)])))
    #expect(three.actions.contains { if case .warn = $0 { true } else { false } })
    #expect(table.runs.keys.sorted() == [RunID(2), RunID(3)])
  }
}
