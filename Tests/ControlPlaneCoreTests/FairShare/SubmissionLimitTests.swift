import ControlPlaneCore
import FederationModel
import Testing
import WorkflowCore

@Suite("How much a project may submit")
struct SubmissionLimitTests {
  private static let document = """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {name: fan}
    spec:
      entrypoint: main
      templates:
      - name: main
        steps: [[{name: s, template: one, withSequence: {count: "3"}}]]
      - name: one
        nodeSelector: {nowhere: "yes"}
        container: {image: any, command: ["true"]}
    """

  private func submit(_ federation: inout Federation, _ name: String, in project: ProjectName = "default") throws
    -> Result<Reply, FederationError>
  {
    let request = federation.command(
      .submit(
        Submission(
          definition: try Federation.definition(Self.document), project: project, name: name, uid: "uid-\(name)")))
    federation.settle()
    return try #require(federation.replies[request])
  }

  private func refusal(_ answer: Result<Reply, FederationError>) -> FederationError? {
    guard case .failure(let error) = answer else { return nil }
    return error
  }

  @Test("More than the submissions of a minute are refused until the first of them is a minute old, to the second")
  func perMinute() throws {
    var federation = Federation(seed: 1, clusters: ["a"])
    federation.command(.project("other", .create(description: "")))
    federation.command(.project("default", .setLimits(ProjectLimits(submissionsPerMinute: 3))))
    federation.settle()
    let first = federation.clock
    for index in 0..<3 {
      #expect(refusal(try submit(&federation, "w\(index)")) == nil)
      federation.clock = federation.clock + .seconds(10)
    }
    let error = try #require(refusal(try submit(&federation, "w3")))
    #expect(error.code == .resourceExhausted && error.publicMessage.contains("may submit 3"))
    let wait = try #require(error.retryAfter)
    #expect(wait > .seconds(29) && wait <= .seconds(30))
    // Another project is not concerned.
    #expect(refusal(try submit(&federation, "x", in: "other")) == nil)
    // A moment before it is too soon, and then it is not.
    federation.clock = first + .seconds(59)
    #expect(refusal(try submit(&federation, "w3")) != nil)
    federation.clock = first + .seconds(61)
    #expect(refusal(try submit(&federation, "w3")) == nil)
    // A new leader knows of those that live.
    federation.crash()
    #expect(refusal(try submit(&federation, "w4"))?.code == .resourceExhausted)
    federation.command(.project("default", .setLimits(ProjectLimits())))
    #expect(refusal(try submit(&federation, "w4")) == nil)
  }

  @Test("While as many tasks wait as may, nothing more is submitted; when they are gone it is again")
  func pending() throws {
    var federation = Federation(seed: 2, clusters: ["a"])
    federation.command(.project("default", .setLimits(ProjectLimits(pendingTasks: 5))))
    federation.settle()
    for name in ["w0", "w1"] { #expect(refusal(try submit(&federation, name)) == nil) }
    let error = try #require(refusal(try submit(&federation, "w2")))
    #expect(error.code == .resourceExhausted)
    #expect(error.publicMessage.contains("6 tasks of project default wait, and 5 may"), "\(error.publicMessage)")
    let wait = try #require(error.retryAfter)
    #expect(wait >= .seconds(1))
    federation.command(.workflow(WorkflowReference(project: "default", name: "w0"), .terminate))
    federation.settle()
    #expect(refusal(try submit(&federation, "w2")) == nil)
  }

  @Test("A weight that is none is refused, with nothing changed")
  func weights() throws {
    var federation = Federation(seed: 3, clusters: ["a"])
    for weight in [0, -1, .nan, .infinity, 2e6] {
      let made = federation.command(.project("p", .create(description: "", weight: weight)))
      let set = federation.command(.project("default", .setWeight(weight)))
      federation.settle()
      #expect(refusal(try #require(federation.replies[made]))?.code == .invalidArgument, "\(weight)")
      #expect(refusal(try #require(federation.replies[set]))?.code == .invalidArgument, "\(weight)")
    }
    #expect(federation.database.projects["p"] == nil && federation.database.projects["default"]?.weight == 1)
    federation.command(.project("default", .setWeight(2.5)))
    federation.settle()
    #expect(federation.database.projects["default"]?.weight == 2.5)
    #expect(federation.database.audit.contains { $0.action == "project.weight" && $0.detail == "2.5" })
  }
}
