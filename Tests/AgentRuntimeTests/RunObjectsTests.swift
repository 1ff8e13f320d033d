internal import Execution
internal import FederationModel
internal import Testing

@testable internal import AgentRuntime

@Suite("What runs take from secrets and config maps")
struct RunObjectsTests {
  private struct Known: ObjectAsking {
    var objects: [ProjectObject: [String: String]]
    func values(of object: ProjectObject, for run: RunID) async throws -> ObjectValues {
      guard let values = objects[object] else { throw FederationError(.notFound, "no \(object.name)") }
      return ObjectValues(texts: values, bytes: object.kind == .configMap ? ["image.png": [0x89, 0, 0xff]] : [:])
    }
  }

  private static let secret = ProjectObject(.secret, "s")
  private static let map = ProjectObject(.configMap, "c")
  private static let known = Known(objects: [
    secret: ["token": "t0k", "user": "u", "a=b": "x"], map: ["mode": "fast", "user": "from map"],
  ])

  private func filled(_ change: (inout TaskSpec) -> Void) async throws -> RunRequest {
    var spec = TaskSpec(image: "i", command: ["c"], environment: [EnvironmentVariable(name: "user", value: "own")])
    change(&spec)
    return try await RunObjects(asking: Self.known).fill(
      RunRequest(id: RunID(1), epoch: 1, project: "lab", spec: spec))
  }

