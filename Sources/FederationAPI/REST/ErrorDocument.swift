public import FederationModel

/// The body of every answer that is not a success.
public struct ErrorDocument: Error, Hashable, Sendable, Codable {
  /// The gRPC status code: what Argo's clients expect in this place. See `ErrorCode.grpcCode`.
  public var code: Int
  /// What happened and what to do next, for people.
  public var message: String
  /// The same kind of failure as a word that programs may compare.
  public var reason: ErrorCode
  /// For a refused document: everything that is wrong with it, in the document's order.
  public var problems: [ProblemDocument]?
  /// Problems that were found but are not listed.
  public var omittedProblems: Int?
  /// Seconds after which the same request may succeed.
  public var retryAfterSeconds: Int?
  /// Names the request in the control plane's log.
  public var requestID: String?

  public init(
    reason: ErrorCode, message: String, problems: [ProblemDocument]? = nil, omittedProblems: Int? = nil,
    retryAfterSeconds: Int? = nil, requestID: String? = nil
  ) {
    self.code = reason.grpcCode
    self.message = message
    self.reason = reason
    self.problems = problems
    self.omittedProblems = omittedProblems
    self.retryAfterSeconds = retryAfterSeconds
    self.requestID = requestID
  }
}

/// One thing that is wrong with a submitted document.
public struct ProblemDocument: Hashable, Sendable, Codable {
  /// From the document's root (`spec.templates[2].dag.tasks[0].depends`); empty for the document as a whole.
  public var path: String
  /// From 1.
  public var line: Int?
  public var column: Int?
  public var message: String
  /// What the author may have meant.
  public var suggestion: String?
  public init(path: String, line: Int? = nil, column: Int? = nil, message: String, suggestion: String? = nil) {
    self.path = path
    self.line = line
    self.column = column
    self.message = message
    self.suggestion = suggestion
  }
}

extension ErrorCode {
  /// - Source: gRPC core, "Status codes and their use in gRPC".
  public var grpcCode: Int {
    switch self {
    case .cancelled: 1
    case .invalidArgument: 3
    case .deadlineExceeded: 4
    case .notFound: 5
    case .alreadyExists: 6
    case .permissionDenied: 7
    case .resourceExhausted: 8
    case .failedPrecondition, .unplaceable, .budgetDenied: 9
    case .internal: 13
    case .unavailable: 14
    case .unauthenticated: 16
    }
  }
}
