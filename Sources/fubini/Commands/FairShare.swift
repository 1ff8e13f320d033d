internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials

struct FairShareCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fairshare", abstract: "Show whose turn it is, and why: weights, use, and places.",
    discussion: """
      ENTITLED is the part that belongs to a project by its weight, USED its part of what all projects have used, each counted by the
      resource of which it used most; what was used long ago counts less. The greatest FACTOR goes first. Of projects that you may not
      see nothing is shown, and they count.
      """)
  @Option(name: [.customShort("p"), .long], help: "Of this project alone.") var project: String?
  @OptionGroup var output: OutputOption

  func run() async throws {
    try await withClient { client in
      let path = project.map { ["v1", "projects", $0, "fairshare"] } ?? ["v1", "fairshare"]
      let list: FairShareList = try await client.get(path)
      try output.format.print(list, names: list.items.map(\.project)) { Self.table(list, isWide: $0) }
    }
  }

  static func table(_ list: FairShareList, isWide: Bool) -> String {
    let more = isWide ? ["CORE HOURS", "GIB HOURS", "GPU HOURS"] : []
    var table = Table(
      headings: ["PROJECT", "WEIGHT", "ENTITLED", "USED", "MOST OF", "FACTOR", "NEXT", "PENDING", "RUNNING"] + more)
    let organisations = Dictionary(grouping: list.items, by: \.organisation)
    for organisation in organisations.keys.sorted() {
      let weight = organisations[organisation]!.first?.organisationWeight.map { decimal($0, 3) } ?? ""
      table.rows.append([organisation, weight] + Array(repeating: "", count: 7 + more.count))
      for item in organisations[organisation]! {
        let hours = [item.used.cores, item.used.gibibytes, item.used.gpus].map { decimal($0 / 3600, 1) }
        table.rows.append(
          [
            "  \(item.project)", decimal(item.weight, 3), percent(item.entitled), percent(item.usedPart), item.dominant,
            decimal(item.factor, 3), item.place.map { "\($0) of \(list.waitingProjects)" } ?? "-", "\(item.waiting)",
            "\(item.running)",
          ] + (isWide ? hours : []))
      }
    }
    let halfLife = "what was used counts half after \(Display.duration(list.halfLifeSeconds))"
    return table.render() + "\n" + (list.next.map { Terminal.printable($0) } ?? "nothing waits") + "\n\(halfLife)\n"
  }

  static func percent(_ part: Double) -> String { "\(decimal(part * 100, 1)) %" }

  /// With at most so many decimals.
  static func decimal(_ value: Double, _ places: Int) -> String {
    var factor = 1.0
    for _ in 0..<places { factor *= 10 }
    let rounded = (value * factor).rounded() / factor
    return rounded == rounded.rounded() && abs(rounded) < 1e15 ? "\(Int64(rounded))" : "\(rounded)"
  }
}
