import FederationModel
import Testing

@testable import AgentRuntime

@Suite struct TenancyConfigurationTests {
  struct Declared: Sendable, CustomTestStringConvertible {
    var yaml: String
    var isRoot = false
    var isSandboxed = true
    var expected: Tenancy
    var testDescription: String { "\(yaml.isEmpty ? "nothing" : yaml), root: \(isRoot), sandbox: \(isSandboxed)" }
  }

  static let declared: [Declared] = [
    Declared(yaml: "", expected: .single(nil)),
    Declared(yaml: "", isRoot: true, expected: .shared),
    Declared(yaml: "", isRoot: true, isSandboxed: false, expected: .single(nil)),
    Declared(yaml: "project: a", expected: .single("a")),
    Declared(yaml: "project: a", isRoot: true, expected: .single("a")),
    Declared(yaml: "tenancy: shared", expected: .shared),
    Declared(yaml: "tenancy: single", isRoot: true, expected: .single(nil)),
    Declared(yaml: "projects: {a: {user: ua}, b: {user: ub}}", isRoot: true, expected: .mapped(["a", "b"])),
  ]

  @Test("what an agent declares follows from its configuration and from who it is", arguments: declared)
  func declares(_ declared: Declared) throws {
    let configuration = try ConfigurationParser.parse(yaml: declared.yaml)
    #expect(
      try configuration.tenancy.tenancy(isRoot: declared.isRoot, isSandboxed: declared.isSandboxed) == declared.expected
    )
  }

  @Test(
    "a contradiction is refused with what to do",
    arguments: [
      ("project: a\ntenancy: shared", true, "`project` belongs to `tenancy: single`"),
      ("project: a\nprojects: {b: {user: u}}", true, "`project` belongs to `tenancy: single`"),
      ("tenancy: single\nprojects: {b: {user: u}}", true, "`projects` to `tenancy: mapped`"),
      ("tenancy: mapped", true, "needs `projects`"),
      ("projects: {a: {user: u}}", false, "only an agent that is root"),
      ("projects: {a: {user: u}, b: {user: u}}", true, "projects a and b have the same Unix user u"),
    ])
  func contradiction(_ yaml: String, _ isRoot: Bool, _ expected: String) throws {
    let configuration = try ConfigurationParser.parse(yaml: yaml)
    let error = #expect(throws: FederationError.self) {
      try configuration.tenancy.tenancy(isRoot: isRoot, isSandboxed: true)
    }
    #expect(error?.publicMessage.contains(expected) == true, "\(error?.publicMessage ?? "")")
  }

  @Test(
    "malformed keys are refused with their place",
    arguments: [
      ("project: Not_A_Name", "project must be a project's name"),
      ("projects: {a: {users: u}}", "did you mean \"projects.a.user\""),
      ("projects: {a: {account: x}}", "projects.a.user must be a Unix user"),
      ("tenancy: open", "tenancy must be one of single, mapped, shared"),
    ])
  func malformed(_ yaml: String, _ expected: String) {
    let error = #expect(throws: FederationError.self) { try ConfigurationParser.parse(yaml: yaml) }
    #expect(error?.publicMessage.contains(expected) == true, "\(error?.publicMessage ?? "")")
  }

  @Test("a Unix user is found by name or number; root, strangers and options are refused")
  func users() throws {
    #expect(try UnixUser.numbers(of: "12345:23456") == .init(user: 12345, group: 23456))
    #expect(try UnixUser.numbers(of: "nobody").user > 0)
    for text in ["root", "0:0", "0:5", "5:0", "no-such-user-here", "--help", "a b", "", "4294967295:1"] {
      #expect(throws: FederationError.self, "\(text)") { try UnixUser.numbers(of: text) }
    }
  }
}
