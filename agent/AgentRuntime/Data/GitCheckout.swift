internal import Crypto
internal import FederationModel
internal import Foundation
internal import Subprocess
internal import SystemPackage

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Takes the files of git repositories, by the program `git`: history, submodules and all that its servers speak are its own.
///
/// Nothing of the machine comes in: no configuration of the user's or the system's, no home, no hooks, nobody who is asked for a
/// password, and of its ways to other machines those that cannot read this one's files. What opens a repository is in the environment of
/// its process, and an ssh key in a file that is gone when it ends; neither is in arguments, addresses or messages (I9).
struct GitCheckout: Sendable {
  /// For what one call of git's may take.
  static let limit = Duration.seconds(3600)
  private static let messageBytesMax = 1000

  /// The agent's own, for the time of a checkout.
  let directory: String
  let source: GitSource
  /// `user`, `password`, `privateKey`; empty: it is open to all.
  let values: [String: String]

  /// - Throws: `.permissionDenied` for a place that is none for data.
  init(_ source: GitSource, values: [String: String], in directory: String) throws {
    if let host = source.host, MetadataService.isNamed(host) {
      throw FederationError(
        .permissionDenied, "The git repository cannot be used: \(host.prefix(80)) is no place for data")
    }
    self.source = source
    self.values = values
    self.directory = "\(directory)/git-\(UInt64.random(in: .min ... .max))"
  }

  /// The commit that is meant, as its server says it; nil where only its history tells (a shortened hash, further refs).
  func commit() async throws -> String? {
    if let revision = source.revision, GitSource.isCommit(revision) { return revision }
    let names = (source.revision ?? source.branch).map { name in
      name.hasPrefix("refs/") ? [name] : ["refs/tags/\(name)^{}", "refs/tags/\(name)", "refs/heads/\(name)"]
    }
    let said = try await git(["ls-remote", "--", source.url] + (names ?? ["HEAD"]), in: nil)
    var commits: [Substring: Substring] = [:]
    for line in said.split(separator: "\n") {
      let parts = line.split(separator: "\t")
      if parts.count == 2 { commits[parts[1]] = parts[0] }
    }
    // A tag that has a message is another object than its commit.
    return (names ?? ["HEAD"]).lazy.compactMap { commits[$0[...]] }.first.map(String.init)
  }

  /// Checks the files out, and packs them with their history.
  func pack(into output: String) async throws -> PackedFile {
    try await BlockingWork.run { [directory] in try POSIXFile.makeDirectories(directory + "/home") }
    defer { POSIXFile.removeTree(directory) }
    try await clone()
    return try await BlockingWork.run { [directory] in
      let tree = try RootedTree(directory)
      guard
        let file = try ArtifactPacking.pack(
          tree, path: "/repository", archive: .tar, into: output,
          limits: ArchiveLimits(entriesMax: Int(DatasetManifest.filesMax)))
      else { throw FederationError(.internal, "git checked nothing out") }
      return file
    }
  }

  private func clone() async throws {
    let repository = directory + "/repository"
    var arguments = ["clone", "--quiet", "--no-checkout", "--template="]
    if let depth = source.depth { arguments += ["--depth", String(depth), "--no-single-branch"] }
    if source.isSingleBranch { arguments.append("--single-branch") }
    if let branch = source.branch { arguments += ["--branch", branch] }
    _ = try await git(arguments + ["--", source.url, repository], in: nil)
    let depth = source.depth.map { ["--depth", String($0)] } ?? []
    if !source.fetch.isEmpty {
      _ = try await git(["fetch", "--quiet"] + depth + ["--", "origin"] + source.fetch, in: repository)
    }
    try await checkOut(repository, depth)
    guard !source.skipsSubmodules, access(repository + "/.gitmodules", F_OK) == 0 else { return }
    _ = try await git(["submodule", "--quiet", "update", "--init", "--recursive"] + depth, in: repository)
  }

  private func checkOut(_ repository: String, _ depth: [String]) async throws {
    guard let revision = source.revision else {
      // An empty repository has nothing to be checked out.
      guard (try? await git(["rev-parse", "--quiet", "--verify", "HEAD^{commit}"], in: repository)) != nil else {
        return
      }
      _ = try await git(["checkout", "--quiet", "--force"], in: repository)
      return
    }
    let candidates = ["refs/tags/\(revision)", "refs/remotes/origin/\(revision)", revision]
    for _ in 0..<2 {
      for candidate in candidates {
        let name = candidate + "^{commit}"
        guard (try? await git(["rev-parse", "--quiet", "--verify", "--end-of-options", name], in: repository)) != nil
        else { continue }
        if candidate.hasPrefix("refs/remotes/") {
          _ = try await git(["checkout", "--quiet", "--force", "-B", revision, candidate], in: repository)
        } else {
          _ = try await git(["checkout", "--quiet", "--force", "--detach", candidate], in: repository)
        }
        return
      }
      // It is not in what a shallow clone, or one of a branch alone, has.
      _ = try await git(["fetch", "--quiet"] + depth + ["--", "origin", revision], in: repository)
      _ = try await git(["checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"], in: repository)
      return
    }
  }

  // MARK: The program

