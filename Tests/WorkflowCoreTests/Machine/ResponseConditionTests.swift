import FederationModel
import Testing
import WorkflowCore

@Suite("Conditions on answers over HTTP")
struct ResponseConditionTests {
  private static let response: JSONValue = [
    "statusCode": 201, "body": "made by google", "headers": ["Server": ["cloudflare"], "Content-Type": ["text/plain"]],
  ]
  private static let request: JSONValue = ["method": "POST", "url": "http://h/", "body": "", "headers": [:]]

  @Test(
    "an answer is looked at as Argo's documents do it",
    arguments: [
      ("response.statusCode == 201", true), ("response.statusCode == 200", false),
      ("response.body contains \"google\"", true), ("response.headers[\"Server\"][0] == \"cloudflare\"", true),
      ("response.headers['Content-Type'][0] matches '^text/'", true),
      ("request.method == 'POST' && response.statusCode < 300", true),
    ])
  func holds(expression: String, expected: Bool) throws {
    #expect(try ResponseCondition.holds(expression, response: Self.response, request: Self.request) == expected)
  }

  @Test("what is neither true nor false is refused")
  func noCondition() {
    #expect(throws: FederationError.self) {
      _ = try ResponseCondition.holds("response.statusCode", response: Self.response, request: Self.request)
    }
  }
}
