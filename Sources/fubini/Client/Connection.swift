internal import FederationModel
internal import FoundationEssentials

/// Where commands go: the environment wins over the current context.
struct Connection: Sendable, Equatable {
  var url: String
  /// Secret: never printed.
  var token: String?
  /// A PEM file with the certificate authority that signed the server's certificate; nil: the system's.
  var certificateAuthority: String?
  var project: String

  /// - Throws: usage, when neither the environment nor a context names a server.
  static func resolve(environment: [String: String], contexts: ContextFile) throws -> Connection {
    let context = try contexts.selected
    func value(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
    guard var url = value("FUBINI_URL") ?? context?.url else {
      throw CommandFailure(
        .usage,
        """
        No control plane is configured. Start one here with `fubini up --data-dir DIR` and run `. DIR/client.env`, \
        or store one with `fubini context set NAME --url https://HOST:PORT`.
        """)
    }
    while url.hasSuffix("/") { url.removeLast() }
    guard url.hasPrefix("https://") || url.hasPrefix("http://") else {
      throw CommandFailure(.usage, "The control plane's URL must begin with https:// or http://, not \"\(url)\".")
    }
    // A token sent in the clear belongs to whoever listens, so plain HTTP ends at this machine.
    if url.hasPrefix("http://"), !isLoopback(url.dropFirst(7)) {
      throw CommandFailure(.usage, "Plain HTTP is for this machine alone: use https:// for \(url).")
    }
    // A context's token is for the context's server only.
    let isContext = value("FUBINI_URL") == nil || value("FUBINI_URL") == context?.url
    return Connection(
      url: url, token: value("FUBINI_TOKEN") ?? (isContext ? context?.token : nil),
      certificateAuthority: value("FUBINI_CA") ?? (isContext ? context?.certificateAuthority : nil),
      project: value("FUBINI_PROJECT") ?? context?.project ?? "default")
  }

  static func isLoopback(_ rest: some StringProtocol) -> Bool {
    let authority = String(rest.prefix { $0 != "/" })
    guard !authority.contains("@") else { return false }
    if authority.hasPrefix("[::1]") { return authority == "[::1]" || authority.hasPrefix("[::1]:") }
    let host = authority.prefix { $0 != ":" }
    if host == "localhost" { return true }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
  }
}
