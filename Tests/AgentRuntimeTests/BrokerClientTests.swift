import Execution
import FederationModel
import Logging
import ProcessExecutor
import SlurmExecutor
import Synchronization
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// A broker that its user has replaced: what it says and hands over must harm that user's runs alone.
@Suite(.enabled(if: access("/usr/bin/python3", X_OK) == 0, "python3 is not installed"))
struct BrokerClientTests {
  /// Answers as a broker does; `MODE` decides where it lies. Runs are 1 (the user's), 2 (another user's) and 3 (nobody's yet).
  private static let program = """
    import array, json, os, socket, struct, sys, time
    mode, path = sys.argv[1:3]
    link = socket.socket(fileno=0)
    def say(message, file=None):
      body = json.dumps(message).encode()
      head = struct.pack("<I", len(body) | (1 << 31 if file is not None else 0))
      rights = [] if file is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))]
      link.sendmsg([head], rights)
      link.sendall(body)
    def observation(run, phase): return {"id": run, "phase": phase, "message": "m" * 9000, "logBytes": -5}
    def take(count):
      data = b""
      while len(data) < count:
        part = link.recv(count - len(data))
        if not part: sys.exit(0)
        data += part
      return data
    while True:
      length, = struct.unpack("<I", take(4))
      message = json.loads(take(length & 0x7fffffff))
      tag, request = message["request"]["_0"], message["request"]["_1"]
      name = next(iter(request))
      if name == "begin" and mode == "complains":
        sys.stderr.write("sudo: a password is required\\n")
        sys.exit(1)
      if name == "submit":
        for run in (1, 2, 3): say({"observation": {"_0": observation(run, 6)}})
      if name == "reattach":
        say({"reply": {"_0": tag, "_1": {"observations": {"_0": [observation(run, 6) for run in (1, 2, 3)]}}}})
      elif name == "prepare" and mode == "dies": sys.exit(3)
      elif name == "prepare" and mode == "babbles": link.sendall(b"\\x03\\0\\0\\0abc")
      elif name == "openLog":
        say({"reply": {"_0": tag, "_1": {"done": {}}}}, os.open(path, os.O_RDONLY))
      else:
        say({"reply": {"_0": tag, "_1": {"done": {}}}})
    """

  private final class Seen: Sendable {
    let told = Mutex<[RunObservation]>([])
  }

  private func client(_ mode: String, _ file: String = "/dev/null", device: dev_t = 0) -> (
    BrokerClient, Seen, Task<Void, Never>
  ) {
    let observers = Observers()
    let seen = Seen()
    let stream = observers.open()
    let watch = Task { for await one in stream { seen.told.withLock { $0.append(one) } } }
    let client = BrokerClient(
      user: .init(name: "alice", number: geteuid()), command: ["python3", "-c", Self.program, mode, file],
      observers: observers, logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
      configuration: {
        SlurmExecutorConfiguration(sharedDirectory: "/nowhere", agentBinary: "/a", federationID: "f", cluster: "c")
      }, begun: { device }, onForgotten: { _ in })
    return (client, seen, watch)
  }

  private func run(_ id: Int64) -> RunRequest {
    RunRequest(id: RunID(id), epoch: 1, project: "p", spec: TaskSpec(command: ["true"], arguments: []))
  }

  @Test("I1: what a broker says of another user's runs is dropped, and its numbers and words are bounded")
  func foreign() async throws {
    let (client, seen, watch) = client("lies")
    defer { watch.cancel() }
    let found = try await client.reattach([RunID(1)]) { $0 == RunID(2) }
    // Its own, and one that nobody owns; not the other user's.
    #expect(Set(found.map(\.id)) == [RunID(1), RunID(3)])
    #expect(found.allSatisfy { $0.message.utf8.count == 2000 && $0.logBytes == 0 })
    try await client.submit([run(1)])
    let end = ContinuousClock.now + .seconds(30)
    while seen.told.withLock({ $0.allSatisfy { $0.id != RunID(3) } }), ContinuousClock.now < end {
      try await Task.sleep(for: .milliseconds(5))
    }
    #expect(seen.told.withLock { Set($0.map(\.id)) } == [RunID(1), RunID(3)])
    await client.close()
  }

  @Test("a file that is handed over must be the user's, regular, and on the shared file system")
  func files() async throws {
    let directory = try TemporaryDirectory()
    try directory.write("said", to: "log")
    var status = stat()
    #expect(stat(directory.path + "/log", &status) == 0)
    let (good, _, first) = client("lies", directory.path + "/log", device: status.st_dev)
    let file = try await good.open(.openLog(RunID(1)))
    #expect(try POSIXFile.readAll(try #require(file).descriptor, limit: 10) == Array("said".utf8))
    await good.close()
    let (elsewhere, _, second) = client("lies", directory.path + "/log", device: status.st_dev &+ 1)
    await #expect(throws: FederationError.self) { _ = try await elsewhere.open(.openLog(RunID(1))) }
    await elsewhere.close()
    // A device ends the connection, and with it the request.
    let (device, _, third) = client("lies", "/dev/zero")
    await #expect(throws: FederationError.self) { _ = try await device.open(.openLog(RunID(1))) }
    await device.close()
    for watch in [first, second, third] { watch.cancel() }
  }

  @Test(
    "a broker that refuses, dies or babbles makes its user's work wait, with the reason",
    arguments: [
      ("complains", "sudo: a password is required"), ("dies", "it ended"), ("babbles", "it sent what is no message"),
    ])
  func broken(mode: String, reason: String) async throws {
    let (client, _, watch) = client(mode)
    defer { watch.cancel() }
    do {
      try await client.prepare(run(1))
      Issue.record("it was prepared")
    } catch let error as FederationError {
      #expect(error.isRetryable && error.publicMessage.contains(reason), "\(error)")
    }
    let end = ContinuousClock.now + .seconds(30)
    while await client.problem == nil, ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(5)) }
    #expect(await client.problem?.contains("work of alice: ") == true)
    // It is not started again and again: the next request is refused at once, or meets one that was started after a pause.
    await #expect(throws: FederationError.self) { try await client.prepare(run(1)) }
    await client.close()
  }
}
