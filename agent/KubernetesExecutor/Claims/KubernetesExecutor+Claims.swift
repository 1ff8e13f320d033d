internal import FederationModel
internal import KubernetesAPI
internal import Logging

/// Volume claims that workflows have here: one for each of their templates, from the first run that mounts it to the workflow's end.
extension KubernetesExecutor {
  /// Of a workflow that has claims here.
  public struct ClaimOwner: Hashable, Sendable {
    public var workflow: String
    /// They go with the end of the workflow even if that failed.
    public var goesWithFailure: Bool
  }

  func claimWatch(of namespace: String) -> Task<Void, Never> {
    let mark = mark
    let claims = Reflector(
      client: client, path: KubernetesPath.collection("v1", "persistentvolumeclaims", namespace: namespace),
      query: [("labelSelector", "\(ObjectName.markLabel)=\(mark)")]
    ) { ClaimFacts($0, mark: mark) }
    return Task { [weak self] in
      for await change in claims.changes() {
        await self?.heard("\(namespace)/persistentvolumeclaims", change) { $0.saw($1, in: namespace) }
      }
    }
  }

  private func saw(_ change: Reflector<ClaimFacts>.Change, in namespace: String) {
    switch change {
    case .synchronized(let claims):
      self.claims = self.claims.filter { $0.value.namespace != namespace }
      for claim in claims { self.claims[claim.uid] = claim }
    case .changed(let claim): claims[claim.uid] = claim
    case .deleted(let claim): claims[claim.uid] = nil
    case .silent: break
    }
  }

  /// Makes what a run mounts, before its Job: a request for each claim of a workflow, not for each of its runs.
  ///
  /// - Returns: why the run can never start; nil: all are there.
  func createClaims(_ manifest: JobManifest) async throws(FederationError) -> String? {
    for claim in manifest.claims {
      let known = claims.values.contains {
        $0.name == claim.name && $0.namespace == manifest.namespace && !$0.isDeleting
      }
      if known { continue }
      let made: JSONValue
      do throws(FederationError) {
        made = try await client.create(
          KubernetesPath.collection("v1", "persistentvolumeclaims", namespace: manifest.namespace), claim.object)
      } catch {
        guard error.code == .alreadyExists else { throw error }
        made = try await client.get(
          KubernetesPath.object("v1", "persistentvolumeclaims", namespace: manifest.namespace, name: claim.name))
      }
      guard let facts = ClaimFacts(made, mark: mark) else {
        return "there is a volume claim \(claim.name) in namespace \(manifest.namespace) that is somebody else's"
      }
      guard !facts.isDeleting else {
        throw FederationError(
          .unavailable, "an earlier volume claim \(claim.name) is still being deleted", retryAfter: .seconds(5))
      }
      claims[facts.uid] = facts
    }
    return nil
  }

  /// Whose claims there are.
  public func claimOwners() -> [ClaimOwner] {
    let found = claims.values.filter { !$0.isDeleting }.map {
      ClaimOwner(workflow: $0.workflow, goesWithFailure: $0.goesWithFailure)
    }
    return Set(found).sorted { $0.workflow < $1.workflow }
  }

  /// Those that have claims here, or had until a moment ago: an order that is on its way may still mean these.
  public var workflowsWithClaims: Set<String> {
    claimsRemovedAt = claimsRemovedAt.filter { clock.now - $0.value < Self.orderPatience }
    return Set(claims.values.map(\.workflow)).union(claimsRemovedAt.keys)
  }

  private static var orderPatience: Duration { .seconds(60) }

  /// Deletes all claims of workflows: ours alone, by their UID. What cannot be deleted now is asked for again, because it is told again.
  public func removeClaims(of workflows: Set<String>) async {
    for claim in claims.values where workflows.contains(claim.workflow) && !claim.isDeleting {
      do throws(FederationError) {
        _ = try await client.delete(
          KubernetesPath.object("v1", "persistentvolumeclaims", namespace: claim.namespace, name: claim.name),
          options: Self.precondition(claim.uid))
        claims[claim.uid]?.isDeleting = true
        claimsRemovedAt[claim.workflow] = clock.now
        logger.info(
          "a volume claim of a workflow that is over was deleted",
          metadata: ["workflow": "\(claim.workflow)", "claim": "\(claim.name)"])
      } catch {
        guard error.code == .notFound || error.code == .failedPrecondition || error.code == .alreadyExists else {
          noteRefusal("delete persistentvolumeclaims", error)
          continue
        }
        claims[claim.uid] = nil
      }
    }
  }
}
