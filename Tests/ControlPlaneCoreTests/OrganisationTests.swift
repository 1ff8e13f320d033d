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

  private func budget(_ limit: String, _ currency: String = "CNY", isHard: Bool? = nil) -> ProjectCommand {
    .setBudget(BudgetChange(limit: Amount(limit)!, currency: currency, period: .once, isHard: isHard))
  }

  @Test(
    "I3: the budgets of an organisation's projects are together no more than what it was granted, after a restart too")
  func grant() {
    var federation = federation()
    let grant = OrganisationGrant(amount: Amount("15")!, currency: "CNY")
    #expect(refusal(.project("r1", budget("10")), &federation) == nil)
    #expect(refusal(.organisation("red", .setGrant(grant)), &federation) == nil)
    for restarts in [false, true] {
      if restarts {
        federation.crash()
        federation.connect("a")
        federation.settle()
      }
      #expect(refusal(.project("r2", budget("5.01")), &federation) == .budgetDenied)
      #expect(refusal(.project("r2", budget("5", "EUR")), &federation) == .failedPrecondition)
      #expect(refusal(.project("r2", budget("5", isHard: false)), &federation) == .failedPrecondition)
      #expect(refusal(.project("b1", budget("500")), &federation) == nil, "another organisation's")
    }
    #expect(refusal(.project("r2", budget("5")), &federation) == nil)
    #expect(refusal(.project("r1", budget("10")), &federation) == nil, "its own limit does not count twice")
    #expect(refusal(.project("r1", budget("11")), &federation) == .budgetDenied)
    let less = OrganisationGrant(amount: Amount("14")!, currency: "CNY")
    #expect(refusal(.organisation("red", .setGrant(less)), &federation) == .failedPrecondition)
    #expect(refusal(.organisation("red", .setGrant(nil)), &federation) == nil)
    #expect(refusal(.project("r1", budget("11")), &federation) == nil)
    #expect(
      federation.database.audit.filter { $0.action == "organisation.grant" }.map(\.detail) == ["15.00 CNY", "none"])
  }

  @Test("I3: under a grant a project without a budget takes no work: it would spend what nobody gave it")
  func budgetless() throws {
    var federation = federation()
    let grant = OrganisationGrant(amount: Amount("15")!, currency: "CNY")
    #expect(refusal(.organisation("red", .setGrant(grant)), &federation) == nil)
    let yaml = classTasks("offline", 1)
    func submission(_ name: String, _ project: ProjectName) throws -> Command {
      .submit(Submission(definition: try Federation.definition(yaml), project: project, name: name, uid: name))
    }
    #expect(try refusal(submission("w1", "r1"), &federation) == .failedPrecondition)
    #expect(try refusal(submission("w2", "b1"), &federation) == nil)
    #expect(refusal(.project("r1", budget("10")), &federation) == nil)
    #expect(try refusal(submission("w3", "r1"), &federation) == nil)
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
