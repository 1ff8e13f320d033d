import ControlPlaneStore
import Crypto
import FederationAPI
import FederationModel
import FederationPKI
import Foundation
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
  var objects: ObjectDesk { ObjectDesk(store: store, commands: commands) }
  let authority: LiveAuthority
  let metrics: ControlPlaneMetrics
  let changes: ChangeNotifier
  /// Tells when what somebody may do has changed.
  var access: ChangeNotifier
  let denials: DenialLog
  let sessions: SessionRegistry
  let forecasts = ForecastDesk()
  let submissions = SubmissionGate(places: ProcessInfo.processInfo.activeProcessorCount)
  let flights = FlightLimit(FlightLimit.Limits(cores: ProcessInfo.processInfo.activeProcessorCount))
  let logger: Logger
  /// Where agents dial, `host:port`, for join commands. Known once the agent port is bound.
  let agentAddress: @Sendable () async throws -> String
  /// What `doctor` finds here.
  let examine: @Sendable () async -> [FindingDocument]
  /// Ends the open streams of a cluster whose certificates have just become void.
  let closeStreams: @Sendable (ClusterName, Timestamp) -> Void
  /// What is to be swept soon.
  var sweeps = SweepRequests()
  /// Proxies that are believed whom they speak for.
  var addresses = ClientAddress()
  /// Hosts inside that webhooks may name.
  var privateHosts: Set<String> = []
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
    authenticator = Authenticator(
      store: services.store, changes: services.access, addresses: services.addresses, logger: services.logger)
  }

  /// Every route there is.
  var routes: [Route] {
    let described =
      serverRoutes + workflowRoutes + planRoutes + streamRoutes + clusterRoutes + dataRoutes + argoRoutes
      + argoObjectRoutes + argoSubmitRoutes + argoArchiveRoutes + argoArtifactRoutes + argoSyncRoutes + kubernetesRoutes
      + objectRoutes
      + jobRoutes + machineTypeRoutes
    return described + [documentRoute(describing: described)]
  }

  private var dataRoutes: [Route] {
    datasetRoutes + datasetObjectRoutes + transferRoutes + secretRoutes + priceRoutes + projectRoutes
      + organisationRoutes
      + memberRoutes
      + userRoutes + tokenRoutes + quotaRoutes + budgetMemberRoutes + alertHookRoutes + fairShareRoutes
  }

  func router() -> Router<APIContext> {
    let router = Router(context: APIContext.self)
    router.add(middleware: ErrorMapping(metrics: services.metrics))
    if let standby { router.add(middleware: standby) }
    for route in routes {
      router.on(RouterPath(route.path), method: route.method) { request, context in
        guard !request.uri.string.contains("%00") else {
          throw FederationError(.invalidArgument, "the URL must not hold the character NUL (%00)")
        }
        return try await answer(request, context, by: route)
      }
    }
    return router
  }

  /// Who asks, whether they may, and what they get. What is refused is noted.
  private func answer(_ request: Request, _ context: APIContext, by route: Route) async throws -> Response {
    guard route.access != .open else { return try await route.handler(request, context) }
    var context = context
    do {
      let caller: Caller
      do { caller = try await authenticator.caller(of: request, context) } catch let error as FederationError
        where error.code == .unauthenticated
      {
        throw Denial(answer: error)
      }
      context.caller = caller
      let project = try Self.project(of: request, context)
      let organisation = try context.parameters.get("o").map { _ in OrganisationName(try context.parameter("o")) }
      try Authorisation.admit(route.access, in: project, organisation, caller)
      let response = try await route.handler(request, context)
      guard response.body.contentLength == nil else { return response }
      // A stream outlives the moment at which its reader was admitted.
      return response.asking { [authenticator, context] in
        try Authorisation.admit(
          route.access, in: project, organisation, try await authenticator.caller(of: request, context))
      }
    } catch let denial as Denial {
      services.denials.note(
        DenialLog.Refused(
          actor: context.caller?.user ?? "", address: authenticator.address(of: request, context),
          action: "\(route.method.rawValue) \(route.path)", object: String(request.uri.path.prefix(200)),
          reason: denial.answer.publicMessage), at: .wallClock)
      throw denial.answer
    }
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
