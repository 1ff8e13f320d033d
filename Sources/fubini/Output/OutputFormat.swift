internal import ArgumentParser
internal import FoundationEssentials
internal import Yams

/// `-o`.
enum OutputFormat: String, CaseIterable, ExpressibleByArgument, Sendable { case table, wide, json, yaml, name }

struct OutputOption: ParsableArguments {
  @Option(name: [.customShort("o"), .customLong("output")], help: "table, wide, json, yaml or name.")
  var format = OutputFormat.table
}

extension OutputFormat {
  /// Prints a document: as data, as names, or as the table that `table(isWide)` makes.
  func print(_ document: some Encodable, names: [String], table: (_ isWide: Bool) -> String) throws {
    switch self {
    case .table: Terminal.write(table(false))
    case .wide: Terminal.write(table(true))
    case .name: for name in names { Terminal.line(name) }
    case .json, .yaml: Terminal.write(try data(document))
    }
  }

  func data(_ document: some Encodable) throws -> String {
    if self == .yaml {
      let encoder = YAMLEncoder()
      encoder.options.sortKeys = true
      encoder.options.allowUnicode = true
      return try encoder.encode(document)
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(document), as: UTF8.self) + "\n"
  }
}
