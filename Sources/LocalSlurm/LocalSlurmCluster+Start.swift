internal import FederationModel
internal import FoundationEssentials
internal import LocalProcess

#if canImport(Glibc)
  internal import Glibc
#endif

extension LocalSlurmCluster {
  /// Makes directories, key and configuration. While anything of the cluster runs, its ports stay.
  func prepare() throws {
    let open = [paths.directory, paths.spool, paths.devices] + configuration.nodeNames.map { "\(paths.spool)/\($0)" }
    for path in open { try makeDirectory(path, mode: 0o755) }
    for path in [paths.state, paths.pid, paths.logs, paths.scratch] { try makeDirectory(path, mode: 0o700) }
    if !FileManager.default.fileExists(atPath: paths.mungeKey) {
      // munge takes any bytes as its key; hexadecimal ones can be written as text.
      var generator = SystemRandomNumberGenerator()
      let key = (0..<8).map { _ in
        let digits = String(generator.next() as UInt64, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
      }
      try PrivateFile.write(key.joined(), to: paths.mungeKey)
    }
    let ports = try daemons.isEmpty ? FreePorts.draw(portCount) : presentPorts()
    let files = ConfigurationFiles(
      configuration: configuration, paths: paths, ports: ports, host: SlurmPrograms.host,
      user: SlurmPrograms.user ?? "root")
    if let gres = files.gresConf {
      try makeDevices()
      try publish(gres, paths.gres)
    }
    try publish(files.cgroupConf, paths.cgroup)
    // slurmdbd refuses a file that others can read.
    if let accounting = files.slurmdbdConf { try PrivateFile.write(accounting, to: paths.accounting) }
    try publish(files.slurmConf, paths.configuration)
  }

  private var portCount: Int { configuration.nodes + (configuration.keepsAccounts ? 2 : 1) }

  private func makeDirectory(_ path: String, mode: mode_t) throws {
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    chmod(path, mode)
  }

  /// Jobs of other users read it too.
  private func publish(_ text: String, _ path: String) throws {
    try PrivateFile.write(text, to: path)
    chmod(path, 0o644)
  }

  /// Another port would cut the controller off from the nodes that run.
  private func presentPorts() throws -> [Int] {
    let text = String(decoding: InputFile.read(paths.configuration, limit: 1 << 20) ?? [], as: UTF8.self)
    let ports = text.split(whereSeparator: \.isWhitespace).compactMap { word in
      ["SlurmctldPort=", "Port=", "AccountingStoragePort="].first { word.hasPrefix($0) }.flatMap {
        Int(word.dropFirst($0.count))
      }
    }
    guard ports.count == portCount else {
      throw FederationError(
        .failedPrecondition,
        "\(paths.directory) runs a Slurm cluster of another size: stop it before it is started with \(configuration.nodes) nodes."
      )
    }
    return ports
  }

  /// Where devices cannot be made, plain files are counted just as well; a job then has no CUDA_VISIBLE_DEVICES.
  private func makeDevices() throws {
    for index in 0..<configuration.gpusPerNode {
      let path = "\(paths.devices)/nvidia\(index)"
      guard !FileManager.default.fileExists(atPath: path) else { continue }
      // The device of /dev/null: number 3 of the first driver. - Source: Linux, Documentation/admin-guide/devices.txt.
      if mknod(path, S_IFCHR | 0o666, 1 << 8 | 3) != 0 { try PrivateFile.write("", to: path) }
    }
  }

  // MARK: One by one

  func startMunge() async throws {
    try launch(
      "munged",
      [
        try SlurmPrograms.require("munged"), "--foreground", "--force", "--num-threads=2",
        "--key-file=\(paths.mungeKey)", "--socket=\(paths.mungeSocket)", "--pid-file=\(paths.pid)/munged.pid",
        "--log-file=\(paths.log("munged"))", "--seed-file=\(paths.directory)/munge.seed",
      ])
    try await wait(for: "munged", timeout: .seconds(10)) { Self.accepts(paths.mungeSocket) }
  }

  func startController() async throws {
    try launch(
      "slurmctld", [try SlurmPrograms.require("slurmctld"), "-D", "-i", "-f", paths.configuration])
  }

  func startNode(_ index: Int) throws {
    let name = configuration.nodeNames[index - 1]
    try launch(name, [try SlurmPrograms.require("slurmd"), "-D", "-N", name, "-f", paths.configuration])
  }

  /// Until the controller answers and tells of every node that it can take jobs, or that somebody drained it.
  func awaitReady(timeout: Duration) async throws {
    let end = ContinuousClock.now + timeout
    var states = "it did not answer"
    while true {
      for name in daemonNames where daemon(name) == nil {
        throw FederationError(
          .unavailable, "\(name) of the Slurm cluster \(configuration.name) ended:\n\(tail(name))")
      }
      if let answer = try? await command("sinfo", ["--noheader", "--Node", "--format=%N %T"], timeout: .seconds(5)) {
        // One line for each node and partition.
        states = answer
        let ready = ["idle", "mixed", "allocated", "completing", "drained", "draining"]
        let nodes = Set(
          answer.split(separator: "\n").compactMap { line -> Substring? in
            let words = line.split(separator: " ")
            return words.count == 2 && ready.contains(String(words[1])) ? words[0] : nil
          })
        if nodes.count == configuration.nodes { return }
      }
      guard ContinuousClock.now < end else {
        throw FederationError(
          .deadlineExceeded,
          "The Slurm cluster \(configuration.name) was not ready in \(timeout) (\(states)):\n\(logs)")
      }
      try await Task.sleep(for: .milliseconds(25))
    }
  }

  func wait(for name: String, timeout: Duration, until isReady: () async -> Bool) async throws {
    let end = ContinuousClock.now + timeout
    while !(await isReady()) {
      guard daemon(name) != nil else {
        throw FederationError(
          .unavailable, "\(name) of the Slurm cluster \(configuration.name) ended:\n\(tail(name))")
      }
      guard ContinuousClock.now < end else {
        throw FederationError(
          .deadlineExceeded, "\(name) of cluster \(configuration.name) was not ready in \(timeout):\n\(tail(name))")
      }
      try await Task.sleep(for: .milliseconds(10))
    }
  }

  /// Whether somebody listens: the socket of a killed munge is still there.
  static func accepts(_ path: String) -> Bool {
    let file = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    guard file >= 0 else { return false }
    defer { close(file) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8).prefix($0.count - 1)) }
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(file, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
      }
    }
  }
}
