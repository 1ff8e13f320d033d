import Crypto
import FederationModel
import Testing

@testable import ControlPlaneServer

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// Runs `body` with a new directory, and removes it.
func withScratchDirectory<Value>(_ body: (String) async throws -> Value) async throws -> Value {
  var template = Array("/tmp/fubini-server-test-XXXXXX".utf8CString)
  let path = try template.withUnsafeMutableBufferPointer { buffer -> String in
    guard mkdtemp(buffer.baseAddress!) != nil else { throw Files.failure("mkdtemp", "/tmp") }
    return String(cString: buffer.baseAddress!)
  }
  defer { removeTree(path) }
  return try await body(path)
}

private func removeTree(_ path: String) {
  if let entries = opendir(path) {
    var names: [String] = []
    while let entry = readdir(entries) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    closedir(entries)
    for name in names { removeTree(path + "/" + name) }
  }
  _ = remove(path)
}

@Suite struct DirectoryArtifactStoreTests {
  private func collect(_ download: any ArtifactDownload) async throws -> [UInt8] {
    var all: [UInt8] = []
    while let bytes = try await download.next() { all += bytes }
    await download.close()
    return all
  }

  private func key(_ path: String) throws -> ArtifactKey { try ArtifactKey(project: "demo", path: path) }

  @Test("I4: an object is visible only when whole and verified")
  func visibility() async throws {
    try await withScratchDirectory { directory in
      let store = try await DirectoryArtifactStore(directory: directory)
      let bytes = (0..<700_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      let upload = try await store.put(try key("w/a.tgz"))
      try await upload.write(Array(bytes[..<300_000]))
      #expect(try await store.stat(try key("w/a.tgz")) == nil)
      try await upload.write(Array(bytes[300_000...]))
      let digest = SHA256.hash(data: bytes).hexadecimal
      let stat = try await upload.finish(size: 700_000, sha256: digest)
      #expect(stat == ArtifactStat(size: 700_000, sha256: digest))
      let reopened = try await DirectoryArtifactStore(directory: directory)
      #expect(try await collect(reopened.get(try key("w/a.tgz"), from: 0)) == bytes)
      #expect(try await collect(reopened.get(try key("w/a.tgz"), from: 699_990)) == Array(bytes.suffix(10)))
      #expect(try await collect(reopened.get(try key("w/a.tgz"), from: 700_000)).isEmpty)
    }
  }

  @Test(
    "bytes that are not the announced ones leave nothing behind", arguments: [(Int64?(4), String?.none), (nil, "00")])
  func mismatch(size: Int64?, sha256: String?) async throws {
    try await withScratchDirectory { directory in
      let store = try await DirectoryArtifactStore(directory: directory)
      let upload = try await store.put(try key("a"))
      try await upload.write([1, 2, 3])
      await #expect { try await upload.finish(size: size, sha256: sha256) } throws: {
        ($0 as? FederationError)?.code == .invalidArgument
      }
      #expect(try await store.stat(try key("a")) == nil)
      await #expect { try await upload.write([4]) } throws: { ($0 as? FederationError)?.code == .failedPrecondition }
    }
  }

