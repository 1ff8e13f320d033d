import FederationModel
import Testing

@testable import AgentRuntime

/// What root is asked to allow.
@Suite struct SudoRuleTests {
  @Test("the rule allows one command as the mapped users, and nothing else")
  func text() throws {
    let rule = try SudoRule(
      agent: "fubini", users: ["bob", "alice", "bob"], agentBinary: "/usr/local/libexec/fubini-agent")
    let lines = rule.text.split(separator: "\n").filter { !$0.hasPrefix("#") }
    #expect(
      lines == [
        "Cmnd_Alias FUBINI_BROKER_FUBINI = /usr/local/libexec/fubini-agent broker",
        "Defaults!FUBINI_BROKER_FUBINI !requiretty, !use_pty, !log_input, !log_output",
        "fubini ALL = (alice, bob) NOPASSWD: FUBINI_BROKER_FUBINI",
      ])
  }

  @Test(
    "the rules of two agents of one machine stand beside each other: their aliases differ, and are names that sudo takes"
  )
  func aliases() throws {
    let agents = ["fubini", "fubini-2", "fubini_2", "fubini2", "Fubini"]
    let aliases = try agents.map { agent in
      let rule = try SudoRule(agent: agent, users: ["alice"], agentBinary: "/bin/a")
      return try #require(rule.text.split(separator: "\n").first { $0.hasPrefix("Cmnd_Alias ") }).split(separator: " ")[
        1]
    }
    #expect(Set(aliases).count == agents.count, "\(aliases)")
    for alias in aliases { #expect(alias.wholeMatch(of: /[A-Z][A-Z0-9_]*/) != nil, "\(alias)") }
  }

  @Test(
    "what could mean more in the file is refused",
    arguments: [
      ("fubini", "alice, root", "/bin/a"), ("fubini", "ALL", "/bin/a b"), ("%wheel", "alice", "/bin/a"),
      ("fubini", "1001", "/bin/a"), ("fubini", "alice\n", "/bin/a"), ("fubini", "alice", "/bin/*"),
      ("fubini", "alice", "bin/a"), ("fubini", "alice", "/bin/a,/bin/b"), ("fubini", "-u", "/bin/a"), ("", "a", "/b"),
    ])
  func refused(agent: String, user: String, binary: String) {
    #expect(throws: FederationError.self) { try SudoRule(agent: agent, users: [user], agentBinary: binary) }
  }

  @Test(
    "a program is root's alone when nobody else may change it or a directory above it",
    arguments: [
      ("root's", [(0, 0, 0o755, true), (0, 0, 0o755, false)], nil as Int?),
      ("somebody's", [(0, 0, 0o755, true), (1000, 0, 0o755, false)], 1),
      ("somebody's directory", [(1000, 0, 0o755, true), (0, 0, 0o755, false)], 0),
      ("everybody may write", [(0, 0, 0o755, true), (0, 0, 0o757, false)], 1),
      ("a group may write", [(0, 50, 0o775, true), (0, 0, 0o755, false)], 0),
      ("root's group may write", [(0, 0, 0o775, true), (0, 0, 0o755, false)], nil),
      ("root's entry in a directory like /tmp", [(0, 0, 0o1777, true), (0, 0, 0o755, false)], nil),
      ("a sticky bit on a file protects nothing", [(0, 0, 0o755, true), (0, 0, 0o1777, false)], 1),
    ] as [(String, [(UInt32, UInt32, UInt32, Bool)], Int?)])
  func weakness(name: String, parts: [(UInt32, UInt32, UInt32, Bool)], weak: Int?) {
    let components = parts.enumerated().map {
      SudoRule.Component(
        path: "/\($0.offset)", owner: $0.element.0, group: $0.element.1, mode: $0.element.2,
        isDirectory: $0.element.3)
    }
    #expect(SudoRule.weakness(components)?.path == weak.map { "/\($0)" }, "\(name)")
  }

  @Test("a Slurm cluster maps projects without root, to names of users only, and each to another")
  func tenancy() throws {
    func declared(_ users: [String]) throws -> Tenancy {
      var configuration = TenancyConfiguration()
      for (index, user) in users.enumerated() {
        configuration.projects[ProjectName("p\(index)")] = .init(user: user, account: nil)
      }
      return try configuration.tenancy(isRoot: false, isSandboxed: false, hasSudo: true)
    }
    #expect(try declared(["alice", "bob"]) == .mapped(["p0", "p1"]))
    #expect(throws: FederationError.self) { try declared(["alice", "alice"]) }
    #expect(throws: FederationError.self) { try declared(["1001:1001"]) }
  }
}
