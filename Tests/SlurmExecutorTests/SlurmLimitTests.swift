internal import Execution
internal import FederationModel
internal import Glibc
internal import LocalSlurm
internal import Supervisor
internal import TestSupport
internal import Testing

@testable internal import SlurmExecutor

/// Limits of the nodes' own, on a real Slurm: memory, and room for a job's script.
@Suite(.serialized, .enabled(if: SlurmFixture.isAvailable, "Slurm is not installed"))
struct SlurmLimitTests {
  @Test("A run that Slurm kills for its memory failed for that, says so, and is dead (I1, I2, I10)")
  func memory() async throws {
    try await SlurmExecutorFixture.with {
      $0.nodes = 1
      $0.killsOverMemory = true
      $0.killWaitSeconds = 1
    } _: { fixture in
      // A tenth of a gigabyte of pages that are really there, written by a shell; then it would go on.
      let eat =
        "echo up; x=$(head -c 100000000 /dev/zero | tr '\\0' x); while :; do date +%s%N >> beat; sleep 0.1; done"
      try await fixture.submit(1, eat) { $0.spec.resources.memory = .mebibytes(32) }
      try await fixture.submit(2, "echo ran")
      let end = try await fixture.end(of: 1)
      #expect(end.phase == .failed && end.cause == .outOfMemory, "\(end)")
      #expect(end.message == "OOMKilled: it needed more memory than its limit (Slurm ended it)", "\(end)")
      #expect(try await fixture.end(of: 2).phase == .succeeded)
      // It ran once, and does not any more.
      #expect(fixture.log(of: 1).split(separator: "\n").count { $0 == "up" } == 1)
      let beat = fixture.executor.workspace(for: RunID(1)).root + "/workspace/beat"
      let before = fixture.read(beat)
      try await Task.sleep(for: .seconds(1))
      #expect(fixture.read(beat) == before)
    }
  }

  @Test(
    "A node whose spool is full starts nothing: its run is lost with that reason and never starts (I1, I2, I10)",
    .enabled(if: geteuid() == 0, "only root may mount a small file system"))
  func fullSpool() async throws {
    try await SlurmExecutorFixture.with {
      $0.nodes = 1
    } _: { fixture in
      let name = fixture.cluster.configuration.nodeNames[0]
      let spool = fixture.cluster.spoolDirectory(ofNode: 1)
      try await fixture.cluster.killNode(1)
      try #require(mount("tmpfs", spool, "tmpfs", 0, "size=1m,mode=0755") == 0, "errno \(errno)")
      defer { umount2(spool, Int32(MNT_DETACH)) }
      try fixture.cluster.restartNode(1)
      try await fixture.eventually("the node is back") {
        try await fixture.cluster.command("sinfo", ["--noheader", "--nodes=\(name)", "--format=%T"]).contains("idle")
      }
      try fill(spool + "/filler")
      try await fixture.submit(1, "echo ran")
      let end = try await fixture.end(of: 1)
      #expect(end.phase == .lost && end.message.contains("could not start it"), "\(end)")
      #expect(fixture.files.readClaim(1) == .executor && fixture.log(of: 1) == "")
      unlink(spool + "/filler")
      try await fixture.eventually("the node takes jobs") {
        try? await fixture.cluster.resume(node: 1)
        return try await fixture.cluster.command("sinfo", ["--noheader", "--nodes=\(name)", "--format=%T"])
          .contains("idle")
      }
      try await fixture.submit(2, "echo ran")
      #expect(try await fixture.end(of: 2).phase == .succeeded && fixture.log(of: 2) == "ran\n")
      #expect(fixture.log(of: 1) == "")
    }
  }

  private func fill(_ path: String) throws {
    let file = creat(path, 0o600)
    try #require(file >= 0)
    defer { close(file) }
    var block = [UInt8](repeating: 0, count: 4096)
    while !block.isEmpty { if write(file, block, block.count) <= 0 { block.removeLast((block.count + 1) / 2) } }
  }
}
