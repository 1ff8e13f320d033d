import Execution
import FederationModel
import FoundationEssentials
import Rclone
import TestSupport
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// A run with files, the agent's server of them, and pods: the real programs as processes of this machine.
final class PodFixture: Sendable {
  let directory: TemporaryDirectory
  let run = RunID(77)
  let workspace: RunWorkspace
  let port: Int
  let server: PodFileServer
  static let pod = "0a1b-first"

  init(_ change: (inout PodFileServer.Configuration) -> Void = { _ in }) throws {
    directory = try TemporaryDirectory()
    let workspace = RunWorkspace(directory: directory.path + "/run", root: directory.path + "/run/root")
    self.workspace = workspace
    port = try FreePort.next()
    for name in ["run", "run/root", "pod", "agent"] { try POSIXFile.makeDirectories(directory.path + "/" + name) }
    var configuration = PodFileServer.Configuration(
      stateDirectory: directory.path + "/agent", url: "https://127.0.0.1:\(port)", port: port, address: "127.0.0.1")
    change(&configuration)
    server = try PodFileServer(configuration, workspace: { _ in workspace }, logger: silentLogger())
  }

  /// Where the pod has a path: a directory of its own.
  func inPod(_ name: String) -> String { directory.path + "/pod/" + name }

  /// Where the agent has what the pod has there.
  func atAgent(_ name: String) -> String { workspace.root + inPod(name) }

  func share(_ inputs: [SharedPodFiles.Source] = [], outputs: [String] = []) throws {
    try server.share(SharedPodFiles(inputs: inputs, outputs: outputs.map(inPod)), of: run, in: workspace)
  }

  /// With a server; it has ended when this returns.
  func serving<Result>(_ body: () async throws -> Result) async throws -> Result {
    let work = Task { [server] in try await server.run() }
    do {
      try await waitUntil { FreePort.answers(self.port) }
      let result = try await body()
      work.cancel()
      _ = await work.result
      return result
    } catch {
      work.cancel()
      _ = await work.result
      throw error
    }
  }

  func plan(_ change: (inout PodPlan) -> Void = { _ in }) -> PodPlan {
    var plan = PodPlan(run: run, url: "https://127.0.0.1:\(port)", transferMs: 20_000)
    plan.places.program = inPod("program")
    plan.places.files = inPod("files")
    plan.places.state = inPod("state")
    plan.places.terminationLog = inPod("termination")
    change(&plan)
    return plan
  }

  /// Starts one of the pod's programs.
  func start(
    _ arguments: [String], _ plan: PodPlan, pod: String = pod, token: String? = nil, authority: String? = nil,
    rank: Int? = nil
  ) throws -> PodProcess {
    for name in ["program", "files", "state"] { try POSIXFile.makeDirectories(inPod(name)) }
    let access = try server.access(for: run)
    let text = String(decoding: try JSONEncoder().encode(plan), as: UTF8.self)
    return try PodProcess(
      arguments, log: directory.path + "/log-\(UInt32.random(in: .min ... .max))",
      environment: [
        "PATH=/usr/bin:/bin", "GREETING=hello", "\(PodPlan.variable)=\(text)",
        "\(PodPlan.tokenVariable)=\(token ?? access.token)",
        "\(PodPlan.authorityVariable)=\(authority ?? access.certificateAuthorityPEM)", "\(PodPlan.podVariable)=\(pod)",
      ] + (rank.map { ["\(PodPlan.rankVariable)=\($0)"] } ?? []))
  }

  func step(_ script: String, _ plan: PodPlan, container: String = "main") throws -> PodProcess {
    try start([PodPrograms.stepCommand, "--container", container, "--", "sh", "-c", script], plan)
  }

  var notice: PodNotice? {
    guard let text = try? directory.read("pod/termination") else { return nil }
    return try? JSONDecoder().decode(PodNotice.self, from: Data(text.utf8))
  }

  /// A connection as a pod makes it.
  func connect(token: String? = nil) throws -> HTTPConnection {
    let access = try server.access(for: run)
    return HTTPConnection(
      try PodFileClient.stream("127.0.0.1", port, authority: access.certificateAuthorityPEM),
      authorization: "Bearer \(token ?? access.token)")
  }
}

/// One of the agent's programs, with an environment and an output of its own.
final class PodProcess {
  let processID: pid_t
  let log: String
  /// The most that was seen in memory while its end was waited for. The kernel's own account of a child begins with what its parent had.
  private(set) var memoryBytes = 0
  private var code: Int32?

  init(_ arguments: [String], log: String, environment: [String]) throws {
    self.log = log
    let file = try POSIXFile.open(log, O_WRONLY | O_CREAT | O_TRUNC)
    defer { POSIXFile.close(file) }
    let errors = try POSIXFile.open(log + ".err", O_WRONLY | O_CREAT | O_TRUNC)
    defer { POSIXFile.close(errors) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, file, 1)
    posix_spawn_file_actions_adddup2(&actions, errors, 2)
    var words: [UnsafeMutablePointer<CChar>?] = ([AgentBinary.path] + arguments).map { strdup($0) } + [nil]
    var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
    defer { for word in words + variables { free(word) } }
    var child: pid_t = 0
    let code = posix_spawn(&child, AgentBinary.path, &actions, nil, &words, &variables)
    guard code == 0 else { throw POSIXFile.failure("Cannot start \(AgentBinary.path)", code) }
    processID = child
  }

  deinit {
    guard code == nil else { return }
    kill(processID, SIGKILL)
    var status: Int32 = 0
    while waitpid(processID, &status, 0) < 0, errno == EINTR {}
  }

  /// - Returns: the exit code, negative for a signal; nil while it lives.
  func ended() -> Int32? {
    if let code { return code }
    var status: Int32 = 0
    guard waitpid(processID, &status, WNOHANG) == processID else { return nil }
    code = status & 0x7f == 0 ? status >> 8 & 0xff : -(status & 0x7f)
    return code
  }

  /// - Throws: when it does not end in time.
  func end(within seconds: Double = 40) async throws -> Int32 {
    for _ in 0..<Int(seconds * 50) {
      let peak = text("/proc/\(processID)/status").split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
      memoryBytes = max(memoryBytes, (peak.flatMap { Int($0.filter(\.isNumber)) } ?? 0) * 1024)
      if let code = ended() { return code }
      try await Task.sleep(for: .milliseconds(20))
    }
    throw FederationError(.deadlineExceeded, "it did not end: \(errors)")
  }

  var errors: String { text(log + ".err") }
  var output: String { text(log) }

  private func text(_ path: String) -> String {
    guard let file = try? POSIXFile.open(path, O_RDONLY) else { return "" }
    defer { POSIXFile.close(file) }
    return String(decoding: (try? POSIXFile.readAll(file, limit: 1 << 20)) ?? [], as: UTF8.self)
  }
}
