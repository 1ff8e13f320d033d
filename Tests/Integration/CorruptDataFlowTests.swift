import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Testing

extension Integration {
  @Suite("Data flow: bytes that are not what they should be", .timeLimit(.minutes(8)))
  struct CorruptDataFlowTests {
    static let size = 2 * DataFlow.mebibyte

    /// One agent that may read `origins`, and looks through its cache all the time.
    static func withOne(_ body: @Sendable (DataFlow, _ origins: String) async throws -> Void) async throws {
      var options = FederationOptions()
      options.agents = []
      try await Federation.with(options) { federation in
        let flow = try DataFlow(federation)
        let origins = federation.path("origins")
        try FileManager.default.createDirectory(atPath: origins, withIntermediateDirectories: false)
        var agent = FederationOptions.Agent("one", slots: 8)
        agent.keys = ["cache": "{origins: [\(origins)], scrubInterval: 1s, scrubRate: 1GB/s}"]
        try await flow.join([agent])
        try await body(flow, origins)
      }
    }

    /// Writes other bytes into a file, as many as before, and leaves its time of change as it was.
    static func corrupt(_ path: String, keepsTime: Bool = true) async throws {
      let time = try FileManager.default.attributesOfItem(atPath: path)[.modificationDate] as? Date
      try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
      let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
      try file.seek(toOffset: 100)
      try file.write(contentsOf: Data("these are other bytes".utf8))
      try file.close()
      try FileManager.default.setAttributes(
        [.modificationDate: keepsTime ? time! : Date(timeIntervalSince1970: 1e9), .posixPermissions: 0o444],
        ofItemAtPath: path)
    }

    /// The message of a workflow's only node, once the workflow has ended in Error or failed.
    static func refusal(_ name: String, _ flow: DataFlow) async throws -> String {
      let detail = try await flow.client.finished(name, timeout: .seconds(60))
      #expect(detail.summary.phase != .succeeded, "\(name)")
      return detail.nodes.map(\.message).joined(separator: "; ")
    }

    @Test(
      "I4: files of an origin that are not what was listed: no data set, its readers are told the file and what to do, others go on",
      .timeLimit(.minutes(3)))
    func origin() async throws {
      try await Self.withOne { flow, origins in
        let faults = ["truncated", "longer", "changed", "checksum"]
        var trees: [String: String] = [:]
        for name in faults + ["sound"] {
          trees[name] = try await flow.makeTree(name, bytes: Self.size, files: 4, in: origins)
          try await flow.list(name, origin: "file://one\(trees[name]!)")
        }
        let digests = [
          "sound": try await flow.digest(trees["sound"]!), "checksum": try await flow.digest(trees["checksum"]!),
        ]
        // What a file's checksum is, is learnt when it is fetched first.
        try await flow.prefetch("checksum", to: "one")
        try await Self.corrupt(Self.cached("f2", of: "checksum", flow))
        try await Self.corrupt(trees["checksum"]! + "/f2")
        try await poll("the cache lets go of what is corrupt", timeout: .seconds(30)) {
          try await flow.caches(of: "checksum").isEmpty
        }
        try await Self.corrupt(trees["changed"]! + "/f2", keepsTime: false)
        for (name, bytes) in [("truncated", Self.size / 8), ("longer", Self.size)] {
          let file = try FileHandle(forWritingTo: URL(fileURLWithPath: trees[name]! + "/f2"))
          try file.truncate(atOffset: UInt64(bytes))
          try file.close()
        }
        for name in faults + ["sound"] {
          _ = try await flow.client.submit(DataFlow.reader(of: name, name: "reads-\(name)"))
        }
        let words = [
          "truncated": "bytes, not", "longer": "has more than", "changed": "was changed after it was listed",
          "checksum": "its checksum is another one",
        ]
        for name in faults {
          let message = try await Self.refusal("reads-\(name)", flow)
          #expect(
            message.contains("other bytes of f2") && message.contains(words[name]!) && message.contains("new version"),
            "\(name): \(message)")
          #expect(try await flow.caches(of: name).isEmpty, "\(name) is visible")
          #expect(try await flow.inward(name).allSatisfy { $0.phase != "done" || name == "checksum" })
        }
        _ = try await flow.succeeded("reads-sound")
        #expect(try await flow.client.log("reads-sound", node: "reads-sound") == digests["sound"])
        // What they are told to do helps.
        try await flow.fubini("dataset", "put", "truncated", "--from-origin", "--wait")
        _ = try await flow.client.submit(DataFlow.reader(of: "truncated", name: "again"))
        _ = try await flow.succeeded("again")
        #expect(try await flow.client.log("again", node: "again") == flow.digest(trees["truncated"]!))
      }
    }