  @Test("the same content put twice is success, other content replaces it, and a reader keeps what it began")
  func replacement() async throws {
    try await withScratchDirectory { directory in
      let store = try await DirectoryArtifactStore(directory: directory)
      for content in [[UInt8](repeating: 1, count: 9), [UInt8](repeating: 1, count: 9)] {
        let upload = try await store.put(try key("a"))
        try await upload.write(content)
        _ = try await upload.finish(size: 9, sha256: nil)
      }
      let reader = try await store.get(try key("a"), from: 0)
      let upload = try await store.put(try key("a"))
      try await upload.write([2])
      _ = try await upload.finish(size: nil, sha256: nil)
      #expect(try await collect(reader) == [UInt8](repeating: 1, count: 9))
      #expect(try await collect(store.get(try key("a"), from: 0)) == [2])
      try await store.delete(try key("a"))
      try await store.delete(try key("a"))
      await #expect { _ = try await store.get(try key("a"), from: 0) } throws: {
        ($0 as? FederationError)?.code == .notFound
      }
    }
  }

  @Test("a key may be the parent of another, and projects do not see each other")
  func nesting() async throws {
    try await withScratchDirectory { directory in
      let store = try await DirectoryArtifactStore(directory: directory)
      for path in ["a", "a/b"] {
        let upload = try await store.put(try key(path))
        try await upload.write(Array(path.utf8))
        _ = try await upload.finish(size: nil, sha256: nil)
      }
      #expect(try await collect(store.get(try key("a/b"), from: 0)) == Array("a/b".utf8))
      #expect(try await store.stat(try ArtifactKey(project: "other", path: "a")) == nil)
    }
  }

  @Test(
    "a key that could leave its project is refused",
    arguments: [
      "", "/a", "..", "a/../b", "./a", "a//b", "a/", "a\\b", "a\u{0}b", "a\nb", String(repeating: "x", count: 256),
      String(repeating: "a/", count: 33) + "a", String(repeating: "abc/", count: 300),
    ])
  func badKeys(path: String) {
    #expect(throws: FederationError.self) { try ArtifactKey(project: "demo", path: path) }
  }

  @Test("an upload that was cut goes on where its bytes end, seen by nobody before its checksum is right")
  func resumed() async throws {
    try await withScratchDirectory { directory in
      let store = try await DirectoryArtifactStore(directory: directory)
      let bytes = (0..<9_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 9) }
      let content = ArtifactStat(size: 9_000_000, sha256: SHA256.hash(data: bytes).hexadecimal)
      let key = try key("w/a")
      #expect(try await store.position(of: key, content: content) == 0)
      await #expect { _ = try await store.put(key, content: content, from: 1) } throws: {
        ($0 as? FederationError)?.code == .unavailable
      }
      let first = try await store.put(key, content: content, from: 0)
      try await first.write(Array(bytes[..<6_000_000]))
      await #expect("one at a time") { _ = try await store.put(key, content: content, from: 0) } throws: {
        ($0 as? FederationError)?.code == .unavailable
      }
      await first.abort()
      #expect(try await store.position(of: key, content: content) == 6_000_000)
      #expect(try await store.stat(key) == nil)
      let other = ArtifactStat(size: content.size, sha256: String(repeating: "0", count: 64))
      #expect(try await store.position(of: key, content: other) == 0, "other bytes are another upload")
      #expect(try await store.position(of: try self.key("w/b"), content: content) == 0)

      // Another process goes on; what the sender goes back to is written again.
      let second = try await DirectoryArtifactStore(directory: directory).put(key, content: content, from: 5_000_000)
      await #expect { try await second.write(bytes) } throws: { ($0 as? FederationError)?.code == .invalidArgument }
      try await second.write(Array(bytes[5_000_000...]))
      #expect(try await second.finish(size: content.size, sha256: content.sha256) == content)
      #expect(try await collect(store.get(key, from: 0)) == bytes)

      // The answer to the end was lost: nothing is sent again.
      #expect(try await store.position(of: key, content: content) == content.size)
      let again = try await store.put(key, content: content, from: content.size)
      #expect(try await again.finish(size: content.size, sha256: content.sha256) == content)
    }
  }

  @Test("what an earlier upload left and was changed since is found out, and the next one begins again")
  func resumedWrongly() async throws {
    try await withScratchDirectory { directory in
      let store = try await DirectoryArtifactStore(directory: directory)
      let content = ArtifactStat(size: 4, sha256: SHA256.hash(data: [1, 2, 3, 4] as [UInt8]).hexadecimal)
      let first = try await store.put(try key("a"), content: content, from: 0)
      try await first.write([1, 9])
      await first.abort()
      let second = try await store.put(try key("a"), content: content, from: 2)
      try await second.write([3, 4])
      await #expect { _ = try await second.finish(size: 4, sha256: content.sha256) } throws: {
        ($0 as? FederationError)?.isRetryable == true
      }
      #expect(try await store.position(of: try key("a"), content: content) == 0)
      #expect(try await store.stat(try key("a")) == nil)
    }
  }

  @Test("the sweep takes an upload that nobody went on with, and never one that somebody has taken over")
  func sweepsUploads() async throws {
    try await withScratchDirectory { directory in
      let store = try await DirectoryArtifactStore(directory: directory)
      var uploads: [any ArtifactUpload] = []
      let content = ArtifactStat(size: 4, sha256: String(repeating: "a", count: 64))
      for name in ["kept", "left"] {
        let upload = try await store.put(try key(name), content: content, from: 0)
        try await upload.write([1])
        uploads.append(upload)
      }
      await uploads[1].abort()
      let then = timeval(tv_sec: time(nil) - 90_000, tv_usec: 0)
      for name in try await Files.blocking({ try Files.names(in: directory + "/partial") }) {
        #expect(utimes("\(directory)/partial/\(name)", [then, then]) == 0)
      }
      #expect(try await store.sweep(olderThan: ArtifactSweep.age) == 1)
      #expect(try await store.position(of: try key("kept"), content: content) == 1)
      #expect(try await store.position(of: try key("left"), content: content) == 0)
      await uploads[0].abort()
    }
  }

  @Test("what unfinished uploads left is removed when it is old, and nothing else")
  func sweep() async throws {
    try await withScratchDirectory { directory in
      let store = try await DirectoryArtifactStore(directory: directory)
      let upload = try await store.put(try key("w/kept"))
      try await upload.write([1, 2, 3])
      let stat = try await upload.finish(size: 3, sha256: nil)
      let hash = SHA256.hash(data: Array("demo/w/kept".utf8)).hexadecimal
      let kept = "\(directory)/objects/\(hash.prefix(2))/\(hash)"
      func make(_ path: String, old: Bool) throws {
        if access(path, F_OK) != 0 { _ = close(try Files.open(path, O_WRONLY | O_CREAT)) }
        let then = timeval(tv_sec: time(nil) - (old ? 90_000 : 3_600), tv_usec: 0)
        #expect(utimes(path, [then, then]) == 0)
      }
      try make("\(kept)/\(stat.sha256)", old: true)
      try make("\(kept)/object", old: true)
      try make("\(kept)/\(String(repeating: "a", count: 64))", old: true)
      try make("\(kept)/\(String(repeating: "b", count: 64))", old: false)
      // Its bytes came, and the process died before it could name them.
      try Files.makeDirectories(directory + "/objects/00/00ff")
      try make("\(directory)/objects/00/00ff/\(String(repeating: "c", count: 64))", old: true)
      try make("\(directory)/partial/put-1", old: true)
      try make("\(directory)/partial/put-2", old: false)
      #expect(try await store.sweep(olderThan: ArtifactSweep.age) == 3)
      #expect(access("\(kept)/\(String(repeating: "b", count: 64))", F_OK) == 0)
      #expect(access("\(directory)/partial/put-2", F_OK) == 0 && access("\(directory)/partial/put-1", F_OK) != 0)
      #expect(try await collect(store.get(try key("w/kept"), from: 0)) == [1, 2, 3])
      #expect(try await store.sweep(olderThan: ArtifactSweep.age) == 0)
    }
  }
}
