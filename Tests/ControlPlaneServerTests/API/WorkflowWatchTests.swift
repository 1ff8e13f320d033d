import FederationAPI
import FederationModel
import Testing
import WorkflowCore

@testable import ControlPlaneServer

@Suite struct WorkflowWatchTests {
  private static func summary(_ message: String) -> WorkflowSummary {
    WorkflowSummary(
      project: "p", name: "w", uid: "u", phase: .running, message: message, labels: [:], isSuspended: false,
      createdAt: WireTime(Timestamp(milliseconds: 0)), createdBy: "me", startedAt: nil, finishedAt: nil, tasks: [:])
  }

  @Test("A watcher that comes back with what it got goes on there, at any replica")
  func resumes() throws {
    var watch = WorkflowWatch()
    #expect(watch.isNews(Self.summary("")))
    watch.reached(commit: 7, event: 3, Self.summary(""))
    #expect(!watch.isNews(Self.summary("")) && watch.isNews(Self.summary("more")))
    let again = try #require(WorkflowWatch(lastEventID: watch.id, position: 9))
    #expect(again.commit == 7 && again.event == 3)
  }

  @Test("A place that is rubbish, or that a restored database has not reached, is not known")
  func unknown() {
    for id in ["", "7", "a-b", "1-2-3", "-1-2", "1--2", "8-", "10-1"] {
      #expect(WorkflowWatch(lastEventID: id, position: 9) == nil, "\(id)")
    }
  }

  @Test("Reasons that came, changed or went are news, once")
  func reasons() {
    var watch = WorkflowWatch()
    let (one, two) = (NodeID(1), NodeID(2))
    #expect(watch.news(reasons: [one: "full", two: "full"]).sorted { $0.ordinal < $1.ordinal } == [one, two])
    #expect(watch.isWaiting && watch.news(reasons: [one: "full", two: "full"]).isEmpty)
    #expect(watch.news(reasons: [one: "cordoned", two: "full"]) == [one])
    #expect(watch.news(reasons: [one: "cordoned"]) == [two])
    #expect(watch.news(reasons: [:]) == [one] && !watch.isWaiting)
  }
}
