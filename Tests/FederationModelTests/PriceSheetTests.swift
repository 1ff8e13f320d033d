import FederationModel
import Testing

@Suite struct PriceSheetTests {
  private static let sheet: PriceSheet = {
    var sheet = PriceSheet(
      currency: "CNY", coreHour: 10, gibibyteHour: 1, gpuHour: 100, egressGibibyte: 5, storageGibibyteHour: 2,
      classFactors: ["idle": 0.5])
    sheet.partitions = ["gpu": HourlyPrices(coreHour: 20, gpuHour: 300)]
    return sheet
  }()

  @Test("a quote has the numbers of its partition and class worked in, and says which partition it is for")
  func quotes() {
    let quote = Self.sheet.quoted(on: "gpu").quoted(to: .idle)
    #expect(quote.coreHour == 10 && quote.gibibyteHour == 0 && quote.gpuHour == 150)
    #expect(quote.egressGibibyte == 5 && quote.storageGibibyteHour == 2)
    #expect(quote.partition == "gpu" && quote.partitions == nil && quote.classFactors == nil)
    let other = Self.sheet.quoted(on: "cpu").quoted(to: .interruptible)
    #expect(other.coreHour == 10 && other.gpuHour == 100 && other.partition == "cpu")
    let any = Self.sheet.quoted(on: nil).quoted(to: .interruptible)
    #expect(any.coreHour == 10 && any.partition == nil && any.partitions == nil)
    let plain = PriceSheet(currency: "CNY", coreHour: 3)
    #expect(
      plain.quoted(on: "gpu").quoted(to: .interruptible) == plain, "without prices of partitions nothing is said of one"
    )
  }

  @Test("prices of partitions are checked like others")
  func problems() {
    func problem(_ partitions: [String: HourlyPrices]) -> String? {
      var sheet = PriceSheet(currency: "CNY")
      sheet.partitions = partitions
      return sheet.problem
    }
    #expect(problem(["a100-80g": HourlyPrices(gpuHour: 5)]) == nil)
    #expect(problem(["": HourlyPrices()]) != nil)
    #expect(problem(["a b": HourlyPrices()]) != nil)
    #expect(problem(["a": HourlyPrices(coreHour: -1)]) != nil)
    #expect(problem(["a": HourlyPrices(gpuHour: .infinity)]) != nil)
    #expect(problem(Dictionary(uniqueKeysWithValues: (0...64).map { ("p\($0)", HourlyPrices()) })) != nil)
    var quote = PriceSheet(currency: "CNY")
    quote.partition = "gpu"
    #expect(quote.problem != nil, "nobody sets a quote")
  }
}
