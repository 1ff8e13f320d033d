import FederationModel
import Testing

@Suite("What egress costs a run")
struct EgressQuoteTests {
  private let gibibyte = ByteCount.gibibytes(1)
  private var quotes: [EgressQuote] {
    [
      EgressQuote(source: "a", gibibyte: 50, planned: .gibibytes(2)),
      EgressQuote(source: "b", gibibyte: 10, planned: .gibibytes(1)),
    ]
  }

  @Test("what came is paid for at its source's price, and all together costs at most what was planned")
  func capped() {
    #expect(quotes.plannedCost == 110)
    #expect(quotes.cost == 0, "nothing has come")
    func cost(_ moved: Int64, _ told: [ClusterName: ByteCount]?, c: Double = 0) -> Double {
      quotes.metered(.gibibytes(moved), by: told) { $0 == "c" ? c : 0 }.cost
    }
    #expect(cost(3, ["a": .gibibytes(2), "b": .gibibytes(1)]) == 110)
    #expect(cost(3, ["a": .gibibytes(1), "b": .gibibytes(2)]) == 70, "a cheaper way costs less")
    #expect(cost(3, ["a": .gibibytes(3)]) == 110, "a dearer one no more than was planned")
    #expect(cost(3, [:]) == 0, "all of it came from the repository")
    #expect(cost(3, ["c": .gibibytes(3)]) == 0, "c asks nothing")
    #expect(cost(3, ["c": .gibibytes(3)], c: 20) == 60, "nobody planned c, and it is paid for")
    #expect(cost(3, ["c": .gibibytes(3)], c: 2000) == 110)
  }

  @Test("of an agent that does not tell, what was planned counts, as far as its bytes go")
  func untold() {
    func moved(_ gibibytes: Int64) -> [ByteCount?] {
      quotes.metered(.gibibytes(gibibytes), by: nil) { _ in 1e9 }.map(\.moved)
    }
    #expect(moved(0) == [.zero, .zero])
    #expect(moved(1) == [gibibyte, .zero])
    #expect(moved(9) == [.gibibytes(2), gibibyte])
    #expect([EgressQuote]().metered(gibibyte, by: ["a": gibibyte]) { _ in 9 }.isEmpty, "nothing was planned to cost")
  }
}
