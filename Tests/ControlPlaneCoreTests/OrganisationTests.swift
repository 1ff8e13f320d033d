import ControlPlaneCore
import FederationModel
import LedgerCore
import Testing

@Suite("Organisations in the core")
struct OrganisationTests {
  private func federation() -> Federation {
    var federation = Federation(seed: 4, clusters: ["a"])
    federation.command(.organisation("red", .create(description: "the reds", weight: 3)))
    federation.command(.organisation("blue", .create(description: "")))
    for (project, organisation) in [("r1", "red"), ("r2", "red"), ("b1", "blue")] {
      federation.command(
        .project(
          ProjectName(project), .create(description: "", organisation: OrganisationName(organisation))))
    }
    federation.settle()
    return federation
  }

  private func refusal(_ command: Command, _ federation: inout Federation) -> ErrorCode? {
    let request = federation.command(command)
    federation.settle()
    guard case .failure(let error)? = federation.replies[request] else { return nil }
    return error.code
  }

  @Test("An organisation has its part whatever the number of its projects, after a restart too")
  func shares() throws {
    var federation = federation()
    for restarts in [false, true] {
      if restarts {
        federation.crash()
        federation.connect("a")
        federation.settle()
      }
      let shares = federation.core.fairShare().projects
      let parts = Dictionary(uniqueKeysWithValues: shares.map { ($0.project, $0.entitled) })
      // The federation's own organisation has weight 1, and project default.
      #expect(abs(parts["r1"]! - 0.3) < 1e-9 && abs(parts["r2"]! - 0.3) < 1e-9, "\(parts)")
      #expect(abs(parts["b1"]! - 0.2) < 1e-9 && abs(parts["default"]! - 0.2) < 1e-9, "\(parts)")
      let red = try #require(shares.first { $0.project == "r1" })
      #expect(red.organisation == "red" && red.organisationWeight == 3)
    }
    federation.command(.organisation("red", .setWeight(8)))
    federation.command(.organisation("default", .setWeight(1)))
    federation.settle()
    let part = federation.core.fairShare().projects.first { $0.project == "r1" }?.entitled
    #expect(part.map { abs($0 - 0.4) < 1e-9 } == true)
  }

  @Test("Money moves within an organisation alone")
  func money() {
    var federation = federation()
    for project in ["r1", "r2", "b1"] as [ProjectName] {
      federation.command(
        .project(project, .setBudget(BudgetChange(limit: Amount("10")!, currency: "CNY", period: .once))))
    }
    #expect(refusal(.project("r1", .transferBudget(Amount("1")!, to: "r2")), &federation) == nil)
    #expect(refusal(.project("r1", .transferBudget(Amount("1")!, to: "b1")), &federation) == .failedPrecondition)
    #expect(federation.database.audit.filter { $0.action == "budget.transfer" }.count == 1)
  }

  @Test("What makes no sense is refused; a project's name is the federation's, whichever organisation it is of")
  func refuses() {
    var federation = federation()
    #expect(refusal(.organisation("red", .create(description: "")), &federation) == .alreadyExists)
    #expect(refusal(.organisation("default", .create(description: "")), &federation) == .alreadyExists)
    #expect(refusal(.organisation("Red", .create(description: "")), &federation) == .invalidArgument)
    #expect(refusal(.organisation("x", .create(description: "", weight: 0)), &federation) == .invalidArgument)
    #expect(refusal(.organisation("x", .setWeight(2)), &federation) == .notFound)
    #expect(refusal(.project("p", .create(description: "", organisation: "x")), &federation) == .notFound)
    #expect(refusal(.project("r1", .create(description: "", organisation: "blue")), &federation) == .alreadyExists)
    #expect(federation.database.projects["r1"]?.organisation == "red")
    #expect(
      federation.database.audit.contains { $0.action == "project.create" && $0.detail == "organisation red" })
  }
}
