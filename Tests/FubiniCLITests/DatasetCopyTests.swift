import FederationAPI
import FederationModel
import Foundation
import Synchronization
import Testing

@testable import fubini

/// The part of a control plane that keeps objects of data sets: in memory, and cutting uploads when it is told to.
private final class ObjectServer: Sendable {
  struct State {
    var whole: [String: [UInt8]] = [:]
    /// What cut uploads have left.
    var partial: [String: [UInt8]] = [:]
    var received = 0
    var puts = 0
    var asked = 0
    /// So many uploads are cut in their middle.
    var cuts = 0
    /// What is answered instead of objects' bytes, in order: how many bytes until the connection breaks.
    var cutDownloads = 0
  }
  let state = Mutex(State())

  func answer(_ request: FakeServer.Request) -> FakeServer.Answer {
    let name = request.path.split(separator: "/").last.map(String.init) ?? ""
    switch request.method {
    case "POST":
      guard let asked = try? JSONDecoder().decode(ObjectsRequest.self, from: Data(request.body)) else {
        return .json("{}", status: 400)
      }
      let offsets = state.withLock { state in
        state.asked += 1
        return asked.objects.map { Int64((state.whole[$0.sha256] ?? state.partial[$0.sha256] ?? []).count) }
      }
      return .json(Documents.json(ObjectsDocument(offsets: offsets)))
    case "PUT":
      return state.withLock { state in
        state.puts += 1
        let offset = Int(request.query("offset") ?? "") ?? 0
        var bytes = Array((state.partial[name] ?? []).prefix(offset))
        guard bytes.count == offset else { return .json("{}", status: 503) }
        if state.cuts > 0 {
          state.cuts -= 1
          let half = request.body.prefix(request.body.count / 2)
          state.received += half.count
          state.partial[name] = bytes + half
          return .json("{}", status: 503)
        }
        state.received += request.body.count
        bytes += request.body
        guard digest(bytes) == name, bytes.count == Int(request.query("size") ?? "") else {
          let document = ErrorDocument(
            reason: .invalidArgument, message: "The artifact's SHA-256 is another.", requestID: nil)
          return .json(Documents.json(document), status: 400)
        }
        state.partial[name] = nil
        state.whole[name] = bytes
        return .json(Documents.json(ObjectDocument(sha256: name, size: Int64(bytes.count))), status: 201)
      }
    default:
      return state.withLock { state in
        guard let bytes = state.whole[name] else { return .json("{}", status: 404) }
        let offset = Int(request.query("offset") ?? "") ?? 0
        let part = bytes.dropFirst(offset).prefix(Int(request.query("length") ?? "") ?? bytes.count)
        if state.cutDownloads > 0, part.count > 1000 {
          state.cutDownloads -= 1
          return FakeServer.Answer(body: Array(part.prefix(part.count / 2)), ending: .cut)
        }
        return FakeServer.Answer(body: Array(part))
      }
    }
  }

  private func digest(_ bytes: [UInt8]) -> String { sha256(bytes) }
}

private func sha256(_ bytes: [UInt8]) -> String {
  // The tree's own way, so that the test needs no library of its own.
  let path = "/tmp/fubini-digest-\(UInt64.random(in: 0 ... .max))"
  _ = FileManager.default.createFile(atPath: path, contents: Data(bytes))
  defer { try? FileManager.default.removeItem(atPath: path) }
  return (try? FileBytes.sha256(of: path, size: Int64(bytes.count))) ?? ""
}

/// Draws the same numbers for the same seed.
private struct Seeded: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

