internal import Glibc
internal import Testing

/// A directory of a test's own, removed with it.
final class ScratchDirectory {
  let path: String

  init() throws {
    var template = Array("/tmp/fubini-slurm-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    var pid: pid_t = 0
    let arguments: [UnsafeMutablePointer<CChar>?] = [strdup("rm"), strdup("-rf"), strdup(path), nil]
    defer { for argument in arguments { free(argument) } }
    if posix_spawnp(&pid, "rm", nil, nil, arguments, environ) == 0 { waitpid(pid, nil, 0) }
  }

  func write(_ name: String, _ text: String, mode: mode_t = 0o644) throws {
    let file = open(path + "/" + name, O_WRONLY | O_CREAT | O_TRUNC, mode)
    try #require(file >= 0)
    defer { close(file) }
    let bytes = Array(text.utf8)
    try #require(Glibc.write(file, bytes, bytes.count) == bytes.count)
  }

  /// A small file system of its own at `small`.
  func mount(megabytes: Int) throws {
    let place = path + "/small"
    try #require(mkdir(place, 0o755) == 0 && chmod(path, 0o755) == 0)
    try #require(Glibc.mount("tmpfs", place, "tmpfs", 0, "size=\(megabytes)m,mode=0755") == 0, "errno \(errno)")
  }

  /// Also while somebody still has a file open there.
  func unmount() { umount2(path + "/small", Int32(MNT_DETACH)) }

  /// Writes until not one byte more fits.
  func fill(_ name: String) throws {
    let file = open(path + "/" + name, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    try #require(file >= 0)
    defer { close(file) }
    var block = [UInt8](repeating: 0, count: 64 << 10)
    while !block.isEmpty {
      if Glibc.write(file, block, block.count) <= 0 { block.removeLast((block.count + 1) / 2) }
    }
    try #require(errno == ENOSPC)
  }

  /// Runs a script of this directory to its end; sends it a signal once it has printed a text.
  func run(script: String, signal: Int32? = nil, when text: String = "") throws -> (status: Int32, text: String) {
    var ends: [Int32] = [0, 0]
    try #require(pipe(&ends) == 0)
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
    posix_spawn_file_actions_addclose(&actions, ends[0])
    let arguments: [UnsafeMutablePointer<CChar>?] = [strdup(path + "/" + script), nil]
    defer { for argument in arguments { free(argument) } }
    // A test's thread may block signals, and a shell cannot undo that.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var pid: pid_t = 0
    try #require(posix_spawn(&pid, path + "/" + script, &actions, &attributes, arguments, environ) == 0)
    close(ends[1])
    defer { close(ends[0]) }
    var output: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    var isSignalled = false
    while true {
      let count = read(ends[0], &chunk, chunk.count)
      if count <= 0 { break }
      output += chunk[..<count]
      if let signal, !isSignalled, String(decoding: output, as: UTF8.self).contains(text) {
        kill(pid, signal)
        isSignalled = true
      }
    }
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    return (status >> 8 & 0xff, String(decoding: output, as: UTF8.self))
  }
}

/// - Source: SplitMix64.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var value = state
    value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
    value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
    return value ^ (value >> 31)
  }
}
