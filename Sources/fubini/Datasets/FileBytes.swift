internal import Crypto
internal import NIOCore

#if canImport(Glibc)
  internal import Glibc
#endif

/// Files behind each other, as one stream of bytes. Each must have the size that it had when it was listed.
struct FileBytes: AsyncSequence, Sendable {
  typealias Element = ByteBuffer
  struct Part: Sendable {
    var location: String
    var size: Int64
  }
  var parts: [Part]
  var offset: Int64 = 0
  /// Called with the size of every buffer that is handed over.
  var counted: @Sendable (Int64) -> Void = { _ in }

  static let bufferSize = 256 << 10

  func makeAsyncIterator() -> Iterator { Iterator(reader: FileReader(parts, from: offset), counted: counted) }

  struct Iterator: AsyncIteratorProtocol {
    let reader: FileReader
    let counted: @Sendable (Int64) -> Void

    mutating func next() async throws -> ByteBuffer? {
      guard let (_, bytes) = try reader.next() else { return nil }
      counted(Int64(bytes.count))
      return ByteBuffer(bytes: bytes)
    }
  }
}

/// Reads files one after the other.
final class FileReader {
  private let parts: [FileBytes.Part]
  private var index = 0
  private var position: Int64
  private var descriptor: Int32 = -1

  init(_ parts: [FileBytes.Part], from offset: Int64) {
    self.parts = parts
    position = offset
    while index < parts.count, position >= parts[index].size {
      position -= parts[index].size
      index += 1
    }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  /// The next bytes and which file they are of; nil at the end.
  ///
  /// - Throws: `.error` for a file that is not what it was when it was listed.
  func next() throws -> (part: Int, bytes: [UInt8])? {
    guard index < parts.count else { return nil }
    let part = parts[index]
    if descriptor < 0 {
      descriptor = open(part.location, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
      guard descriptor >= 0 else {
        throw CommandFailure(.error, "Cannot read \(part.location): \(String(cString: strerror(errno)))")
      }
    }
    let wanted = Int(min(Int64(FileBytes.bufferSize), part.size - position))
    let offset = position
    var code: Int32 = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: wanted) { [descriptor] buffer, count in
      var got = -1
      repeat { got = pread(descriptor, buffer.baseAddress, wanted, off_t(offset)) } while got < 0 && errno == EINTR
      if got < 0 { code = errno }
      count = max(0, got)
    }
    guard code == 0 else {
      throw CommandFailure(.error, "Cannot read \(part.location): \(String(cString: strerror(code)))")
    }
    guard !bytes.isEmpty else { throw Self.changed(part.location) }
    position += Int64(bytes.count)
    let current = index
    if position == part.size {
      var status = stat()
      guard fstat(descriptor, &status) == 0, Int64(status.st_size) == part.size else {
        throw Self.changed(part.location)
      }
      close(descriptor)
      descriptor = -1
      position = 0
      index += 1
    }
    return (current, bytes)
  }

  static func changed(_ location: String) -> CommandFailure {
    CommandFailure(
      .error, "\(location) changed while it was read. Give the same command again when nobody writes to it.")
  }
}

extension Digest {
  var hexadecimal: String { map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }
}

extension FileBytes {
  /// The checksum of a file of a known size.
  static func sha256(of location: String, size: Int64) throws -> String {
    let reader = FileReader([Part(location: location, size: size)], from: 0)
    var hash = SHA256()
    while let (_, bytes) = try reader.next() { hash.update(data: bytes) }
    return hash.finalize().hexadecimal
  }
}
