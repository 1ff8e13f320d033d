import ControlPlaneStore
import Crypto
import FederationModel
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NIOCore
import Synchronization
import Testing

@testable import ControlPlaneServer

/// A receiver that answers as it is told, and remembers what came.
private final class Receiver: Sendable {
  struct Call: Sendable {
    var body: String
    var signature: String
    var timestamp: String
    var delivery: String
  }
  private let state = Mutex((statuses: [HTTPResponse.Status](), calls: [Call]()))
  var calls: [Call] { state.withLock { $0.calls } }

  init(answering statuses: [HTTPResponse.Status]) { state.withLock { $0.statuses = statuses } }

  private func answer(_ call: Call) -> HTTPResponse.Status {
    state.withLock {
      $0.calls.append(call)
      return $0.statuses.isEmpty ? .ok : $0.statuses.removeFirst()
    }
  }

  var router: Router<BasicRequestContext> {
    let router = Router()
    router.post("hook") { @concurrent [self] request, _ -> Response in
      func header(_ name: String) -> String { HTTPField.Name(name).flatMap { request.headers[$0] } ?? "" }
      let buffer = try await request.body.collect(upTo: 10_000)
      let status = answer(
        Call(
          body: String(buffer: buffer), signature: header("Fubini-Signature"), timestamp: header("Fubini-Timestamp"),
          delivery: header("Fubini-Delivery")))
      return Response(status: status, headers: [.location: "http://127.0.0.1:9/elsewhere"])
    }
    return router
  }
}

@Suite("Alerts by webhook", .serialized, .timeLimit(.minutes(2)))
struct AlertDeliveryTests {
  /// An alert as a unit writes it (`LedgerStoreTests`).
  private static let alert = """
    INSERT INTO alert_deliveries (project, body, created_ms, next_ms)
    VALUES ('a', '{"kind":"budgetAlert","percent":80,"project":"a"}', 0, 0)
    """

  @Test("An alert is signed, sent again until it is taken, and then no more; a redirection counts as refused")
  func delivery() async throws {
    try await APIFixture.use { fixture in
      let receiver = Receiver(answering: [.internalServerError, .temporaryRedirect, .ok])
      let secrets = fixture.server.services.secrets
      _ = try await secrets.set("alerts", of: "a", to: ["signingKey": "k3y"], by: "root", at: .wallClock)
      try await Application(router: receiver.router).test(.live) { client in
        let url = "http://127.0.0.1:\(client.port ?? 0)/hook"
        try await fixture.store.put(
          AlertHook(project: "a", url: url, secret: "alerts", changedAt: .wallClock, changedBy: "root"))
        try await fixture.sql(Self.alert)
        let logger = fixture.server.services.logger
        let strict = AlertDeliveries(store: fixture.store, secrets: secrets, privateHosts: [], logger: logger)
        let open = AlertDeliveries(
          store: fixture.store, secrets: secrets, privateHosts: ["127.0.0.1"], logger: logger)
        var now = Timestamp.wallClock + .seconds(60)
        func shown() async throws -> AlertDelivery {
          try #require(try await fixture.store.alertDeliveries(of: "a", limit: 5).first)
        }
        #expect(try await strict.deliver(at: now) == 1)
        #expect(try await shown().failure.contains("begins with https://") && receiver.calls.isEmpty)
        #expect(try await open.deliver(at: now) == 0, "not before its pause is over")
        for (attempt, failure) in [(2, "500"), (3, "307"), (4, "")] {
          now = now + .seconds(3600)
          #expect(try await open.deliver(at: now) == 1)
          let delivery = try await shown()
          #expect(delivery.attempts == attempt, "\(delivery)")
          #expect(failure.isEmpty ? delivery.failure.isEmpty : delivery.failure.contains(failure), "\(delivery)")
          #expect((delivery.deliveredAt != nil) == (attempt == 4))
        }
        #expect(try await open.deliver(at: now + .seconds(86_400)) == 0)
        #expect(receiver.calls.count == 3)
        for call in receiver.calls {
          let message = Array("\(call.timestamp).\(call.body)".utf8)
          let code = HMAC<SHA256>.authenticationCode(for: message, using: SymmetricKey(data: Array("k3y".utf8)))
          let hexadecimal = code.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
          #expect(call.signature == "v1=\(hexadecimal)" && !call.delivery.isEmpty)
        }
        let body = try #require(receiver.calls.first?.body)
        #expect(body == #"{"kind":"budgetAlert","percent":80,"project":"a"}"#)
      }
    }
  }

