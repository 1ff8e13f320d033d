import ControlPlaneCore
import ControlPlaneStore
import FederationModel

extension APIServer {
  /// The clusters that a caller may see, by name: all of them by a role in the federation, else those that a project may use in which the
  /// caller has the permission. The others are not there.
  ///
  /// - Parameter statuses: nil: they are asked for.
  func visibleClusters(
    to caller: Caller, for permission: Permission, _ statuses: [ClusterName: ClusterStatus]? = nil
  ) async throws -> [ClusterRow] {
    let rows = try await services.store.clusters().sorted { $0.spec.name < $1.spec.name }
    guard !caller.rights.allows(permission), let projects = caller.rights.projects(allowing: permission) else {
      return rows
    }
    var known = statuses
    if known == nil { known = await services.commands.clusterStatuses() }
    let limits = Dictionary(
      uniqueKeysWithValues: try await services.store.projects().map { ($0.name, $0.limits) })
    return rows.filter { row in
      projects.contains { project in
        guard row.spec.project == nil || row.spec.project == project,
          limits[project]?.admits(row.spec.name, labels: row.spec.labels) ?? true
        else { return false }
        return known?[row.spec.name]?.inventory.tenancy?.refusal(of: project) == nil
      }
    }
  }
}
