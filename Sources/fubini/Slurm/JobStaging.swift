internal import FederationModel
internal import FoundationEssentials
internal import LocalProcess
internal import SlurmFrontDoor

#if canImport(Glibc)
  internal import Glibc
#endif

/// The archive that goes with a job: its script, its environment, and the files of the submit directory, unless it is used in place.
struct JobStaging: Sendable {
  var script: String
  var environment: [String: String]
  var directory: String
  var isInPlace = false

  /// In every directory: names and patterns, one a line, of what stays behind.
  static let ignoreFile = ".fubiniignore"
  /// Bytes, unless `FUBINI_SUBMIT_LIMIT` says otherwise.
  static let sizeMax: Int64 = 2 << 30

  /// Packs it, and hands its file to `body`.
  func packed<Result>(_ body: (_ file: String, _ size: Int64) async throws -> Result) async throws -> Result {
    let base = SlurmHost.environment["TMPDIR"].flatMap { $0.hasPrefix("/") ? $0 : nil } ?? "/tmp"
    let scratch = "\(base)/fubini-\(getpid())-\(UInt64.random(in: 0 ... .max))"
    guard mkdir(scratch, 0o700) == 0 else { throw ArtifactDownload.cannotWrite(scratch) }
    defer { try? FileManager.default.removeItem(atPath: scratch) }
    try PrivateFile.write(script, to: "\(scratch)/\(JobWrapper.scriptName)")
    try PrivateFile.write(JobEnvironment.shell(environment), to: "\(scratch)/\(JobWrapper.environmentName)")
    let archive = scratch + "/submission.tar"
    let limit = SlurmHost.environment["FUBINI_SUBMIT_LIMIT"].flatMap { Int64($0) } ?? Self.sizeMax
    // The shell's limit ends tar before a home directory is copied by mistake. Links that lead out of the directory are followed,
    // because what they lead to is not there where the job runs.
    let program = """
      ulimit -f \(max(1, limit / 512))
      if [ "$4" = 1 ]; then
        exec tar --create --file "$1" -C "$2" \(JobWrapper.scriptName) \(JobWrapper.environmentName)
      fi
      cd "$3" && here=$(pwd -P) || exit 2
      find . -type l \\( -lname '/*' -o -lname '*..*' \\) | while IFS= read -r link; do
        target=$(readlink -e -- "$link") || continue
        case $target in "$here" | "$here"/*) ;; *) printf '%s\\n' "$link" ;; esac
      done >"$2/links"
      code=0
      tar --create --file "$1" --exclude-ignore-recursive=\(Self.ignoreFile) --exclude='./.fubini-*' \
        --warning=no-file-changed --anchored --no-wildcards --exclude-from="$2/links" \
        -C "$2" \(JobWrapper.scriptName) \(JobWrapper.environmentName) -C "$3" . || code=$?
      # 1: a file changed while it was read, as a log does.
      [ $code -le 1 ] || exit $code
      [ ! -s "$2/links" ] || tar --append --dereference --file "$1" -C "$3" --verbatim-files-from -T "$2/links"
      """
    do {
      try await ChildProcess.run(
        ["/bin/sh", "-c", program, "sh", archive, scratch, directory, isInPlace ? "1" : "0"],
        environment: ["PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"], log: scratch + "/log", timeout: .seconds(3600))
    } catch let error as FederationError {
      guard Self.size(archive) < limit - (64 << 10) else {
        throw SlurmRefusal.error(
          "\(directory) holds more than \(ByteCount(limit)): name what the job does not need in \(Self.ignoreFile), or put "
            + "large inputs into a data set; FUBINI_SUBMIT_LIMIT raises the limit")
      }
      throw error
    }
    return try await body(archive, Self.size(archive))
  }

  private static func size(_ path: String) -> Int64 {
    var status = stat()
    return stat(path, &status) == 0 ? Int64(status.st_size) : 0
  }
}

extension SharedDirectory {
  /// The one that `directory` lies in; nil: it is staged. `FUBINI_SUBMIT_STAGED=1` has it staged in any case.
  ///
  /// - Parameter directory: absolute.
  /// - Returns: with the directory's path without symbolic links, which is the one below the shared directory's.
  static func around(_ directory: String) -> (shared: SharedDirectory, directory: String)? {
    guard ["", "0", nil].contains(SlurmHost.environment["FUBINI_SUBMIT_STAGED"]),
      let resolved = realpath(directory, nil)
    else { return nil }
    defer { free(resolved) }
    let whole = String(cString: resolved)
    var path = whole
    while path != "/", !path.isEmpty {
      let mark = "\(path)/\(Self.markName)"
      var status = stat()
      // Another user's mark would say what this one's files are.
      if lstat(mark, &status) == 0, status.st_mode & S_IFMT == S_IFREG, [0, getuid()].contains(status.st_uid),
        let bytes = InputFile.read(mark, limit: 4096),
        let found = SharedDirectory(path: path, mark: String(decoding: bytes, as: UTF8.self))
      {
        return (found, whole)
      }
      path = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
    }
    return nil
  }
}
