internal import Execution
internal import Glibc
internal import Supervisor

/// The agent's own program as a sandbox shows it, for runs that need it inside: several containers, requests.
package struct HelperProgram: Hashable, Sendable {
  /// On the host.
  package var path: String
  /// Shared libraries that it needs from elsewhere than the system's own directories; nil: it needs none at all, and runs in any root.
  package var libraries: [String]?

  /// - Parameter path: of the agent's program, or whatever takes its place in a test.
  package init(path: String) {
    let path = HostFiles.resolve(path) ?? path
    self.path = path
    libraries = Self.isStatic(path) ? nil : Self.libraries(of: path)
  }

  /// Whether it can run in a root file system.
  func runs(in runsAs: String) -> Bool { libraries == nil || runsAs == "host" }

  /// What a sandbox shows of it.
  var inputs: [StagedInput] {
    [StagedInput(hostPath: path, path: ContainerPlan.program)]
      + (libraries ?? []).map { StagedInput(hostPath: $0, path: $0) }
  }

  /// Whether it names no dynamic loader.
  ///
  /// - Source: elf(5): the program headers' offset, size and number are at 32, 54 and 56 of a 64-bit header; `PT_INTERP` is 3.
  private static func isStatic(_ path: String) -> Bool {
    guard let head = HostFiles.read(path, limit: 4096), head.count >= 64, head.starts(with: [0x7f, 0x45, 0x4c, 0x46])
    else { return false }
    func number(_ offset: Int, _ width: Int) -> Int {
      guard offset >= 0, offset + width <= head.count else { return 0 }
      return (0..<width).reduce(0) { $0 | Int(head[offset + $1]) << (8 * min($1, 7)) }
    }
    let (start, size, count) = (number(32, 8), number(54, 2), number(56, 2))
    guard count > 0, size > 0, start + size * count <= head.count else { return false }
    return (0..<count).allSatisfy { number(start + size * $0, 4) != 3 }
  }

  /// What the dynamic loader would load from outside of the directories that every sandbox shows.
  private static func libraries(of path: String) -> [String] {
    ProbeProcess.lines(of: [path], environment: ["LD_TRACE_LOADED_OBJECTS=1"]).compactMap { line in
      guard let arrow = line.firstRange(of: "=> ") else { return nil }
      let file = String(line[arrow.upperBound...].prefix { $0 != " " })
      guard file.hasPrefix("/"), !Sandbox.hostDirectories.contains(where: { file.hasPrefix($0 + "/") }) else {
        return nil
      }
      return file
    }
  }
}
