import AsyncHTTPClient
import ControlPlaneStore
import Crypto
import FederationModel
import Logging
import NIOCore
import NIOHTTP1
import ServiceLifecycle

/// Tells budgets' alerts to the webhooks of their projects: signed, and again with longer and longer pauses until they are taken or it
/// has been tried for about ten hours. Several replicas may do so at once; a receiver may be told of one twice, and knows it by its id.
struct AlertDeliveries: Service {
  static let attemptsMax = 16
  private static let batch = 8
  private static let interval = Duration.seconds(5)
  /// Of one attempt, from the name's resolution to the answer's head.
  private static let limit = Duration.seconds(15)
  /// What is over is shown for so long.
  private static let kept = Duration.seconds(90 * 86_400)
  /// The value of the hook's secret that is signed with.
  static let keyField = "signingKey"

  let store: ControlPlaneStore
  let secrets: SecretVault
  /// Hosts inside that may be called, and without TLS.
  let privateHosts: Set<String>
  let logger: Logger

  func run() async throws {
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        do {
          while try await deliver(at: .wallClock) == Self.batch {}
          try await store.forgetAlerts(before: .wallClock + (.zero - Self.kept))
        } catch is CancellationError {} catch {
          logger.warning("alerts could not be delivered; it is tried again", metadata: ["error": "\(error)"])
        }
        try? await Task.sleep(for: Self.interval * Double.random(in: 0.8...1.2))
      }
    }
  }

  /// One attempt at each of some that are due. - Returns: how many there were.
  func deliver(at now: Timestamp) async throws -> Int {
    let due = try await store.claimAlerts(at: now, limit: Self.batch)
    for delivery in due {
      try Task.checkCancellation()
      var failure: String?
      do { try await attempt(delivery, at: now) } catch is CancellationError {
        throw CancellationError()
      } catch { failure = Self.reason(error) }
      try await store.settleAlert(
        delivery.id, failure: failure, isLast: delivery.attempts >= Self.attemptsMax, at: .wallClock)
      if let failure {
        logger.info(
          "an alert was not taken", metadata: ["project": "\(delivery.project)", "error": "\(failure)"])
      }
    }
    return due.count
  }

  private static func reason(_ error: any Error) -> String {
    switch error {
    case let error as FederationError: error.publicMessage
    case let error as HTTPClientError: "the call failed: \(error.shortDescription)"
    default: "the call failed: \(type(of: error))"
    }
  }

  private func attempt(_ delivery: AlertDelivery, at now: Timestamp) async throws {
    guard let hook = try await store.alertHook(of: delivery.project) else {
      throw FederationError(.notFound, "the project has no webhook any more")
    }
    guard let key = try await secrets.values(of: hook.secret, in: hook.project)[Self.keyField] else {
      throw FederationError(.notFound, "secret \(hook.secret) has no value \(Self.keyField)")
    }
    let address = try WebhookAddress(hook.url, privateHosts: privateHosts)
    let request = Self.request(delivery, to: address.url, key: key, at: now)
    let privateHosts = privateHosts
    let status = try await Deadline.run(Self.limit, "the webhook took too long") {
      try await Self.call(request, address, at: try await address.resolve(privateHosts: privateHosts))
    }
    guard (200..<300).contains(status) else { throw FederationError(.unavailable, "the webhook answered \(status)") }
  }

  /// The body as it is, and what proves who sent it and when.
  static func request(_ delivery: AlertDelivery, to url: String, key: String, at now: Timestamp) -> HTTPClientRequest {
    var request = HTTPClientRequest(url: url)
    request.method = .POST
    let seconds = "\(now.milliseconds / 1000)"
    request.headers.add(name: "Content-Type", value: "application/json")
    request.headers.add(name: "User-Agent", value: "fubini/\(ProductVersion.current)")
    request.headers.add(name: "Fubini-Delivery", value: "\(delivery.id)")
    request.headers.add(name: "Fubini-Timestamp", value: seconds)
    request.headers.add(name: "Fubini-Signature", value: "v1=" + signature(of: delivery.body, seconds, key: key))
    request.body = .bytes(ByteBuffer(string: delivery.body))
    return request
  }

  /// Lower-case hexadecimal HMAC-SHA256 of `seconds.body`.
  static func signature(of body: String, _ seconds: String, key: String) -> String {
    let code = HMAC<SHA256>.authenticationCode(
      for: Array("\(seconds).\(body)".utf8), using: SymmetricKey(data: Array(key.utf8)))
    return code.map { byte in String(byte >> 4, radix: 16) + String(byte & 15, radix: 16) }.joined()
  }

  /// - Parameter ip: what is called, whatever the name says meanwhile; the certificate must still be the name's.
  /// - Returns: the status; the answer's body is not read, and a redirection is not followed.
  private static func call(_ request: HTTPClientRequest, _ address: WebhookAddress, at ip: String) async throws -> UInt
  {
    var configuration = HTTPClient.Configuration()
    configuration.redirectConfiguration = .disallow
    configuration.dnsOverride = [address.host: ip]
    configuration.timeout = .init(connect: .seconds(5), read: .seconds(10), write: .seconds(10))
    let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    do {
      let answer = try await client.execute(request, timeout: .seconds(10))
      try await client.shutdown()
      return answer.status.code
    } catch {
      try? await client.shutdown()
      throw error
    }
  }
}
