import FederationModel
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

/// What the agent of several Unix users writes down, and the places that it makes for them.
@Suite struct MappedDirectoryTests {
  @Test("a run keeps the user that it was given first, also after a restart, until it is forgotten")
  func owners() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/owners"
    let owners = try RunOwners(path: path)
    try owners.note(RunID(1), "alice")
    try owners.note(RunID(1), "bob")
    try owners.note(RunID(2), "bob")
    #expect(owners.user(of: RunID(1)) == "alice")
    // Torn by a crash, or no file at all: nobody's.
    try directory.write("", to: "owners/" + RunID(3).hexadecimal)
    try POSIXFile.makeDirectories(path + "/junk")
    let again = try RunOwners(path: path)
    #expect(again.user(of: RunID(1)) == "alice" && again.user(of: RunID(2)) == "bob")
    #expect(Set(again.all()) == [RunID(1), RunID(2)])
    again.forget([RunID(1)])
    #expect(again.user(of: RunID(1)) == nil)
    #expect(try RunOwners(path: path).all() == [RunID(2)])
  }

  @Test("a place is open until its user has moved in, has a name that nobody can guess, and is found again")
  func places() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/users"
    let places = try UserDirectories(path: path)
    let place = try places.open(for: "al-ice")
    #expect(place.hasPrefix(path + "/al-ice-") && place.utf8.count == (path + "/al-ice-").utf8.count + 16)
    #expect(mode(path) == 0o711 && mode(place) == 0o733)
    // Nobody has moved in.
    #expect(throws: FederationError.self) { try places.seal(for: "al-ice", number: geteuid()) }
    #expect(mode(place) == 0o711)
    #expect(try places.open(for: "al-ice") == place)
    #expect(mode(place) == 0o733)
    #expect(mkdir(place + "/files", 0o700) == 0)
    var status = stat()
    #expect(stat(place, &status) == 0)
    #expect(try places.seal(for: "al-ice", number: geteuid()) == status.st_dev)
    #expect(mode(place) == 0o711)
    let again = try UserDirectories(path: path)
    #expect(again.users() == ["al-ice"])
    #expect(try again.open(for: "al-ice") == place)
    #expect(mode(place) == 0o711, "it is not opened again")
  }

  @Test("a place with somebody else's directory, one that others can read, or a link in it is not used")
  func squatters() throws {
    let directory = try TemporaryDirectory()
    let places = try UserDirectories(path: directory.path + "/users")
    let place = try places.open(for: "alice")
    #expect(mkdir(place + "/files", 0o700) == 0)
    #expect(throws: FederationError.self) { try places.seal(for: "alice", number: geteuid() + 1) }
    #expect(chmod(place + "/files", 0o750) == 0)
    #expect(throws: FederationError.self) { try places.seal(for: "alice", number: geteuid()) }
    #expect(rmdir(place + "/files") == 0)
    #expect(symlink(directory.path, place + "/files") == 0)
    #expect(throws: FederationError.self) { try places.seal(for: "alice", number: geteuid()) }
    #expect(mode(place) == 0o711)
  }

  private func mode(_ path: String) -> mode_t {
    var status = stat()
    return lstat(path, &status) == 0 ? status.st_mode & 0o7777 : 0
  }
}
