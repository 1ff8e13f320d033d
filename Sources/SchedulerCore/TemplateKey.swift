public import FederationModel

/// What runtimes and sizes of outputs are learnt by: a template of a project, for as long as it runs the same program.
///
/// The name alone says little, because most templates are called `main`.
public struct TemplateKey: Hashable, Sendable, CustomStringConvertible {
  public var project: ProjectName
  public var name: String
  /// `WorkflowTemplate.program`.
  public var program: Int64
  public init(project: ProjectName, name: String, program: Int64) {
    self.project = project
    self.name = name
    self.program = program
  }

  /// `<project>/<template>`.
  public var description: String { "\(project)/\(name)" }
}
