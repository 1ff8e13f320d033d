import FederationModel
import Testing

@Suite struct AccessRightsTests {
  private static let read = Permission(.read, .workflow)
  private static let submit = Permission(.create, .workflow)

  @Test("A role of a project holds there and nowhere else, and where no project is concerned not at all")
  func project() {
    let rights = AccessRights(projects: ["a": [.submitter], "b": [.viewer]])
    #expect(rights.allows(Self.submit, in: "a") && !rights.allows(Self.submit, in: "b"))
    #expect(rights.knows("b") && !rights.knows("c"))
    #expect(!rights.allows(Self.read) && rights.allowsAnywhere(Self.submit))
    #expect(rights.projects(allowing: Self.read) == ["a", "b"])
    #expect(rights.projects(allowing: Self.submit) == ["a"])
  }

  @Test("A role of the federation holds in every project and beyond")
  func federation() {
    let rights = AccessRights(federation: [.operator])
    #expect(rights.allows(Permission(.update, .cluster)) && rights.knows("any"))
    #expect(!rights.allows(Self.read, in: "any") && !rights.allowsAnywhere(Self.read))
    #expect(rights.projects(allowing: Permission(.read, .quota)) == nil)
    #expect(rights.projects(allowing: Self.read) == [])
  }

  @Test("A role of an organisation holds in it and its projects alone, and sets nothing that all others pay for")
  func organisation() {
    let rights = AccessRights(
      organisations: ["o": AccessRights.Membership(roles: [.orgAdmin], projects: ["a", "b"])],
      projects: ["c": [.viewer]])
    let make = Permission(.create, .project)
    #expect(rights.allows(Self.submit, in: "a") && !rights.allows(Self.submit, in: "c"))
    #expect(!rights.allows(Self.read, in: "d") && !rights.knows("d"))
    #expect(rights.allows(make, inOrganisation: "o") && !rights.allows(make, inOrganisation: "default"))
    #expect(!rights.allows(make) && rights.allowsInSomeOrganisation(make))
    #expect(rights.knows(organisation: "o") && !rights.knows(organisation: "q"))
    #expect(
      rights.projects(allowing: Self.read) == ["a", "b", "c"] && rights.projects(allowing: Self.submit) == ["a", "b"])
    let quota = Permission(.update, .quota)
    #expect(!rights.allows(quota, in: "a") && !rights.allowsAnywhere(quota))
    #expect(
      Role.ofProjects.allSatisfy { rights.mayGrant($0, in: "a") && rights.mayGrant($0, in: "c") == ($0 == .viewer) })
    #expect(Role.ofOrganisations.allSatisfy { rights.mayGrant($0, inOrganisation: "o") })
    #expect(Role.allCases.allSatisfy { !rights.mayGrant($0, in: nil) && !rights.mayGrant($0, inOrganisation: "q") })
    #expect(!AccessRights(projects: ["a": [.projectAdmin]]).mayGrant(.auditor, inOrganisation: "o"))
    var bound = rights
    bound.boundTo = "c"
    #expect(!bound.allowsAnywhere(Self.submit) && !bound.allowsInSomeOrganisation(make))
    #expect(!bound.knows(organisation: "o") && !bound.knows("a"))
    bound.boundTo = "a"
    #expect(bound.allows(Self.submit, in: "a") && !bound.allows(make, inOrganisation: "o"))
    let auditor = AccessRights(organisations: ["o": AccessRights.Membership(roles: [.auditor], projects: ["a"])])
    #expect(!auditor.mayGrant(.orgAdmin, inOrganisation: "o") && auditor.mayGrant(.auditor, inOrganisation: "o"))
  }

  @Test("A bound token is its project's alone, also in an administrator's hand")
  func bound() {
    let rights = AccessRights(federation: [.orgAdmin], projects: ["b": [.viewer]], boundTo: "a")
    #expect(rights.allows(Self.submit, in: "a"))
    #expect(!rights.knows("b") && !rights.allows(Permission(.create, .project)))
    #expect(rights.projects(allowing: Self.read) == ["a"])
  }

  @Test("Scopes take away and never give")
  func scopes() throws {
    for text in ["all", "read", "submit", "update:budget"] {
      #expect(try #require(Scope(text: text)).description == text)
    }
    for text in ["", "write", "read:", "read:workflow:x", "READ", "read:nothing"] { #expect(Scope(text: text) == nil) }
    let reader = AccessRights(projects: ["a": [.projectAdmin]], scopes: [.read])
    #expect(reader.allows(Self.read, in: "a") && !reader.allows(Self.submit, in: "a"))
    let viewer = AccessRights(projects: ["a": [.viewer]], scopes: [.all, .permission(Self.submit)])
    #expect(!viewer.allows(Self.submit, in: "a"))
  }

  @Test("Nobody gives a role that allows more than they may; what each role may give is this")
  func granting() {
    let expected: [Role: Set<Role>] = [
      .viewer: [.viewer], .submitter: [.viewer, .submitter], .projectAdmin: [.viewer, .submitter, .projectAdmin],
      .budgetAdmin: [.budgetAdmin],
    ]
    for role in Role.ofProjects {
      let rights = AccessRights(projects: ["a": [role]])
      #expect(Set(Role.ofProjects.filter { rights.mayGrant($0, in: "a") }) == expected[role], "\(role)")
      #expect(Role.allCases.allSatisfy { !rights.mayGrant($0, in: nil) && !rights.mayGrant($0, in: "b") }, "\(role)")
    }
    let all = AccessRights(federation: [.orgAdmin])
    #expect(Role.allCases.allSatisfy { all.mayGrant($0, in: nil) && all.mayGrant($0, in: "a") })
    let narrow = AccessRights(federation: [.orgAdmin], scopes: [.read])
    #expect(!narrow.mayGrant(.submitter, in: "a"))
  }

  @Test("A token covers only such as may no more than it")
  func covering() {
    let bound = AccessRights(federation: [.orgAdmin], boundTo: "a", scopes: [.submit])
    #expect(bound.covers(boundTo: "a", scopes: [.submit]))
    #expect(bound.covers(boundTo: "a", scopes: [.permission(Self.submit)]))
    #expect(!bound.covers(boundTo: nil, scopes: [.submit]) && !bound.covers(boundTo: "b", scopes: [.submit]))
    // A submitter cannot read all that there is to read.
    #expect(!bound.covers(boundTo: "a", scopes: [.read]) && !bound.covers(boundTo: "a", scopes: [.all]))
  }

  @Test("What a weaker role may, the stronger one may too; only an administrator of the organisation may everything")
  func order() {
    #expect(Role.viewer.permissions.isSubset(of: Role.submitter.permissions))
    #expect(Role.submitter.permissions.isSubset(of: Role.projectAdmin.permissions))
    #expect(Role.orgAdmin.permissions == Permission.all)
    for role in Role.allCases where role != .orgAdmin {
      #expect(!role.permissions.contains(Permission(.update, .quota)), "\(role)")
      #expect(!role.permissions.contains(Permission(.create, .project)), "\(role)")
    }
    // Who reads the books does not write them.
    #expect(Role.auditor.permissions.allSatisfy { $0.verb == .read })
  }
}