  /// - Returns: what it prints.
  /// - Throws: `.unavailable` when it may work later; `.failedPrecondition` with its words when not.
  private func git(_ arguments: [String], in repository: String?) async throws -> String {
    let key = try keyFile()
    defer { if let key { unlink(key) } }
    let environment = Dictionary(
      uniqueKeysWithValues: environment(key: key).map { (Environment.Key(stringLiteral: $0.key), $0.value) })
    let words = ["--pdeathsig", "KILL", "--", "git"] + (repository.map { ["-C", $0] } ?? []) + arguments
    let output: (status: Int32, text: String, error: String)? = try await withThrowingTaskGroup { group in
      group.addTask { try await Self.spawn(words, environment) }
      group.addTask {
        try await Task.sleep(for: Self.limit)
        return nil
      }
      defer { group.cancelAll() }
      return try await group.next() ?? nil
    }
    try Task.checkCancellation()
    guard let output else {
      throw FederationError(.failedPrecondition, "\(shown): git took longer than \(Self.limit)")
    }
    guard output.status == 0 else { throw failure(output.status, output.error) }
    return output.text
  }

  @concurrent
  private static func spawn(
    _ words: [String], _ environment: [Environment.Key: String]
  ) async throws -> (status: Int32, text: String, error: String)? {
    var options = PlatformOptions()
    options.teardownSequence = [.gracefulShutDown(allowedDurationToNextStep: .seconds(2))]
    let result = try await Subprocess.run(
      .name("setpriv"), arguments: Arguments(words), environment: .custom(environment), platformOptions: options,
      input: .none, output: .bytes(limit: 1 << 20), error: .bytes(limit: 1 << 20))
    let status: Int32 =
      switch result.terminationStatus {
      case .exited(let code): code
      case .signaled(let signal): 128 + signal
      }
    return (
      status, String(decoding: result.standardOutput, as: UTF8.self),
      String(decoding: result.standardError, as: UTF8.self)
    )
  }

  /// - Source: git(1), "Environment variables"; git-config(1), `GIT_CONFIG_COUNT`.
  func environment(key: String?) -> [String: String] {
    var values = [
      "PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin", "LC_ALL": "C",
      "HOME": directory + "/home", "XDG_CONFIG_HOME": directory + "/home", "GIT_CONFIG_NOSYSTEM": "1",
      "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "/bin/false",
      "SSH_ASKPASS": "/bin/false", "GIT_ALLOW_PROTOCOL": "https:http:ssh:git", "GIT_ATTR_NOSYSTEM": "1",
      "GIT_LFS_SKIP_SMUDGE": "1",
    ]
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "https_proxy", "http_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY"] {
      values[name] = ProcessInfo.processInfo.environment[name]
    }
    if let certificates = values["SSL_CERT_FILE"] { values["GIT_SSL_CAINFO"] = certificates }
    // Only that it is a file, and its place, which is ours, are in the command that git starts ssh by.
    var ssh = ["ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "UserKnownHostsFile=/dev/null"]
    ssh += ["-o", "StrictHostKeyChecking=\(source.ignoresHostKey ? "no" : "yes")", "-o", "LogLevel=ERROR"]
    ssh += ["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i", key ?? "/dev/null"]
    values["GIT_SSH_COMMAND"] = ssh.joined(separator: " ")
    var configuration = [
      ("core.hooksPath", "/dev/null"), ("credential.helper", ""), ("core.fsmonitor", "false"),
      ("http.followRedirects", "initial"), ("submodule.recurse", "false"), ("gc.auto", "0"),
    ]
    if source.skipsVerification { configuration.append(("http.sslVerify", "false")) }
    if let site = source.site, let password = self.values["password"] ?? self.values["user"].map({ _ in "" }) {
      let pair = Data("\(self.values["user"] ?? "git"):\(password)".utf8).base64EncodedString()
      configuration.append(("http.\(site).extraHeader", "Authorization: Basic \(pair)"))
    }
    values["GIT_CONFIG_COUNT"] = String(configuration.count)
    for (index, (name, value)) in configuration.enumerated() {
      values["GIT_CONFIG_KEY_\(index)"] = name
      values["GIT_CONFIG_VALUE_\(index)"] = value
    }
    return values
  }

  /// In memory, readable by the agent alone.
  private func keyFile() throws -> String? {
    guard let text = values["privateKey"] else { return nil }
    let path = "/dev/shm/fubini-git-\(UInt64.random(in: .min ... .max))"
    let file = try POSIXFile.open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: 0o600)
    defer { POSIXFile.close(file) }
    do { try POSIXFile.write(file, Data((text.hasSuffix("\n") ? text : text + "\n").utf8), "a key") } catch {
      unlink(path)
      throw error
    }
    return path
  }

  private var shown: String { source.url }

  private func failure(_ status: Int32, _ error: String) -> FederationError {
    var text = error
    for value in values.values where value.utf8.count > 3 { text = text.replacingOccurrences(of: value, with: "***") }
    let lines = text.split(separator: "\n").filter { !$0.hasPrefix("hint:") && !$0.isEmpty }
    if status == 127, text.contains("setpriv") || text.contains("git") {
      return FederationError(
        .failedPrecondition, "\(shown): this cluster's agent has no git: its operator installs it (Debian: git)")
    }
    let words = String(lines.suffix(3).joined(separator: "; ").prefix(Self.messageBytesMax))
    let message = "\(shown): \(words.isEmpty ? "git ended with status \(status)" : words)"
    let passing = [
      "Could not resolve host", "Connection refused", "timed out", "early EOF", "reset by peer", " 503", " 502",
    ]
    guard passing.contains(where: { text.contains($0) }) else { return FederationError(.failedPrecondition, message) }
    return FederationError(.unavailable, message, retryAfter: .seconds(2))
  }
}
