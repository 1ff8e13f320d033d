import ControlPlaneCore
import ControlPlaneStore
import FederationModel
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import TestSupport
import Testing
import WorkflowCore

@testable import ControlPlaneServer

@Suite(.serialized) struct ObjectAPITests {
  private static let templates = "/api/v1/workflow-templates/a"

  private static func template(_ name: String, value: String = "x", extra: String = "") -> String {
    """
    {"template":{"metadata":{"name":"\(name)","labels":{"team":"\(value)"}\(extra)},"spec":{"entrypoint":"main",\
    "arguments":{"parameters":[{"name":"p","value":"\(value)"}]},\
    "templates":[{"name":"main","suspend":{}},{"name":"other","suspend":{}}]}}}
    """
  }

  @Test("A template is made, read, listed, replaced and removed as Argo's clients do it, each change in the audit log")
  func life() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        let made = try await client.send(.post, Self.templates, token: token, body: Self.template("t1"))
        #expect(made.status == .ok, "\(String(buffer: made.body))")
        let first = try made.json
        #expect(first["kind"] == "WorkflowTemplate" && first["metadata"]?["namespace"] == "a")
        #expect(first["metadata"]?["generation"] == 1 && first["metadata"]?["uid"]?.stringValue?.count == 36)
        #expect(
          try await client.send(.post, Self.templates, token: token, body: Self.template("t1")).status == .conflict)
        #expect(try await client.send(.get, "\(Self.templates)/t1", token: token).json == first)

        let version = try #require(first["metadata"]?["resourceVersion"]?.stringValue)
        let extra = ",\"resourceVersion\":\"\(version)\""
        let put = try await client.send(
          .put, "\(Self.templates)/t1", token: token, body: Self.template("t1", value: "y", extra: extra))
        #expect(try put.json["metadata"]?["generation"] == 2, "\(String(buffer: put.body))")
        #expect(try put.json["metadata"]?["uid"] == first["metadata"]?["uid"])
        // Who changes what he read before that is refused, and nothing is changed.
        let stale = try await client.send(
          .put, "\(Self.templates)/t1", token: token, body: Self.template("t1", value: "z", extra: extra))
        #expect(stale.status == .conflict)
        #expect(try await client.send(.get, "\(Self.templates)/t1", token: token).json == (try put.json))

        for name in ["t2", "t3"] {
          _ = try await client.send(.post, Self.templates, token: token, body: Self.template(name))
        }
        func names(_ query: String) async throws -> [String] {
          try await client.send(.get, "\(Self.templates)?\(query)", token: token).json["items"]?.arrayValue?
            .compactMap { $0["metadata"]?["name"]?.stringValue } ?? []
        }
        #expect(try await names("") == ["t1", "t2", "t3"])
        #expect(try await names("listOptions.labelSelector=team%3Dx") == ["t2", "t3"])
        #expect(try await names("listOptions.labelSelector=team%20in%20(y)") == ["t1"])
        #expect(try await names("listOptions.limit=1&listOptions.continue=t1") == ["t2"])
        #expect(try await names("listOptions.fieldSelector=metadata.name%3Dt3") == ["t3"])

        #expect(try await client.send(.delete, "\(Self.templates)/t1", token: token).status == .ok)
        let gone = try await client.send(.get, "\(Self.templates)/t1", token: token)
        #expect(gone.status == .notFound)
        #expect(try gone.json["code"] == 5 && gone.json["message"]?.stringValue?.contains("t1") == true)
        let audit = String(buffer: try await client.send(.get, "/v1/audit", token: fixture.admin).body)
        for action in ["template.create", "template.update", "template.delete"] { #expect(audit.contains(action)) }
        #expect(audit.contains("a/t1"))
      }
    }
  }

  @Test("What a workflow takes from a template is in it when it is submitted: by reference, by submit, and by the cron")
  func submission() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        _ = try await client.send(.post, Self.templates, token: token, body: Self.template("t1"))
        let byReference = try await client.send(
          .post, "/api/v1/workflows/a", token: token,
          body: #"{"workflow":{"metadata":{"name":"w1"},"spec":{"workflowTemplateRef":{"name":"t1"}}}}"#)
        #expect(byReference.status == .ok, "\(String(buffer: byReference.body))")
        #expect(try byReference.json["status"]?["phase"] == "Running")
        let missing = try await client.send(
          .post, "/api/v1/workflows/a", token: token,
          body: #"{"workflow":{"metadata":{"name":"w2"},"spec":{"workflowTemplateRef":{"name":"none"}}}}"#)
        #expect(missing.status == .badRequest)
        #expect(try missing.json["message"]?.stringValue?.contains("none") == true)

        let submitted = try await client.send(
          .post, "/api/v1/workflows/a/submit", token: token,
          body: """
            {"resourceKind":"WorkflowTemplate","resourceName":"t1","submitOptions":{"generateName":"made-",\
            "entryPoint":"other","parameters":["p=seven"],"labels":"tier=gold"}}
            """)
        #expect(submitted.status == .ok, "\(String(buffer: submitted.body))")
        let workflow = try submitted.json
        #expect(workflow["metadata"]?["name"]?.stringValue?.hasPrefix("made-") == true)
        #expect(workflow["metadata"]?["labels"]?["tier"] == "gold")
        #expect(workflow["metadata"]?["labels"]?["workflows.argoproj.io/workflow-template"] == "t1")
        #expect(workflow["spec"]?["arguments"]?["parameters"]?[0]?["value"] == "seven")
        let name = try #require(workflow["metadata"]?["name"]?.stringValue)
        let again = try await client.send(.put, "/api/v1/workflows/a/\(name)/resubmit", token: token, body: "{}")
        #expect(again.status == .ok, "\(String(buffer: again.body))")
        #expect(
          try again.json["metadata"]?["labels"]?["workflows.argoproj.io/resubmitted-from-workflow"]?.stringValue == name
        )
        #expect(try again.json["metadata"]?["name"]?.stringValue != name)
        // The native twin, and no template of another project.
        let native = try await client.send(
          .post, "/v1/projects/a/workflows", token: token, body: #"{"document":"","from":"template/t1"}"#,
          headers: [.contentType: "application/vnd.fubini.submission+json"])
        #expect(native.status == .created, "\(String(buffer: native.body))")
        let other = try await client.send(
          .post, "/v1/projects/b/workflows", token: fixture.userB, body: #"{"document":"","from":"template/t1"}"#,
          headers: [.contentType: "application/vnd.fubini.submission+json"])
        #expect(other.status == .notFound)
      }
    }
  }

  @Test("A template of the federation is read by everybody, and written by operators and org-admins alone")
  func federal() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let root = "/api/v1/cluster-workflow-templates"
        let body = Self.template("shared")
        #expect(try await client.send(.post, root, token: fixture.userA, body: body).status == .forbidden)
        let operating = try await fixture.token(.operator, in: nil)
        let made = try await client.send(.post, root, token: operating, body: body)
        #expect(made.status == .ok, "\(String(buffer: made.body))")
        #expect(try made.json["metadata"]?["namespace"] == nil)
        #expect(try await client.send(.get, "\(root)/shared", token: fixture.userB).status == .ok)
        #expect(try await client.send(.delete, "\(root)/shared", token: fixture.userB).status == .forbidden)
        let used = try await client.send(
          .post, "/api/v1/workflows/b", token: fixture.userB,
          body:
            #"{"workflow":{"metadata":{"name":"w"},"spec":{"workflowTemplateRef":{"name":"shared","clusterScope":true}}}}"#
        )
        #expect(used.status == .ok, "\(String(buffer: used.body))")
      }
    }
  }

  @Test("Kubernetes' clients make, change and read config maps and secrets; a secret's values never come out (I9)")
  func kubernetes() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let (token, maps) = (fixture.userA, "/api/v1/namespaces/a/configmaps")
        let body = #"{"metadata":{"name":"conf","labels":{"k":"v"}},"data":{"msg":"hello","n":"3"}}"#
        let made = try await client.send(.post, maps, token: token, body: body)
        #expect(made.status == .created, "\(String(buffer: made.body))")
        let again = try await client.send(.post, maps, token: token, body: body)
        #expect(again.status == .conflict)
        #expect(
          try again.json["kind"] == "Status" && again.json["reason"] == "AlreadyExists" && again.json["code"] == 409)
        let patched = try await client.send(
          .patch, "\(maps)/conf", token: token, body: #"{"data":{"n":null,"more":"yes"}}"#)
        #expect(try patched.json["data"] == ["msg": "hello", "more": "yes"], "\(String(buffer: patched.body))")
        #expect(try await client.send(.get, "\(maps)/none", token: token).json["reason"] == "NotFound")
        #expect(try await client.send(.get, "\(maps)/conf", token: fixture.userB).status == .notFound)

        let secrets = "/api/v1/namespaces/a/secrets"
        let encoded = Data("sehr-geheim".utf8).base64EncodedString()
        let secret = try await client.send(
          .post, secrets, token: token, body: "{\"metadata\":{\"name\":\"s\"},\"data\":{\"key\":\"\(encoded)\"}}")
        #expect(secret.status == .created)
        let read = try await client.send(.get, "\(secrets)/s", token: token)
        for answer in [secret, read, try await client.send(.get, secrets, token: token)] {
          #expect(
            !String(buffer: answer.body).contains("sehr-geheim") && !String(buffer: answer.body).contains(encoded))
        }
        #expect(try await fixture.server.services.secrets.values(of: "s", in: "a") == ["key": "sehr-geheim"])
      }
    }
  }

  @Test("A workflow has the values of config maps as they were when it was submitted, and none is made without them")
  func configMaps() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        func set(_ value: String) async throws {
          let answer = try await client.send(
            .put, "/v1/projects/a/config-maps/conf", token: token, body: "{\"data\":{\"msg\":\"\(value)\"}}")
          #expect(answer.status == .ok, "\(String(buffer: answer.body))")
        }
        func workflow(_ name: String, key: String = "msg") -> String {
          """
          {"workflow":{"metadata":{"name":"\(name)"},"spec":{"entrypoint":"m","arguments":{"parameters":[{"name":"p",\
          "valueFrom":{"configMapKeyRef":{"name":"conf","key":"\(key)"}}}]},"templates":[{"name":"m","suspend":{}}]}}}
          """
        }
        let early = try await client.send(.post, "/api/v1/workflows/a", token: token, body: workflow("w0"))
        #expect(early.status == .badRequest)
        #expect(try early.json["message"]?.stringValue?.contains("config map conf") == true)
        try await set("one")
        let made = try await client.send(.post, "/api/v1/workflows/a", token: token, body: workflow("w1"))
        #expect(
          try made.json["spec"]?["arguments"]?["parameters"]?[0]?["value"] == "one", "\(String(buffer: made.body))")
        try await set("two")
        let before = try await client.send(.get, "/api/v1/workflows/a/w1", token: token).json
        #expect(before["spec"]?["arguments"]?["parameters"]?[0]?["value"] == "one")
        let wrong = try await client.send(
          .post, "/api/v1/workflows/a", token: token, body: workflow("w2", key: "other"))
        #expect(wrong.status == .badRequest)
      }
    }
  }

  @Test("A config map's binaryData is kept as it is, and what is none is refused with its key")
  func binaryData() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let path = "/api/v1/namespaces/a/configmaps"
        func map(_ fields: String) -> String {
          #"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bin"},"data":{"t":"x"},\#(fields)}"#
        }
        for (fields, word) in [
          (#""binaryData":{"b":"%%%"}"#, "b is no base64"), (#""binaryData":{"t":"AAE="}"#, "t is in data, too"),
          (#""immutable":true"#, "immutable"), (#""binaryData":{"a/b":"AAE="}"#, "binaryData: a key has"),
        ] {
          let refused = try await client.send(.post, path, token: fixture.userA, body: map(fields))
          #expect(refused.status.code >= 400, "\(fields)")
          #expect(try refused.json["message"]?.stringValue?.contains(word) == true, "\(String(buffer: refused.body))")
        }
        let made = try await client.send(
          .post, path, token: fixture.userA, body: map(#""immutable":false,"binaryData":{"b":"AAE="}"#))
        #expect(made.status.code < 300, "\(String(buffer: made.body))")
        let read = try await client.send(.get, "\(path)/bin", token: fixture.userA).json
        #expect(read["binaryData"] == ["b": "AAE="] && read["data"] == ["t": "x"])
        let values = try await fixture.store.configMapValues("bin", of: "a")
        #expect(values.texts == ["t": "x"] && values.binary == ["b": "AAE="])
      }
    }
  }

  @Test("Limits of semaphores are set as Argo's clients do: keys of the database, and values of config maps")
  func syncLimits() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        func send(
          _ method: HTTPRequest.Method, _ path: String, _ body: String? = nil
        ) async throws -> (HTTPResponse.Status, JSONValue) {
          let answer = try await client.send(method, "/api/v1/sync/a\(path)", token: token, body: body)
          return (answer.status, try answer.json)
        }
        func phase(_ name: String, _ lock: String) async throws -> String? {
          let body = """
            {"workflow":{"metadata":{"name":"\(name)"},"spec":{"entrypoint":"m","synchronization":{"semaphores":[\(lock)]},\
            "templates":[{"name":"m","suspend":{}}]}}}
            """
          let answer = try await client.send(.post, "/api/v1/workflows/a", token: token, body: body)
          #expect(answer.status == .ok, "\(String(buffer: answer.body))")
          return try answer.json["status"]?["phase"]?.stringValue
        }
        let key = #"{"database":{"key":"licence"}}"#
        #expect(try await phase("before", key) == "Error")
        let made = try await send(.post, "", #"{"type":"DATABASE","key":"licence","limit":1}"#)
        #expect(made.0 == .ok && made.1["limit"] == 1 && made.1["key"] == "licence")
        #expect(try await phase("first", key) == "Running")
        #expect(try await phase("second", key) == "Pending")
        #expect(try await send(.post, "", #"{"type":"DATABASE","key":"licence","limit":5}"#).0 == .conflict)
        #expect(try await send(.put, "/licence", #"{"type":1,"limit":2}"#).0 == .ok)
        let second = try await client.send(.get, "/api/v1/workflows/a/second", token: token).json
        #expect(second["status"]?["phase"] == "Running")
        #expect(try await send(.get, "/licence?type=DATABASE").1["limit"] == 2)
        #expect(try await send(.delete, "/licence?type=DATABASE").0 == .ok)
        #expect(try await send(.get, "/licence?type=DATABASE").0 == .notFound)
        #expect(try await send(.put, "/licence", #"{"type":"DATABASE","limit":2}"#).0 == .notFound)
        #expect(try await phase("after", key) == "Error")
        // A config map is made where there is none, and keeps its other values.
        #expect(try await send(.post, "", #"{"cmName":"conf","key":"width","limit":1}"#).0 == .ok)
        #expect(try await send(.post, "", #"{"type":"CONFIGMAP","cmName":"conf","key":"depth","limit":7}"#).0 == .ok)
        #expect(try await send(.get, "/width?cmName=conf").1["limit"] == 1)
        let map = try await client.send(.get, "/api/v1/namespaces/a/configmaps/conf", token: token).json
        #expect(map["data"] == ["width": "1", "depth": "7"])
        #expect(try await phase("third", #"{"configMapKeyRef":{"name":"conf","key":"width"}}"#) == "Running")
        for (path, body) in [
          ("", #"{"type":"DATABASE","key":"k","limit":0}"#), ("", #"{"type":"DATABASE","limit":1}"#),
          ("", #"{"key":"k","limit":1}"#), ("", #"{"type":"FILE","key":"k","limit":1}"#),
        ] { #expect(try await send(.post, path, body).0 == .badRequest, "\(body)") }
      }
    }
  }

  @Test("The whole numbers of a config map are the limits of the semaphores that it names, as they are now")
  func semaphores() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        func submit(_ name: String) async throws -> JSONValue {
          let body = """
            {"workflow":{"metadata":{"name":"\(name)"},"spec":{"entrypoint":"m","synchronization":{"semaphores":[\
            {"configMapKeyRef":{"name":"conf","key":"width"}}]},"templates":[{"name":"m","suspend":{}}]}}}
            """
          let answer = try await client.send(.post, "/api/v1/workflows/a", token: token, body: body)
          #expect(answer.status == .ok, "\(String(buffer: answer.body))")
          return try answer.json
        }
        func phase(_ name: String) async throws -> String? {
          try await client.send(.get, "/api/v1/workflows/a/\(name)", token: token).json["status"]?["phase"]?.stringValue
        }
        func set(_ data: String) async throws {
          let answer = try await client.send(.put, "/v1/projects/a/config-maps/conf", token: token, body: data)
          #expect(answer.status == .ok, "\(String(buffer: answer.body))")
        }
        try await set(#"{"data":{"width":"1","title":"x"}}"#)
        #expect(try await submit("first")["status"]?["phase"] == "Running")
        #expect(try await submit("second")["status"]?["phase"] == "Pending")
        try await set(#"{"data":{"width":"2"}}"#)
        #expect(try await phase("second") == "Running")
        // The limits are rows of the same change: whoever leads next has them, whether or not anybody told the leader.
        #expect(try await fixture.store.loadDurable().semaphores.map(\.limit) == [2])
        _ = try await submit("third")
        let limits = SemaphoreLimits(
          store: fixture.store, commands: fixture.controlPlane, logger: fixture.server.services.logger)
        try await limits.look()
        let object = try await fixture.store.object(.configMap, "conf", in: "a")
        _ = try await fixture.store.replace(
          .configMap, "conf", in: "a", labels: [:],
          document: try #require(object).document.replacing("\"2\"", with: "\"3\""),
          limits: ["width": 3], by: "ann", at: .wallClock)
        #expect(try await phase("third") == "Pending", "nobody has told the leader")
        try await limits.look()
        #expect(try await phase("third") == "Running")
        _ = try await fixture.store.removeObject(.configMap, "conf", in: "a", by: "ann", at: .wallClock)
        #expect(try await fixture.store.loadDurable().semaphores.isEmpty)
        try await limits.look()
        #expect(try await submit("fourth")["status"]?["phase"] == "Error")
      }
    }
  }

  @Test("Documents of several kinds in one text are stored and submitted, each by its own permission")
  func documents() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let text = """
          apiVersion: argoproj.io/v1alpha1
          kind: Workflow
          metadata: {name: uses}
          spec: {workflowTemplateRef: {name: base}}
          ---
          apiVersion: argoproj.io/v1alpha1
          kind: CronWorkflow
          metadata: {name: nightly}
          spec:
            schedules: ["0 3 * * *"]
            timezone: Europe/Berlin
            workflowSpec: {workflowTemplateRef: {name: base}}
          ---
          apiVersion: argoproj.io/v1alpha1
          kind: WorkflowTemplate
          metadata: {name: base}
          spec: {entrypoint: m, templates: [{name: m, suspend: {}}]}
          ---
          apiVersion: v1
          kind: ConfigMap
          metadata: {name: conf}
          data: {a: b}
          """
        let viewer = try await fixture.token(.viewer, in: "a")
        #expect(try await client.send(.post, "/v1/documents?project=a", token: viewer, body: text).status == .forbidden)
        let tried = try await client.send(
          .post, "/v1/documents?project=a&dryRun=true", token: fixture.userA, body: text)
        #expect(tried.status == .ok, "\(String(buffer: tried.body))")
        #expect(try await client.send(.get, Self.templates, token: fixture.userA).json["items"] == [])
        let done = try await client.send(.post, "/v1/documents?project=a", token: fixture.userA, body: text)
        #expect(done.status == .ok, "\(String(buffer: done.body))")
        let outcomes = try done.json["items"]?.arrayValue?.map {
          "\($0["kind"]?.stringValue ?? "") \($0["outcome"]?.stringValue ?? "")"
        }
        #expect(
          outcomes == [
            "ConfigMap created", "WorkflowTemplate created", "CronWorkflow created", "Workflow submitted",
          ])
        let again = try await client.send(
          .post, "/v1/documents?project=a&kinds=WorkflowTemplate,CronWorkflow,ConfigMap,Workflow", token: fixture.userA,
          body: text.replacing("name: uses", with: "name: uses2").replacing("{a: b}", with: "{a: c}"))
        let second = try again.json["items"]?.arrayValue?.compactMap { $0["outcome"]?.stringValue }
        #expect(second == ["changed", "unchanged", "unchanged", "submitted"], "\(String(buffer: again.body))")
        let kinds = try await client.send(
          .post, "/v1/documents?project=a&kinds=WorkflowTemplate", token: fixture.userA, body: text)
        #expect(kinds.status == .badRequest)
        let cron = try await client.send(.get, "/v1/projects/a/cron-workflows/nightly", token: fixture.userA).json
        #expect(cron["cron"]?["schedules"] == ["0 3 * * *"])
        #expect(cron["cron"]?["nextAt"]?.stringValue?.isEmpty == false)
      }
    }
  }

  @Test("The archive has what has finished, of the projects that the caller may read")
  func archive() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let token = fixture.userA
        for name in ["done", "open"] {
          let made = try await client.send(
            .post, "/v1/projects/a/workflows", token: token, body: Documents.suspended(name))
          #expect(made.status == .created)
        }
        _ = try await client.send(.put, "/api/v1/workflows/a/done/terminate", token: token, body: "{}")
        let list = try await client.send(.get, "/api/v1/archived-workflows?namespace=a", token: token).json
        let items = list["items"]?.arrayValue ?? []
        #expect(items.compactMap { $0["metadata"]?["name"]?.stringValue } == ["done"])
        let uid = try #require(items.first?["metadata"]?["uid"]?.stringValue)
        #expect(try await client.send(.get, "/api/v1/archived-workflows/\(uid)", token: token).status == .ok)
        #expect(
          try await client.send(.get, "/api/v1/archived-workflows/\(uid)", token: fixture.userB).status == .notFound)
        #expect(try await client.send(.get, "/api/v1/archived-workflows", token: fixture.userB).json["items"] == [])
        let open = try await client.send(.get, "/api/v1/workflows/a/open", token: token).json
        let running = try #require(open["metadata"]?["uid"]?.stringValue)
        #expect(try await client.send(.get, "/api/v1/archived-workflows/\(running)", token: token).status == .notFound)
        let again = try await client.send(
          .put, "/api/v1/archived-workflows/\(uid)/resubmit", token: token, body: "{}")
        #expect(again.status == .ok, "\(String(buffer: again.body))")
        #expect(try await client.send(.delete, "/api/v1/archived-workflows/\(uid)", token: token).status == .ok)
        #expect(try await client.send(.get, "/api/v1/archived-workflows/\(uid)", token: token).status == .notFound)
      }
    }
  }
}
