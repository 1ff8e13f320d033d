import Crypto
import FederationModel
import FoundationEssentials
import Synchronization
import TestSupport
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// Real stores behind a real rclone. What is not installed here is left out, and says so.
@Suite(.serialized) struct OriginTransferTests {
  private struct Bench: Sendable {
    let directory: TemporaryDirectory
    let repository = MemoryRepository()
    let layout: CacheLayout
    let sources: SourceAccess

    init(_ secrets: [String: [String: String]] = [:]) throws {
      directory = try TemporaryDirectory()
      chmod(directory.path, 0o711)
      layout = CacheLayout(directory: directory.path + "/cache")
      try layout.make()
      sources = try StoreFixture.sources(directory, secrets: secrets)
    }

    /// Runs `body` while rclone may be started.
    func running(_ body: @Sendable (Bench) async throws -> Void) async throws {
      let mover = sources.mover
      let work = Task { await mover.run() }
      defer { work.cancel() }
      try await body(self)
    }

    /// Lists an origin as an order would, and fetches what is there.
    func bring(_ origin: DataOrigin, as key: DataKey = "dataset:p/x@1", bytesPerSecond: Int64? = nil) async throws {
      let wanted = try await wanted(origin, key)
      try await fetcher(bytesPerSecond).fetch(wanted, for: nil, into: layout, TransferGauge())
    }

    func wanted(_ origin: DataOrigin, _ key: DataKey = "dataset:p/x@1") async throws -> WantedReplica {
      let indexer = OriginIndexer(sources: sources, repository: repository)
      let listed = try await indexer.index(origin, key: key, as: "list", of: "p", in: layout.work)
      return WantedReplica(
        DataObject(
          key: key, project: "p", size: ByteCount(listed.bytes), files: listed.files, manifest: listed.manifest,
          sources: [.origin(origin)]))
    }

    func fetcher(_ bytesPerSecond: Int64? = nil) throws -> ReplicaFetcher {
      try StoreFixture.fetcher(repository, directory, sources: sources, bytesPerSecond: bytesPerSecond)
    }

    var tree: String { layout.mountSource("dataset:p/x@1") }
  }

  private static let s3Secret = ["accessKeyId": "a", "secretAccessKey": "b"]

  private func upload(_ sample: SampleDataset, to url: String, from directory: TemporaryDirectory) throws {
    try sample.write(below: directory.path + "/upload")
    let remote =
      ":s3,provider=Other,access_key_id=a,secret_access_key=b,region=us-east-1,force_path_style=true,endpoint='\(url)':"
    let result = try StepRunner.execute(
      [
        // With it set, Debian's rclone refuses every endpoint.
        "env", "-u", "AWS_CA_BUNDLE", "rclone", "--config", "", "copy", "--s3-no-check-bucket",
        directory.path + "/upload",
        remote + S3Service.bucket + "/in",
      ])
    #expect(result.status == 0, "\(result.output)")
  }

  @Test("S3: a bucket's prefix is listed, fetched with the secret's credentials, and verified", .timeLimit(.minutes(2)))
  func s3() async throws {
    try await S3Service.with { url in
      try await Bench(["s": Self.s3Secret]).running { bench in
        try upload(.small, to: url, from: bench.directory)
        let origin = DataOrigin(uri: "s3://\(S3Service.bucket)/in?endpoint=\(url)&region=us-east-1", secret: "s")
        try await bench.bring(origin)
        try SampleDataset.small.expectEqual(bench.tree)
        // One object of the bucket, by its address, as a foreign source.
        let one = WantedReplica(
          DataObject(
            key: DataKey("source:\(SampleDataset.sha256([1]))"), project: "p", size: ByteCount(37 * 11),
            sources: [.origin(DataOrigin(uri: "s3://\(S3Service.bucket)/in/d1/f11?endpoint=\(url)", secret: "s"))]))
        try await bench.fetcher().fetch(one, for: nil, into: bench.layout, TransferGauge())
        let size = TreeWriter(bench.layout.mountSource(one.key)).size("f11")
        #expect(size == 407)
      }
    }
  }

