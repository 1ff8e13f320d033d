/// A part of what a token's holder may do. A token has one or several, and may what any of them allows and its holder may too.
public enum Scope: Hashable, Sendable, CustomStringConvertible {
  /// All that the holder may.
  case all
  /// Whatever only reads.
  case read
  /// What a submitter may.
  case submit
  case permission(Permission)

  /// `all`, `read`, `submit`, or a permission such as `update:budget`; nil for anything else.
  public init?(text: String) {
    switch text {
    case "all": self = .all
    case "read": self = .read
    case "submit": self = .submit
    default:
      guard let permission = Permission(text: text) else { return nil }
      self = .permission(permission)
    }
  }

  public var description: String {
    switch self {
    case .all: "all"
    case .read: "read"
    case .submit: "submit"
    case .permission(let permission): permission.description
    }
  }

  public func allows(_ permission: Permission) -> Bool {
    switch self {
    case .all: true
    case .read: permission.verb == .read || permission.resource == .plan
    case .submit: Role.submitter.allows(permission)
    case .permission(let only): permission == only
    }
  }

  var permissions: Set<Permission> { Permission.all.filter(allows) }
}
