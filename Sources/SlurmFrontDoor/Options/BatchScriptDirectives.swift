/// The `#SBATCH` lines of a script.
///
/// - Source: sbatch(1), "the batch script may contain options preceded with #SBATCH before any executable commands"; its reader of
///   arguments: quotes of both kinds, a backslash before any character, and a comment from a bare `#` on.
public enum BatchScriptDirectives {
  /// The words of all directives, in order. Reading ends at the first line that is neither blank nor a comment.
  ///
  /// - Parameter file: as messages name it.
  public static func words(of script: String, file: String) throws(SlurmRefusal) -> [String] {
    var words: [String] = []
    for (index, line) in script.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      if line.hasPrefix(mark) {
        words += try split(line.dropFirst(mark.count), file: file, line: index + 1)
        continue
      }
      guard let first = line.first(where: { !$0.isWhitespace }) else { continue }
      if first != "#" { break }
    }
    return words
  }

  private static let mark = "#SBATCH"

  private static func split(_ text: Substring, file: String, line: Int) throws(SlurmRefusal) -> [String] {
    var words: [String] = []
    var word = ""
    var (isInWord, isEscaped) = (false, false)
    var quote: Character?
    for character in text {
      if isEscaped {
        word.append(character)
        isEscaped = false
      } else if character == "\\" {
        (isEscaped, isInWord) = (true, true)
      } else if let open = quote {
        if character == open { quote = nil } else { word.append(character) }
      } else if character == "\"" || character == "'" {
        (quote, isInWord) = (character, true)
      } else if character == "#" {
        break
      } else if character.isWhitespace {
        if isInWord { words.append(word) }
        (word, isInWord) = ("", false)
      } else {
        word.append(character)
        isInWord = true
      }
    }
    if let quote {
      throw SlurmRefusal(
        lines: ["fatal: \(file): line \(line): Unmatched `\(quote)` in [\(text.drop { $0.isWhitespace })]"], exitCode: 1
      )
    }
    if isInWord { words.append(word) }
    return words
  }

  /// The interpreter and its argument, of a script's first line.
  ///
  /// - Throws: what sbatch says of a file that is no script.
  public static func check(_ script: String) throws(SlurmRefusal) {
    guard !script.utf8.isEmpty else { throw .error("Batch script is empty!") }
    guard !script.allSatisfy(\.isWhitespace) else { throw .error("Batch script contains only whitespace!") }
    guard script.hasPrefix("#!") else {
      throw SlurmRefusal(
        lines: [
          "error: This does not look like a batch script.  The first",
          "error: line must start with #! followed by the path to an interpreter.",
          "error: For instance: #!/bin/sh",
        ], exitCode: 1)
    }
    guard !script.utf8.contains(0) else {
      throw .error("The Slurm controller does not allow scripts that contain a NULL character '\\0'.")
    }
    let firstLine = script.prefix { $0 != "\n" && $0 != "\r\n" }
    guard !script.contains("\r\n") else {
      throw SlurmRefusal(
        lines: [
          "error: Batch script contains DOS line breaks (\\r\\n)",
          "error: instead of expected UNIX line breaks (\\n).",
        ], exitCode: 1)
    }
    guard firstLine.dropFirst(2).contains(where: { !$0.isWhitespace }) else {
      throw .error("The first line of the batch script names no interpreter.")
    }
  }

  /// What `--wrap` runs.
  public static func wrapping(_ command: String) -> String {
    "#!/bin/sh\n# This script was created by sbatch --wrap.\n\n\(command)\n"
  }
}
