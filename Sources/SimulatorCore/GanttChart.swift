/// A Gantt chart as SVG: a band for each cluster, a row for each slot, a bar for each run.
public struct GanttChart {
  private static let width = 1000.0
  private static let margin = 120.0
  private let report: SimulationReport

  public init(_ report: SimulationReport) { self.report = report }

  /// Rows are as thin as it takes to keep the picture below some 2,000 units; bars tell their task when pointed at.
  public var svg: String {
    let rows = rowsOfSpans()
    let bands = report.siteNames.indices.map { site in
      report.spans.indices.reduce(0) { report.spans[$1].site == site ? max($0, rows[$1] + 1) : $0 }
    }
    let height = max(2, min(16, 2000 / Double(max(1, bands.reduce(0, +)))))
    let scale = report.makespan > 0 ? (Self.width - Self.margin - 10) / report.makespan : 0
    var tops: [Double] = []
    var top = 30.0
    for band in bands {
      tops.append(top)
      if band > 0 { top += Double(band) * height + 14 }
    }
    var text = """
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(Int(Self.width)) \(Int(top + 10))" font-family="sans-serif" \
      font-size="11">
      <text x="\(Int(Self.margin))" y="18">\(tenths(report.makespan)) s</text>

      """
    for site in bands.indices where bands[site] > 0 {
      text += "<text x=\"4\" y=\"\(tenths(tops[site] + 11))\">\(Self.escape(report.siteNames[site]))</text>\n"
    }
    for (index, span) in report.spans.enumerated() {
      let left = tenths(Self.margin + span.startedAt * scale)
      let width = tenths(max(0.3, (span.endedAt - span.startedAt) * scale))
      let y = tenths(tops[span.site] + Double(rows[index]) * height)
      let colour = span.isLost ? "#999999" : Self.colour(of: span.name)
      text += "<rect x=\"\(left)\" y=\"\(y)\" width=\"\(width)\" height=\"\(tenths(height * 0.9))\" fill=\"\(colour)\">"
      text +=
        "<title>\(Self.escape(span.name)): \(tenths(span.startedAt)) to \(tenths(span.endedAt)) s</title></rect>\n"
    }
    return text + "</svg>\n"
  }

  /// The first row of its cluster that is free when a run starts.
  private func rowsOfSpans() -> [Int] {
    var rows = report.spans.map { _ in 0 }
    var freeAt: [[Double]] = report.siteNames.map { _ in [] }
    let order = report.spans.indices.sorted {
      (report.spans[$0].startedAt, $0) < (report.spans[$1].startedAt, $1)
    }
    for index in order {
      let span = report.spans[index]
      let row = freeAt[span.site].firstIndex { $0 <= span.startedAt + 1e-9 } ?? freeAt[span.site].count
      if row == freeAt[span.site].count { freeAt[span.site].append(0) }
      freeAt[span.site][row] = span.endedAt
      rows[index] = row
    }
    return rows
  }

  /// One colour for tasks whose names only differ in what follows the last underscore.
  private static func colour(of name: String) -> String {
    let kind = name.lastIndex(of: "_").map { name[..<$0] } ?? name[...]
    let hash = kind.utf8.reduce(UInt32(2_166_136_261)) { ($0 ^ UInt32($1)) &* 16_777_619 }
    return "hsl(\(hash % 360),55%,60%)"
  }

  private static func escape(_ text: String) -> String {
    text.reduce(into: "") { result, character in
      switch character {
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "&": result += "&amp;"
      case "\"": result += "&quot;"
      default: result.append(character)
      }
    }
  }

  private func tenths(_ value: Double) -> Double { (value * 10).rounded() / 10 }
}
