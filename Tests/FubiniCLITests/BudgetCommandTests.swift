import ArgumentParser
import FederationAPI
import FederationModel
import Testing

@testable import fubini

@Suite struct BudgetCommandTests {
  @Test("budget set sends what was said, and nothing of what was not")
  func set() throws {
    let plain = try BudgetCommand.Set.parse(["lab", "5000", "CNY"]).request()
    #expect(plain == BudgetRequest(amount: "5000", currency: "CNY"))
    let full = try BudgetCommand.Set.parse([
      "lab", "0.25", "EUR", "--period", "quarterly", "--soft", "--alert", "50,80,100", "--on-exhausted", "drain",
      "--no-carry-over", "--default-walltime", "12h", "--slice", "30m",
    ]).request()
    #expect(
      full
        == BudgetRequest(
          amount: "0.25", currency: "EUR", period: .quarterly, hard: false, alerts: [50, 80, 100], onExhausted: .drain,
          carryOver: false, defaultWalltimeSeconds: 43_200, sliceSeconds: 1800))
    #expect(try BudgetCommand.Set.parse(["lab", "1", "CNY", "--alert", "none", "--hard"]).request().alerts == [])
  }

  @Test(
    "what makes no budget is refused before anything is sent",
    arguments: [
      ["5.0000001", "CNY"], ["much", "CNY"], ["1e3", "CNY"], ["5", "CNY", "--alert", "50,"],
      ["5", "CNY", "--alert", "half"],
      ["5", "CNY", "--period", "weekly"], ["5", "CNY", "--hard", "--soft"], ["5", "CNY", "--on-exhausted", "kill"],
      ["5", "CNY", "--default-walltime", "long"], ["5", "CNY", "--slice", "0s"],
    ])
  func refusals(arguments: [String]) {
    #expect(throws: (any Error).self) { try BudgetCommand.Set.parse(["lab"] + arguments).request() }
  }

  @Test("usage as CSV quotes what needs it, and gives a spreadsheet no formula")
  func sheet() {
    let charge = MoneyDocument(Amount("1.000125")!, "CNY")
    let text = Usage.csv([
      UsageDocument(name: "=1+1", runs: 2, coreSeconds: 1.5, gpuSeconds: 0, bytesIn: 7, charge: charge),
      UsageDocument(name: "a,\"b\"", runs: 1, coreSeconds: 0, gpuSeconds: 0, bytesIn: 0, charge: nil),
    ])
    #expect(
      text == """
        name,runs,core_seconds,gpu_seconds,bytes_in,charge,currency\r
        '=1+1,2,1.5,0.0,7,1.000125,CNY\r
        "a,""b"\"",1,0.0,0.0,0,,\r

        """)
  }

  @Test("money is shown to the millionth where there is one, and cents are rounded up")
  func money() {
    #expect(MoneyDocument(Amount("0.000125")!, "CNY").text == "0.000125 CNY")
    #expect(MoneyDocument(Amount("0.000125")!, "CNY").minorUnits == 1)
    #expect(MoneyDocument(Amount("12.5")!, "CNY").text == "12.50 CNY")
    #expect(MoneyDocument(Amount(micros: -25_000), "CNY").minorUnits == -2)
  }

  @Test("a task that wants money is told from one that nothing takes")
  func exitCodes() {
    func explanation(_ rejected: String, unplaceable: Bool) -> ExplanationDocument {
      ExplanationDocument(
        candidates: [CandidateDocument(cluster: "a", chosen: false, rejected: rejected)], unplaceable: unplaceable)
    }
    #expect(explanation("OverBudget", unplaceable: true).wantsMoney)
    #expect(!explanation("OverBudget", unplaceable: false).wantsMoney)
    #expect(!explanation("TooLarge", unplaceable: true).wantsMoney)
  }
}
