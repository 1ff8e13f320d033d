import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import WorkflowCore

/// Which workflows a client of Argo's API asks for: `listOptions.labelSelector` and `listOptions.fieldSelector`.
///
/// Argo keeps phase and completion as labels, so selectors over these become conditions on the phase. What cannot be obeyed is refused:
/// an ignored condition would show, or make somebody delete, the wrong workflows.
struct ArgoSelector: Sendable, Hashable {
  /// nil: any. Empty: none, because the conditions contradict each other.
  private(set) var phases: Set<NodePhase>?
  private(set) var labels: [String: String] = [:]
  private(set) var name: String?

  /// Phases that a workflow (and not only a node) can be in.
  static let workflowPhases: Set<NodePhase> = [.pending, .running, .succeeded, .failed, .error]
  static let textBytesMax = 4096

  /// - Throws: `.invalidArgument` with the term that is not understood.
  init(labels labelText: String = "", fields fieldText: String = "") throws {
    guard labelText.utf8.count <= Self.textBytesMax, fieldText.utf8.count <= Self.textBytesMax else {
      throw FederationError(.invalidArgument, "a selector has at most \(Self.textBytesMax) bytes")
    }
    for term in Self.terms(labelText) { try addLabel(try Condition(term)) }
    for term in Self.terms(fieldText) {
      let condition = try Condition(term)
      guard condition.key == "metadata.name", condition.isPositive, condition.values.count == 1 else {
        throw FederationError(.invalidArgument, "a field selector is metadata.name=NAME, not \"\(term.prefix(80))\"")
      }
      name = condition.values[0]
    }
  }

  var filter: WorkflowFilter {
    WorkflowFilter(phases: phases.map { $0.sorted { $0.rawValue < $1.rawValue } } ?? [], labels: labels)
  }

  /// No workflow can match.
  var isContradictory: Bool { phases?.isEmpty == true }

  func matches(_ head: WorkflowHead) -> Bool {
    (phases?.contains(head.status.phase) ?? true) && labels.allSatisfy { head.labels[$0.key] == $0.value }
      && (name.map { $0 == head.name } ?? true)
  }

  private mutating func addLabel(_ condition: Condition) throws {
    switch condition.key {
    case "workflows.argoproj.io/phase":
      guard !condition.values.isEmpty else { return restrict(Self.workflowPhases, condition.isPositive) }
      let named = Set(condition.values.compactMap { NodePhase(rawValue: $0) })
      restrict(named, condition.isPositive)
    case "workflows.argoproj.io/completed":
      let finished = Self.workflowPhases.filter(\.isTerminal)
      let isAboutFinished = condition.values.isEmpty || condition.values == ["true"]
      guard isAboutFinished || condition.values == ["false"] else { throw condition.notUnderstood }
      restrict(finished, condition.isPositive == isAboutFinished)
    default:
      guard condition.isPositive, condition.values.count == 1 else { throw condition.notUnderstood }
      if let other = labels.updateValue(condition.values[0], forKey: condition.key), other != condition.values[0] {
        phases = []
      }
    }
  }

  private mutating func restrict(_ some: Set<NodePhase>, _ isPositive: Bool) {
    let allowed = isPositive ? some : Self.workflowPhases.subtracting(some)
    phases = (phases ?? Self.workflowPhases).intersection(allowed)
  }

  /// Splits at commas outside parentheses.
  private static func terms(_ text: String) -> [String] {
    var terms: [String] = []
    var term = ""
    var depth = 0
    for character in text {
      switch character {
      case "(": depth += 1
      case ")": depth -= 1
      default: break
      }
      if character == ",", depth <= 0 {
        terms.append(term)
        term = ""
      } else {
        term.append(character)
      }
    }
    return (terms + [term]).map { trimmed($0[...]) }.filter { !$0.isEmpty }
  }

  fileprivate static func trimmed(_ text: Substring) -> String {
    var text = text
    while text.first?.isWhitespace == true { text.removeFirst() }
    while text.last?.isWhitespace == true { text.removeLast() }
    return String(text)
  }

  /// One term of a selector. Without values it asks whether the key is there.
  ///
  /// - Source: Kubernetes, "Labels and Selectors".
  private struct Condition {
    var key: String
    var values: [String]
    var isPositive: Bool
    private var text: String

    init(_ term: String) throws {
      text = term
      if let (key, values) = Self.set(term, " notin ") {
        (self.key, self.values, isPositive) = (key, values, false)
      } else if let (key, values) = Self.set(term, " in ") {
        (self.key, self.values, isPositive) = (key, values, true)
      } else if let range = term.firstRange(of: "!=") {
        (key, isPositive) = (ArgoSelector.trimmed(term[..<range.lowerBound]), false)
        values = [ArgoSelector.trimmed(term[range.upperBound...])]
      } else if let range = term.firstRange(of: "==") ?? term.firstRange(of: "=") {
        (key, isPositive) = (ArgoSelector.trimmed(term[..<range.lowerBound]), true)
        values = [ArgoSelector.trimmed(term[range.upperBound...])]
      } else {
        (key, values, isPositive) = (term.first == "!" ? String(term.dropFirst()) : term, [], term.first != "!")
      }
      guard !key.isEmpty, !key.contains(where: { $0.isWhitespace || $0 == "(" || $0 == ")" }) else {
        throw notUnderstood
      }
    }

    private static func set(_ term: String, _ word: String) -> (String, [String])? {
      guard let range = term.firstRange(of: word) else { return nil }
      let list = ArgoSelector.trimmed(term[range.upperBound...])
      guard list.first == "(", list.last == ")" else { return nil }
      let values = list.dropFirst().dropLast().split(separator: ",").map { ArgoSelector.trimmed($0) }
      return (ArgoSelector.trimmed(term[..<range.lowerBound]), values)
    }

    var notUnderstood: FederationError {
      FederationError(
        .invalidArgument,
        "the selector \"\(text.prefix(80))\" cannot be obeyed: use KEY=VALUE, or conditions on workflows.argoproj.io/phase"
      )
    }
  }
}
