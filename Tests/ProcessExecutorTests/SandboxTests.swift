internal import FederationModel
internal import Testing

@testable internal import ProcessExecutor

@Suite("Sandbox")
struct SandboxTests {
  private let tree: [String: [Sandbox.Entry]] = [
    "/": [
      .init("usr", .directory), .init("bin", .link(target: "usr/bin")), .init("home", .directory),
      .init("root", .directory),
    ],
    "/usr": [.init("bin", .directory), .init("local", .directory)],
    "/usr/local": [.init("lib", .directory), .init("man", .link(target: "share/man"))],
    "/etc": [.init("ssl", .directory), .init("shadow", .file)],
    "/image": [.init("usr", .directory), .init("proc", .directory), .init("tmp", .directory), .init("init", .file)],
  ]

  private func sandbox(writable: Set<String> = [], stage: String? = nil, base: Sandbox.Base = .host(etc: "/s/etc"))
    -> Sandbox
  {
    Sandbox(
      bubblewrap: "/usr/bin/bwrap", base: base, root: "/s/root", writableDirectories: writable, sharesNetwork: false,
      stage: stage,
      workingDirectory: "/workspace", command: ["echo", "--bind", "x; rm -rf /"])
  }

  @Test("of the host only the tools and a prepared /etc are bound, read-only")
  func host() throws {
    let launch = try sandbox().launch { tree[$0] }
    let text = launch.arguments.joined(separator: " ")
    #expect(
      text.contains(
        "--bind /s/root / --ro-bind /usr /usr --ro-bind /s/etc /etc --ro-bind /etc/ssl /etc/ssl")
    )
    #expect(launch.links.map { "\($0.path) -> \($0.target)" } == ["/bin -> usr/bin"])
    #expect(launch.skeleton.links == ["bin": "usr/bin"])
    #expect(launch.skeleton.directories == ["usr", "etc", "proc", "dev", "tmp", "workspace"])
    for word in ["/home", "/root /root", "shadow"] { #expect(!text.contains(word)) }
    for word in [
      "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net", "--new-session",
      "--die-with-parent",
    ] {
      #expect(launch.arguments.contains(word))
    }
    #expect(launch.arguments.suffix(4) == ["--", "echo", "--bind", "x; rm -rf /"])
    #expect(launch.mounts.isEmpty)
  }

  @Test("with a stage every source is bound by number, and the command line names none")
  func staged() throws {
    let launch = try sandbox(stage: "/tmp").launch { tree[$0] }
    #expect(launch.mounts == ["/s/root", "/usr", "/s/etc", "/etc/ssl"])
    #expect(launch.arguments.joined(separator: " ").contains("--bind /tmp/0 / --ro-bind /tmp/1 /usr"))
  }

  @Test("an output below a read-only directory opens that directory, and leaves its entries read-only")
  func opened() throws {
    let launch = try sandbox(writable: ["/usr/local/out"]).launch { tree[$0] }
    let text = launch.arguments.joined(separator: " ")
    #expect(
      text.contains("--ro-bind /usr/bin /usr/bin --ro-bind /usr/local/lib /usr/local/lib --ro-bind /s/etc"), "\(text)")
    #expect(launch.links.contains { $0.path == "/usr/local/man" && $0.target == "share/man" })
    #expect(!text.contains("--ro-bind /usr /usr"))
  }

  @Test("a root file system's own /proc, /dev, /sys and /tmp are not used; one that is missing is an error")
  func rootFileSystem() throws {
    let text = try sandbox(base: .directory("/image")).launch { tree[$0] }.arguments.joined(separator: " ")
    #expect(text.contains("--bind /s/root / --ro-bind /image/usr /usr --ro-bind /image/init /init --proc /proc"))
    #expect(throws: FederationError.self) { try sandbox(base: .directory("/none")).launch { tree[$0] } }
  }

  @Test(
    "paths are normalised without leaving the root",
    arguments: [("/a/../../b/./c//", "/b/c"), ("/", "/"), ("/..", "/"), ("a", nil), ("", nil), ("/a\0b", nil)]
      as [(String, String?)])
  func normalise(path: String, expected: String?) { #expect(AbsolutePath.normalise(path) == expected) }
}
