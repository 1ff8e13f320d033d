import FederationModel

/// What a `data` template makes of the names of files.
///
/// - Source: Argo Workflows v3.7, `workflow/data/data.go`: each expression sees as `data` what the one before has come to.
public enum DataTransformation {
  /// - Returns: JSON.
  /// - Throws: `FederationError` (`invalidArgument`) for an expression that cannot be evaluated.
  public static func result(of names: [String], _ expressions: [String]) throws -> String {
    var data: JSONValue = .array(names.map { .string($0) })
    for expression in expressions {
      data = try ExprLang.evaluate(expression, values: ["data": ExprValue(data)]) { _ in nil }.value()
    }
    return data.description
  }
}
