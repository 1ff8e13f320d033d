internal import AsyncHTTPClient
internal import Crypto
internal import FederationModel
internal import NIOCore
internal import NIOHTTP1

#if canImport(Glibc)
  internal import Glibc
#endif

/// One artifact's bytes, as they are stored, into a file; a cut connection is taken up where it broke, and so is the partial
/// file of an earlier command.
struct ArtifactDownload: Sendable {
  let client: APIClient
  let path: [String]
  /// Connections that may break without a single new byte before it is given up.
  var fruitlessMax = 3

  struct Stored: Sendable, Equatable {
    var size: Int64
    /// `none`, `tar` or `zip`.
    var archive: String
    /// What files packed like this are called.
    var suffix: String { archive == "tar" ? ".tgz" : archive == "zip" ? ".zip" : "" }
  }

  /// The file is whole, and its checksum right, when this returns.
  ///
  /// - Throws: `.unreachable`, with the partial file kept; `.error` for a checksum that stays wrong, or another command that
  ///   is at the same file.
  func fetch(to file: String) async throws -> Stored {
    let descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw Self.cannotWrite(file) }
    defer { close(descriptor) }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      throw CommandFailure(.error, "Another command is fetching to \(file).")
    }
    let wasPartial = lseek(descriptor, 0, SEEK_END) > 0
    do { return try await fill(descriptor, file) } catch let damage as Damage {
      // What an older command left may be of other bytes: once more from the start.
      ftruncate(descriptor, 0)
      guard wasPartial else { throw damage.failure }
    }
    do { return try await fill(descriptor, file) } catch let damage as Damage {
      ftruncate(descriptor, 0)
      throw damage.failure
    }
  }

  private struct Damage: Error {
    var digest: String
    var expected: String
    var failure: CommandFailure {
      CommandFailure(.error, "The artifact arrived damaged: its SHA-256 is \(digest), not \(expected). Try again.")
    }
  }

  private func fill(_ descriptor: Int32, _ file: String) async throws -> Stored {
    var hash = SHA256()
    var size = try Self.rehash(descriptor, &hash, file)
    var fruitless = 0
    while true {
      let response: HTTPClientResponse
      do {
        response = try await client.response(
          .init(path: path, query: size > 0 ? [("offset", String(size))] : []))
      } catch let failure as CommandFailure where size > 0 && failure.code == .usage {
        // The partial file is longer than the artifact, so it is of another one.
        throw Damage(digest: "-", expected: "-")
      }
      let before = size
      do {
        for try await chunk in response.body {
          let bytes = Array(chunk.readableBytesView)
          try Self.append(bytes, to: descriptor, file)
          hash.update(data: bytes)
          size += Int64(bytes.count)
        }
      } catch let failure as CommandFailure { throw failure } catch {
        if Task.isCancelled { throw CancellationError() }
        fruitless = size > before ? 0 : fruitless + 1
        guard fruitless < fruitlessMax else { throw client.unreachable(error) }
        continue
      }
      let digest = hash.finalize().map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
      if let expected = response.headers.first(name: "X-Artifact-SHA256")?.lowercased(), expected != digest {
        throw Damage(digest: digest, expected: expected)
      }
      return Stored(size: size, archive: response.headers.first(name: "X-Artifact-Archive") ?? "none")
    }
  }

  /// Takes what is there already into the checksum. - Returns: its size.
  private static func rehash(_ descriptor: Int32, _ hash: inout SHA256, _ file: String) throws -> Int64 {
    lseek(descriptor, 0, SEEK_SET)
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    var size: Int64 = 0
    while true {
      let count = read(descriptor, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw cannotWrite(file) }
      if count == 0 { return size }
      hash.update(data: buffer[..<count])
      size += Int64(count)
    }
  }

  private static func append(_ bytes: [UInt8], to descriptor: Int32, _ file: String) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw cannotWrite(file) }
      rest = rest.dropFirst(count)
    }
  }

  static func cannotWrite(_ file: String) -> CommandFailure {
    CommandFailure(.error, "Cannot write \(file): \(String(cString: strerror(errno)))")
  }
}
