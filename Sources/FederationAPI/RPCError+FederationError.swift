public import FederationModel
public import GRPCCore

extension ErrorCode {
  /// The one table between our codes and gRPC's.
  public var rpcCode: RPCError.Code {
    switch self {
    case .invalidArgument, .unplaceable: .invalidArgument
    case .unauthenticated: .unauthenticated
    case .permissionDenied: .permissionDenied
    case .notFound: .notFound
    case .alreadyExists: .alreadyExists
    case .failedPrecondition, .budgetDenied: .failedPrecondition
    case .resourceExhausted: .resourceExhausted
    case .unavailable: .unavailable
    case .deadlineExceeded: .deadlineExceeded
    case .cancelled: .cancelled
    case .internal: .internalError
    }
  }

  /// What a peer's status means to us.
  public init(_ code: RPCError.Code) {
    self =
      switch code {
      case .invalidArgument, .outOfRange: .invalidArgument
      case .unauthenticated: .unauthenticated
      case .permissionDenied: .permissionDenied
      case .notFound, .unimplemented: .notFound
      case .alreadyExists: .alreadyExists
      case .failedPrecondition, .aborted: .failedPrecondition
      case .resourceExhausted: .resourceExhausted
      case .unavailable: .unavailable
      case .deadlineExceeded: .deadlineExceeded
      case .cancelled: .cancelled
      default: .internal
      }
  }
}

private let codeKey = "fubini-code"
private let retryKey = "fubini-retry-after-ms"

extension RPCError {
  /// What a peer is told: the public message alone, and in the metadata our own code and when to try again.
  public init(_ error: FederationError) {
    var metadata: Metadata = [codeKey: .string(error.code.rawValue)]
    if let delay = error.retryAfter { metadata.addString(String(delay.milliseconds), forKey: retryKey) }
    self.init(code: error.code.rpcCode, message: error.publicMessage, metadata: metadata)
  }
}

extension FederationError {
  /// What a peer answered, in our own words. Delays are taken as given up to an hour.
  public init(_ error: RPCError) {
    let stated = error.metadata[stringValues: codeKey].first { _ in true }.flatMap(ErrorCode.init(rawValue:))
    let delay = error.metadata[stringValues: retryKey].first { _ in true }.flatMap(Int64.init)
    self.init(
      stated ?? ErrorCode(error.code), error.message, cause: error,
      retryAfter: delay.map { .milliseconds(min(max($0, 0), 3_600_000)) })
  }
}
