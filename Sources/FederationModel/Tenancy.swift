/// Whose work a cluster takes, as its agent's configuration declares (docs/adr/0011-tenancy.md).
public enum Tenancy: Hashable, Sendable, Codable {
  /// Every project: what keeps runs apart there needs no user of their own (a sandbox around each).
  case shared
  /// One project, whose runs are the agent's own user. nil: the operator has not said which, so nothing is taken.
  case single(ProjectName?)
  /// The projects that have a Unix user of their own there.
  case mapped(Set<ProjectName>)

  /// How many projects one cluster maps at most.
  public static let projectsMax = 1000

  /// Why a project's work is not taken; nil when it is. In words for the project's people.
  public func refusal(of project: ProjectName) -> Refusal? {
    switch self {
    case .shared: nil
    case .single(nil):
      Refusal(
        code: "TenancyUndeclared",
        message: "its agent serves one project and does not say which: its operator has to set `project: \(project)` "
          + "in the agent's configuration")
    case .single(let owner?) where owner != project:
      Refusal(code: "TenancySingle", message: "its agent serves another project alone")
    case .single: nil
    case .mapped(let projects) where !projects.contains(project):
      Refusal(
        code: "TenancyUnmapped",
        message: "its operator maps project \(project) to no Unix user there (`projects` in the agent's configuration)")
    case .mapped: nil
    }
  }

  public struct Refusal: Hashable, Sendable {
    /// For programs; part of a rejected candidate.
    public var code: String
    public var message: String
    public init(code: String, message: String) {
      self.code = code
      self.message = message
    }
  }
}

extension Tenancy: CustomStringConvertible {
  public var description: String {
    switch self {
    case .shared: "shared"
    case .single(let project): "single (\(project.map(\.text) ?? "no project named"))"
    case .mapped(let projects): "mapped (\(projects.map(\.text).sorted().joined(separator: ", ")))"
    }
  }
}
