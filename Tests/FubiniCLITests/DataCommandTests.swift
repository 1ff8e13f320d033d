import ArgumentParser
import FederationAPI
import FederationModel
import Foundation
import Synchronization
import Testing

@testable import fubini

@Suite("Commands on data, prices and secrets", .timeLimit(.minutes(2))) struct DataCommandTests {
  private static func transfer(_ phase: String, moved: Int64, message: String = "", rate: Int64? = nil)
    -> TransferDocument
  {
    TransferDocument(
      id: "0000000000000007", project: "default", key: "dataset:default/water@3", cluster: "hpc", cause: "prefetch",
      phase: phase, source: "repository", bytes: 1 << 20, movedBytes: moved, bytesPerSecond: rate,
      etaSeconds: rate.map { Double((1 << 20) - moved) / Double($0) }, createdAt: Documents.moment(0), startedAt: nil,
      finishedAt: nil, message: message)
  }

  @Test(
    "waiting for a transfer ends with it: done is an answer, anything else says why",
    arguments: ["done", "failed", "cancelled"])
  func waits(end: String) async throws {
    try await FakeServer.with({ _, place in
      .json(
        Documents.json(
          place < 2
            ? Self.transfer("waiting", moved: 0, message: "waits for cluster hpc, which does not answer")
            : Self.transfer(end, moved: 9, message: end == "failed" ? "the origin is gone" : "")))
    }) { server, url in
      try await withClient(url) { client in
        let result = await Result.of {
          try await TransferWait.finished("0000000000000007", client, pause: .milliseconds(1)) { "to \($0.cluster)" }
        }
        switch (end, result) {
        case ("done", .success(let transfer)): #expect(transfer.movedBytes == 9)
        case (_, .failure(let failure)):
          #expect(failure.code == .error && failure.message.contains(end))
          #expect(end != "failed" || failure.message.contains("the origin is gone"))
        default: Issue.record("\(end): \(result)")
        }
        #expect(server.requests.count == 3)
        #expect(server.requests[0].path == "/v1/projects/default/transfers/0000000000000007")
      }
    }
  }

  @Test("an artifact that is on its cluster alone is asked for and waited for; one that is there costs one question")
  func stores() async throws {
    for isThere in [true, false] {
      try await FakeServer.with({ request, _ in
        if request.method == "POST" {
          return .json(Documents.json(MovementDocument(transfer: isThere ? nil : "0000000000000007")))
        }
        return .json(Documents.json(Self.transfer("done", moved: 5)))
      }) { server, url in
        try await withClient(url) { client in
          try await TransferWait.untilStored(client.workflow("default", "u-1", "nodes", "n", "artifacts", "a"), client)
          #expect(server.requests.map(\.method) == (isThere ? ["POST"] : ["POST", "GET"]))
          #expect(server.requests[0].path.hasSuffix("/nodes/n/artifacts/a/store"))
        }
      }
    }
  }

  @Test("a watch tells each change once, goes on after a broken stream, and ends with what it was asked for")
  func watches() async throws {
    func event(_ transfer: TransferDocument) -> String {
      "event: update\ndata: \(Documents.json(TransferUpdate(transfers: [transfer])))\n\n"
    }
    let first = event(Self.transfer("running", moved: 100, rate: 10))
    let last = event(Self.transfer("done", moved: 1 << 20))
    let streams = Counter()
    try await FakeServer.with({ request, _ in
      guard request.headers["accept"]?.contains("event-stream") == true else {
        return .json(Documents.json(Self.transfer("running", moved: 0)))
      }
      return streams.next() == 1 ? .events(first + first, .cut) : .events(first + last, .held)
    }) { _, url in
      try await withClient(url) { client in
        let output = Output()
        try await TransferWatch(client: client, only: ["0000000000000007"]).run { output.append($0 + "\n") }
        let lines = output.lines
        #expect(lines[0].contains("water@3 -> hpc  running  0 B"))
        #expect(lines.count { $0.contains("ETA") } <= 2 && lines.count { $0.contains("done") } == 1, "\(lines)")
        #expect(lines.last?.contains("done") == true)
      }
    }
  }

  @Test("a watch of a transfer that ended before its stream began ends, too")
  func watchesWhatEnded() async throws {
    let questions = Counter()
    try await FakeServer.with({ request, _ in
      guard request.headers["accept"]?.contains("event-stream") == true else {
        return .json(
          Documents.json(
            questions.next() == 1 ? Self.transfer("running", moved: 5) : Self.transfer("done", moved: 1 << 20)))
      }
      return .events(": nothing is open\n\n", .held)
    }) { _, url in
      try await withClient(url) { client in
        let output = Output()
        try await TransferWatch(client: client, only: ["0000000000000007"]).run { output.append($0 + "\n") }
        #expect(output.lines.last?.contains("done") == true)
      }
    }
  }

  @Test("prices are read in whole units and sent in minor ones, with classes and times")
  func prices() throws {
    let command = try PriceCommand.Set.parse([
      "edge", "--currency", "CNY", "--core-hour", "0.30", "--egress-gib", "1", "--class", "idle=0.4", "--class",
      "offline=0.8",
      "--partition", "gpu:core-hour=0.5,gpu-hour=6", "--partition", "high-mem:gib-hour=0.02",
      "--from", "2026-03-01T00:00:00Z",
    ])
    let request = try command.request()
    #expect(request.prices.coreHour == 30 && request.prices.egressGibibyte == 100 && request.prices.gpuHour == 0)
    #expect(request.prices.classFactors == ["idle": 0.4, "offline": 0.8])
    #expect(
      request.prices.partitions
        == ["gpu": HourlyPrices(coreHour: 50, gpuHour: 600), "high-mem": HourlyPrices(gibibyteHour: 2)])
    #expect(request.from == Documents.moment(0) && request.until == nil)
    for wrong in [
      ["--core-hour", "much"], ["--core-hour=-1"], ["--core-hour", "nan"], ["--class", "idle"], ["--class", "lazy=1"],
      ["--class", "idle=1", "--class", "idle=2"], ["--partition", "gpu"], ["--partition", "gpu:"],
      ["--partition", "gpu:core-hour"], ["--partition", "gpu:core-hour=1,core-hour=2"],
      ["--partition", "gpu:egress-gib=1"],
      ["--partition", "gpu:core-hour=1", "--partition", "gpu:core-hour=2"], ["--partition", ":core-hour=1"],
      ["--from", "tomorrow"], ["--core-hour", "1e30"],
    ] {
      #expect(throws: CommandFailure.self, "\(wrong)") {
        try PriceCommand.Set.parse(["edge", "--currency", "CNY"] + wrong).request()
      }
    }
    #expect(throws: CommandFailure.self) { try PriceCommand.Set.parse(["edge", "--currency", "yuan"]).request() }
  }

  @Test("a secret's values come from files, and a refusal names the field and never the value (invariant I9)")
  func secrets() async throws {
    try await withTemporaryDirectory { directory in
      _ = FileManager.default.createFile(atPath: directory + "/key", contents: Data("geheim\n".utf8))
      _ = FileManager.default.createFile(
        atPath: directory + "/env", contents: Data("# c\nuser=ann\npass=a=b\r\n\n".utf8))
      let values = try SecretValues.read(
        files: ["key=\(directory)/key"], envFile: directory + "/env", standardInput: nil)
      #expect(values == ["key": "geheim", "user": "ann", "pass": "a=b"])
      _ = FileManager.default.createFile(atPath: directory + "/bad", contents: Data("geheim without a name".utf8))
      for (files, env) in [
        (["geheim"], nil), (["key=\(directory)/none"], nil), ([], directory + "/bad"), ([], nil),
        (["user=\(directory)/key"], directory + "/env"),
      ] as [([String], String?)] {
        #expect {
          try SecretValues.read(files: files, envFile: env, standardInput: nil)
        } throws: { ($0 as? CommandFailure).map { $0.code == .usage && !$0.message.contains("geheim") } ?? false }
      }
    }
  }

  @Test("progress tells bytes, rate and files, and never more than there is")
  func progress() {
    let meter = ProgressMeter("water", bytes: 2048, files: 3, isTerminal: false)
    meter.found(1024)
    meter.finished(files: 1)
    #expect(meter.line == "water: 1 KiB of 2 KiB  1 of 3 files")
    #expect(meter.movedBytes == 0)
    meter.moved(1024)
    #expect(meter.line.hasPrefix("water: 2 KiB of 2 KiB") && meter.line.contains("/s") && meter.movedBytes == 1024)
    // Sent a second time, and then found out to have been lost the first time.
    meter.moved(512)
    #expect(meter.line.hasPrefix("water: 2 KiB of 2 KiB") && meter.movedBytes == 1536)
    meter.lost(1024)
    #expect(meter.line.hasPrefix("water: 1.5 KiB of 2 KiB") && meter.movedBytes == 512)
  }

  @Test("a period is a number and a unit, and nothing that would not fit a clock")
  func periods() throws {
    for (text, seconds) in [("30d", 2_592_000), ("12h", 43_200), ("45m", 2700), ("90s", 90), ("2w", 1_209_600)] {
      #expect(try Period.seconds(text) == Int64(seconds))
    }
    for wrong in ["", "d", "0d", "-1d", "5", "1y", "9223372036854775807d", "1000000000w", "1.5h"] {
      #expect(throws: CommandFailure.self, "\(wrong)") { try Period.seconds(wrong) }
    }
  }

  @Test("update changes what it names, takes away what it says, and leaves the rest: residency above all")
  func update() throws {
    let now = DatasetDocument(
      project: "p", name: "water", origin: OriginDocument(uri: "s3://b/w", secret: "s"),
      allowedClusters: ["region": "eu"], expiresAfterSeconds: 9, createdAt: Timestamp(milliseconds: 0).wire,
      createdBy: "u", latest: 1, versions: 1, files: 1, bytes: 1)
    func request(_ arguments: String...) throws -> DatasetRequest {
      let command = try DatasetCommand.Update.parse(["water"] + arguments)
      return command.request(try command.declaration.request(nil), over: now)
    }
    let longer = try request("--expires-after", "90d")
    #expect(longer.allowedClusters == ["region": "eu"] && longer.origin == now.origin)
    #expect(longer.expiresAfterSeconds == 7_776_000)
    #expect(try request("--allowed-clusters", "region=cn").allowedClusters == ["region": "cn"])
    let bare = try request("--no-allowed-clusters", "--no-expiry", "--no-origin")
    #expect(bare.allowedClusters == nil && bare.expiresAfterSeconds == nil && bare.origin == nil)
  }

  @Test("a name with a version is taken by commands that can act on one, and refused by the others")
  func versions() throws {
    let name = try DatasetName("water@3")
    #expect(throws: CommandFailure.self) { try name.withoutVersion("update") }
    #expect(throws: CommandFailure.self) { try DatasetName("water@latest").withoutVersion("update") }
    #expect(try DatasetName("water").withoutVersion("update").name == "water")
    #expect(try name.only([5, 3, 1]) { Int32($0) } == [3])
    #expect(try DatasetName("water@latest").only([5, 3, 1]) { Int32($0) } == [5])
    #expect(throws: CommandFailure.self) { try name.only([5, 1]) { Int32($0) } }
  }

  @Test("what is typed without being shown can be corrected and interrupted")
  func types() {
    func typed(_ keys: [UInt8]) -> (TypedLine, TypedLine.Next) {
      var line = TypedLine()
      for key in keys {
        let next = line.take(key)
        if next != .more { return (line, next) }
      }
      return (line, .more)
    }
    let corrected = typed(Array("ab\u{e9}".utf8) + [0x7f] + Array("c\r".utf8))
    #expect(corrected.0.text == "abc" && corrected.1 == .done)
    #expect(typed(Array("wrong".utf8) + [0x15] + Array("right\n".utf8)).0.text == "right")
    for key in [0x03, 0x1c, 0x1a] as [UInt8] { #expect(typed([0x61, key]).1 == .interrupted) }
    // What is too long is refused, never cut.
    let longest = [UInt8](repeating: 0x61, count: SecretValues.sizeMax)
    #expect(typed(longest + [0x0d]).1 == .done && typed(longest + [0x61, 0x0d]).1 == .tooLong)
  }
}

/// Counts from 1.
private final class Counter: Sendable {
  private let count = Mutex(0)
  func next() -> Int {
    count.withLock {
      $0 += 1
      return $0
    }
  }
}

extension Result where Failure == CommandFailure {
  fileprivate static func of(_ body: () async throws -> Success) async -> Self {
    do { return .success(try await body()) } catch let failure as CommandFailure { return .failure(failure) } catch {
      return .failure(CommandFailure(.error, "\(error)"))
    }
  }
}
