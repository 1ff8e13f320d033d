import ControlPlaneCore
import FederationModel
import SchedulerCore
import Testing

@Suite("What ended runs say of those to come")
struct TemplateHistoryTests {
  private static func key(_ name: String, program: Int64 = 1) -> TemplateKey {
    TemplateKey(project: "p", name: name, program: program)
  }

  private func run(
    _ template: String, _ seconds: Double, _ size: ByteCount? = nil, _ outputs: [String: ByteCount] = [:]
  )
    -> EndedRun
  {
    EndedRun(template: Self.key(template), inputs: size, seconds: seconds, outputs: outputs)
  }

  @Test(
    "The median and what nine of ten do not exceed are those of the newest 32 runs, between neighbours in proportion")
  func quantiles() throws {
    // The first ten are forgotten: 11...42 remain.
    let history = TemplateHistory((1...42).map { run("t", Double($0)) })
    let estimate = try #require(history.runtime(of: Self.key("t"), reading: nil))
    #expect(estimate.median == 26.5 && abs(estimate.upper - 38.9) < 0.001 && estimate.samples == 32)
    #expect(history.runtime(of: Self.key("u"), reading: nil) == nil)
    #expect(history.knows(Self.key("t")) && !history.knows(Self.key("u")))
  }

  @Test(
    "Runs that read as much tell more than those that read less; of a size with fewer than three runs, all are asked")
  func sizes() throws {
    var runs = (1...5).map { _ in run("t", 10, .mebibytes(2)) }
    runs += (1...3).map { _ in run("t", 100, .gibibytes(2)) }
    runs += (1...2).map { _ in run("t", 1000, .gibibytes(200)) }
    let history = TemplateHistory(runs)
    #expect(history.runtime(of: Self.key("t"), reading: .mebibytes(3))?.median == 10)
    #expect(history.runtime(of: Self.key("t"), reading: .gibibytes(3))?.median == 100)
    let all = try #require(history.runtime(of: Self.key("t"), reading: .gibibytes(200)))
    #expect(all.samples == 10 && all.median == 55)
    #expect(history.runtime(of: Self.key("t"), reading: nil) == all)
  }

  @Test("a size that no file has, as an agent may tell it, is an estimate like others")
  func hugeOutput() {
    let history = TemplateHistory([run("t", 1, nil, ["out": ByteCount(.max)])])
    #expect(history.outputSize(of: Self.key("t"), named: "out") == ByteCount(1 << 60))
  }

  @Test("An output is expected to be as large as it was")
  func outputs() {
    let sizes: [Int64] = [1, 5, 3]
    let history = TemplateHistory(sizes.map { run("t", 1, nil, ["out": .mebibytes($0)]) })
    #expect(history.outputSize(of: Self.key("t"), named: "out") == .mebibytes(3))
    #expect(history.outputSize(of: Self.key("t"), named: "other") == nil)
  }

  @Test("Templates of one name that run different programs say nothing of each other")
  func programs() {
    var history = TemplateHistory()
    history.learn(EndedRun(template: Self.key("main", program: 1), inputs: nil, seconds: 5))
    history.learn(EndedRun(template: Self.key("main", program: 2), inputs: nil, seconds: 500))
    #expect(history.runtime(of: Self.key("main", program: 1), reading: nil)?.median == 5)
    #expect(history.runtime(of: Self.key("main", program: 2), reading: nil)?.median == 500)
    #expect(!history.knows(Self.key("main", program: 3)))
  }

  @Test("However many templates there were, those that were heard of last are kept")
  func bounded() {
    var history = TemplateHistory()
    for number in 0..<(3 * TemplateHistory.templatesMax) {
      history.learn(run("\(number)", 1))
      if number % 1000 == 0 { history.learn(run("often", 2)) }
    }
    #expect(history.knows(Self.key("often")) && history.knows(Self.key("\(3 * TemplateHistory.templatesMax - 1)")))
    #expect(!history.knows(Self.key("0")))
    let kept = (0..<(3 * TemplateHistory.templatesMax)).count { history.knows(Self.key("\($0)")) }
    #expect(kept <= TemplateHistory.templatesMax)
  }
}
