/// What went wrong, in one vocabulary for every transport: `ErrorCode` is mapped to HTTP, gRPC and exit codes in one table each.
///
/// `publicMessage` says what happened and what to do next, and is shown to whoever asked. `internalContext` is for logs alone.
public struct FederationError: Error, Sendable, CustomStringConvertible {
  public var code: ErrorCode
  public var publicMessage: String
  public var internalContext: String?
  public var cause: (any Error)?
  /// How long to wait before the same request may succeed; nil when repeating it is of no use.
  public var retryAfter: Duration?

  public init(
    _ code: ErrorCode, _ publicMessage: String, internalContext: String? = nil, cause: (any Error)? = nil,
    retryAfter: Duration? = nil
  ) {
    self.code = code
    self.publicMessage = publicMessage
    self.internalContext = internalContext
    self.cause = cause
    self.retryAfter = retryAfter
  }

  public var isRetryable: Bool { retryAfter != nil || code.isRetryable }

  public var description: String {
    var text = "\(code.rawValue): \(publicMessage)"
    if let internalContext { text += " [\(internalContext)]" }
    if let cause { text += " (caused by: \(cause))" }
    return text
  }
}

/// The kinds of failure that a caller can tell apart.
public enum ErrorCode: String, Sendable, Codable, CaseIterable {
  case invalidArgument
  case unauthenticated
  case permissionDenied
  case notFound
  case alreadyExists
  /// The object's state does not allow it now (resuming what is not suspended).
  case failedPrecondition
  /// A limit of size or rate; see `retryAfter`.
  case resourceExhausted
  /// No cluster can ever take it as it is.
  case unplaceable
  case budgetDenied
  /// The control plane cannot act just now: no leader, no database.
  case unavailable
  case deadlineExceeded
  case cancelled
  case `internal`

  public var isRetryable: Bool { self == .unavailable || self == .resourceExhausted || self == .deadlineExceeded }

  /// - Source: RFC 9110; 402 is used for budgets as the REST reference documents.
  public var httpStatus: Int {
    switch self {
    case .invalidArgument, .unplaceable: 400
    case .unauthenticated: 401
    case .budgetDenied: 402
    case .permissionDenied: 403
    case .notFound: 404
    case .alreadyExists, .failedPrecondition: 409
    case .resourceExhausted: 429
    case .cancelled: 499
    case .internal: 500
    case .unavailable: 503
    case .deadlineExceeded: 504
    }
  }

  /// The CLI's exit code: 1 error, 2 usage, 3 unplaceable, 4 budget denied, 5 timeout or unreachable. (6, the workflow failed, is no error of ours.)
  public var exitCode: Int32 {
    switch self {
    case .invalidArgument: 2
    case .unplaceable: 3
    case .budgetDenied: 4
    case .unavailable, .deadlineExceeded: 5
    default: 1
    }
  }
}