  @Test(
    "I9: a secret is in no argument, no environment of another process, no file and no message", .timeLimit(.minutes(2))
  )
  func secretsStayInMemory() async throws {
    let value = "hush-\(UInt64.random(in: .min ... .max))"
    try await S3Service.with { url in
      try await Bench(["s": ["accessKeyId": "a", "secretAccessKey": value]]).running { bench in
        try upload(.small, to: url, from: bench.directory)
        let origin = DataOrigin(uri: "s3://\(S3Service.bucket)/in?endpoint=\(url)", secret: "s")
        let wanted = try await bench.wanted(origin)
        // Slow enough to be looked at.
        let transfer = Task {
          try await bench.fetcher(20_000).fetch(wanted, for: nil, into: bench.layout, TransferGauge())
        }
        try await waitUntil { access(bench.layout.partialTree(wanted.key) + "/manifest", F_OK) == 0 }
        for process in try POSIXFile.entries(ofPath: "/proc") where Int(process) != nil {
          for name in ["cmdline", "environ"] {
            guard let file = try? POSIXFile.open("/proc/\(process)/\(name)", O_RDONLY) else { continue }
            defer { POSIXFile.close(file) }
            let text = String(decoding: (try? POSIXFile.readAll(file, limit: 1 << 20)) ?? [], as: UTF8.self)
            #expect(!text.contains(value), "\(name) of process \(process)")
          }
        }
        let found = try StepRunner.execute(["grep", "-rl", value, bench.directory.path])
        #expect(found.status != 0, "\(found.output)")
        transfer.cancel()
        let missing = DataOrigin(uri: "s3://no-such-bucket-here/?endpoint=\(url)", secret: "s")
        let error = await #expect(throws: (any Error).self) { try await bench.wanted(missing) }
        #expect(!"\(String(describing: error))".contains(value))
      }
    }
  }

  @Test(
    "kill -9 of rclone amid a transfer: it is started again, and the file goes on where it was", .timeLimit(.minutes(2))
  )
  func rcloneKilled() async throws {
    try await S3Service.with { url in
      try await Bench(["s": Self.s3Secret]).running { bench in
        let sample = SampleDataset(files: [("large", (0..<(24 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 7 >> 3) })])
        try upload(sample, to: url, from: bench.directory)
        let origin = DataOrigin(uri: "s3://\(S3Service.bucket)/in?endpoint=\(url)", secret: "s")
        let wanted = try await bench.wanted(origin)
        let first = TransferGauge()
        let transfer = Task {
          try await bench.fetcher(8 << 20).fetch(wanted, for: nil, into: bench.layout, first)
        }
        try await waitUntil { first.reading.bytesMoved > 8 << 20 }
        let killed = try Self.killRclone(using: bench.directory.path)
        #expect(killed > 0)
        await #expect(throws: (any Error).self) { try await transfer.value }
        let second = TransferGauge()
        try await bench.fetcher().fetch(wanted, for: nil, into: bench.layout, second)
        try sample.expectEqual(bench.tree)
        #expect(second.reading.bytesMoved < sample.size - (4 << 20), "\(second.reading.bytesMoved)")
      }
    }
  }

  /// Children of this process that are rclone's remote control. Returns how many.
  private static func killRclone(using directory: String) throws -> Int {
    var count = 0
    for process in try POSIXFile.entries(ofPath: "/proc") {
      guard let id = pid_t(process), let file = try? POSIXFile.open("/proc/\(id)/stat", O_RDONLY) else { continue }
      defer { POSIXFile.close(file) }
      let text = String(decoding: (try? POSIXFile.readAll(file, limit: 4096)) ?? [], as: UTF8.self)
      guard text.contains("(rclone)"), let end = text.lastIndex(of: ")") else { continue }
      let words = text[end...].split(separator: " ")
      guard words.count > 2, pid_t(words[2]) == getpid() else { continue }
      kill(id, SIGKILL)
      count += 1
    }
    return count
  }

