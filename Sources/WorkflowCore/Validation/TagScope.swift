import FederationModel

/// What tags may refer to at one place of a document.
///
/// - Source: Argo Workflows, docs/variables.md.
struct TagScope {
  /// Of the step that a tag speaks of.
  struct Outputs {
    /// The step's template is missing, which is reported once: everything about it is believed.
    var isUnknown = false
    /// A position in `spec.templates`.
    var template = -1
    var hasResult = false
    var isLoop = false
  }

  /// Steps or tasks of the same template.
  struct Siblings {
    /// `steps` or `tasks`.
    var prefix: String
    /// Every name there is.
    var all: Set<String> = []
    /// Those whose outputs can be there by now.
    var visible: [String: Outputs] = [:]
  }

  /// What `{{item}}` may be.
  enum Item {
    case anything
    /// `{{item}}` itself, and `{{item.key}}` for these keys.
    case keys(Set<String>)

    init(_ loop: Loop) {
      switch loop {
      case .param: self = .anything
      case .sequence: self = .keys([])
      case .items(let items): self = .keys(Set(items.flatMap { $0.objectValue.map { Array($0.keys) } ?? [] }))
      }
    }
  }

  /// A position in `spec.templates`; nil outside of templates.
  var template: Int?
  /// Whether that template is a container or script.
  var isTask = false
  var isInExitHandler = false
  var hasRetries = false
  var item: Item?
  var siblings: Siblings?

  init(template: Int? = nil, isTask: Bool = false, isInExitHandler: Bool = false, hasRetries: Bool = false) {
    self.template = template
    self.isTask = isTask
    self.isInExitHandler = isInExitHandler
    self.hasRetries = hasRetries
  }
}
