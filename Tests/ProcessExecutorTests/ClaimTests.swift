internal import Execution
internal import FederationModel
internal import Glibc
internal import Testing

@testable internal import ProcessExecutor

@Suite("Volume claims", .timeLimit(.minutes(1)))
struct ClaimTests {
  private func spec(_ script: String, _ claims: ClaimVolume...) -> TaskSpec {
    var spec = TaskSpec(image: "debian:12", command: ["sh", "-c", script])
    spec.claims = claims
    return spec
  }

  @Test(
    "runs of a workflow share its volume, find a named one, cannot write where they may only read, and see no other's")
  func shared() async throws {
    var template = Array("/tmp/fubini-claims-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { HostFiles.remove(directory) }
    try #require(mkdir(directory + "/refs", 0o755) == 0 && mkdir(directory + "/own", 0o755) == 0)
    chmod(directory, 0o755)
    try HostFiles.write(directory + "/refs/genome", "acgt\n".utf8, mode: 0o644)
    let fixture = try await ExecutorFixture {
      $0.claims = ClaimDirectories(
        directory: directory + "/own", named: ["genomes": directory + "/refs"], mark: "f c")
    }
    let inventory = await fixture.executor.inventory()
    #expect(inventory.claims == ["genomes"] && inventory.features?.contains(.claims) == true)
    let owner = ClaimVolume.Owner(uid: "u1", goesWithFailure: false)
    func own(_ path: String, readOnly: Bool = false, of owner: ClaimVolume.Owner) -> ClaimVolume {
      ClaimVolume(name: "work", workflow: owner, mounts: [.init(path: path, isReadOnly: readOnly)])
    }
    let made = try await fixture.run(1, spec("echo made > /mnt/vol/x", own("/mnt/vol", of: owner)))
    #expect(made.phase == .succeeded, "\(made) \(fixture.log(1))")
    let refs = ClaimVolume(name: "genomes", workflow: nil, mounts: [.init(path: "/refs", isReadOnly: true)])
    let read = try await fixture.run(
      2,
      spec(
        "cat /in/x /refs/genome; touch /in/y 2>/dev/null || echo refused; touch /refs/y 2>/dev/null || echo refused",
        own("/in", readOnly: true, of: owner), refs))
    #expect(read.phase == .succeeded && fixture.log(2) == "made\nacgt\nrefused\nrefused\n", "\(fixture.log(2))")
    let other = try await fixture.run(
      3, spec("ls -A /mnt/vol", own("/mnt/vol", of: .init(uid: "u2", goesWithFailure: true))))
    #expect(other.phase == .succeeded && fixture.log(3).isEmpty, "\(fixture.log(3))")
    let marks = ["u1", "u2"].map { fixture.text("\(directory)/own/p/\($0)/\(ClaimDirectories.markName)") }
    #expect(marks == ["f c\nsuccess\n", "f c\nalways\n"])
    let unknown = try await fixture.run(
      4, spec("true", ClaimVolume(name: "none", workflow: nil, mounts: [.init(path: "/x")])))
    #expect(unknown.phase == .error && unknown.message.contains("declares no volume claim none"), "\(unknown)")
    let escaping = try await fixture.run(
      5, spec("true", ClaimVolume(name: "..", workflow: owner, mounts: [.init(path: "/x")])))
    #expect(escaping.phase == .error, "\(escaping)")
    await fixture.tearDown()
  }

  @Test("a cluster without a directory for claims does not say that it has one")
  func undeclared() async throws {
    let fixture = try await ExecutorFixture()
    let inventory = await fixture.executor.inventory()
    #expect(inventory.claims == nil && inventory.features?.contains(.claims) == false)
    await fixture.tearDown()
  }
}
