public import FederationModel

/// What an API server answers instead of an object: `kind: Status`.
///
/// - Source: Kubernetes API conventions, "Response Status Kind".
public struct KubernetesStatus: Error, Hashable, Sendable {
  /// Of HTTP.
  public var code: Int
  /// One word for programs: `AlreadyExists`, `Conflict`, `Expired`; empty where a proxy answered.
  public var reason: String
  /// For people, bounded.
  public var message: String
  public var retryAfter: Duration?

  /// Characters of a message that are kept.
  static let messageMax = 2000
  /// Nobody is waited for longer because he says so.
  static let retryAfterMax = 120

  public init(code: Int, reason: String = "", message: String, retryAfter: Duration? = nil) {
    self.code = code
    self.reason = reason
    self.message = String(message.prefix(Self.messageMax))
    self.retryAfter = retryAfter
  }

  /// - Parameters:
  ///   - body: a `Status`, or whatever a proxy on the way writes.
  ///   - retryAfter: the header of that name.
  init(code: Int, body: [UInt8], retryAfter: String? = nil) {
    let document = try? JSONReader.value(body)
    let text = document?["message"]?.stringValue ?? Self.printable(body)
    let header = retryAfter.flatMap { Int($0) }
    let seconds = header ?? document?["details"]?["retryAfterSeconds"]?.integerValue.flatMap { Int(exactly: $0) }
    self.init(
      code: code, reason: document?["reason"]?.stringValue ?? "",
      message: text.isEmpty ? "the API server answered \(code) without saying why" : text,
      retryAfter: seconds.flatMap { $0 > 0 ? .seconds(min($0, Self.retryAfterMax)) : nil })
  }

  /// The object of an `ERROR` event.
  init(event object: JSONValue) {
    self.init(
      code: object["code"]?.integerValue.flatMap { Int(exactly: $0) } ?? 0, reason: object["reason"]?.stringValue ?? "",
      message: object["message"]?.stringValue ?? "the watch ended with an error that says nothing",
      retryAfter: object["details"]?["retryAfterSeconds"]?.integerValue.flatMap {
        $0 > 0 ? .seconds(min($0, Int64(Self.retryAfterMax))) : nil
      })
  }

  /// A page of HTML is no message, and what steers a terminal is left out.
  private static func printable(_ body: [UInt8]) -> String {
    let text = String(decoding: body.prefix(messageMax), as: UTF8.self)
    guard !text.contains("<html"), !text.contains("<HTML") else { return "" }
    return String(
      String.UnicodeScalarView(
        text.unicodeScalars.map { $0.value < 0x20 || (0x7f...0x9f).contains($0.value) ? " " : $0 }))
  }

  /// The version that was asked for, of a list or a watch, is no longer kept: a new list is needed.
  public var isExpired: Bool { code == 410 || reason == "Expired" || reason == "Gone" }

  /// The request was not begun, or cannot have had an effect, and may succeed later.
  var isRefusalForNow: Bool { code == 429 || (code == 503 && retryAfter != nil) }

  /// What a read may be repeated after.
  var isPassing: Bool { code == 429 || code >= 500 && code != 501 && code != 505 }

  var error: FederationError {
    let code: ErrorCode =
      switch self.code {
      case 400, 405, 406, 413, 415, 422: .invalidArgument
      case 401: .unauthenticated
      case 403: .permissionDenied
      case 404: .notFound
      case 409 where reason == "AlreadyExists": .alreadyExists
      case 409, 410, 412: .failedPrecondition
      case 429: .resourceExhausted
      case 504: .deadlineExceeded
      case 500...: .unavailable
      default: .internal
      }
    return FederationError(
      code, message, internalContext: "HTTP \(self.code) \(reason)", cause: self, retryAfter: retryAfter)
  }
}

extension FederationError {
  /// What the API server answered; nil where none did.
  public var kubernetesStatus: KubernetesStatus? { cause as? KubernetesStatus }
}