  @Test("a named key goes before whole objects, of which the later counts, and the document's own variable before both")
  func order() async throws {
    let request = try await filled {
      $0.environmentSources = [
        .value(variable: "P_user", key: "token", of: Self.secret, isOptional: false),
        .all(of: Self.secret, prefix: "P_", isOptional: false), .all(of: Self.map, prefix: "P_", isOptional: false),
        .all(of: Self.map, prefix: "", isOptional: false),
        .value(variable: "GONE", key: "none", of: Self.secret, isOptional: true),
        .all(of: ProjectObject(.secret, "none"), prefix: "", isOptional: true),
      ]
    }
    #expect(
      Dictionary(uniqueKeysWithValues: request.secrets.map { ($0.name, $0.value) }) == [
        "P_user": "t0k", "P_token": "t0k", "P_mode": "fast", "mode": "fast",
      ])
  }

  @Test("$(NAME) is replaced in variables and in the command line as Kubernetes does it, and $$ is a dollar sign")
  func references() async throws {
    let request = try await filled {
      $0.command = ["run", "$(MODE)"]
      $0.arguments = ["$$(MODE)", "$(NOBODY)", "$(user)-$(URL)", "a$", "$(open", "$5 $$"]
      $0.environment += [
        EnvironmentVariable(name: "EARLY", value: "$(LATE)"), EnvironmentVariable(name: "LATE", value: "x"),
        EnvironmentVariable(name: "URL", value: "http://$(LATE)/$(MODE)"),
        EnvironmentVariable(name: "DSN", value: "pg://$(PASSWORD)@h"),
      ]
      $0.environmentSources = [
        .value(variable: "MODE", key: "mode", of: Self.map, isOptional: false),
        .value(variable: "PASSWORD", key: "token", of: Self.secret, isOptional: false),
      ]
    }
    #expect(request.spec.command == ["run", "fast"])
    #expect(request.spec.arguments == ["$(MODE)", "$(NOBODY)", "own-http://x/fast", "a$", "$(open", "$5 $"])
    let added = Dictionary(uniqueKeysWithValues: request.secrets.map { ($0.name, $0.value) })
    #expect(added["URL"] == "http://x/fast" && added["DSN"] == "pg://t0k@h" && added["EARLY"] == nil)
    #expect(
      !request.spec.environment.contains { $0.value.contains("t0k") }, "what holds a secret goes where secrets go")
  }

  @Test(
    "I9: a secret never becomes a part of a command line, neither itself nor within another variable",
    arguments: ["$(PASSWORD)", "x$(DSN)", "$(ALL_user)"])
  func secretInArguments(argument: String) async throws {
    await #expect(throws: FederationError.self) {
      _ = try await filled {
        $0.arguments = [argument]
        $0.environment.append(EnvironmentVariable(name: "DSN", value: "pg://$(PASSWORD)@h"))
        $0.environmentSources = [
          .value(variable: "PASSWORD", key: "token", of: Self.secret, isOptional: false),
          .all(of: Self.secret, prefix: "ALL_", isOptional: false),
        ]
      }
    }
  }

  @Test(
    "what is missing is told as Kubernetes tells it",
    arguments: [
      (
        EnvironmentSource.value(variable: "A", key: "no", of: secret, isOptional: false),
        "CreateContainerConfigError: couldn't find key no in Secret lab/s"
      ),
      (
        .value(variable: "A", key: "no", of: map, isOptional: false),
        "CreateContainerConfigError: couldn't find key no in ConfigMap lab/c"
      ),
      (
        .value(variable: "A", key: "k", of: ProjectObject(.secret, "none"), isOptional: false),
        "CreateContainerConfigError: secret \"none\" not found"
      ),
      (
        .all(of: ProjectObject(.configMap, "none"), prefix: "", isOptional: false),
        "CreateContainerConfigError: configmap \"none\" not found"
      ),
    ])
  func missing(source: EnvironmentSource, message: String) async throws {
    let error = try await #require(throws: FederationError.self) {
      _ = try await filled { $0.environmentSources = [source] }
    }
    #expect(error.publicMessage == message && !error.isRetryable)
  }

  @Test("a volume has a file for each key, or those that are named, with their modes, below its own number")
  func files() async throws {
    let request = try await filled {
      $0.fileVolumes = [
        FileVolume(
          name: "a", sources: [.object(Self.map, items: nil, isOptional: false)], mode: 0o400,
          mounts: [.init(path: "/a")]),
        FileVolume(
          name: "b",
          sources: [
            .object(Self.secret, items: [.init(key: "token", path: "d/t", mode: 0o600)], isOptional: false),
            .object(ProjectObject(.configMap, "none"), items: nil, isOptional: true),
            .text("hello", path: "greeting", mode: nil),
          ], mounts: [.init(path: "/b", subPath: "d")]),
      ]
    }
    #expect(
      request.privateFiles == [
        RunFile(path: "0/", mode: 0o755), RunFile(path: "0/image.png", mode: 0o400, bytes: [0x89, 0, 0xff]),
        RunFile(path: "0/mode", mode: 0o400, bytes: Array("fast".utf8)),
        RunFile(path: "0/user", mode: 0o400, bytes: Array("from map".utf8)), RunFile(path: "1/", mode: 0o755),
        RunFile(path: "1/d/t", mode: 0o600, bytes: Array("t0k".utf8)),
        RunFile(path: "1/greeting", bytes: Array("hello".utf8)),
      ])
  }

  @Test("a volume whose key, object or part is missing ends the run with that reason")
  func missingFiles() async throws {
    func message(_ source: FileVolume.Source, subPath: String? = nil) async -> String? {
      do {
        _ = try await filled {
          $0.fileVolumes = [FileVolume(name: "v", sources: [source], mounts: [.init(path: "/v", subPath: subPath)])]
        }
        return nil
      } catch { return (error as? FederationError)?.publicMessage }
    }
    let head = "MountVolume.SetUp failed for volume \"v\" : "
    #expect(
      await message(.object(Self.secret, items: [.init(key: "no", path: "p")], isOptional: false))
        == head + "references non-existent secret key: no")
    #expect(
      await message(.object(ProjectObject(.configMap, "none"), items: nil, isOptional: false))
        == head + "configmap \"none\" not found")
    #expect(
      await message(.object(Self.map, items: nil, isOptional: false), subPath: "nothing")?.contains(
        "there is no \"nothing\" in it") == true)
    #expect(
      await message(.object(ProjectObject(.configMap, "none"), items: nil, isOptional: true)) == nil)
  }
}