@Suite("Copying data sets", .timeLimit(.minutes(5))) struct DatasetCopyTests {
  /// Small and large files, empty ones, twins and a link.
  private func makeTree(_ root: String, seed: UInt64) throws -> [String: [UInt8]] {
    var random = Seeded(state: seed)
    var files: [String: [UInt8]] = ["empty": [], "a/twin": Array("same".utf8), "b/twin": Array("same".utf8)]
    for index in 0..<40 {
      let size = Int.random(in: 1...3000, using: &random)
      files["d\(index % 5)/f\(index)"] = (0..<size).map { _ in UInt8.random(in: 0...255, using: &random) }
    }
    files["large \u{E9}"] = (0..<700_000).map { _ in UInt8.random(in: 0...255, using: &random) }
    for (path, bytes) in files {
      let place = root + "/" + path
      try FileManager.default.createDirectory(
        atPath: String(place[..<place.lastIndex(of: "/")!]), withIntermediateDirectories: true)
      _ = FileManager.default.createFile(atPath: place, contents: Data(bytes), attributes: [.posixPermissions: 0o640])
    }
    try FileManager.default.createSymbolicLink(atPath: root + "/a/link", withDestinationPath: "../d1/f1")
    return files
  }

  private func upload(_ tree: FileTree, _ client: APIClient) async throws -> ObjectDocument {
    let meter = ProgressMeter("t", bytes: tree.bytes, files: tree.files.count, isTerminal: false)
    return try await DatasetUpload(client: client, project: "default", tree: tree, meter: meter).run()
  }

  @Test("what is put comes back the same, also when every connection breaks once", arguments: [0, 2] as [Int])
  func roundTrip(cuts: Int) async throws {
    let objects = ObjectServer()
    try await withTemporaryDirectory { directory in
      let files = try makeTree(directory + "/in", seed: 7)
      let tree = try FileTree(scanning: directory + "/in")
      #expect(tree.files.count == files.count + 1)
      try await FakeServer.with({ request, _ in objects.answer(request) }) { _, url in
        try await withClient(url) { client in
          objects.state.withLock { $0.cuts = cuts }
          let manifest = try await upload(tree, client)
          var download = DatasetDownload(client: client, project: "default", directory: directory + "/out")
          let (header, entries) = try await download.manifest(manifest)
          #expect(header.files == Int64(tree.files.count) && header.bytes == tree.bytes)
          objects.state.withLock { $0.cutDownloads = cuts }
          let meter = ProgressMeter("t", bytes: header.bytes, files: entries.count, isTerminal: false)
          let fetched = try await download.run(header, entries, meter)
          #expect(fetched == files.count - 1, "all but the empty file")
          for (path, bytes) in files {
            let place = directory + "/out/" + path
            #expect(FileManager.default.contents(atPath: place).map(Array.init) == bytes, "\(path), seed 7")
            let mode = try FileManager.default.attributesOfItem(atPath: place)[.posixPermissions] as? Int
            #expect(mode == 0o640)
          }
          #expect(
            try FileManager.default.destinationOfSymbolicLink(atPath: directory + "/out/a/link") == "../d1/f1")
          let left = try FileManager.default.subpathsOfDirectory(atPath: directory + "/out").filter {
            $0.contains(".part")
          }
          #expect(left.isEmpty, "\(left)")
          // Again: everything is there and is checked.
          let again = ProgressMeter("t", bytes: header.bytes, files: entries.count, isTerminal: false)
          #expect(try await download.run(header, entries, again) == 0)
          #expect(again.movedBytes == 0)
          // Another file in the way is not replaced unless it is asked for.
          _ = FileManager.default.createFile(atPath: directory + "/out/a/twin", contents: Data("else".utf8))
          await #expect(throws: CommandFailure.self) { _ = try await download.run(header, entries, again) }
          download.overwrites = true
          #expect(try await download.run(header, entries, again) == 1)
        }
      }
    }
  }

  @Test("a put that was cut in the middle sends the rest alone, and a second put sends nothing")
  func resumes() async throws {
    let objects = ObjectServer()
    try await withTemporaryDirectory { directory in
      let path = directory + "/one"
      _ = FileManager.default.createFile(atPath: path, contents: Data((0..<4_000_000).map { UInt8($0 % 251) }))
      let tree = try FileTree(scanning: path)
      try await FakeServer.with({ request, _ in objects.answer(request) }) { _, url in
        try await withClient(url) { client in
          objects.state.withLock { $0.cuts = 3 }
          let first = try await upload(tree, client)
          let received = objects.state.withLock { $0.received }
          #expect(Double(received) <= 4_000_000 * 1.1, "\(received) bytes were sent")
          let puts = objects.state.withLock { $0.puts }
          #expect(try await upload(tree, client) == first, "the manifest of the same tree is the same")
          #expect(objects.state.withLock { $0.puts } == puts)
        }
      }
    }
  }

  @Test("ten thousand small files travel in a few packs and a few questions")
  func manySmallFiles() async throws {
    let objects = ObjectServer()
    try await withTemporaryDirectory { directory in
      for index in 0..<100 {
        try FileManager.default.createDirectory(atPath: "\(directory)/\(index)", withIntermediateDirectories: false)
        for file in 0..<100 {
          _ = FileManager.default.createFile(
            atPath: "\(directory)/\(index)/\(file)", contents: Data("\(index).\(file)".utf8))
        }
      }
      let tree = try FileTree(scanning: directory)
      try await FakeServer.with({ request, _ in objects.answer(request) }) { _, url in
        try await withClient(url) { client in
          let manifest = try await upload(tree, client)
          let download = DatasetDownload(client: client, project: "default", directory: directory + "/none")
          #expect(try await download.manifest(manifest).entries.count == 10_000)
          let (puts, asked) = objects.state.withLock { ($0.puts, $0.asked) }
          #expect(puts == 2 && asked == 2, "one pack and the manifest: \(puts) uploads, \(asked) questions")
        }
      }
    }
  }

  @Test("a file that changes while it is put is told by name, and nothing of it is taken for whole")
  func changes() async throws {
    try await withTemporaryDirectory { directory in
      let path = directory + "/one"
      _ = FileManager.default.createFile(atPath: path, contents: Data(repeating: 1, count: 1000))
      let tree = try FileTree(scanning: path)
      _ = FileManager.default.createFile(atPath: path, contents: Data(repeating: 1, count: 900))
      try await FakeServer.with({ request, _ in ObjectServer().answer(request) }) { _, url in
        try await withClient(url) { client in
          _ = await #expect { _ = try await upload(tree, client) } throws: {
            ($0 as? CommandFailure)?.message.contains("changed while it was read") == true
          }
        }
      }
    }
  }

  @Test("bytes that are damaged on the way never become a file")
  func damage() async throws {
    let objects = ObjectServer()
    try await withTemporaryDirectory { directory in
      _ = FileManager.default.createFile(atPath: directory + "/one", contents: Data("right".utf8))
      let tree = try FileTree(scanning: directory + "/one")
      try await FakeServer.with({ request, _ in objects.answer(request) }) { _, url in
        try await withClient(url) { client in
          let manifest = try await upload(tree, client)
          objects.state.withLock { state in
            for (name, bytes) in state.whole where bytes == Array("right".utf8) {
              state.whole[name] = Array("wrong".utf8)
            }
          }
          let download = DatasetDownload(client: client, project: "default", directory: directory + "/out")
          let (header, entries) = try await download.manifest(manifest)
          let meter = ProgressMeter("t", bytes: header.bytes, files: 1, isTerminal: false)
          await #expect { _ = try await download.run(header, entries, meter) } throws: {
            ($0 as? CommandFailure)?.message.contains("arrived damaged") == true
          }
          #expect(try FileManager.default.contentsOfDirectory(atPath: directory + "/out").isEmpty)
        }
      }
    }
  }

  @Test("what no data set can hold is refused by name")
  func refusals() async throws {
    try await withTemporaryDirectory { directory in
      #expect(throws: CommandFailure.self) { _ = try FileTree(scanning: directory + "/none") }
      #expect(throws: CommandFailure.self) { _ = try FileTree(scanning: directory) }
      for (target, name) in [("../../etc", "out"), ("/etc", "absolute"), ("a/../../b", "winding")] {
        try #require(symlink(target, directory + "/" + name) == 0)
        #expect { _ = try FileTree(scanning: directory) } throws: {
          ($0 as? CommandFailure).map { $0.message.contains(name) && $0.message.contains("Nothing was sent") } ?? false
        }
        unlink(directory + "/" + name)
      }
      try #require(mkfifo(directory + "/pipe", 0o600) == 0)
      #expect { _ = try FileTree(scanning: directory) } throws: {
        ($0 as? CommandFailure)?.message.contains("/pipe is a device, socket or pipe") == true
      }
    }
  }

  @Test("packs hold small files up to their bound in order, larger files lie alone, and batches stay small")
  func packs() {
    func file(_ size: Int64) -> FileTree.File { FileTree.File(path: "f", size: size, mode: 0o644, modified: 0) }
    let small = DatasetManifest.packedFileMax - 1
    let count = Int(DatasetManifest.packBytesMax / small)
    var files = Array(repeating: file(small), count: count + 1)
    files.insert(file(DatasetManifest.packedFileMax), at: 3)
    files.append(file(0))
    let plan = PackPlan(files)
    #expect(plan.packs.map(\.files.count) == [1, count, 1])
    #expect(plan.packs.allSatisfy { $0.size <= DatasetManifest.packBytesMax })
    #expect(plan.packs.flatMap(\.files).sorted() == Array(0...(count + 1)))
    let many = PackPlan(Array(repeating: file(DatasetManifest.packedFileMax), count: 1000))
    #expect(many.batches.allSatisfy { $0.count <= 64 } && many.batches.map(\.count).reduce(0, +) == 1000)
    #expect(PackPlan([file(0)]).packs.isEmpty)
    #expect(PackPlan([file(5 << 40)]).packs == [PackPlan.Pack(files: [0], size: 5 << 40)])
  }

  @Test(
    "names of data sets",
    arguments: [
      ("water", nil, "water", nil), ("water@3", nil, "water", 3), ("p/water@latest", "p", "water", nil),
    ] as [(String, String?, String, Int32?)])
  func names(text: String, project: String?, name: String, version: Int32?) throws {
    let parsed = try DatasetName(text)
    #expect(parsed.project == project && parsed.name == name && parsed.version == version)
  }

  @Test("names that are none", arguments: ["", "@1", "a@0", "a@x", "a@1@2", "A", "a/b/c", "a@99999999999", "../x"])
  func badNames(text: String) { #expect(throws: CommandFailure.self) { _ = try DatasetName(text) } }
}
