import FederationModel
import SlurmFrontDoor
import Testing

@testable import fubini

/// What `sacct`'s options ask for together.
@Suite("Questions to sacct")
struct SacctQuestionTests {
  private func question(_ arguments: String...) throws -> SacctCommand.Question {
    try SacctCommand.Question(
      SacctCommand.table.scan(arguments).options, user: "ann", DisplayMoment(now: .epoch, offset: 0))
  }

  /// submitit asks so for all of its jobs at once, in no order.
  @Test("lists that are given several times add up")
  func repeated() throws {
    let jobs = try question("-j", "6", "-j", "2,3_1").filter
    #expect(jobs.selectors?.map(\.job) == [6, 2, 3])
    let lists = try question(
      "-A", "a", "-A", "b", "-r", "one", "-r", "two", "--name", "x", "--name=y", "-u", "bob", "-u", "eve", "-s", "CD",
      "-s",
      "F", "-M", "c1", "-M", "c2"
    ).filter
    #expect(lists.accounts == ["a", "b"])
    #expect(lists.partitions == ["one", "two"])
    #expect(lists.names == ["x", "y"])
    #expect(lists.users == ["bob", "eve"])
    #expect(lists.states == [.completed, .failed])
    #expect(lists.clusters == ["c1", "c2"])
    let fields = try question("-o", "JobID", "-o", "State,ExitCode", "-P")
    #expect(fields.format.heading(fields.style) == "JobID|State|ExitCode\n")
  }

  @Test("one's own jobs are shown unless jobs or users are named")
  func users() throws {
    #expect(try question().filter.users == ["ann"])
    #expect(try question("-a").filter.users == nil)
    #expect(try question("-u", "-1").filter.users == nil)
    #expect(try question("-j", "5").filter.users == nil)
    #expect(try question("-u", "bob", "-j", "5").filter.users == ["bob"])
    #expect(try question("-j", "").filter.users == ["ann"])
    #expect(try question("-j", "").filter.selectors == nil)
  }

  @Test("a delimiter counts wherever it stands")
  func delimiter() throws {
    for question in [try question("-P", "--delimiter=;"), try question("--delimiter=;", "-P")] {
      #expect(question.style == .parsable2(";"))
    }
  }
}