  @Test("HTTP: a directory that nginx lists, and one file of it, arrive", .timeLimit(.minutes(2)))
  func http() async throws {
    try await Bench().running { bench in
      try SampleDataset.small.write(below: bench.directory.path + "/www")
      try await withServer(
        ["nginx", "-p", bench.directory.path, "-c", "nginx.conf", "-g", "daemon off;"], named: "nginx",
        in: bench.directory
      ) { port in
        """
        pid \(bench.directory.path)/nginx.pid; error_log \(bench.directory.path)/nginx.err; user root;
        events {}
        http {
          access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4;
          scgi_temp_path t5;
          server { listen 127.0.0.1:\(port); location / { root \(bench.directory.path)/www; autoindex on; } }
        }
        """
      } body: { port in
        try await bench.bring(DataOrigin(uri: "http://127.0.0.1:\(port)/"))
        try SampleDataset.small.expectEqual(bench.tree)
        try await bench.bring(DataOrigin(uri: "http://127.0.0.1:\(port)/d1/f11"), as: "dataset:p/one@1")
        let size = TreeWriter(bench.layout.mountSource("dataset:p/one@1")).size("f11")
        #expect(size == 407)
      }
    }
  }

  @Test(
    "HTTP: a file that changes after it was listed, before or while it is fetched, is refused; so is who may not read, at once",
    .timeLimit(.minutes(2)))
  func httpFaults() async throws {
    try await Bench().running { bench in
      let www = bench.directory.path + "/www"
      let large = SampleDataset(files: [("large", (0..<(16 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 7 >> 3) })])
      try SampleDataset.small.write(below: www)
      try large.write(below: www + "/big")
      try await withServer(
        ["nginx", "-p", bench.directory.path, "-c", "nginx.conf", "-g", "daemon off;"], named: "nginx",
        in: bench.directory
      ) { port in
        """
        pid \(bench.directory.path)/nginx.pid; error_log \(bench.directory.path)/nginx.err; user root;
        events {}
        http {
          access_log off; client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4;
          scgi_temp_path t5;
          server {
            listen 127.0.0.1:\(port);
            location / { root \(www); autoindex on; }
            location /shut/ { return 403; }
            location /locked/ { return 401; }
          }
        }
        """
      } body: { port in
        let small = try await bench.wanted(DataOrigin(uri: "http://127.0.0.1:\(port)/d1/"), "dataset:p/small@1")
        try Self.change(www + "/d1/f11")
        try await Self.expectChanged("f11") {
          try await bench.fetcher().fetch(small, for: nil, into: bench.layout, .init())
        }
        // While it is read: its reader has most of the old bytes by then.
        let big = try await bench.wanted(DataOrigin(uri: "http://127.0.0.1:\(port)/big/"), "dataset:p/big@1")
        let gauge = TransferGauge()
        let transfer = Task {
          try await bench.fetcher(4 << 20).fetch(big, for: nil, into: bench.layout, gauge)
        }
        try await waitUntil { gauge.reading.bytesMoved > 2 << 20 }
        try Self.change(www + "/big/large")
        try #require(gauge.reading.bytesMoved < 16 << 20, "it was over before the file changed")
        try await Self.expectChanged("large") { try await transfer.value }
        for key in [small.key, big.key] { #expect(access(bench.layout.tree(key), F_OK) != 0) }

        for path in ["shut/f", "locked/f"] {
          let error = await #expect(throws: FederationError.self) {
            try await bench.wanted(DataOrigin(uri: "http://127.0.0.1:\(port)/\(path)"))
          }
          #expect(error?.code == .permissionDenied && error?.isRetryable == false, "\(String(describing: error))")
          #expect(error?.publicMessage.contains("refuses access") == true, "\(String(describing: error))")
        }
      }
    }
  }

