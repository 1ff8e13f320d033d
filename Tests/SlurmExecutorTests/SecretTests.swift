internal import Execution
internal import FederationModel
internal import Glibc
internal import LocalSlurm
internal import Supervisor
internal import TestSupport
internal import Testing

@testable internal import SlurmExecutor

/// Where a secret could be read by others, on a real Slurm.
@Suite(.serialized, .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
struct SecretTests {
  private static let canary = "canary-\(UInt64.random(in: .min ... .max))"

  /// The files below a directory that hold the canary, of which `sbatch` would have made copies in spools.
  private func holders(_ directory: String) throws -> [String] {
    let stream = try #require(popen("grep -rlaF '\(Self.canary)' '\(directory)' 2>/dev/null", "r"))
    defer { pclose(stream) }
    var bytes = [UInt8](repeating: 0, count: 64 << 10)
    let count = fread(&bytes, 1, bytes.count, stream)
    return String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n").map(String.init)
  }

  /// Of every process on this machine but the `grep` that looks.
  private func commandLines() throws -> [String] {
    var found: [String] = []
    let directory = try #require(opendir("/proc"))
    defer { closedir(directory) }
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      guard Int(name) != nil, let file = fopen("/proc/\(name)/cmdline", "r") else { continue }
      defer { fclose(file) }
      var bytes = [UInt8](repeating: 0, count: 64 << 10)
      let count = fread(&bytes, 1, bytes.count, file)
      let text = String(decoding: bytes[..<count], as: UTF8.self)
      if text.contains(Self.canary) { found.append(text) }
    }
    return found
  }

  private func expectHidden(_ fixture: SlurmExecutorFixture, _ job: String, _ when: Comment) async throws {
    let answers = [
      try await fixture.cluster.command("scontrol", ["show", "job", "-dd", job]),
      try await fixture.cluster.command("scontrol", ["write", "batch_script", job, "-"]),
      try await fixture.cluster.command("squeue", ["--states=all", "--format=%all"]),
    ]
    for answer in answers { #expect(!answer.contains(Self.canary), when) }
    // Slurm's own state, spool and logs, with its copies of script and environment.
    #expect(try holders(fixture.cluster.configuration.directory) == [], when)
    #expect(try commandLines() == [], when)
  }

  @Test(
    "I9: a secret is in no script, environment, answer or log of Slurm's, no command line, and no file once its run has begun"
  )
  func everywhere() async throws {
    try await SlurmExecutorFixture.with { fixture in
      for node in 1...2 { try await fixture.cluster.drain(node: node) }
      try await fixture.submit(1, SlurmExecutorFixture.wait("echo ${#TOKEN}")) {
        $0.secrets = [EnvironmentVariable(name: "TOKEN", value: Self.canary)]
      }
      let job = try await fixture.job(of: 1)
      try await expectHidden(fixture, job, "while it waits")
      // One file, its owner's alone, until the step takes it.
      let secrets = fixture.executor.workspace(for: RunID(1)).directory + "/secrets"
      #expect(try holders(fixture.shared) == [secrets])
      var status = stat()
      #expect(stat(secrets, &status) == 0 && status.st_mode & 0o777 == 0o600)
      for node in 1...2 { try await fixture.cluster.resume(node: node) }
      try await fixture.running(1)
      try await expectHidden(fixture, job, "while it runs")
      #expect(try holders(fixture.shared) == [])
      try fixture.go(1)
      let end = try await fixture.end(of: 1)
      #expect(end.phase == .succeeded, "\(end)")
      // It did reach the program.
      #expect(fixture.log(of: 1) == "\(Self.canary.count)\n")
      try await expectHidden(fixture, job, "after its end")
      #expect(try holders(fixture.shared) == [])
    }
  }

  @Test("I9: a secret that is mounted as a file is in the memory of its node alone, while its run lives")
  func mounted() async throws {
    try await SlurmExecutorFixture.with(configure: { $0.sandbox = .bubblewrap }) { fixture in
      for node in 1...2 { try await fixture.cluster.drain(node: node) }
      try await fixture.submit(1, SlurmExecutorFixture.wait("wc -c < /etc/keys/token")) {
        $0.spec.fileVolumes = [FileVolume(name: "keys", sources: [], mounts: [.init(path: "/etc/keys")])]
        $0.privateFiles = [RunFile(path: "0/"), RunFile(path: "0/token", mode: 0o400, bytes: Array(Self.canary.utf8))]
      }
      try await expectHidden(fixture, try await fixture.job(of: 1), "while it waits")
      let workspace = fixture.executor.workspace(for: RunID(1))
      #expect(try holders(fixture.shared) == [workspace.directory + "/secrets"])
      for node in 1...2 { try await fixture.cluster.resume(node: node) }
      try await fixture.running(1)
      #expect(try holders(fixture.shared) == [])
      let memory = PrivateFiles.directory(ofRun: workspace.directory)
      #expect(try holders(memory) == [memory + "/0/token"])
      try fixture.go(1)
      let end = try await fixture.end(of: 1)
      #expect(end.phase == .succeeded, "\(end) \(fixture.log(of: 1))")
      #expect(fixture.log(of: 1) == "\(Self.canary.utf8.count)\n")
      #expect(access(memory, F_OK) != 0, "its files in memory go with its end")
    }
  }
}
