import ControlPlaneCore
import ControlPlaneStore
import Crypto
import FederationAPI
import FederationModel
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NIOCore
import TestSupport
import Testing

@testable import ControlPlaneServer

/// Files as a client would pack them: one pack that holds all.
private struct Upload {
  var pack: [UInt8] = []
  var manifest: [UInt8] = []

  static func sha256(_ bytes: [UInt8]) -> String { SHA256.hash(data: bytes).hexadecimal }
  var packName: String { Self.sha256(pack) }
  var manifestName: String { Self.sha256(manifest) }

  /// - Parameter key: of the pack; nil: the one that it must have.
  init(_ files: [(path: String, text: String)], key: String? = nil) throws {
    for file in files { pack += Array(file.text.utf8) }
    let place = DatasetManifest.Pack(
      key: key ?? "datasets/objects/\(packName)", sha256: packName, size: Int64(pack.count))
    var (writer, text) = try DatasetManifestWriter.begin(
      DatasetManifest.Header(files: Int64(files.count), bytes: Int64(pack.count), packs: [place]))
    var offset: Int64 = 0
    for file in files {
      let bytes = Array(file.text.utf8)
      try writer.append(
        DatasetManifest.Entry(
          path: file.path, size: Int64(bytes.count), sha256: Self.sha256(bytes), pack: 0, offset: offset), to: &text)
      offset += Int64(bytes.count)
    }
    try writer.finish()
    manifest = text
  }
}

extension TestClientProtocol {
  /// Sends an object of a data set, or the part of it behind `offset`.
  fileprivate func put(
    _ bytes: [UInt8], to project: String = "a", offset: Int = 0, size: Int? = nil, name: String? = nil, token: String
  ) async throws -> TestResponse {
    try await execute(
      uri:
        "/v1/projects/\(project)/dataset-objects/\(name ?? Upload.sha256(bytes))?size=\(size ?? bytes.count)&offset=\(offset)",
      method: .put, headers: [.authorization: "Bearer \(token)"], body: ByteBuffer(bytes: bytes.dropFirst(offset)))
  }

