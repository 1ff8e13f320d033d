import FederationModel
import Testing

@Suite struct DatasetManifestTests {
  private static let sha = String(repeating: "0a", count: 32)

  private struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9e37_79b9_7f4a_7c15
      var z = state
      z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
      z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
      return z ^ (z >> 31)
    }
  }

  private func text(_ header: DatasetManifest.Header, _ entries: [DatasetManifest.Entry]) throws -> [UInt8] {
    var (writer, text) = try DatasetManifestWriter.begin(header)
    for entry in entries { try writer.append(entry, to: &text) }
    try writer.finish()
    return text
  }

  private func read(_ text: [UInt8], piece: Int = 7) throws -> (DatasetManifest.Header, [DatasetManifest.Entry]) {
    var reader = DatasetManifestReader()
    var entries: [DatasetManifest.Entry] = []
    var rest = text[...]
    while !rest.isEmpty {
      try reader.read(rest.prefix(piece)) { entries.append($0) }
      rest = rest.dropFirst(piece)
    }
    try reader.finish()
    return (try #require(reader.header), entries)
  }

  /// Names with everything that JSON and file systems make hard.
  private static func randomEntries(_ random: inout Generator) -> [DatasetManifest.Entry] {
    let alphabet: [Character] = ["a", "b", "-", ".x", "\"", "\\", "\n", "\u{1}", "é", "😀", " ", "]", ","].map {
      Character(String($0.first!))
    }
    var paths: Set<String> = []
    for _ in 0..<Int.random(in: 0...40, using: &random) {
      let components = (0...Int.random(in: 0...3, using: &random)).map { _ in
        "n" + String((0...Int.random(in: 0...5, using: &random)).map { _ in alphabet.randomElement(using: &random)! })
      }
      paths.insert(components.joined(separator: "/"))
    }
    // No file above another.
    let files = paths.filter { path in !paths.contains { $0.utf8.starts(with: (path + "/").utf8) } }
    return files.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { path in
      if Bool.random(using: &random), path.contains("/") { return .init(path: path, size: 0, link: "../x\"y") }
      let size = Int64.random(in: 0...1000, using: &random)
      let isPacked = Bool.random(using: &random)
      return .init(
        path: path, size: size, mode: Int32.random(in: 0...0o777, using: &random),
        sha256: Bool.random(using: &random) ? sha : nil, pack: isPacked ? 1 : nil, offset: isPacked ? 24 : nil,
        modified: Bool.random(using: &random) ? -5 : nil)
    }
  }

  @Test("what is written is read back the same, wherever the bytes are cut", arguments: 0..<50)
  func roundTrip(seed: UInt64) throws {
    var random = Generator(state: seed)
    let entries = Self.randomEntries(&random)
    let header = DatasetManifest.Header(
      files: Int64(entries.count), bytes: entries.reduce(0) { $0 + $1.size },
      packs: [.init(key: "a\"b", sha256: Self.sha, size: 0), .init(key: "k", sha256: Self.sha, size: 1024)])
    let written = try text(header, entries)
    let again = try read(written, piece: Int.random(in: 1...50, using: &random))
    #expect(again.0 == header, "seed \(seed)")
    #expect(again.1 == entries, "seed \(seed)")
  }

  @Test("bytes that were changed are refused or still mean a list within bounds: never a trap", arguments: 0..<200)
  func mutated(seed: UInt64) throws {
    var random = Generator(state: seed)
    let entries = Self.randomEntries(&random)
    let header = DatasetManifest.Header(
      files: Int64(entries.count), bytes: entries.reduce(0) { $0 + $1.size },
      packs: [.init(key: "a", sha256: Self.sha, size: 9), .init(key: "k", sha256: Self.sha, size: 1024)])
    var written = try text(header, entries)
    for _ in 0..<Int.random(in: 1...4, using: &random) {
      let index = Int.random(in: 0..<written.count, using: &random)
      switch Int.random(in: 0...2, using: &random) {
      case 0: written[index] = UInt8.random(in: 0...255, using: &random)
      case 1: written.remove(at: index)
      default: written.insert(contentsOf: Array("99999999999999999999".utf8), at: index)
      }
    }
    guard let (_, read) = try? read(written) else { return }
    for entry in read { try DatasetManifest.check(path: entry.path) }
  }

  private static let first = #"{"format":1,"files":1,"bytes":5,"packs":[]}"# + "\n"

  @Test(
    "a line that could lead out of the data set, or promises what is not there, is refused",
    arguments: [
      #"["../a",5,420,null,null,null,null,null]"#, #"["/a",5,420,null,null,null,null,null]"#,
      #"["a//b",5,420,null,null,null,null,null]"#, #"["a/./b",5,420,null,null,null,null,null]"#,
      #"["",5,420,null,null,null,null,null]"#, #"["a\u0000",5,420,null,null,null,null,null]"#,
      #"["a",-5,420,null,null,null,null,null]"#, #"["a",6,420,null,null,null,null,null]"#,
      #"["a",4,420,null,null,null,null,null]"#, #"["a",5,2541,null,null,null,null,null]"#,
      #"["a",5,420,"0A",null,null,null,null]"#, #"["a",5,420,null,0,0,null,null]"#,
      #"["a",5,420,null,null,3,null,null]"#, #"["a",0,420,null,null,null,null,"/etc/passwd"]"#,
      #"["a",0,420,null,null,null,null,"../x"]"#, #"["a",5,420,null,null,null,null,"b"]"#,
      #"["a",5,420,null,null,null,null]"#, #"["a",5,420,null,null,null,null,null]x"#,
      #"["a",99999999999999999999,420,null,null,null,null,null]"#, #"["a",5,420,null,null,null,null,null"#,
    ])
  func refused(line: String) {
    #expect(throws: FederationError.self, "\(line)") { try read(Array((Self.first + line + "\n").utf8)) }
  }

  @Test("files come in order, once, and never below another file")
  func order() throws {
    for paths in [["b", "a"], ["a", "a"], ["a", "a/b"], ["a", "a-b", "a/b"], ["x/y", "x/y.1", "x/y/z"]] {
      let header = DatasetManifest.Header(files: Int64(paths.count), bytes: 0)
      #expect(throws: FederationError.self, "\(paths)") {
        try text(header, paths.map { .init(path: $0, size: 0) })
      }
    }
    let sound = ["a.b", "a/b", "a0", "b"]
    let header = DatasetManifest.Header(files: 4, bytes: 0)
    #expect(try read(text(header, sound.map { .init(path: $0, size: 0) })).1.map(\.path) == sound)
  }

  @Test("a text that is cut short, or of a later format, says so")
  func cutAndLater() throws {
    let whole = try text(.init(files: 1, bytes: 5), [.init(path: "a", size: 5)])
    for length in 0..<whole.count {
      #expect(throws: FederationError.self, "\(length)") { try read(Array(whole.prefix(length))) }
    }
    let later = #"{"format":2,"news":true}"# + "\n"
    let error = #expect(throws: FederationError.self) { try read(Array(later.utf8)) }
    #expect(error?.publicMessage.contains("upgrade") == true)
  }

  @Test("a line without end is refused before it fills the memory")
  func endless() throws {
    var reader = DatasetManifestReader()
    try reader.read(Array(Self.first.utf8)) { _ in }
    let piece = [UInt8](repeating: UInt8(ascii: "["), count: 1 << 12)
    #expect(throws: FederationError.self) { for _ in 0..<17 { try reader.read(piece) { _ in } } }
  }
}
