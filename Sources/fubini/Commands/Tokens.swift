internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import FoundationEssentials
internal import NIOHTTP1

#if canImport(Glibc)
  internal import Glibc
#endif

struct TokenCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "token", abstract: "API tokens, of your own and of service accounts: create, list, revoke.",
    subcommands: [Create.self, ListAll.self, Revoke.self])

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make a token. It is shown once, and may never do more than its user or the token that makes it.",
      discussion: "Give it to a program as FUBINI_TOKEN, or to a context: fubini context set NAME --token-file FILE.")
    @Option(help: "Whose: a person, or a service account as PROJECT/NAME; your own when left out.") var user: String?
    @Option(name: [.customShort("p"), .long], help: "The only project that it is for.") var project: String?
    @Option(help: "read, submit, all, or a permission such as read:workflow; may be repeated. All when left out.")
    var scope: [String] = []
    @Option(help: "How long it lives, like 90d or 12h; for ever when left out.") var expires: String?
    @Option(help: "For people: where it is used.") var label: String?
    @Option(help: "Write it to a new file that only you can read, instead of the terminal.") var outputFile: String?

    func run() async throws {
      let request = TokenRequest(
        user: user, project: project, scopes: scope.isEmpty ? nil : scope, label: label,
        expiresInSeconds: try expires.map { try Period.seconds($0) })
      // A place for it comes first: a token that nobody has would live on.
      let file = try outputFile.map { try TokenFile($0) }
      do {
        try await withClient { client in
          let made: TokenCreated = try await client.post(["v1", "tokens"], body: request)
          let end = made.expiresAt.map { ", until \($0)" } ?? ""
          Terminal.note("Token \(made.id) of \(made.user)\(end). It is not shown again.")
          guard let file else { return Terminal.line(made.token) }
          do { try file.write(made.token) } catch {
            throw CommandFailure(.error, "\(error) Make the token void: fubini token revoke \(made.id)")
          }
        }
      } catch {
        file?.remove()
        throw error
      }
    }

    /// A new file that only its owner can read.
    private struct TokenFile: Sendable {
      private let path: String
      private let descriptor: Int32

      init(_ path: String) throws {
        self.path = path
        descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
          throw CommandFailure(
            .error, "\(path) cannot be made: \(String(cString: strerror(errno))). No token was made.")
        }
      }

      func write(_ token: String) throws {
        let bytes = Array((token + "\n").utf8)
        let written = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        guard written == bytes.count else { throw CommandFailure(.error, "\(path) could not be written.") }
      }

      func remove() { unlink(path) }
    }
  }

  struct ListAll: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List tokens: where they are used, when last, and until when.", aliases: ["ls"])
    @Option(help: "Another user's.") var user: String?
    @Option(name: [.customShort("p"), .long], help: "Those of a project's service accounts.") var project: String?
    @Flag(help: "Everybody's.") var all = false
    @OptionGroup var output: OutputOption
    func run() async throws {
      var query: [(String, String)] = []
      if let user { query.append(("user", user)) }
      if let project { query.append(("project", project)) }
      if all { query.append(("all", "true")) }
      try await withClient { client in
        let list: TokenList = try await client.get(["v1", "tokens"], query)
        try output.format.print(list, names: list.items.map(\.id)) { _ in Self.table(list.items, now: Display.now) }
      }
    }

    static func table(_ items: [TokenDocument], now: Timestamp) -> String {
      let rows = items.map { token in
        let state =
          token.revokedAt != nil
          ? "Revoked" : token.expiresAt.map { $0.timestamp <= now } ?? false ? "Expired" : "Valid"
        return [
          token.id, token.user, state, token.project ?? "all", token.scopes.joined(separator: ","),
          token.lastUsedAt?.description ?? "never", token.expiresAt?.description ?? "never", token.label,
        ]
      }
      return Table(
        headings: ["ID", "USER", "STATE", "PROJECT", "SCOPES", "LAST USED", "EXPIRES", "LABEL"], rows: rows
      ).render()
    }
  }

  struct Revoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Void tokens at once.")
    @Argument(help: "Ids, as `token list` shows them.") var ids: [String]
    func run() async throws {
      try await withClient { client in
        // One that is unknown leaves none of the others valid.
        var failure: (any Error)?
        for id in ids {
          do {
            let answer: AcceptedDocument = try await client.decode(
              .init(method: .DELETE, path: ["v1", "tokens", id]))
            Terminal.line("\(answer.name): revoked.")
          } catch let error as CommandFailure where ids.count > 1 {
            Terminal.note("\(Terminal.printable(id)): \(error)")
            failure = error
          }
        }
        if let failure { throw failure }
      }
    }
  }
}
