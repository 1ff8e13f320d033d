import ControlPlaneCore
import FederationModel
import Testing

@Suite("What ended runs say of those to come")
struct TemplateHistoryTests {
  private func run(
    _ template: String, _ seconds: Double, _ size: ByteCount? = nil, _ outputs: [String: ByteCount] = [:]
  )
    -> EndedRun
  {
    EndedRun(template: template, inputs: size, seconds: seconds, outputs: outputs)
  }

  @Test(
    "The median and what nine of ten do not exceed are those of the newest 32 runs, between neighbours in proportion")
  func quantiles() throws {
    // The first ten are forgotten: 11...42 remain.
    let history = TemplateHistory((1...42).map { run("p/t", Double($0)) })
    let estimate = try #require(history.runtime(of: "p/t", reading: nil))
    #expect(estimate.median == 26.5 && abs(estimate.upper - 38.9) < 0.001 && estimate.samples == 32)
    #expect(history.runtime(of: "p/u", reading: nil) == nil)
    #expect(history.knows("p/t") && !history.knows("p/u"))
  }

  @Test(
    "Runs that read as much tell more than those that read less; of a size with fewer than three runs, all are asked")
  func sizes() throws {
    var runs = (1...5).map { _ in run("p/t", 10, .mebibytes(2)) }
    runs += (1...3).map { _ in run("p/t", 100, .gibibytes(2)) }
    runs += (1...2).map { _ in run("p/t", 1000, .gibibytes(200)) }
    let history = TemplateHistory(runs)
    #expect(history.runtime(of: "p/t", reading: .mebibytes(3))?.median == 10)
    #expect(history.runtime(of: "p/t", reading: .gibibytes(3))?.median == 100)
    let all = try #require(history.runtime(of: "p/t", reading: .gibibytes(200)))
    #expect(all.samples == 10 && all.median == 55)
    #expect(history.runtime(of: "p/t", reading: nil) == all)
  }

  @Test("a size that no file has, as an agent may tell it, is an estimate like others")
  func hugeOutput() {
    let history = TemplateHistory([run("p/t", 1, nil, ["out": ByteCount(.max)])])
    #expect(history.outputSize(of: "p/t", named: "out") == ByteCount(1 << 60))
  }

  @Test("An output is expected to be as large as it was")
  func outputs() {
    let sizes: [Int64] = [1, 5, 3]
    let history = TemplateHistory(sizes.map { run("p/t", 1, nil, ["out": .mebibytes($0)]) })
    #expect(history.outputSize(of: "p/t", named: "out") == .mebibytes(3))
    #expect(history.outputSize(of: "p/t", named: "other") == nil)
  }

  @Test("However many templates there were, those that were heard of last are kept")
  func bounded() {
    var history = TemplateHistory()
    for number in 0..<(3 * TemplateHistory.templatesMax) {
      history.learn(run("p/\(number)", 1))
      if number % 1000 == 0 { history.learn(run("p/often", 2)) }
    }
    #expect(history.knows("p/often") && history.knows("p/\(3 * TemplateHistory.templatesMax - 1)"))
    #expect(!history.knows("p/0"))
    let kept = (0..<(3 * TemplateHistory.templatesMax)).count { history.knows("p/\($0)") }
    #expect(kept <= TemplateHistory.templatesMax)
  }
}
