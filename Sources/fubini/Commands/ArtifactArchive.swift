internal import FederationModel
internal import FoundationEssentials
internal import LocalProcess

#if canImport(Glibc)
  internal import Glibc
#endif

/// A packed artifact on this machine.
///
/// It was made by a workflow, so nothing about it is trusted. It is unpacked by the system's `tar` or `unzip` into a new
/// directory, and only what stays inside that directory is moved to where a person wanted it.
struct ArtifactArchive: Sendable {
  let path: String
  /// `tar` or `zip`.
  let format: String
  var timeout = Duration.seconds(24 * 3600)

  /// Puts what the archive holds at `destination`, or into it when that is a directory. As with `cp`, a file replaces a file;
  /// nothing else that exists is replaced.
  ///
  /// - Returns: the paths that it made at the top.
  /// - Throws: `.error` when the archive is damaged, would lead out of its directory, or something is in the way.
  func unpack(to destination: String, intoDirectory: Bool) async throws -> [String] {
    let staging = "\(destination)\(intoDirectory ? "/" : "").\(UInt32.random(in: 0 ... .max)).unpack"
    guard mkdir(staging, 0o700) == 0 else { throw ArtifactDownload.cannotWrite(staging) }
    defer { try? FileManager.default.removeItem(atPath: staging) }
    try await extract(to: staging)
    try Self.checkTree(staging)
    let names = try FileManager.default.contentsOfDirectory(atPath: staging).sorted()
    if intoDirectory {
      let targets = names.map { "\(destination)/\($0)" }
      for (name, target) in zip(names, targets) { try Self.checkReplaceable(target, by: "\(staging)/\(name)") }
      for (name, target) in zip(names, targets) { try Self.move("\(staging)/\(name)", to: target) }
      return targets
    }
    // One thing in it becomes the destination; several become a directory of them.
    try Self.checkReplaceable(destination, by: names.count == 1 ? "\(staging)/\(names[0])" : staging)
    if names.count == 1 {
      try Self.move("\(staging)/\(names[0])", to: destination)
    } else {
      chmod(staging, 0o755)
      try Self.move(staging, to: destination)
    }
    return [destination]
  }

  private func extract(to staging: String) async throws {
    let log = staging + ".log"
    defer { unlink(log) }
    let words: [String]
    switch format {
    case "tar":
      // Names with .. are refused by tar itself, a leading / is taken off, and links are made last.
      words = [
        "/usr/bin/tar", "--extract", "--file", path, "--directory", staging, "--no-same-owner", "--no-same-permissions",
        "--no-overwrite-dir",
      ]
    case "zip": words = ["/usr/bin/unzip", "-q", "-n", path, "-d", staging]
    default:
      throw CommandFailure(.error, "The artifact is packed as \(format), which this fubini cannot unpack: use --raw.")
    }
    guard FileManager.default.isExecutableFile(atPath: words[0]) else {
      throw CommandFailure(.error, "\(words[0]) is needed to unpack it: install it, or keep it packed with --raw.")
    }
    let environment = ["PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"]
    do { try await ChildProcess.run(words, environment: environment, log: log, timeout: timeout) } catch let failure
      as FederationError
    {
      throw CommandFailure(
        CommandFailure.ExitCode(rawValue: failure.code.exitCode) ?? .error,
        "The archive could not be unpacked safely; --raw keeps it as it is.\n\(failure.publicMessage)")
    }
  }

  /// Refuses what is no file, directory, or link that stays inside.
  ///
  /// - Complexity: O(entries); an explicit stack, because the depth is the archive's choice.
  static func checkTree(_ root: String) throws {
    var stack = [(path: root, depth: 0)]
    while let (directory, depth) = stack.popLast() {
      guard depth < 1024 else { throw CommandFailure(.error, "The archive is nested too deeply; use --raw.") }
      for name in try FileManager.default.contentsOfDirectory(atPath: directory) {
        let path = "\(directory)/\(name)"
        var status = stat()
        guard lstat(path, &status) == 0 else { throw ArtifactDownload.cannotWrite(path) }
        switch status.st_mode & S_IFMT {
        case S_IFREG: break
        case S_IFDIR:
          // Directories without permissions would stop the walk, and the removal.
          chmod(path, (status.st_mode & 0o777) | 0o700)
          stack.append((path, depth + 1))
        case S_IFLNK:
          let target = try FileManager.default.destinationOfSymbolicLink(atPath: path)
          guard staysInside(target, depth: depth) else {
            throw CommandFailure(
              .error, "The archive holds a link that leads out of it (\(Terminal.printable(name))); use --raw.")
          }
        default:
          throw CommandFailure(.error, "The archive holds \(Terminal.printable(name)), which is no file; use --raw.")
        }
      }
    }
  }

  /// Whether a link's target, seen from a directory `depth` levels below the top, never leaves the top on its way.
  static func staysInside(_ target: String, depth: Int) -> Bool {
    guard !target.hasPrefix("/") else { return false }
    var level = depth
    for part in target.split(separator: "/") where part != "." {
      level += part == ".." ? -1 : 1
      if level < 0 { return false }
    }
    return true
  }

  private static func checkReplaceable(_ target: String, by source: String) throws {
    var (old, new) = (stat(), stat())
    guard lstat(target, &old) == 0 else { return }
    guard lstat(source, &new) == 0, new.st_mode & S_IFMT == S_IFREG, old.st_mode & S_IFMT == S_IFREG else {
      throw CommandFailure(.error, "\(target) exists already: remove it, or choose another destination.")
    }
  }

  /// Within one directory tree, so that it is one step.
  static func move(_ source: String, to target: String) throws {
    chmodReadable(source)
    guard rename(source, target) == 0 else { throw ArtifactDownload.cannotWrite(target) }
  }

  /// A download was private while it was partial.
  private static func chmodReadable(_ path: String) {
    var status = stat()
    guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_mode & 0o777 == 0o600 else { return }
    let mask = umask(0o077)
    umask(mask)
    chmod(path, 0o666 & ~mask)
  }

  static func remove(_ path: String) { unlink(path) }
}
