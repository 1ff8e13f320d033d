import FederationAPI
import FederationModel
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Postgres
import WorkflowCore

/// Makes every failure an `ErrorDocument`, gives every answer its request id, and writes the access log.
struct ErrorMapping: RouterMiddleware {
  let metrics: ControlPlaneMetrics

  @concurrent
  func handle(
    _ request: Request, context: APIContext, next: @concurrent (Request, APIContext) async throws -> Response
  ) async throws -> Response {
    let started = ContinuousClock.now
    var response: Response
    do {
      response = try await next(request, context)
    } catch {
      response = try Self.response(to: error, request: context)
      if request.uri.path.hasPrefix(APIServer.kubernetesRoot) {
        response = KubernetesStatus.response(to: error, instead: response)
      }
    }
    response.headers[.requestID] = context.id
    let seconds = (ContinuousClock.now - started).seconds
    let route = context.endpointPath ?? "none"
    metrics.request(route: route, method: request.method.rawValue, status: response.status.code, seconds: seconds)
    // The path without its query: a secret sent in the wrong place must not reach the log.
    context.logger.info(
      "request",
      metadata: [
        "method": "\(request.method.rawValue)", "path": "\(request.uri.path.prefix(256))",
        "status": "\(response.status.code)",
        "seconds": "\(seconds)",
      ])
    return response
  }

  static func response(to error: any Error, request context: APIContext) throws -> Response {
    let document: ErrorDocument
    var status: HTTPResponse.Status
    // Argo's clients show nothing but the message.
    let isArgo = context.endpointPath?.hasPrefix("/api/v1") == true
    switch error {
    case let error as DocumentErrors:
      let count = error.problems.count + error.omittedCount
      document = ErrorDocument(
        reason: .invalidArgument,
        message: "the workflow document has \(count) problem\(count == 1 ? "" : "s")"
          + (isArgo ? error.problems.first.map(Self.describe) ?? "" : ""),
        problems: error.problems.map {
          ProblemDocument(
            path: $0.path, line: $0.line, column: $0.column, message: $0.message, suggestion: $0.suggestion)
        }, omittedProblems: error.omittedCount > 0 ? error.omittedCount : nil, requestID: context.id)
      status = .badRequest
    case let error as FederationError:
      document = ErrorDocument(
        reason: error.code, message: error.publicMessage,
        retryAfterSeconds: error.isRetryable
          ? Int(max(1, (error.retryAfter ?? .seconds(1)).seconds.rounded(.up))) : nil,
        requestID: context.id)
      status = HTTPResponse.Status(code: error.code.httpStatus)
      if error.code == .internal { context.logger.error("internal error", metadata: ["error": "\(error)"]) }
    case let error as HTTPError:
      let code: ErrorCode =
        error.status == .notFound || error.status == .methodNotAllowed ? .notFound : .invalidArgument
      document = ErrorDocument(reason: code, message: error.body ?? "there is no such route", requestID: context.id)
      status = error.status
    case let error as PostgresError:
      context.logger.warning("the database failed a request", metadata: ["error": "\(error)"])
      document = ErrorDocument(
        reason: .unavailable, message: "the control plane's database cannot be reached; try again",
        retryAfterSeconds: 2,
        requestID: context.id)
      status = .serviceUnavailable
    default:
      context.logger.error("unexpected error", metadata: ["error": "\(error)"])
      document = ErrorDocument(
        reason: .internal, message: "something went wrong in the control plane; its log names this request",
        requestID: context.id)
      status = .internalServerError
    }
    var response = try Response.json(document, status)
    if let seconds = document.retryAfterSeconds { response.headers[.retryAfter] = String(seconds) }
    if status == .unauthorized { response.headers[.wwwAuthenticate] = "Bearer" }
    return response
  }

  private static func describe(_ problem: DocumentProblem) -> String {
    ": \(problem.path.isEmpty ? "" : "\(problem.path): ")\(problem.message)"
  }
}

extension HTTPField.Name {
  static let requestID = HTTPField.Name("X-Request-Id")!
  static let idempotencyKey = HTTPField.Name("Idempotency-Key")!
  static let lastEventID = HTTPField.Name("Last-Event-ID")!
  static let artifactSHA256 = HTTPField.Name("X-Artifact-SHA256")!
  static let artifactArchive = HTTPField.Name("X-Artifact-Archive")!
}

/// Failures as Kubernetes' clients read them.
///
/// - Source: Kubernetes API conventions, "Response Status Kind".
private enum KubernetesStatus {
  static func response(to error: any Error, instead response: Response) -> Response {
    let failure = error as? FederationError
    let reason =
      switch failure?.code {
      case .notFound: "NotFound"
      case .alreadyExists: "AlreadyExists"
      case .failedPrecondition: "Conflict"
      case .invalidArgument, .unplaceable: "BadRequest"
      case .unauthenticated: "Unauthorized"
      case .permissionDenied: "Forbidden"
      case .resourceExhausted: "TooManyRequests"
      case .unavailable: "ServiceUnavailable"
      case .deadlineExceeded: "Timeout"
      default: (error as? HTTPError)?.status == .notFound ? "NotFound" : "InternalError"
      }
    let status = Response.json(
      [
        "kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Failure",
        "message": .string(failure?.publicMessage ?? "the request failed"), "reason": .string(reason),
        "code": .integer(Int64(response.status.code)),
      ], response.status)
    var headers = response.headers
    for name in [HTTPField.Name.contentType, .contentLength] { headers[name] = status.headers[name] }
    return Response(status: response.status, headers: headers, body: status.body)
  }
}
