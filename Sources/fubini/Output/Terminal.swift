internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#endif

/// What the output goes to, and how it may look there.
struct Terminal: Sendable {
  var isTerminal: Bool
  var usesColour: Bool
  var usesUnicode: Bool
  var rows = 24
  var columns = 80

  /// Whether notes are read by somebody, and not by a program that takes them for errors.
  static var notesAreRead: Bool { isatty(STDERR_FILENO) == 1 }

  static func standardOutput(environment: [String: String] = ProcessInfo.processInfo.environment) -> Terminal {
    let isTerminal = isatty(STDOUT_FILENO) == 1 && environment["TERM"] != "dumb"
    let locale = [environment["LC_ALL"], environment["LC_CTYPE"], environment["LANG"]].compactMap { $0 }.first {
      !$0.isEmpty
    }
    let isUnicode = locale.map { $0.uppercased().contains("UTF-8") || $0.uppercased().contains("UTF8") } ?? false
    var terminal = Terminal(
      isTerminal: isTerminal, usesColour: isTerminal && (environment["NO_COLOR"] ?? "").isEmpty, usesUnicode: isUnicode)
    var size = winsize()
    if isTerminal, ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 0, size.ws_col > 0 {
      terminal.rows = Int(size.ws_row)
      terminal.columns = Int(size.ws_col)
    }
    return terminal
  }

  enum Colour: Int { case red = 31, green = 32, yellow = 33, blue = 34, grey = 90 }

  func paint(_ text: String, _ colour: Colour?) -> String {
    guard usesColour, let colour else { return text }
    return "\u{1b}[\(colour.rawValue)m\(text)\u{1b}[0m"
  }

  /// Names and messages come from workflows: what would steer a terminal is shown as `?` instead.
  static func printable(_ text: String) -> String {
    String(
      String.UnicodeScalarView(
        text.unicodeScalars.map { scalar in
          let isControl =
            (scalar.value < 0x20 && scalar != "\n" && scalar != "\t") || (0x7f...0x9f).contains(scalar.value)
          return isControl ? "?" : scalar
        }))
  }

  /// Writes all of it; a reader that went away (`| head`) ends the process quietly, as other tools do.
  static func write(_ text: String, to descriptor: Int32 = STDOUT_FILENO) { write(Array(text.utf8), to: descriptor) }

  static func write(_ content: [UInt8], to descriptor: Int32 = STDOUT_FILENO) {
    var bytes = content[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR || errno == EAGAIN { continue }
      guard count > 0 else { exit(errno == EPIPE ? 0 : 1) }
      bytes = bytes.dropFirst(count)
    }
  }

  static func line(_ text: String = "") { write(text + "\n") }
  static func note(_ text: String) { write(text + "\n", to: STDERR_FILENO) }
}
