import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import Hummingbird

extension APIServer {
  var quotaRoutes: [Route] {
    let quota = "/v1/projects/:p/quota"
    return [
      Route(.get, quota, .project(.read, .quota), "What a project may use at once, and where, and what it uses.") {
        _, context in
        try .json(try await self.quota(of: ProjectName(try context.parameter("p"))))
      },
      Route(.put, quota, .project(.update, .quota), "Sets all limits of a project. What is left out is not limited.") {
        request, context in
        let name = ProjectName(try context.parameter("p"))
        let bytes = try await request.bytes()
        let limits = try JSONBody.decode(ProjectLimits.self, from: bytes)
        _ = try await services.commands.perform(
          .project(name, .setLimits(limits)), as: try context.signedIn().principal,
          idempotency: try Self.idempotency(request, bytes))
        return try .json(try await self.quota(of: name))
      },
    ]
  }

  private func quota(of name: ProjectName) async throws -> QuotaDocument {
    let projects = try await services.store.projects()
    guard let project = projects.first(where: { $0.name == name }) else {
      throw FederationError(
        .notFound, "there is no project \(name); an administrator makes it: fubini project create \(name)")
    }
    let uses = try await services.store.resourceUse(of: name)
    let storage = try await services.store.storage(of: name)
    return QuotaDocument(
      project: name.text, limits: project.limits, used: uses.values.reduce(into: ResourceUse()) { $0 += $1 },
      usedByCluster: Dictionary(uniqueKeysWithValues: uses.map { ($0.key.text, $0.value) }),
      storageBytes: storage.datasets + storage.outputs,
      warnings: project.limits.guarantee == nil ? nil : await overcommitment(of: projects))
  }

  /// Whether more is guaranteed to all projects than all clusters that are known have.
  private func overcommitment(of projects: [ProjectRow]) async -> [String]? {
    let guarantees = projects.filter { $0.archivedAt == nil }.compactMap(\.limits.guarantee)
    let capacity = await services.commands.clusterStatuses().values.reduce(into: Resources.zero) {
      $0 += $1.inventory.capacity
    }
    // Without a word of the agents nothing can be compared.
    guard capacity != .zero else { return nil }
    func sum(_ part: KeyPath<ResourceQuota, Int64?>) -> Int64 {
      guarantees.reduce(0) { min(1 << 61, $0) + min(1 << 61, $1[keyPath: part] ?? 0) }
    }
    let kinds: [(name: String, guaranteed: Int64, there: Int64)] = [
      ("millicores", sum(\.cpuMillicores), capacity.cpuMillicores), ("GPUs", sum(\.gpus), capacity.gpus),
      ("bytes of memory", sum(\.memoryBytes), capacity.memory.bytes),
    ]
    // What others are guaranteed is theirs to know.
    let warnings = kinds.filter { $0.guaranteed > $0.there }.map {
      "more \($0.name) are guaranteed to all projects together than all clusters have"
    }
    return warnings.isEmpty ? nil : warnings
  }
}
