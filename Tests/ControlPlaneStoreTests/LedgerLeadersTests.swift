import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import Foundation
import LedgerCore
import Postgres
import SchedulerCore
import TestSupport
import Testing
import WorkflowCore

@Suite("The ledger under two control planes", .timeLimit(.minutes(30)))
struct LedgerLeadersTests {
  /// A short slice by default, 200 when `make ledger` says so.
  private static var schedules: Int {
    ProcessInfo.processInfo.environment["FUBINI_LEDGER_LEADERS"].flatMap { Int($0) } ?? 16
  }

  @Test(
    "I3: reserved + spent <= limit, and the balance, hold at every commit while two control planes depose and kill each other, agents stay away for days, and periods end"
  )
  func holds() async throws {
    var (fenced, commits, denied, days) = (0, 0, 0, 0)
    for seed in 0..<UInt64(Self.schedules) {
      try await LedgerContest.use(seed: seed) { contest in
        try await contest.begin(limits: ["default": "3", "lab": "2"], tasks: 9, slots: 4)
        for step in 0..<150 where contest.problem == nil {
          try await contest.step()
          #expect(contest.problem == nil, "seed \(seed), step \(step)")
        }
        guard contest.problem == nil else { return }
        // What waits for money gets it.
        try await contest.lift()
        let isOver = try await contest.finish()
        let remains = isOver ? "" : try await contest.remains()
        #expect(isOver && contest.problem == nil, "seed \(seed): \(contest.problem ?? "not over: \(remains)")")
        #expect(try await contest.closing() == [], "seed \(seed)")
        fenced += contest.fenced
        commits += contest.commits
        denied += contest.waits
        days += contest.days
      }
    }
    let least = Self.schedules
    #expect(
      fenced > least / 4 && commits > least * 10 && denied > least && days > least / 4,
      "the schedules came to where it is tight: \(fenced) units fenced of \(commits), \(denied) waits, \(days) days away"
    )
  }

  @Test(
    "I3: runs that are renewed while leaders change and agents are cut off use no more than is held for them, and all end"
  )
  func renews() async throws {
    var (held, fenced, days) = (Int64(0), 0, 0)
    for seed in 100..<(100 + UInt64(Self.schedules)) {
      try await LedgerContest.use(seed: seed) { contest in
        contest.renewsSlices = true
        try await contest.begin(limits: ["default": "7", "lab": "3"], tasks: 6, slots: 4)
        for step in 0..<200 where contest.problem == nil {
          // Now and then long enough for a run to be renewed.
          if step % 8 == 7 { try await contest.round() }
          try await contest.step()
          #expect(contest.problem == nil, "seed \(seed), step \(step)")
        }
        guard contest.problem == nil else { return }
        try await contest.lift()
        let isOver = try await contest.finish()
        let remains = isOver ? "" : try await contest.remains()
        #expect(isOver && contest.problem == nil, "seed \(seed): \(contest.problem ?? "not over: \(remains)")")
        #expect(try await contest.closing() == [], "seed \(seed)")
        held = max(held, contest.heldMost)
        fenced += contest.fenced
        days += contest.days
      }
    }
    #expect(held > 600_000 && fenced > 0 && days > 0, "some were renewed: \(held) held, \(fenced) fenced, \(days) days")
  }

  @Test("I3: of 1,000 tasks that race for the last 10 units ten start at once, through every change of leaders")
  func race() async throws {
    try await LedgerContest.use(seed: 7) { contest in
      try await contest.begin(limits: ["default": "6"], tasks: 1000, slots: 1000)
      // A minute is 0.60 CNY; each run takes six seconds of it.
      contest.use = { _ in 6000 }
      contest.fails = false
      try await contest.settle()
      try await contest.place()
      #expect(try await contest.number("SELECT count(*) FROM runs WHERE phase < 5") == 10)
      #expect(try await contest.number("SELECT reserved FROM budgets") == 6_000_000)
      for round in 0..<400 where contest.problem == nil {
        if round % 7 == 3 { try await contest.kill() }
        if round % 5 == 1 { try await contest.depose() }
        try await contest.round()
        guard try await contest.number("SELECT spent FROM budgets WHERE reserved = 0 OR spent < 5400000") > 5_400_000
        else { continue }
        break
      }
      #expect(contest.problem == nil)
      try await contest.lead()
      for _ in 0..<3 { try await contest.round() }
      // As long as 0.60 are left one more starts: 90 x 0.06 is the last moment at which they are.
      #expect(try await contest.number("SELECT count(*) FROM runs") == 91)
      #expect(try await contest.number("SELECT spent FROM budgets") == 91 * 60_000)
      #expect(try await contest.closing() == [])
      #expect(contest.fenced > 0, "a deposed leader has tried")
    }
  }
}
