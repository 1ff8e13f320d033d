import FederationAPI
import FederationModel
import Foundation
import HTTPTypes
import HummingbirdTesting
import NIOCore
import Postgres
import Testing

@testable import ControlPlaneServer

@Suite(.timeLimit(.minutes(5))) struct PlanAPITests {
  private static let document = """
    apiVersion: argoproj.io/v1alpha1
    kind: Workflow
    metadata: {generateName: planned-}
    spec:
      entrypoint: main
      arguments: {parameters: [{name: count, value: "2"}]}
      templates:
      - name: main
        steps: [[{name: each, template: each, withSequence: {count: "{{workflow.parameters.count}}"}}]]
      - name: each
        container: {image: any, command: [x], resources: {requests: {memory: 1Gi}}}
    """

  /// All that is in the database, but when the leader's lease ends: rows of every table, and where every sequence is.
  private func contents(_ database: PostgresConfiguration) async throws -> [String] {
    let connection = try await PostgresConnection.connect(database)
    let tables = try await connection.run([
      PostgresStatement(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY table_name")
    ])[0].rows.map { try $0.text(0) }
    var contents: [String] = []
    for table in tables {
      let columns =
        table == "leadership" ? "term, commit_seq, last_workflow_id, last_explanation_id, holder" : "*"
      let row = try await connection.run([
        PostgresStatement(
          "SELECT count(*), coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM (SELECT \(columns) FROM \(table)) t"
        )
      ])[0][0]
      contents.append("\(table): \(try row.int(0)) \(try row.text(1))")
    }
    let sequences = try await connection.run([
      PostgresStatement("SELECT sequencename, coalesce(last_value, 0)::int8 FROM pg_sequences ORDER BY sequencename")
    ])[0].rows
    contents += try sequences.map { "\(try $0.text(0)): \(try $0.int(1))" }
    await connection.close()
    return contents
  }

  @Test("A plan tells what is expected of a workflow and leaves the database as it was, down to its sequences")
  func noSideEffects() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        for name in ["one", "two"] {
          _ = try await client.send(
            .post, "/v1/clusters", token: fixture.admin, body: #"{"name":"\#(name)","kind":"process"}"#)
        }
        let submitted = try await client.send(
          .post, "/v1/workflows", token: fixture.userA, body: Documents.suspended("there"))
        #expect(submitted.status == .created)
        let before = try await contents(fixture.database)
        #expect(before.count > 20)
        for uri in ["/v1/plan", "/v1/projects/a/plan?fanOut=7"] {
          let answer = try await client.send(.post, uri, token: fixture.userA, body: Self.document)
          #expect(answer.status == .ok)
          let plan = try JSONDecoder().decode(PlanDocument.self, from: Data(answer.body.readableBytesView))
          // No agent has joined: both tasks wait, and each cluster has its reason.
          #expect(plan.project == "a" && plan.outcome == "Stuck" && plan.taskCount == 2)
          #expect(plan.groups.map(\.name) == ["each"])
          #expect(plan.groups[0].candidates.map(\.rejected) == ["Closed", "Closed"])
          #expect(plan.groups[0].runtimeFrom == "default")
        }
        #expect(try await contents(fixture.database) == before)
      }
    }
  }

  @Test("Parameters count, and what a submission would refuse a plan refuses with the same words")
  func refusals() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let body = SubmitRequest(document: Self.document, parameters: ["count": "5"])
        let answer = try await client.send(
          .post, "/v1/plan", token: fixture.userA,
          body: String(decoding: try JSONEncoder().encode(body), as: UTF8.self),
          headers: [.contentType: SubmitRequest.contentType])
        let plan = try JSONDecoder().decode(PlanDocument.self, from: Data(answer.body.readableBytesView))
        #expect(plan.taskCount == 5)
        let broken = Self.document.replacing("template: each,", with: "template: none,")
        var messages: [String] = []
        for path in ["plan", "workflows"] {
          let refused = try await client.send(.post, "/v1/\(path)", token: fixture.userA, body: broken)
          #expect(refused.status == .badRequest)
          let error = try JSONDecoder().decode(ErrorDocument.self, from: Data(refused.body.readableBytesView))
          messages.append(error.message)
        }
        #expect(messages[0] == messages[1] && !messages[0].isEmpty)
        for query in ["fanOut=0", "fanOut=x", "fanOut=1001"] {
          let refused = try await client.send(.post, "/v1/plan?\(query)", token: fixture.userA, body: Self.document)
          #expect(refused.status == .badRequest)
        }
      }
    }
  }

  @Test(
    "A plan of who may not run anything has nobody look at addresses of its document: agents would show them secrets")
  func looksForNobody() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let viewer = try await fixture.token(.viewer, in: "a")
        let document = Self.document.replacing(
          "container: {image: any",
          with: """
            inputs: {artifacts: [{name: in, path: /in, http: {url: "https://host/x"}}]}
                container: {image: any
            """)
        let answer = try await client.send(.post, "/v1/projects/a/plan", token: viewer, body: document)
        let plan = try JSONDecoder().decode(PlanDocument.self, from: Data(answer.body.readableBytesView))
        #expect(plan.unknowns.contains { $0.contains("nobody has looked at it yet") }, "\(plan.unknowns)")
        let connection = try await PostgresConnection.connect(fixture.database)
        let rows = try await connection.run([PostgresStatement("SELECT count(*) FROM datasets")])[0]
        #expect(try rows[0].int(0) == 0)
        await connection.close()
      }
    }
  }
}
