/// The list of a data set version's files: what a cache must hold, byte for byte, before anybody reads it.
///
/// A text. The first line is a JSON object: `{"format":1,"files":N,"bytes":M,"packs":[{"key":...,"sha256":...,"size":...}]}`.
/// Then comes one line for each file, in ascending order of the path's bytes, as a JSON array:
/// `[path, size, mode, sha256, pack, offset, modified, link]`, where the last five may be null. Every line ends with a newline,
/// the last one too. Lists of 100,000 files are usual, so it is written and read line by line: see `DatasetManifestWriter` and
/// `DatasetManifestReader`.
public enum DatasetManifest {
  public static let format: Int64 = 1

  /// Bytes of a pack that holds several files; files of at least `packedFileMax` are packs of their own, whatever their size.
  public static let packBytesMax: Int64 = 64 << 20
  /// A file of fewer bytes lies in a pack with others.
  public static let packedFileMax: Int64 = 256 << 10

  /// Where data sets are in a project's repository.
  public static let prefix = "datasets/"
  /// Of these, what uploads bring: packs and manifests, each under the checksum of its content.
  public static let objects = "datasets/objects/"
  /// The key of an object of an upload.
  public static func path(of sha256: String) -> String { objects + sha256 }
  public static func isObject(_ key: String) -> Bool { key.hasPrefix(objects) }

  // Bounds that are checked before anything is believed.
  public static let filesMax: Int64 = 10_000_000
  public static let packsMax = 1_000_000
  /// Of the first line, which lists the packs.
  public static let headerBytesMax = 256 << 20
  /// Of every other line.
  public static let lineBytesMax = 64 << 10
  public static let pathBytesMax = 4096
  public static let componentBytesMax = 255
  public static let depthMax = 128

  /// An object of the repository that holds bytes of files.
  public struct Pack: Hashable, Sendable {
    public var key: String
    /// 64 lower-case hexadecimal digits.
    public var sha256: String
    public var size: Int64
    public init(key: String, sha256: String, size: Int64) {
      self.key = key
      self.sha256 = sha256
      self.size = size
    }
  }

  public struct Header: Hashable, Sendable {
    public var files: Int64
    /// Of all files together.
    public var bytes: Int64
    /// Empty when the bytes are at an origin.
    public var packs: [Pack]
    public init(files: Int64, bytes: Int64, packs: [Pack] = []) {
      self.files = files
      self.bytes = bytes
      self.packs = packs
    }
  }

  /// One file or symbolic link. Directories are those that paths name; empty ones are not kept.
  public struct Entry: Hashable, Sendable {
    /// Relative, without `.`, `..`, empty components and NUL.
    public var path: String
    public var size: Int64
    /// POSIX permission bits, 0 to 0o777.
    public var mode: Int32
    /// Lower-case hexadecimal; nil when nobody knows it yet: it is learnt when the file is first fetched.
    public var sha256: String?
    /// Index into the header's packs, and where in the pack the file begins; nil when it is in none.
    public var pack: Int?
    public var offset: Int64?
    /// Milliseconds since 1970; nil: not told.
    public var modified: Int64?
    /// Of a symbolic link: what it points at, inside the data set. Its size is 0.
    public var link: String?

    public init(
      path: String, size: Int64, mode: Int32 = 0o644, sha256: String? = nil, pack: Int? = nil, offset: Int64? = nil,
      modified: Int64? = nil, link: String? = nil
    ) {
      self.path = path
      self.size = size
      self.mode = mode
      self.sha256 = sha256
      self.pack = pack
      self.offset = offset
      self.modified = modified
      self.link = link
    }
  }

  static func malformed(_ what: String) -> FederationError {
    FederationError(.invalidArgument, "The data set's manifest cannot be used: \(what)")
  }

  static func isSHA256(_ text: String) -> Bool {
    text.utf8.count == 64 && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
  }

  /// - Throws: `.invalidArgument` when the path could leave the data set, or means nothing.
  public static func check(path: String) throws(FederationError) {
    guard !path.isEmpty, path.utf8.count <= pathBytesMax, !path.utf8.contains(0) else {
      throw malformed("a path is empty, longer than \(pathBytesMax) bytes, or holds a NUL byte")
    }
    let components = path.split(separator: "/", omittingEmptySubsequences: false)
    let isSound = components.allSatisfy { $0 != "" && $0 != "." && $0 != ".." && $0.utf8.count <= componentBytesMax }
    guard isSound, components.count <= depthMax else {
      throw malformed(
        "the path \(path.prefix(200)) has an empty, a `.`, a `..` or too long a component, or is too deep")
    }
  }

  /// A link that leads out of the data set would show each cluster something else.
  public static func check(link: String, of path: String) throws(FederationError) {
    guard !link.isEmpty, link.utf8.count <= pathBytesMax, !link.utf8.contains(0), !link.hasPrefix("/") else {
      throw malformed("the link \(path.prefix(200)) points at nothing inside the data set")
    }
    var depth = path.utf8.count { $0 == UInt8(ascii: "/") }
    var isBelow = false
    for component in link.split(separator: "/") where component != "." {
      // Behind another component it may lead through a link, and so further up than one can count.
      guard component != ".." || !isBelow else {
        throw malformed("the link \(path.prefix(200)) goes up after it went down")
      }
      isBelow = component != ".."
      depth += isBelow ? 1 : -1
      guard depth >= 0 else { throw malformed("the link \(path.prefix(200)) points out of the data set") }
    }
  }

  static func check(_ entry: Entry, packs: [Pack]) throws(FederationError) {
    try check(path: entry.path)
    let shown = entry.path.prefix(200)
    guard entry.size >= 0, (0...0o777).contains(entry.mode) else {
      throw malformed("\(shown) has no possible size or mode")
    }
    if let sha256 = entry.sha256, !isSHA256(sha256) { throw malformed("\(shown) has no possible SHA-256") }
    if let link = entry.link {
      guard entry.size == 0, entry.sha256 == nil, entry.pack == nil, entry.offset == nil else {
        throw malformed("the link \(shown) cannot have bytes")
      }
      try check(link: link, of: entry.path)
    }
    switch (entry.pack, entry.offset) {
    case (nil, nil): break
    case (let pack?, let offset?):
      guard packs.indices.contains(pack), offset >= 0, offset <= packs[pack].size,
        entry.size <= packs[pack].size - offset
      else { throw malformed("\(shown) does not lie in a pack") }
    default: throw malformed("\(shown) names half of a place in a pack")
    }
  }

  /// Watches that paths come in order, once, and never below another one.
  struct Order: Sendable {
    private var previous = ""
    /// Of the files seen, those that the next path may still begin with.
    private var prefixes: [String] = []

    mutating func next(_ path: String) throws(FederationError) {
      guard previous.utf8.lexicographicallyPrecedes(path.utf8) else {
        throw malformed("\(path.prefix(200)) is not in order, or there twice")
      }
      let bytes = path.utf8
      while let last = prefixes.last, !bytes.starts(with: last.utf8) { prefixes.removeLast() }
      for file in prefixes where bytes.dropFirst(file.utf8.count).first == UInt8(ascii: "/") {
        throw malformed("\(path.prefix(200)) lies below \(file.prefix(200)), which is a file")
      }
      prefixes.append(path)
      previous = path
    }
  }
}
