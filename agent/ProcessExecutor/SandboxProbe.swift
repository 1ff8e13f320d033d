internal import CSupervisor
package import FederationModel
internal import Glibc
internal import Supervisor

/// What this machine can do, found by doing it.
package struct SandboxProbe: Sendable {
  package var bubblewrap: String
  package var disablesUserNamespaces: Bool

  /// Runs `true` in a sandbox as runs will be.
  /// - Throws: `.failedPrecondition` when it cannot, with what bubblewrap said.
  package static func run(etc: String, scratch: String, identity: RunIdentity?) throws(FederationError) -> SandboxProbe
  {
    let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/local/bin:/usr/bin:/bin"
    guard let bubblewrap = HostFiles.find("bwrap", path: path) else {
      throw FederationError(
        .failedPrecondition,
        "bubblewrap (bwrap) is not installed: install the package bubblewrap, or set `sandbox: none`")
    }
    HostFiles.remove(scratch)
    try HostFiles.makeDirectory(scratch, mode: 0o755)
    if let identity { HostFiles.give(scratch, to: identity) }
    var sandbox = Sandbox(
      bubblewrap: bubblewrap, base: .host(etc: etc), root: scratch, sharesNetwork: false,
      stage: identity == nil ? nil : "/tmp", workingDirectory: "/", command: ["/bin/sh", "-c", "exit 0"],
      disablesUserNamespaces: true)
    let launch = try sandbox.launch(listing: HostFiles.list)
    for link in launch.links { try HostFiles.makeLink(scratch + link.path, to: link.target) }
    var result = ProbeProcess.run(launch, identity: identity)
    if result.status != 0 {
      // Older than 0.8: runs may then make user namespaces of their own, inside of theirs.
      sandbox.disablesUserNamespaces = false
      result = ProbeProcess.run(try sandbox.launch(listing: HostFiles.list), identity: identity)
    }
    if result.status == 0 {
      return SandboxProbe(bubblewrap: bubblewrap, disablesUserNamespaces: sandbox.disablesUserNamespaces)
    }
    let said = result.output.isEmpty ? "wait status \(result.status)" : result.output
    throw FederationError(
      .failedPrecondition,
      "this machine does not let the agent make sandboxes (\(said)); allow unprivileged user namespaces "
        + "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone), or set `sandbox: none` to run without any"
    )
  }

  /// Where clouds hand out credentials: AWS, Azure, Google, OpenStack; AWS by IPv6; AWS containers; Alibaba.
  static let metadataAddresses = ["169.254.169.254", "fd00:ec2::254", "169.254.170.2", "100.100.100.200"]

  package static func reachableMetadataAddress() -> String? {
    metadataAddresses.first { csupervisor_tcp_reachable($0, 80, 150) == 1 }
  }
}

/// One short process, waited for; only for probes.
enum ProbeProcess {
  /// What a program writes, line by line; at most 64 KiB.
  static func lines(of arguments: [String], environment: [String]) -> [String] {
    run(
      SupervisedRun(id: 0, arguments: arguments, environment: environment), limit: 64 << 10
    ).output.split(separator: 0x0a).map { String(decoding: $0, as: UTF8.self) }
  }

  static func run(_ launch: Sandbox.Launch, identity: RunIdentity?) -> (status: Int32, output: String) {
    let request = SupervisedRun(
      id: 0, arguments: launch.arguments, environment: ["PATH=/usr/bin:/bin"], mounts: launch.mounts,
      user: identity?.user,
      group: identity?.group, isSandboxed: true)
    let (status, output) = run(request, limit: 4096)
    return (status, String(decoding: output.filter { $0 != 0x0a }, as: UTF8.self))
  }

  private static func run(_ request: SupervisedRun, limit: Int) -> (status: Int32, output: [UInt8]) {
    var ends: [Int32] = [0, 0]
    guard csupervisor_pipe(&ends) == 0 else { return (-1, Array("no pipe".utf8)) }
    let null = csupervisor_open("/dev/null", O_RDWR, 0)
    // What the supervisor's lock is to a run.
    let kept = csupervisor_open("/dev/null", O_RDONLY, 0)
    defer { for file in [ends[0], null, kept] { close(file) } }
    let (pid, step) = ProcessSpawn.start(request, input: null, output: ends[1], error: ends[1], kept: kept)
    close(ends[1])
    guard pid > 0 else { return (-1, Array("step \(step): \(String(cString: strerror(-pid)))".utf8)) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    var text: [UInt8] = []
    while text.count < limit {
      let got = read(ends[0], &bytes, bytes.count)
      if got <= 0 { break }
      text += bytes[..<got]
    }
    var status: Int32 = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    return (status, text)
  }
}
