internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOHTTP1

#if canImport(Glibc)
  internal import Glibc
#endif

struct SecretCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "secret", abstract: "What opens a project's data elsewhere: set, list, rm.",
    discussion: """
      A secret is some named values, for instance accessKeyId and secretAccessKey of an S3 account, or user and password. Values are
      never shown again: they go, sealed, to the clusters that need them, when they need them.
      """,
    subcommands: [Set.self, ListAll.self, Remove.self])

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Set all values of a secret, from files or standard input; what it had before is replaced.",
      discussion: "Values are no arguments: everybody on this machine could see those.")
    @Argument var name: String
    @Option(help: "FIELD=FILE: the value is what the file holds, without line ends at its end; may be repeated.")
    var file: [String] = []
    @Option(help: "FILE with lines FIELD=VALUE; - is standard input.") var envFile: String?
    @Option(help: "FIELD: its value is typed, or is all of standard input.") var stdin: String?
    @OptionGroup var project: ProjectOption

    func run() async throws {
      let values = try SecretValues.read(files: file, envFile: envFile, standardInput: stdin)
      try await withClient(project: project.project) { client in
        let secret: SecretDocument = try await client.post(
          ["v1", "projects", client.connection.project, "secrets", name], body: SecretRequest(values: values),
          method: .PUT)
        Terminal.line("\(secret.name): set (\(secret.fields.joined(separator: ", "))).")
      }
    }
  }

  struct ListAll: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List a project's secrets and the names of their values.", aliases: ["ls"])
    @OptionGroup var project: ProjectOption
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await withClient(project: project.project) { client in
        let list: SecretList = try await client.get(["v1", "projects", client.connection.project, "secrets"])
        try output.format.print(list, names: list.items.map(\.name)) { _ in
          Table(
            headings: ["NAME", "VALUES", "CHANGED", "BY"],
            rows: list.items.map {
              [$0.name, $0.fields.joined(separator: ","), $0.changedAt.description, $0.changedBy]
            }
          ).render()
        }
      }
    }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "rm", abstract: "Remove a secret.")
    @Argument var name: String
    @Flag(name: .shortAndLong, help: "Do not ask.") var yes = false
    @OptionGroup var project: ProjectOption
    func run() async throws {
      try Confirm.ask("Remove the secret \(name)? What it opens cannot be fetched any more.", yes: yes)
      try await withClient(project: project.project) { client in
        let answer: AcceptedDocument = try await client.decode(
          .init(method: .DELETE, path: ["v1", "projects", client.connection.project, "secrets", name]))
        Terminal.line("\(answer.name): removed.")
      }
    }
  }
}

/// Where the values of a secret come from. Messages name fields and files, never values.
enum SecretValues {
  static let sizeMax = 64 << 10

  static func read(files: [String], envFile: String?, standardInput field: String?) throws -> [String: String] {
    var values: [String: String] = [:]
    func add(_ field: String, _ value: String) throws {
      guard values.updateValue(value, forKey: field) == nil else {
        throw CommandFailure(.usage, "The value \(field) is given twice.")
      }
    }
    guard envFile != "-" || field == nil else {
      throw CommandFailure(.usage, "Standard input can be one of --env-file - and --stdin.")
    }
    for text in files {
      let halves = text.split(separator: "=", maxSplits: 1).map(String.init)
      guard halves.count == 2 else { throw CommandFailure(.usage, "--file takes FIELD=FILE.") }
      try add(halves[0], trimmed(try content(of: halves[1])))
    }
    if let envFile {
      let text = envFile == "-" ? try standardInputText() : try content(of: envFile)
      for (number, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
        if line.allSatisfy(\.isWhitespace) || line.hasPrefix("#") { continue }
        guard let equals = line.firstIndex(of: "="), equals != line.startIndex else {
          throw CommandFailure(.usage, "Line \(number + 1) of \(envFile) is not FIELD=VALUE.")
        }
        try add(String(line[..<equals]), String(line[line.index(after: equals)...]))
      }
    }
    if let field {
      try add(field, isatty(STDIN_FILENO) == 1 ? try typed(field) : trimmed(try standardInputText()))
    }
    guard !values.isEmpty else {
      throw CommandFailure(.usage, "Say where the values are: --file FIELD=FILE, --env-file FILE, or --stdin FIELD.")
    }
    return values
  }

  private static func trimmed(_ text: String) -> String {
    var text = text[...]
    while let last = text.last, last.isNewline { text.removeLast() }
    return String(text)
  }

  private static func content(of path: String) throws -> String {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw CommandFailure(.usage, "\(path) cannot be read.")
    }
    return try text(Array(data), path)
  }

  private static func standardInputText() throws -> String {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while bytes.count <= sizeMax {
      let count = Glibc.read(STDIN_FILENO, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      bytes += buffer[..<count]
    }
    return try text(bytes, "standard input")
  }

  private static func text(_ bytes: [UInt8], _ source: String) throws -> String {
    guard bytes.count <= sizeMax, let text = String(validating: bytes, as: UTF8.self), !text.utf8.contains(0) else {
      throw CommandFailure(.usage, "\(source) is no text of at most \(sizeMax) bytes.")
    }
    return text
  }

  /// What is typed is not shown.
  private static func typed(_ field: String) throws -> String {
    Terminal.write("\(field): ", to: STDERR_FILENO)
    var old = termios()
    guard tcgetattr(STDIN_FILENO, &old) == 0 else { throw CommandFailure(.error, "The terminal cannot be set.") }
    var quiet = old
    // Ctrl-C and Ctrl-Z arrive as characters: a signal would end the program with a terminal that shows nothing.
    quiet.c_lflag &= ~tcflag_t(ECHO | ICANON | ISIG)
    withUnsafeMutableBytes(of: &quiet.c_cc) { characters in
      characters[Int(VMIN)] = 1
      characters[Int(VTIME)] = 0
    }
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet)
    defer {
      tcsetattr(STDIN_FILENO, TCSAFLUSH, &old)
      Terminal.write("\n", to: STDERR_FILENO)
    }
    var line = TypedLine()
    while true {
      var byte: UInt8 = 0
      let count = Glibc.read(STDIN_FILENO, &byte, 1)
      if count < 0, errno == EINTR { continue }
      switch count > 0 ? line.take(byte) : .done {
      case .more: continue
      case .interrupted: throw CommandFailure(.error, "Interrupted: nothing was set.")
      case .tooLong: throw CommandFailure(.usage, "What is typed has at most \(sizeMax) bytes: nothing was set.")
      case .done:
        guard let value = line.text, !value.isEmpty else { throw CommandFailure(.usage, "Nothing was typed.") }
        return value
      }
    }
  }
}

/// A line that is typed without being shown, character by character.
struct TypedLine {
  enum Next: Equatable { case more, done, interrupted, tooLong }
  private var bytes: [UInt8] = []

  /// nil for what is no UTF-8.
  var text: String? { String(validating: bytes, as: UTF8.self) }

  mutating func take(_ byte: UInt8) -> Next {
    switch byte {
    // Ctrl-C, Ctrl-\ and Ctrl-Z.
    case 0x03, 0x1c, 0x1a: return .interrupted
    case 0x0a, 0x0d: return .done
    // Ctrl-D ends what is there.
    case 0x04: return .done
    case 0x08, 0x7f:
      while let last = bytes.popLast(), last & 0xc0 == 0x80 {}
      return .more
    // Ctrl-U.
    case 0x15:
      bytes = []
      return .more
    default:
      guard bytes.count < SecretValues.sizeMax else { return .tooLong }
      bytes.append(byte)
      return .more
    }
  }
}
