import FederationModel
import HTTPTypes
import Hummingbird

/// One line of the API's table. The server registers nothing that is not in the table, and authorises by it: what has no line is
/// denied, and the OpenAPI document is made of the same lines.
struct Route: Sendable {
  enum Access: Sendable, Hashable {
    /// Without a token: nothing that says anything about anybody.
    case open
    /// Any valid token: what concerns nobody but its holder.
    case authenticated
    /// A token that may do this in the project named by path (`p`, `namespace`), by query (`project`), or by the document.
    case project(AccessVerb, AccessResource)
    /// A token that may do this in some project, or in all: the answer has only what it may see.
    case anywhere(AccessVerb, AccessResource)
    /// A token whose user has a role in the organisation named by path (`o`), or by the document, or in the federation, that allows this.
    case organisation(AccessVerb, AccessResource)
    /// A token whose user has a role in the federation that allows this.
    case federation(AccessVerb, AccessResource)

    var permission: Permission? {
      switch self {
      case .open, .authenticated: nil
      case .project(let verb, let resource), .anywhere(let verb, let resource),
        .organisation(let verb, let resource), .federation(let verb, let resource):
        Permission(verb, resource)
      }
    }
  }

  var method: HTTPRequest.Method
  /// In the router's words: `/v1/projects/:p/workflows/:w`.
  var path: String
  var access: Access
  var summary: String
  var handler: @Sendable (Request, APIContext) async throws -> Response

  init(
    _ method: HTTPRequest.Method, _ path: String, _ access: Access, _ summary: String,
    _ handler: @escaping @Sendable (Request, APIContext) async throws -> Response
  ) {
    self.method = method
    self.path = path
    self.access = access
    self.summary = summary
    self.handler = handler
  }
}
