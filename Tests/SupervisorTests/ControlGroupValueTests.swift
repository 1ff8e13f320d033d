internal import Glibc
internal import Testing

@testable internal import Supervisor

@Suite("Control group values")
struct ControlGroupValueTests {
  @Test(
    "a setting is auto, none, or the plain name of a group",
    arguments: [
      ("auto", ControlGroupSetting.auto), ("none", ControlGroupSetting.none), ("/fubini", .group("/fubini")),
      ("/a.slice/b", .group("/a.slice/b")), ("fubini", nil), ("/", nil), ("/a/../b", nil), ("/a//b", nil), ("/a/", nil),
      ("/a b", nil), ("", nil),
    ] as [(String, ControlGroupSetting?)])
  func setting(text: String, expected: ControlGroupSetting?) {
    #expect(ControlGroupSetting(text) == expected)
    if let expected { #expect(expected.description == text) }
  }

  private static let hybrid = """
    30 24 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
    31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
    34 30 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 - cgroup cgroup rw,cpu,cpuacct
    35 30 0:31 / /sys/fs/cgroup/memory rw,nosuid shared:16 - cgroup cgroup rw,memory

    """

  @Test("hierarchies and own groups are read from /proc, for version 1 beside version 2")
  func hybrid() {
    let hierarchy = ControlGroupHierarchy(
      mountinfo: Self.hybrid, groups: "11:memory:/system.slice/a\n4:cpu,cpuacct:/\n0::/system.slice/a\n")
    #expect(hierarchy.unified?.directory == "/sys/fs/cgroup/unified")
    #expect(hierarchy.unifiedOwn == "/system.slice/a")
    #expect(hierarchy.legacy[.cpu]?.directory == "/sys/fs/cgroup/cpu,cpuacct")
    #expect(hierarchy.legacyOwn == [.cpu: "/", .memory: "/system.slice/a"])
    #expect(hierarchy.legacy[.pids] == nil)
  }

  @Test(
    "a group's directory, also in a container that sees a part of the hierarchy",
    arguments: [
      ("/", "/", "/c"), ("/a/b", "/", "/c/a/b"), ("/docker/x", "/docker/x", "/c"), ("/docker/x/y", "/docker/x", "/c/y"),
      ("/docker/xy", "/docker/x", nil), ("/../a", "/", nil), ("/a", "/..", "/c/a"),
    ] as [(String, String, String?)])
  func directory(group: String, root: String, expected: String?) {
    let mount = ControlGroupHierarchy.Mount(directory: "/c", root: root, controllers: [])
    #expect(ControlGroupHierarchy.directory(of: group, in: mount) == expected)
  }

  @Test("version 2: limits are written below a delegated group, and memory counts what the kernel killed")
  func unified() throws {
    var template = Array("/tmp/fubini-cgroup-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { SupervisorFixture.remove(path) }
    for name in ["state", "mount", "mount/g"] { try Files.makeDirectory("\(path)/\(name)") }
    let hierarchy = ControlGroupHierarchy(
      mountinfo: "31 30 0:27 / \(path)/mount rw,nosuid shared:10 - cgroup2 cgroup2 rw\n", groups: "0::/\n")
    let group = path + "/mount/g"
    func groups() -> ControlGroups {
      ControlGroups(.group("/g"), stateDirectory: path + "/state", hierarchy: hierarchy)
    }
    #expect(groups().notices.first?.contains("neither the memory nor the cpu controller") == true)
    try Files.replace(group + "/cgroup.controllers", with: Array("cpu memory io\n".utf8))
    try Files.replace(group + "/cgroup.subtree_control", with: [])
    let usable = groups()
    #expect(usable.notices.count == 1)
    #expect(usable.notices.first?.contains("limits of processes are not enforced here") == true)
    let own = "\(group)/fubini-\(RunDirectory.hexadecimal(RunDirectory.checksum(Array((path + "/state").utf8)[...])))"
    let run = own + "/run-0000000000000005"
    try Files.makeDirectory(own)
    try Files.makeDirectory(run)
    try Files.replace(own + "/cgroup.subtree_control", with: [])
    for name in ["memory.max", "memory.swap.max", "memory.oom.group", "cpu.max", "cgroup.procs"] {
      try Files.replace(run + "/" + name, with: [])
    }
    let limits = SupervisedRun(
      id: 5, arguments: ["x"], memoryBytesMax: 1024, cpuMillicoresMax: 500, processesMax: 9)
    let opened = try usable.open(limits)
    #expect(opened.count == 1)
    for file in opened { close(file) }
    #expect(Files.read(run + "/memory.max", limit: 64) == Array("1024".utf8))
    #expect(Files.read(run + "/memory.swap.max", limit: 64) == Array("0".utf8))
    #expect(Files.read(run + "/memory.oom.group", limit: 64) == Array("1".utf8))
    #expect(Files.read(run + "/cpu.max", limit: 64) == Array("50000 100000".utf8))
    #expect(!usable.ranOutOfMemory(5, wasKilled: true))
    try Files.replace(run + "/memory.events", with: Array("low 0\noom 1\noom_kill 1\n".utf8))
    #expect(usable.ranOutOfMemory(5, wasKilled: true))
    #expect(try usable.open(SupervisedRun(id: 6, arguments: ["x"])).isEmpty)
  }
}
