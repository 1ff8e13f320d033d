import FederationModel

/// The expressions of a CronWorkflow: `when` and `stopStrategy.expression`, both over `cronworkflow.*`.
///
/// - Source: Argo `workflow/cron/operator.go` (`expressionEnv`). One difference: there `cronworkflow.annotations` holds the labels.
enum CronConditions {
  /// - Throws: `FederationError` (`invalidArgument`) for a stop expression that is none.
  static func check(_ plan: CronPlan) throws {
    if !plan.stopExpression.isEmpty { _ = try ExpressionParser.parse(plan.stopExpression) }
  }

  static func holds(when text: String, _ state: CronState, now: Timestamp) throws -> Bool {
    guard !text.isEmpty else { return true }
    let values = variables(of: state)
    let condition = try Tags.substitute(text, values: values, at: ExpressionMoment(now: now)) { name in
      values[name].map { .text($0.tagText) } ?? .unknown
    }
    return try WhenExpression.evaluate(condition)
  }

  static func holds(stop text: String, _ state: CronState, now: Timestamp) throws -> Bool {
    guard !text.isEmpty else { return false }
    let value = try ExprLang.evaluate(text, values: variables(of: state), at: ExpressionMoment(now: now)) { _ in nil }
      .value()
    guard case .bool(let holds) = value else {
      throw FederationError(
        .invalidArgument, "unable to cast expression result '\(value.description.prefix(200))' to bool")
    }
    return holds
  }

  private static func variables(of state: CronState) -> [String: ExprValue] {
    func object(_ texts: [String: String]) -> ExprValue { .map(texts.mapValues { .string($0) }) }
    var values: [String: ExprValue] = [
      "name": .string(state.name), "namespace": .string(state.namespace), "labels": object(state.labels),
      "annotations": object(state.annotations), "labels.json": .string(object(state.labels).tagText),
      "annotations.json": .string(object(state.annotations).tagText), "failed": .integer(state.failed),
      "succeeded": .integer(state.succeeded),
      "lastScheduledTime": state.lastScheduledTime.map { .time(GoTime($0)) } ?? .null,
    ]
    for (name, text) in state.labels { values["labels.\(name)"] = .string(text) }
    for (name, text) in state.annotations { values["annotations.\(name)"] = .string(text) }
    return Dictionary(uniqueKeysWithValues: values.map { ("cronworkflow.\($0)", $1) })
  }
}
