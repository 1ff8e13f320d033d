import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import Hummingbird
import SchedulerCore

extension APIServer {
  var fairShareRoutes: [Route] {
    let one = "/v1/projects/:p"
    return [
      Route(
        .get, "/v1/fairshare", .anywhere(.read, .quota), "Whose turn it is, of the projects that the caller may see."
      ) { _, context in
        let caller = try context.signedIn()
        return try await fairShare { caller.rights.allows(Permission(.read, .quota), in: $0) }
      },
      Route(.get, "\(one)/fairshare", .project(.read, .quota), "One project's share.") { _, context in
        let name = ProjectName(try context.parameter("p"))
        guard try await services.store.projects().contains(where: { $0.name == name }) else {
          throw FederationError(
            .notFound, "there is no project \(name); an administrator makes it: fubini project create \(name)")
        }
        return try await fairShare { $0 == name }
      },
      Route(
        .put, "\(one)/weight", .federation(.update, .quota),
        "Sets a project's part of what is shared, compared with the other projects'."
      ) { request, context in
        let bytes = try await request.bytes()
        let body = try JSONBody.decode(WeightRequest.self, from: bytes)
        return try await change(.setWeight(body.weight), request, context, bytes)
      },
    ]
  }

  /// - Parameter isVisible: whose names and numbers the caller may know; of the others nothing is told but how many wait.
  private func fairShare(_ isVisible: (ProjectName) -> Bool) async throws -> Response {
    let status = try await services.commands.fairShare()
    return try .json(
      FairShareList(
        halfLifeSeconds: status.halfLife.seconds, capacity: ShareUseDocument(status.capacity),
        items: status.projects.filter { isVisible($0.project) }.map(FairShareDocument.init),
        waitingProjects: status.projects.count { $0.place != nil },
        next: status.next.map { Self.reason($0, status, isVisible: isVisible($0.project)) }))
  }

  private static func reason(_ next: ShareStatus, _ status: FairShareStatus, isVisible: Bool) -> String {
    let count = status.projects.count { $0.place != nil }
    let others = count == 1 ? "nobody else has anything waiting" : "of \(count) projects that have something waiting"
    guard isVisible else { return "another project is next: \(others) it has used the least for its weight" }
    let numbers =
      "it has used \(percent(next.usedPart)) (\(next.dominant.rawValue)) and is entitled to \(percent(next.entitled))"
    return count == 1
      ? "\(next.project) is next: \(others); \(numbers)"
      : "\(next.project) is next: \(others) it has used the least for its weight: \(numbers)"
  }

  private static func percent(_ part: Double) -> String { "\((part * 1000).rounded() / 10) %" }
}

extension ShareUseDocument {
  init(_ use: ResourceSeconds) { self.init(cores: use.cpu, gibibytes: use.memory, gpus: use.gpu) }
}

extension FairShareDocument {
  init(_ status: ShareStatus) {
    self.init(
      organisation: status.organisation.text, project: status.project.text, weight: status.weight,
      entitled: status.entitled, usedPart: status.usedPart, used: ShareUseDocument(status.used),
      dominant: status.dominant.rawValue, factor: status.factor, place: status.place, waiting: status.waiting,
      running: status.running, organisationWeight: status.organisationWeight)
  }
}
