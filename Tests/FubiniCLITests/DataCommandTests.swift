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
    try await FakeServer.with({ request, place in
      guard request.headers["accept"]?.contains("event-stream") == true else {
        return .json(Documents.json(Self.transfer("running", moved: 0)))
      }
      return place == 1 ? .events(first + first, .cut) : .events(first + last, .held)
    }) { _, url in
      try await withClient(url) { client in
        let output = Output()
        try await TransferWatch(client: client, only: ["0000000000000007"]).run { output.append($0 + "\n") }
        let lines = output.lines
        #expect(lines.count == 3, "\(lines)")
        #expect(lines[0].contains("water@3 -> hpc  running  0 B"))
        #expect(lines[1].contains("ETA") && lines[2].contains("done"))
      }
    }
  }

  @Test("prices are read in whole units and sent in minor ones, with classes and times")
  func prices() throws {
    let command = try PriceCommand.Set.parse([
      "edge", "--currency", "CNY", "--core-hour", "0.30", "--egress-gib", "1", "--class", "idle=0.4", "--class",
      "offline=0.8",
      "--from", "2026-03-01T00:00:00Z",
    ])
    let request = try command.request()
    #expect(request.prices.coreHour == 30 && request.prices.egressGibibyte == 100 && request.prices.gpuHour == 0)
    #expect(request.prices.classFactors == ["idle": 0.4, "offline": 0.8])
    #expect(request.from == Documents.moment(0) && request.until == nil)
    for wrong in [
      ["--core-hour", "much"], ["--core-hour=-1"], ["--core-hour", "nan"], ["--class", "idle"], ["--class", "lazy=1"],
      ["--class", "idle=1", "--class", "idle=2"], ["--from", "tomorrow"], ["--core-hour", "1e30"],
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
    #expect(meter.line.hasPrefix("water: 1 KiB of 2 KiB") && meter.line.hasSuffix("1 of 3 files"), "\(meter.line)")
    #expect(meter.movedBytes == 0)
    meter.moved(1024)
    #expect(meter.line.contains("/s") && meter.movedBytes == 1024)
  }
}

extension Result where Failure == CommandFailure {
  fileprivate static func of(_ body: () async throws -> Success) async -> Self {
    do { return .success(try await body()) } catch let failure as CommandFailure { return .failure(failure) } catch {
      return .failure(CommandFailure(.error, "\(error)"))
    }
  }
}
