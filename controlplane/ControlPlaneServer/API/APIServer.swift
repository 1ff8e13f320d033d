import ControlPlaneStore
import Crypto
import FederationAPI
import FederationModel
import FederationPKI
import HTTPTypes
import Hummingbird
import HummingbirdCore
import HummingbirdTLS
import Logging
import NIOCore
import NIOSSL
import ServiceLifecycle

/// What the API's handlers work with.
struct APIServices: Sendable {
  let commands: any CommandPort
  let store: ControlPlaneStore
  let logs: any LogStore
  let artifacts: any ArtifactStore
  let secrets: SecretVault
  let verifiedPacks = VerifiedPacks()
  var datasets: DatasetRepository {
    DatasetRepository(store: store, artifacts: artifacts, verified: verifiedPacks)
  }
  let authority: LiveAuthority
  let metrics: ControlPlaneMetrics
  let changes: ChangeNotifier
  let sessions: SessionRegistry
  let forecasts = ForecastDesk()
  let logger: Logger
  /// Where agents dial, `host:port`, for join commands. Known once the agent port is bound.
  let agentAddress: @Sendable () async throws -> String
  /// What `doctor` finds here.
  let examine: @Sendable () async -> [FindingDocument]
  /// Ends the open streams of a cluster whose certificates have just become void.
  let closeStreams: @Sendable (ClusterName, Timestamp) -> Void
  /// What is to be swept soon.
  var sweeps = SweepRequests()
}

/// The REST API: a router made of the route table, and the server around it.
struct APIServer: Sendable {
  let services: APIServices
  private let authenticator: Authenticator
  private let standby: StandbyProxy?

  /// - Parameter standby: nil where there is never another replica.
  init(services: APIServices, standby: StandbyProxy? = nil) {
    self.services = services
    self.standby = standby
    authenticator = Authenticator(store: services.store)
  }

  /// Every route there is.
  var routes: [Route] {
    let described = serverRoutes + workflowRoutes + planRoutes + streamRoutes + clusterRoutes + dataRoutes + argoRoutes
    return described + [documentRoute(describing: described)]
  }

  private var dataRoutes: [Route] {
    datasetRoutes + datasetObjectRoutes + transferRoutes + secretRoutes + priceRoutes
  }

  func router() -> Router<APIContext> {
    let router = Router(context: APIContext.self)
    router.add(middleware: ErrorMapping(metrics: services.metrics))
    if let standby { router.add(middleware: standby) }
    for route in routes {
      router.on(RouterPath(route.path), method: route.method) { request, context in
        var context = context
        guard !request.uri.string.contains("%00") else {
          throw FederationError(.invalidArgument, "the URL must not hold the character NUL (%00)")
        }
        if route.access != .open {
          let caller = try await authenticator.caller(of: request)
          try Authorisation.check(route.access, caller)
          context.caller = caller
          if route.access == .project, let named = try Self.project(of: request, context) {
            try Authorisation.check(named, caller)
          }
        }
        return try await route.handler(request, context)
      }
    }
    return router
  }

  /// The project that path or query name; nil when only the document can.
  private static func project(of request: Request, _ context: APIContext) throws -> ProjectName? {
    for name in ["p", "namespace"] where context.parameters.get(name) != nil {
      return ProjectName(try context.parameter(name))
    }
    return request.query("project").map { ProjectName($0) }
  }

  /// - Throws: when plain HTTP is asked for on anything but loopback.
  func application(
    _ http: ServerConfiguration.HTTP, onRunning: @escaping @Sendable (Int) async -> Void
  ) throws -> some ApplicationProtocol {
    var server = HTTPServerBuilder.http1(configuration: .init(idleTimeout: .seconds(300)))
    if let files = http.tls {
      var tls = TLSConfiguration.makeServerConfiguration(
        certificateChain: try NIOSSLCertificate.fromPEMFile(files.certificate).map { .certificate($0) },
        privateKey: .privateKey(try NIOSSLPrivateKey(file: files.key, format: .pem)))
      tls.minimumTLSVersion = .tlsv12
      server = try .tls(server, tlsConfiguration: tls)
    } else {
      guard Endpoint(http.host).isLoopback else { throw ServerConfiguration.plainHTTP }
    }
    return Application(
      router: router(), server: server,
      configuration: .init(address: .hostname(Endpoint(http.host).host, port: http.port), serverName: "fubini"),
      onServerRunning: { channel in await onRunning(channel.localAddress?.port ?? http.port) }, logger: services.logger)
  }
}
