import Foundation
import SlurmFrontDoor
import Testing

@testable import fubini

/// docs/reference/slurm-options.md says what the tables of options say.
@Suite("The reference of Slurm's options")
struct SlurmReferenceTests {
  static let tables = [
    SbatchOptions.table, SqueueCommand.table, SacctCommand.table, ScancelCommand.table, ScontrolCommand.table,
    SinfoCommand.table, SacctmgrCommand.table, SshareCommand.table,
  ]
  private static let mark = "<!-- What follows is made of the code: FUBINI_WRITE_DOCUMENTS=1. -->\n"

  private static func name(_ option: SlurmOption) -> String {
    "`--\(option.name)`" + (option.short.map { " (`-\($0)`)" } ?? "")
  }

  /// Options with one reason are one line, in the order of the table.
  private static func rows(_ heading: String, _ options: [(option: SlurmOption, reason: String)]) -> String {
    guard !options.isEmpty else { return "" }
    var reasons: [String] = []
    for (_, reason) in options where !reasons.contains(reason) { reasons.append(reason) }
    return "| \(heading) | why |\n|---|---|\n"
      + reasons.map { reason in
        let names = options.filter { $0.reason == reason }.map { name($0.option) }
        return "| \(names.joined(separator: ", ")) | \(reason.isEmpty ? "nothing depends on it" : reason) |\n"
      }.joined() + "\n"
  }

  static func text(of table: OptionTable) -> String {
    var obeyed: [SlurmOption] = []
    var (idle, refused): ([(SlurmOption, String)], [(SlurmOption, String)]) = ([], [])
    for option in table.options {
      switch option.effect {
      case .obeyed: obeyed.append(option)
      case .none(let reason): idle.append((option, reason))
      case .refused(let reason): refused.append((option, reason))
      }
    }
    return "## \(table.program)\n\nObeyed: \(obeyed.map(name).joined(separator: ", ")).\n\n"
      + rows("accepted without effect", idle) + rows("refused", refused)
  }

  @Test("the reference has every option of every command, with what becomes of it and why")
  func reference() throws {
    let path = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "../../docs/reference/slurm-options.md").standardizedFileURL
    let parts = try String(contentsOf: path, encoding: .utf8).components(separatedBy: Self.mark)
    try #require(parts.count == 2)
    let written = Self.tables.map(Self.text).joined().trimmingCharacters(in: .newlines) + "\n"
    if ProcessInfo.processInfo.environment["FUBINI_WRITE_DOCUMENTS"] == "1" {
      try (parts[0] + Self.mark + written).write(to: path, atomically: true, encoding: .utf8)
    } else {
      #expect(parts[1] == written, "the tables of options changed: run this suite with FUBINI_WRITE_DOCUMENTS=1")
    }
  }

  @Test("no command has an option twice, and none has two meanings for a letter")
  func unique() {
    for table in Self.tables {
      var letters: [Character: String] = [:]
      var names: Set<String> = []
      for option in table.options {
        // sshare has two letters for one option.
        #expect(names.insert(option.name).inserted || table.program == "sshare", "\(table.program) --\(option.name)")
        guard let letter = option.short else { continue }
        #expect(letters.updateValue(option.name, forKey: letter) == nil, "\(table.program) -\(letter)")
      }
    }
  }
}
