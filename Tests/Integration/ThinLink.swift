import FederationHarness
import Foundation
import Glibc

/// A network namespace behind a pair of virtual devices that let through so many bits a second in each direction: a cluster far away.
///
/// It goes with its holder, which ends by itself after a quarter of an hour, whatever becomes of the test.
struct ThinLink: Sendable {
  let holder: OwnedProcess
  /// The address of this side, which whatever is inside dials.
  let near: String
  /// The address inside.
  let far: String
  /// This side's device.
  private let device: String
  private let log: String

  /// What starts a command inside.
  var enter: [String] { ["/usr/bin/nsenter", "--target", "\(holder.pid)", "--net", "--"] }

  static var isPossible: Bool {
    geteuid() == 0
      && ["/usr/bin/unshare", "/usr/bin/nsenter", "/usr/sbin/ip", "/usr/sbin/tc"].allSatisfy {
        FileManager.default.isExecutableFile(atPath: $0)
      }
  }

  /// Runs `body` beside a thin link, or with nil where none can be made.
  static func with(megabits: Int, _ body: @Sendable (ThinLink?) async throws -> Void) async throws {
    guard isPossible else { return try await body(nil) }
    let link: ThinLink
    do { link = try await ThinLink(megabits: megabits) } catch {
      print("no thin link: \(error)")
      return try await body(nil)
    }
    do { try await body(link) } catch {
      await link.remove()
      throw error
    }
    await link.remove()
  }

  private init(megabits: Int) async throws {
    let number = UInt32.random(in: 0..<16_384)
    // Of the range that carriers use between themselves and their customers: no real neighbour has such an address.
    let (high, low) = (64 + number / 256 % 64, number % 256)
    near = "100.\(high).\(low).1"
    far = "100.\(high).\(low).2"
    device = "fub\(number)"
    log = "/tmp/\(device)-\(getpid()).log"
    holder = try OwnedProcess.spawn(
      ["/usr/bin/unshare", "--net", "/bin/sleep", "900"], log: log)
    do {
      let own = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/net")
      try await poll("the namespace is there", timeout: .seconds(10)) {
        try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(holder.pid)/ns/net") != own
      }
      try await run(
        "/usr/sbin/ip", "link", "add", device, "type", "veth", "peer", "name", "far", "netns", "\(holder.pid)")
      try await run("/usr/sbin/ip", "addr", "add", near + "/30", "dev", device)
      try await run("/usr/sbin/ip", "link", "set", device, "up")
      try await inside("/usr/sbin/ip", "addr", "add", far + "/30", "dev", "far")
      try await inside("/usr/sbin/ip", "link", "set", "far", "up")
      try await inside("/usr/sbin/ip", "link", "set", "lo", "up")
      let rate = ["root", "tbf", "rate", "\(megabits)mbit", "burst", "128kb", "latency", "100ms"]
      try await run(["/usr/sbin/tc", "qdisc", "add", "dev", device] + rate)
      try await run(enter + ["/usr/sbin/tc", "qdisc", "add", "dev", "far"] + rate)
    } catch {
      await remove()
      throw error
    }
  }

  /// Takes the link away, or lets it be there again. What is inside lives on.
  func setUp(_ isUp: Bool) async throws { try await run("/usr/sbin/ip", "link", "set", device, isUp ? "up" : "down") }

  static let iptables = "/usr/sbin/iptables"
  private static let chains = ["INPUT", "OUTPUT"]

  /// Whether packets can be thrown away inside: `drop`.
  static var canDrop: Bool { isPossible && FileManager.default.isExecutableFile(atPath: iptables) }

  /// Throws away everything that comes and goes on the inside of the link, without a word to anybody, or no longer does. Connections
  /// stay: nobody is told that they lead nowhere.
  func drop(_ isDropping: Bool) async throws {
    for (chain, way) in zip(Self.chains, ["-i", "-o"]) {
      try await inside(Self.iptables, "-w", isDropping ? "-I" : "-D", chain, way, "far", "-j", "DROP")
    }
  }

  /// How many packets were thrown away so far, those that came and those that went.
  func dropped() async throws -> [Int] {
    var counts: [Int] = []
    for chain in Self.chains {
      let log = "\(self.log)-\(chain)"
      defer { try? FileManager.default.removeItem(atPath: log) }
      let code = try await OwnedProcess.run(
        enter + [Self.iptables, "-w", "-L", chain, "-v", "-x", "-n"], log: log)
      let text = try String(contentsOfFile: log, encoding: .utf8)
      guard code == 0 else { throw HarnessError("iptables -L ended with \(code):\n\(text)") }
      let rule = text.split(separator: "\n").first { $0.contains("DROP") && !$0.hasPrefix("Chain") }
      counts.append(rule?.split(separator: " ").first.flatMap { Int($0) } ?? 0)
    }
    return counts
  }

  private func run(_ words: String...) async throws { try await run(words) }
  private func inside(_ words: String...) async throws { try await run(enter + words) }
  private func run(_ words: [String]) async throws {
    let code = try await OwnedProcess.run(words, log: log)
    guard code == 0 else {
      throw HarnessError("\(words.joined(separator: " ")) ended with \(code):\n\(LogTail.of(log))")
    }
  }

  private func remove() async {
    // The devices go with the namespace, unless something inside still lives; then with this.
    _ = try? await run("/usr/sbin/ip", "link", "del", device)
    try? await holder.kill()
    try? FileManager.default.removeItem(atPath: log)
  }
}
