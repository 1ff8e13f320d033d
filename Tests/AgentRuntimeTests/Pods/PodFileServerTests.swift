import Execution
import FederationModel
import FoundationEssentials
import Rclone
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// What the server does with requests that no program of ours makes.
@Suite(.serialized) struct PodFileServerTests {
  private static let target = "/v1/runs/\(RunID(77).hexadecimal)/"
  private static let headers = [(PodExchange.podHeader, PodFixture.pod)]

  private func archive(_ entries: [TreeEntry], in pods: PodFixture) throws -> [UInt8] {
    let path = pods.directory.path + "/archive"
    let file = try POSIXFile.open(path, O_RDWR | O_CREAT | O_TRUNC)
    defer { POSIXFile.close(file) }
    let writer = TarWriter(to: file)
    for entry in entries { try writer.add(entry) }
    try writer.finish()
    lseek(file, 0, SEEK_SET)
    return try POSIXFile.readAll(file, limit: 1 << 20)
  }

  private func file(_ name: String, _ text: String, in pods: PodFixture) throws -> TreeEntry {
    try pods.directory.write(text, to: "content")
    let file = try POSIXFile.open(pods.directory.path + "/content", O_RDONLY)
    return TreeEntry(
      name: name, kind: .file(descriptor: file), mode: 0o644, size: Int64(text.utf8.count), modifiedSeconds: 0)
  }

  private func link(_ name: String, to target: String) -> TreeEntry {
    TreeEntry(name: name, kind: .symbolicLink(target), mode: 0o777, size: 0, modifiedSeconds: 0)
  }

  private func put(_ bytes: [UInt8], to name: String, _ pods: PodFixture, token: String? = nil) async throws -> Int {
    try await BlockingWork.run {
      let connection = try pods.connect(token: token)
      defer { connection.close() }
      return try connection.upload(Self.target + name, headers: Self.headers) { try $0(bytes) }.status
    }
  }

  private func get(
    _ name: String, _ pods: PodFixture, token: String? = nil, headers: [(String, String)] = Self.headers
  ) async throws -> (status: Int, body: String) {
    try await BlockingWork.run {
      let connection = try pods.connect(token: token)
      defer { connection.close() }
      let head = try connection.send("GET", Self.target + name, headers: headers)
      return (head.status, String(decoding: try connection.body(head, limit: 1 << 20), as: UTF8.self))
    }
  }

  @Test("an archive that wants to leave its place is refused, and nothing of it is left")
  func escaping() async throws {
    let pods = try PodFixture()
    try pods.share(outputs: ["out"])
    let outside = pods.directory.path + "/outside"
    let out = String(pods.inPod("out").dropFirst())
    try await pods.serving {
      let above = try archive([file("../../outside", "x", in: pods)], in: pods)
      #expect(try await put(above, to: "outputs", pods) == 400)
      let absolute = try archive([file(outside, "x", in: pods)], in: pods)
      #expect(try await put(absolute, to: "outputs", pods) == 400)
      let through = try archive(
        [link("a", to: pods.directory.path), file("a/outside", "x", in: pods)], in: pods)
      #expect(try await put(through, to: "outputs", pods) == 400)
      // A link as an output is an output; nothing is written through it.
      let linked = try archive([link(out, to: "/etc/passwd")], in: pods)
      #expect(try await put(linked, to: "outputs", pods) == 204)
      #expect(try await put(archive([file(out, "new", in: pods)], in: pods), to: "outputs", pods) == 204)
    }
    #expect(POSIXFile.isMissing(outside))
    var status = stat()
    #expect(lstat(pods.atAgent("out"), &status) == 0)
    #expect(status.st_mode & S_IFMT == S_IFREG && status.st_size == 3)
    #expect(try POSIXFile.entries(ofPath: pods.workspace.directory).allSatisfy { !$0.hasPrefix("outputs-") })
  }

  @Test("inputs are not read through what a run has put into its root")
  func leaking() async throws {
    let pods = try PodFixture()
    try pods.directory.write("secret", to: "secret")
    try POSIXFile.makeDirectories(pods.workspace.root)
    #expect(symlink(pods.directory.path, pods.workspace.root + "/data") == 0)
    try pods.share([.root("/data/secret")])
    try await pods.serving {
      let answer = try await get("inputs", pods)
      #expect(answer.status == 200)
      #expect(!answer.body.contains("secret"))
    }
  }

