internal import FederationModel
internal import FoundationEssentials
internal import LocalProcess

#if canImport(Glibc)
  internal import Glibc
#endif

/// slurmrestd, on a unix socket and nowhere else.
extension LocalSlurmCluster {
  /// Starts it, and waits until somebody listens on the socket.
  ///
  /// slurmrestd refuses to be root; a root's cluster has one of nobody's. Whoever connects acts as that user.
  ///
  /// - Returns: the socket's path.
  public func startRest() async throws -> String {
    try FileManager.default.createDirectory(atPath: paths.rest, withIntermediateDirectories: true)
    chmod(paths.rest, 0o755)
    // The socket of one that was killed would be in the way.
    unlink(paths.restSocket)
    // Otherwise it makes a file table of its own, which containers refuse.
    let security = ["SLURMRESTD_SECURITY": "disable_unshare_files,disable_unshare_sysv"]
    var program = [try SlurmPrograms.require("slurmrestd")]
    if geteuid() == 0 {
      chown(paths.rest, 65534, 65534)
      program = [try SlurmPrograms.require("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"] + program
    }
    let listing = try await ChildProcess.output(
      program + ["-s", "list"], environment: ownEnvironment.merging(security) { $1 }, scratch: paths.scratch,
      timeout: .seconds(10))
    let arguments = [
      "-a", "rest_auth/local", "-s", Self.controllerPlugins(listing.text + listing.errors), "-f", paths.configuration,
      "unix:\(paths.restSocket)",
    ]
    try launch("slurmrestd", program + arguments, more: security)
    try await wait(for: "slurmrestd", timeout: .seconds(20)) { Self.accepts(paths.restSocket) }
    return paths.restSocket
  }

  /// Those that ask the controller: the ones for accounting refuse to be loaded without it. In `-s list` each is a word of its
  /// own, with a prefix of the program's.
  static func controllerPlugins(_ listing: String) -> String {
    let names = listing.split(whereSeparator: \.isWhitespace).filter { $0.hasPrefix("openapi/") }
    return names.filter { !$0.hasPrefix("openapi/db") && !$0.hasPrefix("openapi/slurmdbd") }.sorted()
      .joined(separator: ",")
  }

  /// `kill -9`: its socket stays, and nobody answers.
  public func killRest() async throws { try await kill("slurmrestd") }
}
