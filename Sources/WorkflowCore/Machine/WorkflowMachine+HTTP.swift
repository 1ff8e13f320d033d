public import FederationModel

/// Requests in place of programs.
extension WorkflowMachine {
  func request(_ template: HTTPTemplate, at ordinal: Int32) throws -> RunHTTP {
    func text(_ value: String) throws -> String { try substitute(value, in: .leaf(ordinal)) }
    let seconds = try text(template.timeoutSeconds)
    guard let timeout = Int64(seconds), (1...86_400).contains(timeout) else {
      throw FederationError(.invalidArgument, "timeoutSeconds '\(seconds)' is no number of seconds")
    }
    return RunHTTP(
      method: try text(template.method), url: try text(template.url),
      headers: try template.headers.map { RunHTTP.Header(name: try text($0.name), value: try text($0.value)) },
      secretHeaders: try template.secretHeaders.map { source in
        guard case .value(let name, let key, let object, let isOptional) = source else { return source }
        return .value(
          variable: try text(name), key: try text(key), of: ProjectObject(object.kind, try text(object.name)),
          isOptional: isOptional)
      }, body: try text(template.body), timeout: .seconds(timeout), skipsVerification: template.skipsVerification,
      successCondition: try template.successCondition.map(text))
  }
}

/// Whether an answer over HTTP is what its template's author wants.
public enum ResponseCondition {
  /// - Parameters:
  ///   - response: with `statusCode`, `body` and `headers` (lists of texts by name).
  ///   - request: with `method`, `url`, `body` and `headers`.
  /// - Throws: `FederationError` (`invalidArgument`) for an expression that cannot be evaluated, or is neither true nor false.
  public static func holds(_ expression: String, response: JSONValue, request: JSONValue) throws -> Bool {
    let values = ["response": ExprValue(response), "request": ExprValue(request)]
    let value = try ExprLang.evaluate(expression, values: values) { _ in nil }
    switch try value.text() {
    case "true": return true
    case "false": return false
    default: throw FederationError(.invalidArgument, "successCondition '\(expression)' is neither true nor false")
    }
  }
}
