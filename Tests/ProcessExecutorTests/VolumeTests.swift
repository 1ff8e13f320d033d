internal import Execution
internal import FederationModel
internal import Glibc
internal import ProcessExecutor
internal import Supervisor
internal import Testing

@Suite("Volumes of a run", .timeLimit(.minutes(2)))
struct VolumeTests {
  private static let canary = "canary-\(UInt64.random(in: .min ... .max))"

  private func spec(_ script: String) -> TaskSpec {
    TaskSpec(image: "debian:12", command: ["sh"], script: script)
  }

  @Test(
    "I9: files of secrets are read by the run with their modes, cannot be written, and are on no disk and gone at its end"
  )
  func files() async throws {
    let fixture = try await ExecutorFixture()
    var spec = spec(
      """
      cat /etc/keys/id /etc/keys/sub/deep /etc/one.pem
      stat -c %a /etc/keys/id /etc/keys/sub/deep
      (echo no > /etc/keys/id) 2>/dev/null && echo written
      touch /go; while [ ! -e /on ]; do sleep 0.01; done
      """)
    spec.fileVolumes = [
      FileVolume(
        name: "keys", sources: [],
        mounts: [.init(path: "/etc/keys"), .init(path: "/etc/one.pem", subPath: "sub/deep")])
    ]
    var request = RunRequest(id: RunID(1), epoch: 1, project: "p", spec: spec)
    request.privateFiles = [
      RunFile(path: "0/"), RunFile(path: "0/id", mode: 0o400, bytes: Array("\(Self.canary)\n".utf8)),
      RunFile(path: "0/sub/deep", mode: 0o444, bytes: Array("deep\n".utf8)),
    ]
    try await fixture.executor.submit(request)
    let workspace = fixture.executor.workspace(for: RunID(1))
    let directory = PrivateFiles.directory(ofRun: workspace.directory)
    try await fixture.waitUntil("the run has read") { access(workspace.root + "/go", F_OK) == 0 }
    var status = stat()
    #expect(stat(directory, &status) == 0 && status.st_mode & 0o777 == 0o700)
    // On disk there are the mount points alone.
    #expect(
      SpawnedCommand(["/bin/grep", "-rqF", Self.canary, fixture.directory + "/runs/0000000000000001/spec"]).wait() != 0)
    #expect(fixture.text(workspace.root + "/etc/keys/id").isEmpty)
    let on = open(workspace.root + "/on", O_CREAT | O_WRONLY, 0o644)
    close(on)
    let end = try await fixture.end(of: 1)
    #expect(end.phase == .succeeded, "\(end) \(fixture.log(1))")
    #expect(fixture.log(1) == "\(Self.canary)\ndeep\ndeep\n400\n444\n")
    #expect(access(directory, F_OK) != 0, "its files in memory go with its end")
    await fixture.tearDown()
  }

  @Test("files in memory that a killed supervisor has left are removed by the next one")
  func leftovers() async throws {
    let fixture = try await ExecutorFixture()
    var spec = spec("touch /go; sleep 60")
    spec.fileVolumes = [FileVolume(name: "v", sources: [], mounts: [.init(path: "/etc/v")])]
    var request = RunRequest(id: RunID(2), epoch: 1, project: "p", spec: spec)
    request.privateFiles = [RunFile(path: "0/"), RunFile(path: "0/k", bytes: [1])]
    try await fixture.executor.submit(request)
    let workspace = fixture.executor.workspace(for: RunID(2))
    let directory = PrivateFiles.directory(ofRun: workspace.directory)
    try await fixture.waitUntil("it runs") { access(workspace.root + "/go", F_OK) == 0 }
    #expect(access(directory + "/0/k", F_OK) == 0)
    kill(try #require(fixture.supervisorPID), SIGKILL)
    let end = try await fixture.end(of: 2)
    #expect(end.phase == .lost)
    #expect(access(directory, F_OK) != 0)
    await fixture.tearDown()
  }

  @Test("a directory that appears twice is one, a part of it is that part, and read-only is read-only")
  func directories() async throws {
    let fixture = try await ExecutorFixture()
    var spec = spec(
      """
      echo a > /scratch/f; cat /again/f; mkdir -p /scratch/sub; echo b > /scratch/sub/g; cat /part/g; cat /scratch/sub/g
      (echo c > /again/f) 2>/dev/null && echo written
      echo d > /part/h; cat /scratch/sub/h
      """)
    spec.scratchPaths = ["/scratch"]
    spec.directoryMounts = [
      DirectoryMount(path: "/again", directory: "/scratch", isReadOnly: true),
      DirectoryMount(path: "/part", directory: "/scratch/sub"),
    ]
    let end = try await fixture.run(3, spec)
    #expect(end.phase == .succeeded, "\(end)")
    #expect(fixture.log(3) == "a\nb\nb\nd\n")
    // Where an output is that the run wrote at its second path.
    let file = try OutputFile.open(spec.storedPath(of: "/part/h"), in: fixture.executor.workspace(for: RunID(3)))
    #expect(file.map { ExecutorFixture.text(of: $0) } == "d\n")
    if let file { close(file) }
    await fixture.tearDown()
  }

  @Test(
    "copies of a gang get no files in memory, which are on one node, and a cluster without a sandbox shows no volumes")
  func refused() async throws {
    let fixture = try await ExecutorFixture()
    var gang = spec("true")
    gang.federation.gangSize = 2
    gang.fileVolumes = [FileVolume(name: "v", sources: [], mounts: [.init(path: "/etc/v")])]
    let end = try await fixture.run(4, gang)
    #expect(end.phase == .error && end.message.contains("copies of a gang"))
    #expect(await fixture.executor.inventory().features?.isSuperset(of: [.objects, .volumes]) == true)
    await fixture.tearDown()

    let plain = try await ExecutorFixture { $0.sandbox = .none }
    let features = await plain.executor.inventory().features
    #expect(features?.contains(.objects) == true && features?.contains(.volumes) == false, "\(features ?? [])")
    var mounted = spec("true")
    mounted.directoryMounts = [DirectoryMount(path: "/again", directory: "/scratch")]
    let refused = try await plain.run(5, mounted)
    #expect(refused.phase == .error && refused.message.contains("only a sandbox can show"), "\(refused)")
    await plain.tearDown()
  }
}
