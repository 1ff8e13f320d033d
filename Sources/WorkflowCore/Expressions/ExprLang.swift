import FederationModel

/// What an expression may know.
struct ExpressionScope {
  /// Dotted names that have a text (`steps.a.outputs.result`), as all variables of Argo's have.
  var lookup: (String) -> String?
  /// Names of values of other kinds; they go before `lookup`.
  var values: [String: ExprValue] = [:]
  /// What `now()` is: the moment of an event or of a record, never a clock's.
  var now = Timestamp.epoch
  /// What random functions are made from, so that a rebuilt machine draws the same.
  var seed: UInt64 = 0

  init(lookup: @escaping (String) -> String?) { self.lookup = lookup }
}

/// When and where an expression is evaluated: what takes the place of a clock and of chance.
struct ExpressionMoment: Sendable, Equatable {
  var now = Timestamp.epoch
  var seed: UInt64 = 0
}

/// expr-lang, as in `{{=...}}`, `valueFrom.expression` and `retryStrategy.expression`.
///
/// Variables are dotted names that `lookup` knows (`steps.a.outputs.result`); all their values are texts, as in Argo.
/// - Source: expr-lang v1.17; Argo v3.7 `util/expr/env`, `util/template/expression_template.go`.
enum ExprLang {
  /// What an expression comes to.
  struct Result {
    fileprivate let operand: ExpressionEvaluator.Operand
    fileprivate let found: ExprValue

    /// - Throws: `FederationError` (`invalidArgument`) when it is a name without a value.
    func value() throws -> JSONValue { try known().json }

    func known() throws -> ExprValue {
      if case .path(let name) = operand, found.isNull {
        throw FederationError(.invalidArgument, "failed to resolve {{=\(name.prefix(200))}}")
      }
      return found
    }

    /// The value as it is put into a text.
    ///
    /// - Throws: `FederationError` (`invalidArgument`), also for nil, and for NUL, which an expression can decode or write, and no
    ///   text may hold.
    func text() throws -> String {
      let value = try known()
      guard !value.isNull else {
        throw FederationError(.invalidArgument, "failed to evaluate expression: it comes to nil")
      }
      guard value.weight(upTo: ExpressionEvaluator.sizeLimit) <= ExpressionEvaluator.sizeLimit else {
        throw FederationError(
          .invalidArgument, "an expression comes to more than \(ExpressionEvaluator.sizeLimit >> 20) MiB")
      }
      let text = value.tagText
      guard !text.utf8.contains(0) else {
        throw FederationError(
          .invalidArgument, "an expression comes to a text with the character NUL, which no text may hold")
      }
      return text
    }

    /// Whether it is a name alone, and nothing is known of that.
    var isUnknownName: Bool { reference != nil && found.isNull }

    /// The name that it comes to, such as that of an artifact; nil for a plain value.
    var reference: String? { if case .path(let name) = operand { name } else { nil } }
  }

  static func evaluate(
    _ text: String, values: [String: ExprValue] = [:], at moment: ExpressionMoment = ExpressionMoment(),
    lookup: (String) -> String?
  ) throws -> Result {
    let node = try ExpressionParser.parse(text)
    return try withoutActuallyEscaping(lookup) { lookup in
      var scope = ExpressionScope(lookup: lookup)
      (scope.values, scope.now, scope.seed) = (values, moment.now, moment.seed)
      var evaluator = ExpressionEvaluator(scope)
      do {
        let operand = try evaluator.evaluate(node)
        return Result(operand: operand, found: try evaluator.resolve(operand))
      } catch let problem as ExpressionProblem {
        throw ExpressionFailure.error(problem.message, at: evaluator.offset, in: text)
      } catch is ExpressionEvaluator.NothingThere {
        throw ExpressionFailure.error("cannot fetch from nil", at: evaluator.offset, in: text)
      }
    }
  }
}

/// What is wrong, before the place is known.
struct ExpressionProblem: Error {
  var message: String
  init(_ message: String) { self.message = message }
}
