import ArgumentParser
import ControlPlaneCore
import ControlPlaneStore
import FederationModel

extension ControlPlaneCommand {
  /// `secrets`: the keys that projects' secrets are sealed with.
  struct Secrets: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "secrets", abstract: "The keys that projects' secrets are sealed with: rotate, retire.",
      discussion: """
        `rotate` makes a new key and seals every secret with it; running control planes use it at once. `retire` drops the old keys, once
        nothing is sealed with them. A backup of the database opens only with the keys of its time: keep the key file's backups as long
        as the database's, and apart from them.
        """,
      subcommands: [Rotate.self, Retire.self])

    struct Rotate: AsyncParsableCommand {
      static let configuration = CommandConfiguration(abstract: "Makes a new key and seals every secret with it.")
      @OptionGroup var options: Options
      func run() async throws {
        try await reporting {
          let count = try await act(options, "secrets.rotate") { try await $0.rotate() }
          print("A new key seals from now on; \(count) secrets were sealed anew. `secrets retire` drops the old keys.")
        }
      }
    }

    struct Retire: AsyncParsableCommand {
      static let configuration = CommandConfiguration(abstract: "Drops the keys that nothing is sealed with any more.")
      @OptionGroup var options: Options
      func run() async throws {
        try await reporting {
          let count = try await act(options, "secrets.retire") { try await $0.retire() }
          print(count == 0 ? "Nothing to retire: there is one key." : "\(count) old keys are gone.")
        }
      }
    }

    private static func act(_ options: Options, _ action: String, _ body: (SecretVault) async throws -> Int)
      async throws -> Int
    {
      let process = try ControlPlaneProcess(options.load())
      return try await process.withStore { store in
        let vault = try process.secretVault(store)
        let count = try await body(vault)
        try await store.appendAudit(
          AuditRow(at: .wallClock, actor: "operator", action: action, object: "secrets", detail: "\(count)"))
        return count
      }
    }
  }
}