  @Test("What nobody takes is given up after so many attempts, and says why")
  func givingUp() async throws {
    try await APIFixture.use { fixture in
      let secrets = fixture.server.services.secrets
      try await fixture.store.put(
        AlertHook(project: "a", url: "https://127.0.0.1:9/", secret: "none", changedAt: .wallClock, changedBy: "root"))
      try await fixture.sql(Self.alert)
      let deliveries = AlertDeliveries(
        store: fixture.store, secrets: secrets, privateHosts: [], logger: fixture.server.services.logger)
      var now = Timestamp.wallClock
      for _ in 0..<AlertDeliveries.attemptsMax {
        now = now + .seconds(4400)
        #expect(try await deliveries.deliver(at: now) == 1)
      }
      #expect(try await deliveries.deliver(at: now + .seconds(86_400)) == 0)
      let last = try #require(try await fixture.store.alertDeliveries(of: "a", limit: 1).first)
      #expect(last.nextAt == nil && last.deliveredAt == nil && last.failure.contains("has no secret none"))
      try await fixture.store.forgetAlerts(before: .wallClock)
      #expect(try await fixture.store.alertDeliveries(of: "a", limit: 1).isEmpty)
    }
  }

  @Test(
    "A webhook is set by administrators, for public addresses, with a secret that is never shown and stays while it is used"
  )
  func routes() async throws {
    try await APIFixture.use { fixture in
      try await fixture.application.test(.router) { client in
        let (admin, hook) = (fixture.admin, "/v1/projects/a/budget/webhook")
        func set(_ url: String, _ token: String) async throws -> TestResponse {
          try await client.send(.put, hook, token: token, body: #"{"url":"\#(url)","secret":"alerts"}"#)
        }
        #expect(try await set("https://1.1.1.1/", admin).status == .notFound, "there is no budget")
        _ = try await client.send(
          .put, "/v1/projects/a/budget", token: admin, body: #"{"amount":"5","currency":"CNY"}"#)
        #expect(try await set("https://1.1.1.1/", admin).status == .conflict, "there is no secret")
        _ = try await client.send(
          .put, "/v1/projects/a/secrets/alerts", token: fixture.userA, body: #"{"values":{"signingKey":"s3cr3t"}}"#)
        #expect(try await set("https://1.1.1.1/", fixture.userA).status == .forbidden)
        for wrong in [
          "http://1.1.1.1/", "ftp://1.1.1.1/", "https://u:p@1.1.1.1/", "https:///x", "https://1.1.1.1:0/", "x",
        ] {
          #expect(try await set(wrong, admin).status == .badRequest, "\(wrong)")
        }
        for inside in [
          "127.0.0.1", "169.254.169.254", "10.1.2.3", "[::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "0.0.0.0",
        ] {
          let answer = try await set("https://\(inside)/", admin)
          #expect(
            answer.status == .forbidden && String(buffer: answer.body).contains("webhooks.privateHosts"), "\(inside)")
        }
        #expect(try await set("https://1.1.1.1/hook", admin).status == .ok)
        let shown = try await client.send(.get, hook, token: admin)
        #expect(try shown.json["url"] == "https://1.1.1.1/hook")
        #expect(!String(buffer: shown.body).contains("s3cr3t"))
        #expect(try await client.send(.get, hook, token: fixture.userA).status == .forbidden)
        let removal = try await client.send(.delete, "/v1/projects/a/secrets/alerts", token: fixture.userA)
        #expect(removal.status == .conflict, "it is in use")
        #expect(try await client.send(.delete, hook, token: admin).status == .ok)
        #expect(try await client.send(.delete, hook, token: admin).status == .notFound)
      }
    }
  }

  @Test(
    "Only addresses of the public internet may be called",
    arguments: [
      ("8.8.8.8", true), ("172.15.0.1", true), ("172.16.0.1", false), ("192.168.1.1", false), ("100.64.0.1", false),
      ("198.18.0.1", false), ("224.0.0.1", false), ("255.255.255.255", false), ("192.0.2.1", false),
      ("2606:4700:4700::1111", true), ("fe80::1", false), ("64:ff9b::7f00:1", false), ("2002:7f00:1::", false),
      ("2001:db8::1", false), ("::", false),
    ])
  func addresses(text: String, isPublic: Bool) throws {
    #expect(WebhookAddress.isPublic(try SocketAddress(ipAddress: text, port: 443)) == isPublic)
  }

  @Test("What is called is named as it was looked up, whatever case it was written in")
  func namedAlike() throws {
    let address = try WebhookAddress("HTTPS://Hooks.Example.ORG:8443/In?Key=A", privateHosts: [])
    #expect(address.host == "hooks.example.org" && address.port == 8443)
    #expect(address.url == "https://hooks.example.org:8443/In?Key=A")
  }

  @Test(
    "A URL in which two parsers may see two hosts is refused",
    arguments: [
      "https://a.example\\@inside/", "https://a.example\\.inside/", "https://a%2einside/", "https://u@inside/",
      "https://a.example|inside/", "https://[::1/", "https:///x", "https://a_b/",
    ])
  func twoHosts(url: String) {
    #expect(throws: FederationError.self) { try WebhookAddress(url, privateHosts: []) }
  }
}