  @Test("outputs count only when all of them have come")
  func cutShort() async throws {
    let pods = try PodFixture()
    try pods.share(outputs: ["out"])
    let whole = try archive([file(String(pods.inPod("out").dropFirst()), "abc", in: pods)], in: pods)
    try await pods.serving {
      struct Cut: Error {}
      await #expect(throws: Cut.self) {
        try await BlockingWork.run {
          let connection = try pods.connect()
          defer { connection.close() }
          // Every member is there; the end of the body is not.
          _ = try connection.upload(Self.target + "outputs", headers: Self.headers) {
            try $0(whole)
            throw Cut()
          }
        }
      }
      try await waitUntil {
        (try? POSIXFile.entries(ofPath: pods.workspace.directory))?.allSatisfy { !$0.hasPrefix("outputs-") } == true
      }
      #expect(POSIXFile.isMissing(pods.atAgent("out")))
      #expect(try await put(whole, to: "outputs", pods) == 204)
      #expect(!POSIXFile.isMissing(pods.atAgent("out")))
    }
  }

  @Test("only the run's own token opens its files, and only what is served is there")
  func access() async throws {
    let pods = try PodFixture()
    try pods.share()
    let own = try pods.server.access(for: pods.run).token
    #expect(try own == pods.server.access(for: pods.run).token)
    try await pods.serving {
      var wrong = own
      wrong.removeLast()
      for token in ["", wrong, wrong + (own.hasSuffix("0") ? "1" : "0"), try pods.server.access(for: RunID(78)).token] {
        #expect(try await get("inputs", pods, token: token).status == 401, "\(token)")
      }
      #expect(try await get("inputs", pods).status == 200)
      #expect(try await get("inputs", pods, headers: []).status == 400)
      #expect(try await get("inputs", pods, headers: [(PodExchange.podHeader, "other")]).status == 409)
      #expect(try await get("everything", pods).status == 404)
      #expect(try await get("outputs", pods).status == 405)
      #expect(try await get("lease", pods).status == 404)
      pods.server.renewLease(boottimeNanoseconds: SystemClock.boottimeNanoseconds - 5_000_000_000)
      let lease = try await get("lease", pods)
      #expect(lease.status == 200)
      #expect((5000...20_000).contains(Int(lease.body.filter(\.isNumber)) ?? 0))
    }
    // An agent that starts anew is the same to its pods.
    let again = try PodAuthority(directory: pods.directory.path + "/agent/pods", host: "127.0.0.1")
    #expect(again.token(for: pods.run) == own)
    #expect(try again.certificatePEM == pods.server.access(for: pods.run).certificateAuthorityPEM)
  }

  @Test("results and outputs are bounded")
  func bounds() async throws {
    let pods = try PodFixture { $0.limits = ArchiveLimits(entriesMax: 10, bytesMax: 1000) }
    try pods.share(outputs: ["out"])
    let out = String(pods.inPod("out").dropFirst())
    try await pods.serving {
      let most = [UInt8](repeating: 0x61, count: PodFileStore.outputBytesMax)
      #expect(try await put(most + [0x61], to: "stdout", pods) == 400)
      #expect(POSIXFile.isMissing(pods.workspace.standardOutput))
      #expect(try await put(most, to: "stdout", pods) == 204)
      #expect(POSIXFile.size(pods.workspace.standardOutput) == Int64(most.count))
      let big = try archive([file(out, String(repeating: "x", count: 1001), in: pods)], in: pods)
      #expect(try await put(big, to: "outputs", pods) == 400)
      let many = try archive((0..<11).map { link("\(out)/\($0)", to: "x") }, in: pods)
      #expect(try await put(many, to: "outputs", pods) == 400)
      // What follows the archive's end is bounded as well.
      let padded = try archive([file(out, "x", in: pods)], in: pods) + [UInt8](repeating: 0, count: 30_000)
      #expect(try await put(padded, to: "outputs", pods) == 400)
    }
  }

  @Test("a connection that asks for nothing is closed, and too many are not taken")
  func silent() async throws {
    let pods = try PodFixture {
      $0.headTime = .seconds(2)
      $0.connectionsMax = 2
    }
    try pods.share()
    let authority = try pods.server.access(for: pods.run).certificateAuthorityPEM
    try await pods.serving {
      let port = pods.port
      let closed = try await BlockingWork.run {
        let start = ContinuousClock.now
        let streams = try (0..<2).map { _ in try PodFileClient.stream("127.0.0.1", port, authority: authority) }
        // The rites of TLS take place while nothing is said.
        let third = try PodFileClient.stream("127.0.0.1", port, authority: authority)
        let early = (try? third.receive { false })?.isEmpty ?? true
        let earlyAfter = ContinuousClock.now - start
        for stream in streams { _ = try? stream.receive { false } }
        for stream in streams + [third] { stream.close() }
        return (early, earlyAfter, ContinuousClock.now - start)
      }
      #expect(closed.0)
      #expect(closed.1 < .milliseconds(1800))
      #expect(closed.2 >= .milliseconds(1800) && closed.2 < .seconds(15))
      #expect(try await get("inputs", pods).status == 200)
    }
  }
}
