public import FederationModel

/// Which nodes a command is about.
public indirect enum NodeSelector: Hashable, Sendable, Codable {
  /// All of these hold.
  case every([NodeSelector])
  /// This does not hold.
  case not(NodeSelector)
  case phase(NodePhase)
  /// A template of another document; nil for any of it.
  case templateRef(name: String?, template: String?)
  /// An input parameter with this value.
  case input(name: String, value: String)
  case all
  /// The node's full name or Argo's id of it.
  case name(String)
  case displayName(String)
  case templateName(String)
}

extension NodeSelector {
  /// Argo's `--node-field-selector`: `displayName=a,phase!=Succeeded`; every condition must hold. A backslash takes `,`, `=`, `!` and
  /// itself out of the grammar.
  ///
  /// A node that has no such field (no such input, no template of another document) is another than every value.
  /// - Throws: `.invalidArgument` for a field that there is not.
  /// - Source: Argo Workflows v3.7, `workflow/util/util.go`, `SelectorMatchesNode`; Kubernetes documentation, "Field Selectors".
  public init(fields text: String) throws {
    let selectors = try Self.terms(of: text).map { try Self.selector(of: $0, text) }
    guard let first = selectors.first else { throw Self.unknown(text) }
    self = selectors.count == 1 ? first : .every(selectors)
  }

  /// One condition: what stands before its sign, and what after; nil where there is no sign.
  fileprivate struct Term {
    var field = ""
    var value: String?
    var isNegated = false
  }

  private static func terms(of text: String) throws -> [Term] {
    var terms: [Term] = []
    var term = Term()
    var rest = text[...]
    func isBlank(_ term: Term) -> Bool { term.value == nil && term.field.allSatisfy { $0 == " " } }
    while let character = rest.popFirst() {
      switch character {
      case "\\":
        guard let next = rest.popFirst() else { throw unknown(text) }
        term.take(next)
      case ",":
        if !isBlank(term) { terms.append(term) }
        term = Term()
      case "!" where term.value == nil && rest.first == "=":
        rest.removeFirst()
        (term.isNegated, term.value) = (true, "")
      case "=" where term.value == nil:
        if rest.first == "=" { rest.removeFirst() }
        term.value = ""
      default: term.take(character)
      }
    }
    if !isBlank(term) { terms.append(term) }
    return terms
  }

  private static func selector(of term: Term, _ text: String) throws -> NodeSelector {
    guard let value = term.value else { throw unknown(text) }
    let found = try selector(field: trimmed(term.field), trimmed(value), text)
    return term.isNegated ? .not(found) : found
  }

  private static func selector(field: String, _ value: String, _ text: String) throws -> NodeSelector {
    switch field {
    case "name", "id": return .name(value)
    case "displayName": return .displayName(value)
    case "templateName": return .templateName(value)
    case "phase":
      guard let phase = NodePhase(rawValue: value) else { throw unknown(text) }
      return .phase(phase)
    case "templateRef.name": return .templateRef(name: value, template: nil)
    case "templateRef.template": return .templateRef(name: nil, template: value)
    default:
      let (prefix, suffix) = ("inputs.parameters.", ".value")
      guard field.hasPrefix(prefix), field.hasSuffix(suffix), field.utf8.count > prefix.utf8.count + suffix.utf8.count
      else { throw unknown(text) }
      return .input(name: String(field.dropFirst(prefix.count).dropLast(suffix.count)), value: value)
    }
  }

  private static func trimmed(_ text: String) -> String {
    String(text.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
  }

  private static func unknown(_ text: String) -> FederationError {
    FederationError(
      .invalidArgument,
      "a node selector is name=, id=, displayName=, templateName=, phase=, templateRef.name=, templateRef.template= or "
        + "inputs.parameters.NAME.value=, also with !=, joined by commas, not \"\(text.prefix(80))\"")
  }
}

extension NodeSelector.Term {
  fileprivate mutating func take(_ character: Character) {
    if value == nil { field.append(character) } else { value!.append(character) }
  }
}

extension WorkflowMachine {
  func matches(_ selector: NodeSelector, _ node: Int32) -> Bool {
    let record = nodes[Int(node)]
    return switch selector {
    case .every(let selectors): selectors.allSatisfy { matches($0, node) }
    case .not(let selector): !matches(selector, node)
    case .phase(let phase): record.phase == phase
    case .templateRef(let name, let template): matchesReference(record, name, template)
    case .input(let name, let value): record.inputs.parameter(name) == value
    case .all: true
    case .name(let text): record.name == text || argoID(of: node) == text
    case .displayName(let text): record.displayName == text
    case .templateName(let text): record.templateName == text || TemplateScope.split(record.templateName).name == text
    }
  }

  private func matchesReference(_ record: NodeRecord, _ name: String?, _ template: String?) -> Bool {
    let (scope, own) = TemplateScope.split(record.templateName)
    guard let reference = scope.reference else { return false }
    return (name ?? reference.name) == reference.name && (template ?? own) == own
  }
}
