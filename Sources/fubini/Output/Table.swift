/// Columns under headings, two spaces apart; the last column is not padded.
struct Table: Sendable {
  var headings: [String]
  var rows: [[String]] = []

  func render() -> String {
    let cells = ([headings] + rows).map { $0.map { Terminal.printable($0).replacing("\n", with: " ") } }
    let widths = headings.indices.map { column in cells.map { $0[column].count }.max() ?? 0 }
    return cells.map { row in
      var line = ""
      for (column, cell) in row.enumerated() {
        line += cell
        if column < row.count - 1 { line += String(repeating: " ", count: widths[column] - cell.count + 2) }
      }
      while line.last == " " { line.removeLast() }
      return line + "\n"
    }.joined()
  }
}
