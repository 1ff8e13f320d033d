public import FederationModel

/// The artifact repository: objects under a key, visible only when whole and verified.
public protocol ArtifactStore: Sendable {
  /// Begins an upload that nobody sees before `ArtifactUpload.finish`.
  ///
  /// - Throws: `.resourceExhausted` when the store is full, `.unavailable` when it cannot be reached.
  func put(_ key: ArtifactKey) async throws -> any ArtifactUpload
  /// How many bytes of an object, from its beginning, an upload that was cut has left here; all of them when the object is there.
  func position(of key: ArtifactKey, content: ArtifactStat) async throws -> Int64
  /// Goes on with an upload of these bytes at `offset`. What it brings is kept when it is aborted, for the next one; nobody sees it
  /// before `ArtifactUpload.finish`, and what nobody finishes is swept.
  ///
  /// - Parameter content: size and checksum of the whole object. By them and the key an upload is known again.
  /// - Throws: `.unavailable` when there are fewer than `offset` bytes, or another upload of them is under way.
  func put(_ key: ArtifactKey, content: ArtifactStat, from offset: Int64) async throws -> any ArtifactUpload
  /// nil: there is no such object.
  func stat(_ key: ArtifactKey) async throws -> ArtifactStat?
  /// Reads from `offset` to the end, at the pace of the reader.
  ///
  /// - Throws: `.notFound`; `.invalidArgument` for an offset behind the end.
  func get(_ key: ArtifactKey, from offset: Int64) async throws -> any ArtifactDownload
  /// Deleting what does not exist is success.
  func delete(_ key: ArtifactKey) async throws
  /// Makes the same object under another key. Does nothing when it is there.
  ///
  /// - Throws: `.notFound`; `.internal` when the object is not this content any more.
  func copy(_ source: ArtifactKey, to target: ArtifactKey, content: ArtifactStat) async throws
}

/// A store that copies by reading and writing.
extension ArtifactStore {
  public func copy(_ source: ArtifactKey, to target: ArtifactKey, content: ArtifactStat) async throws {
    if try await stat(target) == content { return }
    let download = try await get(source, from: 0)
    do {
      let upload = try await put(target)
      do {
        while let bytes = try await download.next() { try await upload.write(bytes) }
        _ = try await upload.finish(size: content.size, sha256: content.sha256)
      } catch {
        await upload.abort()
        throw error
      }
      await download.close()
    } catch {
      await download.close()
      throw error
    }
  }
}

/// A store that keeps nothing of a cut upload.
extension ArtifactStore {
  public func position(of key: ArtifactKey, content: ArtifactStat) async throws -> Int64 {
    try await stat(key) == content ? content.size : 0
  }

  public func put(_ key: ArtifactKey, content: ArtifactStat, from offset: Int64) async throws -> any ArtifactUpload {
    if offset == content.size, offset > 0, try await stat(key) == content { return StoredUpload(stat: content) }
    guard offset == 0 else { throw ArtifactStat.missing(offset) }
    return try await put(key)
  }
}

/// The upload of an object that is there already: the answer to its end was lost.
struct StoredUpload: ArtifactUpload {
  let stat: ArtifactStat

  func write(_ bytes: [UInt8]) async throws {
    guard bytes.isEmpty else {
      throw FederationError(.invalidArgument, "The upload goes on behind the end of its artifact.")
    }
  }
  func finish(size: Int64?, sha256: String?) async throws -> ArtifactStat {
    try stat.check(size: size, sha256: sha256)
    return stat
  }
  func abort() async {}
}

/// An object in the making. Used by one task at a time; ends with `finish` or `abort`.
public protocol ArtifactUpload: Sendable {
  /// Waits until the store has taken the bytes, which is the back-pressure of the sender.
  func write(_ bytes: [UInt8]) async throws
  /// Makes the object visible, durably. An object of the same key is replaced; the same content is kept as it is.
  ///
  /// - Parameters:
  ///   - size: What the sender counted; nil when it did not say.
  ///   - sha256: Lower-case hexadecimal; nil when the sender did not say.
  /// - Throws: `.invalidArgument` when the bytes are not those; nothing becomes visible then.
  func finish(size: Int64?, sha256: String?) async throws -> ArtifactStat
  /// Forgets what was written. Does nothing after `finish`.
  func abort() async
}

/// Bytes of an object, at most 256 KiB at a time. Used by one task at a time.
public protocol ArtifactDownload: Sendable {
  var stat: ArtifactStat { get }
  /// nil at the end.
  func next() async throws -> [UInt8]?
  func close() async
}

public struct ArtifactStat: Hashable, Sendable {
  public var size: Int64
  /// Lower-case hexadecimal.
  public var sha256: String
  public init(size: Int64, sha256: String) {
    self.size = size
    self.sha256 = sha256
  }
}

/// Where an object is: a project and a path inside it. Only valid keys exist.
public struct ArtifactKey: Hashable, Sendable, CustomStringConvertible {
  public let project: ProjectName
  /// Components joined by `/`.
  public let path: String

  public static let pathBytesMax = 1024
  public static let depthMax = 32

  /// - Throws: `.invalidArgument` with what is wrong: a path is relative, at most 1,024 bytes and 32 components deep; a component
  ///   is 1 to 255 bytes, neither `.` nor `..`, without control characters and backslashes.
  public init(project: ProjectName, path: String) throws(FederationError) {
    func refused(_ why: String) -> FederationError {
      FederationError(.invalidArgument, "The artifact key \(why). Use a relative path such as results/data.tgz.")
    }
    guard project.isDNSLabel else { throw refused("has no valid project") }
    guard !path.isEmpty else { throw refused("is empty") }
    guard path.utf8.count <= Self.pathBytesMax else { throw refused("is longer than \(Self.pathBytesMax) bytes") }
    guard path.utf8.first != 0x2f else { throw refused("begins with a slash") }
    guard path.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f && $0 != "\\" }) else {
      throw refused("holds a control character or a backslash")
    }
    let components = path.utf8.split(separator: 0x2f, omittingEmptySubsequences: false)
    guard components.count <= Self.depthMax else { throw refused("is deeper than \(Self.depthMax) components") }
    for component in components {
      guard !component.isEmpty else { throw refused("has an empty component") }
      guard component.count <= 255 else { throw refused("has a component longer than 255 bytes") }
      guard !component.elementsEqual([0x2e]), !component.elementsEqual([0x2e, 0x2e]) else {
        throw refused("has the component . or ..")
      }
    }
    self.project = project
    self.path = path
  }

  public var description: String { "\(project)/\(path)" }
}

extension ArtifactStat {
  static var uploadEnded: FederationError {
    FederationError(.failedPrecondition, "This upload has ended. Begin it again.")
  }

  static func missing(_ offset: Int64) -> FederationError {
    FederationError(
      .unavailable, "The artifact repository has fewer than \(offset) bytes of this upload. Ask it where to go on.",
      retryAfter: .seconds(1))
  }

  /// Whether the received bytes are what the sender meant.
  func check(size: Int64?, sha256: String?) throws(FederationError) {
    if let size, size != self.size {
      throw FederationError(.invalidArgument, "\(self.size) bytes arrived instead of \(size). Send the artifact again.")
    }
    if let sha256, sha256.lowercased() != self.sha256 {
      throw FederationError(
        .invalidArgument, "The artifact's SHA-256 is \(self.sha256), not \(sha256). Send the artifact again.")
    }
  }
}