    /// Where the only version of a data set has a file in the agent's cache.
    static func cached(_ file: String, of dataset: String, _ flow: DataFlow) throws -> String {
      let trees = flow.cacheDirectory("one") + "/trees"
      for name in try FileManager.default.contentsOfDirectory(atPath: trees) {
        let record = try String(contentsOfFile: "\(trees)/\(name)/key", encoding: .utf8)
        if record.hasPrefix("dataset:default/\(dataset)@1\n") { return "\(trees)/\(name)/data/\(file)" }
      }
      throw HarnessError("\(dataset) is not in the cache")
    }

    @Test(
      "I4: bytes that rot in a cache are found by the scrub and fetched again, for whom they are kept; a run that has them keeps its files"
    )
    func cache() async throws {
      try await Self.withOne { flow, _ in
        try await flow.put("water", bytes: Self.size, files: 4)
        let digest = try await flow.digest(flow.federation.path("put-water"))
        try await flow.prefetch("water", to: "one")
        try await flow.fubini("dataset", "pin", "water", "--cluster", "one")
        // A run that has it mounted all the while.
        let gate = flow.federation.shared + "/open"
        _ = try await flow.client.submit(
          DataFlow.reader(
            of: "water", name: "holds",
            command: "while [ ! -e \(gate) ]; do sleep 0.1; done; cd /data/in && cat f1 f3 f4 | wc -c && ls"))
        try await flow.federation.node("holds", "holds", is: ["Running"])
        let file = try Self.cached("f2", of: "water", flow)
        let inode = try FileManager.default.attributesOfItem(atPath: file)[.systemFileNumber] as? UInt64
        try await Self.corrupt(file)
        try await poll("the scrub has had it fetched again", timeout: .seconds(60)) {
          let now = (try? FileManager.default.attributesOfItem(atPath: file))?[.systemFileNumber] as? UInt64
          return now != nil && now != inode
        }
        #expect(try await flow.digest(URL(fileURLWithPath: file).deletingLastPathComponent().path) == digest)
        try await poll("the control plane knows that it is there again", timeout: .seconds(30)) {
          try await flow.caches(of: "water") == ["one"]
        }
        // Who begins now reads the right bytes, and moves none.
        _ = try await flow.client.submit(DataFlow.reader(of: "water", name: "begins"))
        let begins = try flow.run(of: try await flow.succeeded("begins"))
        #expect(begins.bytesIn == 0)
        #expect(try await flow.client.log("begins", node: "begins") == digest)
        // Who had it has its files still.
        try Data().write(to: URL(fileURLWithPath: gate))
        _ = try await flow.succeeded("holds")
        let said = try await flow.client.log("holds", node: "holds")
        #expect(said == "\(Self.size * 3 / 4)\nf1\nf2\nf3\nf4\n", "\(said)")
        // That a disk rots is not kept from the operator.
        let log = try String(contentsOfFile: flow.federation.log("agent-one"), encoding: .utf8)
        #expect(log.contains("a replica is corrupt, and removed") && log.contains("f2 has another checksum"))
        try await poll("what was set aside is gone; there is \(flow.leftovers("one"))", timeout: .seconds(30)) {
          flow.leftovers("one").isEmpty
        }
      }
    }
  }
}
