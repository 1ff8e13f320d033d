import FederationAPI
import FederationModel
import FoundationEssentials
import HTTPTypes
import Hummingbird
import NIOCore

/// A request on its way through the API.
struct APIContext: RequestContext {
  var coreContext: CoreRequestContextStorage
  /// nil on open routes.
  var caller: Caller?
  /// The other end of the connection; nil where that has no address.
  let peer: SocketAddress?

  init(source: Source) {
    coreContext = .init(source: source)
    peer = source.channel.remoteAddress
  }

  var maxUploadSize: Int { Self.sizeLimit }
  /// Bytes of a request body, uploads of artifacts excepted.
  static let sizeLimit = 2 << 20
  /// A submission document wraps the workflow in JSON, where quotes and line ends take two bytes, beside its parameters. The
  /// workflow in it is still bound by its own limit.
  static let submissionSizeLimit = 2 * sizeLimit + (256 << 10)

  func signedIn() throws -> Caller {
    guard let caller else { throw FederationError(.unauthenticated, "this request needs a token") }
    return caller
  }

  /// A path parameter, percent-decoded.
  func parameter(_ name: String) throws -> String {
    guard let raw = parameters.get(name), let value = raw.percentDecoded, !value.isEmpty, value.utf8.count <= 4096
    else {
      throw FederationError(.invalidArgument, "the path's \(name) is missing or not readable")
    }
    return value
  }
}

extension Request {
  /// A query parameter, decoded; nil when it is not there. As forms are sent, a plus is a blank: so write the clients in Python.
  ///
  /// - Source: WHATWG URL, section 5.1, "application/x-www-form-urlencoded parsing".
  func query(_ name: String) -> String? {
    for part in (uri.query ?? "").split(separator: "&") {
      let sides = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard let key = sides.first, Self.formDecoded(key) == name else { continue }
      return sides.count == 2 ? Self.formDecoded(sides[1]) : ""
    }
    return nil
  }

  /// What is no encoding stays as it is.
  private static func formDecoded(_ text: Substring) -> String {
    let blank = text.replacing("+", with: " ")
    return blank.percentDecoded ?? String(blank)
  }

  func limit(_ fallback: Int = 100) throws -> Int {
    guard let text = query("limit"), !text.isEmpty else { return fallback }
    guard let value = Int(text), (1...500).contains(value) else {
      throw FederationError(.invalidArgument, "limit is a number from 1 to 500, not \"\(text.prefix(20))\"")
    }
    return value
  }

  /// The whole body, at most `limit` bytes; a larger one is refused before it is read to its end.
  func bytes(limit: Int = APIContext.sizeLimit) async throws -> [UInt8] {
    if let length = headers[.contentLength].flatMap({ Int($0) }), length > limit { throw Self.tooLarge }
    do {
      return Array(buffer: try await body.collect(upTo: limit))
    } catch is NIOTooManyBytesError {
      throw Self.tooLarge
    } catch let error as HTTPError where error.status == .contentTooLarge {
      throw Self.tooLarge
    }
  }

  /// The same with its whole body, at most `limit` bytes: whoever sends slowly keeps nobody waiting but himself.
  func received(limit: Int = APIContext.sizeLimit) async throws -> Request {
    var request = self
    request.body = RequestBody(buffer: ByteBuffer(bytes: try await bytes(limit: limit)))
    return request
  }

  private static var tooLarge: FederationError {
    FederationError(.invalidArgument, "a request body has at most \(ByteCount(Int64(APIContext.sizeLimit)))")
  }

  /// The body as a document; an empty body is `fallback` where there is one.
  func document<Value: Decodable>(_ type: Value.Type, orElse fallback: Value? = nil) async throws -> Value {
    let bytes = try await bytes()
    if bytes.isEmpty, let fallback { return fallback }
    return try JSONBody.decode(type, from: bytes)
  }
}

extension JSONBody {
  /// - Throws: `.invalidArgument` saying where the document is not what is expected.
  static func decode<Value: Decodable>(_ type: Value.Type, from bytes: [UInt8]) throws -> Value {
    try refuseNUL(in: bytes)
    do {
      return try JSONDecoder().decode(type, from: Data(bytes))
    } catch {
      throw FederationError(.invalidArgument, "the body is not the expected JSON document: \(describe(error))")
    }
  }

  private static func describe(_ error: any Error) -> String {
    func path(_ context: DecodingError.Context) -> String {
      context.codingPath.map(\.stringValue).joined(separator: ".")
    }
    return switch error {
    case DecodingError.keyNotFound(let key, let context): "\(path(context)) lacks \(key.stringValue)"
    case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context):
      "\(path(context)): \(context.debugDescription)"
    case DecodingError.dataCorrupted(let context): "\(path(context)): \(context.debugDescription)"
    default: "not readable"
    }
  }
}

extension Response {
  static func json(_ value: some Encodable, _ status: HTTPResponse.Status = .ok) throws -> Response {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return Response(
      status: status, headers: [.contentType: "application/json; charset=utf-8"],
      body: .init(byteBuffer: ByteBuffer(bytes: try encoder.encode(value))))
  }

  static func text(_ text: String, type: String = "text/plain; charset=utf-8") -> Response {
    Response(status: .ok, headers: [.contentType: type], body: .init(byteBuffer: ByteBuffer(string: text)))
  }
}

extension StringProtocol {
  /// nil for a broken escape or for bytes that are no UTF-8.
  var percentDecoded: String? {
    var bytes: [UInt8] = []
    var rest = utf8.makeIterator()
    while let byte = rest.next() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard let high = rest.next().flatMap(Self.hexadecimalDigit), let low = rest.next().flatMap(Self.hexadecimalDigit)
      else { return nil }
      bytes.append(high << 4 | low)
    }
    return String(validating: bytes, as: UTF8.self)
  }

  private static func hexadecimalDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x41...0x46: byte - 0x37
    case 0x61...0x66: byte - 0x57
    default: nil
    }
  }
}
