import FederationModel
import HTTPTypes
import Hummingbird

/// One line of the API's table. The server registers nothing that is not in the table, and authorises by it: what has no line is
/// denied, and the OpenAPI document is made of the same lines.
struct Route: Sendable {
  enum Access: Sendable, Hashable {
    /// Without a token: nothing that says anything about anybody.
    case open
    /// Any valid token.
    case authenticated
    /// A token that may use the project named by path (`p`, `namespace`), by query (`project`), or by the document.
    case project
    /// An administrator's token.
    case admin
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
