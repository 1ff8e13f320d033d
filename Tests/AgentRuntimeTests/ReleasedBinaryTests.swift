import FoundationEssentials
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// `scripts/check-agent-binary.sh` decides whether an agent's binary runs on old systems. What it reads are real programs, made
/// here by the compiler that every Swift toolchain brings.
@Suite struct ReleasedBinaryTests {
  private static let root = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined()
  private static let released = root + "/.build/fubini-agent"

  /// Runs `/bin/sh -c command` and gives its exit code and all that it says.
  private func shell(_ command: String, in directory: TemporaryDirectory) throws -> (code: Int32, output: String) {
    let log = directory.path + "/output"
    let status = system("cd '\(directory.path)' && { \(command)\n} >'\(log)' 2>&1")
    let file = try POSIXFile.open(log, O_RDONLY)
    defer { POSIXFile.close(file) }
    return ((status >> 8) & 0xff, String(decoding: try POSIXFile.readAll(file, limit: 1 << 20), as: UTF8.self))
  }

  private func check(_ binary: String, in directory: TemporaryDirectory) throws -> (code: Int32, output: String) {
    try shell("'\(Self.root)/scripts/check-agent-binary.sh' '\(binary)'", in: directory)
  }

  /// Makes `program` of C text in the directory.
  private func compile(_ text: String, _ flags: String, in directory: TemporaryDirectory) throws {
    let made = try shell("printf '%s\\n' '\(text)' > program.c && clang \(flags) -o program program.c", in: directory)
    try #require(made.code == 0, "\(made.output)")
  }

  @Test("a fully static program passes the check of the agent's binary")
  func staticProgram() throws {
    let directory = try TemporaryDirectory()
    try compile("int main(void) { return 0; }", "-static", in: directory)
    let result = try check(directory.path + "/program", in: directory)
    #expect(result.code == 0, "\(result.output)")
    #expect(result.output.contains("fully static"))
  }

  @Test(
    "a program that asks for a symbol of glibc 2.34 is refused by the symbol's name, one that asks for old ones is not")
  func symbolVersions() throws {
    let directory = try TemporaryDirectory()
    for (version, passes) in [("2.34", false), ("2.28", true)] {
      // A library of libc's name that offers one symbol of this version, and a program that asks for it.
      try compile(
        "void *wanted(void) { return 0; }", "-shared -Wl,--version-script=map -Wl,-soname,libc.so.6", map: version,
        in: directory)
      let made = try shell(
        """
        mv program libfake.so && printf '%s\\n' 'extern void *wanted(void); void *use(void) { return wanted(); }' > use.c \
        && clang -shared -nostdlib -o use.so use.c ./libfake.so
        """, in: directory)
      try #require(made.code == 0, "\(made.output)")
      let result = try check(directory.path + "/use.so", in: directory)
      #expect(result.code == (passes ? 0 : 1), "\(result.output)")
      #expect(result.output.contains(passes ? "needs GLIBC_2.28 at most" : "  wanted GLIBC_2.34"), "\(result.output)")
    }
  }

  private func compile(_ text: String, _ flags: String, map version: String, in directory: TemporaryDirectory) throws {
    let made = try shell("printf 'GLIBC_\(version) { wanted; };\\n' > map", in: directory)
    try #require(made.code == 0, "\(made.output)")
    try compile(text, flags + " -nostdlib -fPIC", in: directory)
  }

  @Test("what is no program is refused")
  func noProgram() throws {
    let directory = try TemporaryDirectory()
    let result = try check(Self.root + "/README.md", in: directory)
    #expect(result.code == 2, "\(result.output)")
  }

  @Test(
    "the released agent's own symbols ask for no newer glibc than 2.28, and it starts",
    .enabled(if: access(released, X_OK) == 0, "`make agent` has not been run"))
  func releasedAgent() throws {
    let directory = try TemporaryDirectory()
    let result = try check(Self.released, in: directory)
    #expect(result.code == 0, "\(result.output)")
    let version = try shell("'\(Self.released)' version", in: directory)
    #expect(version.output.hasPrefix("fubini-agent "), "\(version.output)")
  }
}