  /// Gives a file other bytes, as many as before, and a time of change that is later.
  private static func change(_ path: String) throws {
    let file = try POSIXFile.open(path, O_WRONLY)
    defer { POSIXFile.close(file) }
    _ = [UInt8](repeating: 9, count: 100).withUnsafeBytes { pwrite(file, $0.baseAddress!, 100, 0) }
    let later = timespec(tv_sec: time(nil) + 5, tv_nsec: 0)
    withUnsafePointer(to: (later, later)) { pair in
      _ = pair.withMemoryRebound(to: timespec.self, capacity: 2) { futimens(file, $0) }
    }
  }

  private static func expectChanged(_ name: String, _ body: () async throws -> Void) async throws {
    let error = await #expect(throws: FederationError.self) { try await body() }
    let message = error?.publicMessage ?? ""
    #expect(message.contains("other bytes of \(name)") && message.contains("changed after it was listed"), "\(message)")
    #expect(error?.isRetryable == false)
  }

  @Test("SFTP: a directory behind a real sshd arrives; another host's key is refused", .timeLimit(.minutes(2)))
  func sftp() async throws {
    let keys = try TemporaryDirectory()
    for name in ["host", "user", "other"] {
      let result = try? StepRunner.execute([
        "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys.path + "/" + name,
      ])
      guard result?.status == 0 else { return print("skipped: no ssh-keygen here (package openssh-client)") }
    }
    let user = String(cString: getpwuid(geteuid())!.pointee.pw_name)
    let hostKey = try keys.read("host.pub")
    let otherKey = try keys.read("other.pub")
    let privateKey = try keys.read("user")
    let port = try FreePort.next()
    let secret = { (key: String) in
      ["user": user, "privateKey": privateKey, "knownHosts": "[127.0.0.1]:\(port) \(key)"]
    }
    try await Bench(["right": secret(hostKey), "wrong": secret(otherKey)]).running { bench in
      try SampleDataset.small.write(below: bench.directory.path + "/home")
      mkdir("/run/sshd", 0o755)
      try await withServer(
        ["/usr/sbin/sshd", "-D", "-e", "-f", bench.directory.path + "/nginx.conf"], named: "sshd", in: bench.directory,
        port: port
      ) { port in
        """
        Port \(port)
        ListenAddress 127.0.0.1
        HostKey \(keys.path)/host
        AuthorizedKeysFile \(keys.path)/user.pub
        PidFile none
        StrictModes no
        UsePAM no
        PermitRootLogin yes
        PasswordAuthentication no
        Subsystem sftp internal-sftp
        """
      } body: { port in
        let uri = "sftp://127.0.0.1:\(port)\(bench.directory.path)/home"
        try await bench.bring(DataOrigin(uri: uri, secret: "right"))
        try SampleDataset.small.expectEqual(bench.tree)
        await #expect(throws: FederationError.self) {
          try await bench.bring(DataOrigin(uri: uri, secret: "wrong"), as: "dataset:p/y@1")
        }
      }
    }
  }

  // MARK: Servers

  /// A server of the test's own on a port of loopback; says so, and does nothing, where it is not installed.
  private func withServer(
    _ command: [String], named name: String, in directory: TemporaryDirectory, port: Int? = nil,
    configuration: (Int) -> String, body: (Int) async throws -> Void
  ) async throws {
    guard (try? StepRunner.execute(["which", name]))?.status == 0 else {
      return print("skipped: no \(name) here")
    }
    let port = try port ?? FreePort.next()
    try directory.write(configuration(port) + "\n", to: "nginx.conf")
    let process = try ServerProcess(command)
    defer { process.end() }
    try await waitUntil { FreePort.answers(port) }
    try await body(port)
  }
}