  fileprivate func version(
    _ dataset: String, _ upload: Upload, in project: String = "a", token: String
  ) async throws -> TestResponse {
    try await send(
      .post, "/v1/projects/\(project)/datasets/\(dataset)/versions", token: token,
      body: #"{"manifest":{"sha256":"\#(upload.manifestName)","size":\#(upload.manifest.count)}}"#)
  }

  fileprivate func create(_ dataset: String, in project: String = "a", more: String = "", token: String) async throws
    -> TestResponse
  {
    try await send(
      .post, "/v1/projects/\(project)/datasets", token: token, body: #"{"name":"\#(dataset)"\#(more)}"#)
  }
}

@Suite(.serialized, .timeLimit(.minutes(5))) struct DatasetAPITests {
  private static let datasets = "/v1/projects/a/datasets"

  @Test("A data set is declared, listed, changed and removed, and names, periods and origins are checked")
  func declaring() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let more = """
          ,"origin":{"uri":"s3://bucket/water","secret":"s3"},"allowedClusters":{"region":"cn"},"expiresAfterSeconds":3600
          """
        let early = try await client.create("water", more: more, token: fixture.userA)
        #expect(early.status == .notFound && String(buffer: early.body).contains("fubini secret set s3"))
        for secret in ["s3", "nas"] {
          _ = try await client.send(
            .put, "/v1/projects/a/secrets/\(secret)", token: fixture.userA, body: #"{"values":{"type":"local"}}"#)
        }
        let made = try await client.create("water", more: more, token: fixture.userA)
        #expect(made.status == .created, "\(String(buffer: made.body))")
        #expect(try made.json["origin"]?["uri"] == "s3://bucket/water")
        #expect(try await client.create("water", token: fixture.userA).status == .conflict)
        #expect(try await client.create("air", token: fixture.userA).status == .created)
        let list = try await client.send(.get, "\(Self.datasets)?limit=1", token: fixture.userA)
        #expect(try list.json["items"]?.arrayValue?.compactMap { $0["name"]?.stringValue } == ["air"])
        let next = try #require(try list.json["next"]?.stringValue)
        let rest = try await client.send(.get, "\(Self.datasets)?continue=\(next)", token: fixture.userA)
        #expect(try rest.json["items"]?.arrayValue?.compactMap { $0["name"]?.stringValue } == ["water"])
        let changed = try await client.send(.put, "\(Self.datasets)/water", token: fixture.userA, body: "{}")
        #expect(try changed.json["origin"] == nil)
        #expect(try changed.json["allowedClusters"] == [:])
        for body in [
          #"{"name":"Water"}"#, #"{"name":"a.b"}"#, #"{"name":"x","expiresAfterSeconds":1}"#,
          #"{"name":"x","expiresAfterSeconds":9223372036854775807}"#,
          #"{"name":"x","origin":{"uri":"water"}}"#, #"{"name":"x","origin":{"uri":"ftp://h/x"}}"#,
          #"{"name":"x","origin":{"uri":"https://u:geheim@h/x"}}"#,
          #"{"name":"x","origin":{"uri":"https://h/x?X-Amz-Signature=geheim"}}"#,
          #"{"name":"x","origin":{"uri":"s3://b","secret":"A B"}}"#, #"{"name":"x","origin":{"uri":"rclone:nas/x"}}"#,
          "{}",
        ] {
          let refused = try await client.send(.post, Self.datasets, token: fixture.userA, body: body)
          #expect(refused.status == .badRequest, "\(body)")
          #expect(!String(buffer: refused.body).contains("geheim"), "invariant I9: \(body)")
        }
        // What rclone knows besides is named by the secret alone.
        let nas = try await client.create(
          "nas", more: #","origin":{"uri":"rclone:share/x","secret":"nas"}"#, token: fixture.userA)
        #expect(nas.status == .created && (try? nas.json["origin"]?["uri"]) == "rclone:share/x")
        #expect(try await client.send(.delete, "\(Self.datasets)/water", token: fixture.userA).status == .ok)
        #expect(try await client.send(.get, "\(Self.datasets)/water", token: fixture.userA).status == .notFound)
        let left = try await client.send(.get, Self.datasets, token: fixture.userA)
        #expect(try left.json["items"]?.arrayValue?.compactMap { $0["name"]?.stringValue } == ["air", "nas"])
      }
    }
  }

  @Test("An upload goes on where it was cut, is verified, and becomes a version that can be read back")
  func uploading() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.live) { client in
        let token = fixture.userA
        #expect(try await client.create("water", token: token).status == .created)
        let upload = try Upload([("a.txt", "one"), ("b/c.txt", String(repeating: "two", count: 100_000))])
        let name = upload.packName
        // Nothing is there, so there can be no version of it.
        #expect(try await client.version("water", upload, token: token).status == .conflict)
        #expect(try await client.put(upload.manifest, token: token).status == .created)
        let early = try await client.version("water", upload, token: token)
        #expect(early.status == .conflict && String(buffer: early.body).contains("packs are not there"))
        // A part, then the rest.
        let half = upload.pack.count / 2
        let cut = try await client.put(
          Array(upload.pack.prefix(half)), size: upload.pack.count, name: name, token: token)
        #expect(cut.status == .badRequest || cut.status == .serviceUnavailable)
        let wrong = try await client.put(
          Array(repeating: 7, count: upload.pack.count), name: name, token: token)
        #expect(wrong.status == .badRequest, "other bytes than the name says")
        let tooMany = try await client.put(upload.pack + [1], size: upload.pack.count, name: name, token: token)
        #expect(tooMany.status == .badRequest)
        #expect(try await client.put(upload.pack, token: token).status == .created)
        let asked = try await client.send(
          .post, "/v1/projects/a/dataset-objects", token: token,
          body:
            #"{"objects":[{"sha256":"\#(name)","size":\#(upload.pack.count)},{"sha256":"\#(String(repeating: "0", count: 64))","size":5}]}"#
        )
        #expect(try asked.json["offsets"] == [.integer(Int64(upload.pack.count)), 0])
        let version = try await client.version("water", upload, token: token)
        #expect(version.status == .created, "\(String(buffer: version.body))")
        #expect(try version.json["version"] == 1 && version.json["files"] == 2)
        #expect(try version.json["bytes"] == .integer(Int64(upload.pack.count)))
        let part = try await client.send(
          .get, "/v1/projects/a/dataset-objects/\(name)?offset=1&length=3", token: token)
        #expect(String(buffer: part.body) == "net")
        let whole = try await client.send(.get, "/v1/projects/a/dataset-objects/\(name)", token: token)
        #expect(Array(buffer: whole.body) == upload.pack)
        let latest = try await client.send(.get, "\(Self.datasets)/water/versions/latest", token: token)
        #expect(try latest.json["manifest"]?["sha256"] == .string(upload.manifestName))
        let usage = try await client.send(.get, "\(Self.datasets)/water/usage", token: token)
        let stored = Int64(upload.pack.count + upload.manifest.count)
        #expect(try usage.json["repositoryBytes"] == .integer(stored))
        #expect(try usage.json["replicas"] == [])
      }
    }
  }

  @Test("Names, sizes and manifests that make no sense are refused")
  func limits() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        _ = try await client.create("water", token: token)
        let objects = "/v1/projects/a/dataset-objects"
        let zeros = String(repeating: "0", count: 64)
        for uri in [
          "\(objects)/abc?size=1", "\(objects)/\(zeros)", "\(objects)/\(zeros)?size=-1",
          "\(objects)/\(zeros)?size=9223372036854775807",
          "\(objects)/\(zeros)?size=99999999999999999999", "\(objects)/\(String(repeating: "A", count: 64))?size=1",
          "\(objects)/\(zeros)?size=1&offset=2",
        ] {
          let refused = try await client.send(.put, uri, token: token, body: "x")
          #expect(refused.status == .badRequest || refused.status == .serviceUnavailable, "\(uri): \(refused.status)")
        }
        let many = Array(repeating: #"{"sha256":"\#(zeros)","size":1}"#, count: 1001).joined(separator: ",")
        #expect(
          try await client.send(.post, objects, token: token, body: "{\"objects\":[\(many)]}").status == .badRequest)
        // A manifest that names an object elsewhere in the repository.
        let outside = try Upload([("a", "x")], key: "results/secret")
        _ = try await client.put(outside.pack, token: token)
        _ = try await client.put(outside.manifest, token: token)
        let refused = try await client.version("water", outside, token: token)
        #expect(refused.status == .badRequest && String(buffer: refused.body).contains("outside"))
        // A manifest that is none.
        var damaged = try Upload([("a", "x")])
        damaged.manifest.removeLast(10)
        _ = try await client.put(damaged.manifest, token: token)
        #expect(try await client.version("water", damaged, token: token).status == .badRequest)
        for body in ["{}", #"{"origin":{},"manifest":{"sha256":"x","size":1}}"#, #"{"origin":{"path":"../x"}}"#] {
          let answer = try await client.send(.post, "\(Self.datasets)/water/versions", token: token, body: body)
          #expect(answer.status == .badRequest, "\(body)")
        }
        let artifact = try await client.send(
          .put, "/v1/projects/a/artifacts/datasets/objects/x", token: token, body: "x")
        #expect(artifact.status == .badRequest, "nobody writes where data sets are")
      }
    }
  }

  @Test(
    "A copy shares packs inside a project, and between projects needs both, keeps residency and moves no bytes of its caller"
  )
  func copying() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let upload = try Upload([("a", "shared")])
        _ = try await client.create("water", more: #","allowedClusters":{"region":"cn"}"#, token: fixture.userA)
        _ = try await client.put(upload.pack, token: fixture.userA)
        _ = try await client.put(upload.manifest, token: fixture.userA)
        #expect(try await client.version("water", upload, token: fixture.userA).status == .created)
        func copy(_ project: String, _ target: String, _ source: String, _ token: String) async throws -> TestResponse {
          try await client.send(
            .post, "/v1/projects/\(project)/datasets/\(target)/versions", token: token,
            body: #"{"copyOf":{"project":"\#(source)","dataset":"water"}}"#)
        }
        _ = try await client.create("loose", token: fixture.userA)
        let loose = try await copy("a", "loose", "a", fixture.userA)
        #expect(loose.status == .conflict, "data that may not leave a domain does not leave it by a copy")
        _ = try await client.create("same", more: #","allowedClusters":{"region":"cn"}"#, token: fixture.userA)
        #expect(try await copy("a", "same", "a", fixture.userA).status == .created)
        let cn = #","allowedClusters":{"region":"cn"}"#
        _ = try await client.create("theirs", in: "b", more: cn, token: fixture.userB)
        #expect(
          try await copy("b", "theirs", "a", fixture.userB).status == .notFound, "another project's data is not there")
        let copied = try await copy("b", "theirs", "a", fixture.admin)
        #expect(copied.status == .created, "\(String(buffer: copied.body))")
        let bytes = try await client.send(
          .get, "/v1/projects/b/dataset-objects/\(upload.packName)", token: fixture.userB)
        #expect(String(buffer: bytes.body) == "shared")
        // What one project removes, the other keeps.
        _ = try await client.send(.delete, "\(Self.datasets)/water", token: fixture.userA)
        _ = try await client.send(.delete, "\(Self.datasets)/same", token: fixture.userA)
        let repository = fixture.server.services.datasets
        let count = try await repository.sweep(
          "a", packAge: .zero, manifestAge: .zero, at: Timestamp.wallClock + .seconds(1))
        #expect(count == 2)
        let gone = try await client.send(
          .get, "/v1/projects/a/dataset-objects/\(upload.packName)", token: fixture.userA)
        #expect(gone.status == .notFound)
        _ = try await repository.sweep("b", packAge: .zero, manifestAge: .zero, at: Timestamp.wallClock + .seconds(1))
        let kept = try await client.send(
          .get, "/v1/projects/b/dataset-objects/\(upload.packName)", token: fixture.userB)
        #expect(String(buffer: kept.body) == "shared")
      }
    }
  }

  @Test("A sweep takes what no version needs, and leaves what one needs and what was asked for just now")
  func sweeping() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        let (first, second, third) = (
          try Upload([("a", "one"), ("b", "both")]), try Upload([("a", "two")]), try Upload([("a", "abandoned")])
        )
        _ = try await client.create("water", token: token)
        for upload in [first, second] {
          _ = try await client.put(upload.pack, token: token)
          _ = try await client.put(upload.manifest, token: token)
          #expect(try await client.version("water", upload, token: token).status == .created)
        }
        _ = try await client.put(third.pack, token: token)
        let repository = fixture.server.services.datasets
        let later = Timestamp.wallClock + .seconds(1)
        func isThere(_ name: String) async throws -> Bool {
          try await client.send(.get, "/v1/projects/a/dataset-objects/\(name)", token: token).status == .ok
        }
        #expect(try await repository.sweep("a", packAge: .seconds(60), manifestAge: .seconds(60), at: later) == 0)
        #expect(try await isThere(third.packName), "it may be named by a version at any moment")
        #expect(try await client.send(.delete, "\(Self.datasets)/water/versions/1", token: token).status == .ok)
        #expect(try await isThere(first.packName))
        #expect(try await repository.sweep("a", packAge: .zero, manifestAge: .zero, at: later) == 3)
        for name in [first.packName, first.manifestName, third.packName] { #expect(try await !isThere(name)) }
        for name in [second.packName, second.manifestName] { #expect(try await isThere(name)) }
        // The rows of a manifest that were lost are found again in what the version names.
        try await fixture.sql("DELETE FROM manifest_packs", "DELETE FROM dataset_manifests")
        #expect(try await repository.sweep("a", packAge: .seconds(60), manifestAge: .zero, at: later) == 0)
        let usage = try await client.send(.get, "\(Self.datasets)/water/usage", token: token)
        #expect(try usage.json["repositoryBytes"] == .integer(Int64(second.pack.count + second.manifest.count)))
        #expect(try await repository.sweep("a", packAge: .zero, manifestAge: .zero, at: later) == 0)
        // The number of a deleted version is not given again.
        let again = try await client.put(first.pack, token: token)
        #expect(again.status == .created)
        _ = try await client.put(first.manifest, token: token)
        #expect(try await client.version("water", first, token: token).json["version"] == 3)
      }
    }
  }

  @Test("An upload that asks for a pack which is just being deleted waits, and does not lose it")
  func sweptMeanwhile() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let upload = try Upload([("a", "once more")])
        let token = fixture.userA
        _ = try await client.create("water", token: token)
        _ = try await client.put(upload.pack, token: token)
        func ask() async throws -> TestResponse {
          try await client.send(
            .post, "/v1/projects/a/dataset-objects", token: token,
            body: #"{"objects":[{"sha256":"\#(upload.packName)","size":\#(upload.pack.count)}]}"#)
        }
        // A sweep has marked the pack, and has not deleted it yet.
        let later = Timestamp.wallClock + .seconds(1)
        let marked = try await fixture.store.markPacks(
          of: "a", seenBefore: later, at: later, stale: .epoch, limit: 10)
        #expect(marked == [upload.packName])
        let told = try await ask()
        #expect(told.status == .serviceUnavailable && told.headers[.retryAfter] != nil, "\(String(buffer: told.body))")
        #expect(try await client.put(upload.pack, token: token).status == .serviceUnavailable)
        // It was cut there. A later sweep takes over, whoever it is.
        let repository = fixture.server.services.datasets
        #expect(try await repository.sweep("a", packAge: .zero, manifestAge: .zero, at: later) == 0)
        let stale = later + DatasetRepository.markAge + .seconds(1)
        #expect(try await repository.sweep("a", packAge: .zero, manifestAge: .zero, at: stale) == 1)
        #expect(try await ask().json["offsets"] == [0])
        #expect(try await client.put(upload.pack, token: token).status == .created)
      }
    }
  }

  @Test("A secret that opens a version's origin stays, also when its data set has another origin by now")
  func usedSecrets() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        for name in ["old", "new"] {
          _ = try await client.send(
            .put, "/v1/projects/a/secrets/\(name)", token: token, body: #"{"values":{"user":"u","password":"p"}}"#)
        }
        let origin = #","origin":{"uri":"https://host/x/","secret":"old"}"#
        #expect(try await client.create("water", more: origin, token: token).status == .created)
        #expect(
          try await client.send(
            .post, "\(Self.datasets)/water/versions", token: token, body: #"{"origin":{}}"#
          ).status == .created)
        _ = try await client.send(
          .put, "\(Self.datasets)/water", token: token, body: #"{"origin":{"uri":"https://host/y/","secret":"new"}}"#)
        for name in ["old", "new"] {
          let refused = try await client.send(.delete, "/v1/projects/a/secrets/\(name)", token: token)
          #expect(refused.status == .conflict, "\(name)")
        }
        #expect(try await client.send(.delete, "\(Self.datasets)/water", token: token).status == .ok)
        for name in ["old", "new"] {
          #expect(try await client.send(.delete, "/v1/projects/a/secrets/\(name)", token: token).status == .ok)
        }
      }
    }
  }

  @Test("A manifest of 100,000 files is checked and becomes a version")
  func manyFiles() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        let digits = (0..<100_000).map { index in
          let text = String(index)
          return (path: "d/\(String(repeating: "0", count: 6 - text.count))\(text)", text: "x")
        }
        let upload = try Upload(digits)
        _ = try await client.create("many", token: token)
        #expect(try await client.put(upload.pack, token: token).status == .created)
        #expect(try await client.put(upload.manifest, token: token).status == .created)
        let version = try await client.version("many", upload, token: token)
        #expect(version.status == .created, "\(String(buffer: version.body))")
        #expect(try version.json["files"] == 100_000)
      }
    }
  }

  @Test("Nothing of another project's data is there: data sets, versions, objects, transfers, secrets")
  func otherProjects() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let upload = try Upload([("a", "mine")])
        _ = try await client.create("water", token: fixture.userA)
        _ = try await client.put(upload.pack, token: fixture.userA)
        _ = try await client.put(upload.manifest, token: fixture.userA)
        _ = try await client.version("water", upload, token: fixture.userA)
        for uri in [
          "/v1/projects/a/datasets/water", "/v1/projects/a/datasets/water/versions/1",
          "/v1/projects/a/datasets/water/usage",
          "/v1/projects/a/dataset-objects/\(upload.packName)", "/v1/projects/b/dataset-objects/\(upload.packName)",
          "/v1/projects/b/datasets/water", "/v1/projects/a/secrets", "/v1/projects/a/transfers",
          "/v1/projects/b/transfers/0000000000000001",
        ] {
          #expect(try await client.send(.get, uri, token: fixture.userB).status == .notFound, "\(uri)")
        }
        let asked = try await client.send(
          .post, "/v1/projects/b/dataset-objects", token: fixture.userB,
          body: #"{"objects":[{"sha256":"\#(upload.packName)","size":\#(upload.pack.count)}]}"#)
        #expect(try asked.json["offsets"] == [0], "whether another project has the same bytes is not told")
      }
    }
  }

  @Test("Commands that need a cluster say what is wrong with it, and lists of transfers and links answer")
  func moving() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        let upload = try Upload([("a", "x")])
        _ = try await client.create("water", token: token)
        let none = try await client.send(
          .post, "\(Self.datasets)/water/prefetch", token: token, body: #"{"cluster":"edge"}"#)
        #expect(none.status == .notFound && String(buffer: none.body).contains("no version"))
        _ = try await client.put(upload.pack, token: token)
        _ = try await client.put(upload.manifest, token: token)
        _ = try await client.version("water", upload, token: token)
        for verb in ["prefetch", "pin", "unpin"] {
          let answer = try await client.send(
            .post, "\(Self.datasets)/water/\(verb)", token: token, body: #"{"cluster":"edge"}"#)
          #expect(answer.status == .notFound && String(buffer: answer.body).contains("no cluster edge"), "\(verb)")
        }
        let transfers = try await client.send(.get, "/v1/projects/a/transfers?active=true", token: token)
        #expect(try transfers.json["items"] == [])
        #expect(try await client.send(.get, "/v1/links", token: token).json["items"] == [])
        let cancel = try await client.send(
          .post, "/v1/projects/a/transfers/0000000000000001/cancel", token: token, body: "{}")
        #expect(cancel.status == .notFound)
        #expect(
          try await client.send(.get, "/v1/projects/a/transfers?continue=x", token: token).status == .badRequest)
      }
    }
  }
}
