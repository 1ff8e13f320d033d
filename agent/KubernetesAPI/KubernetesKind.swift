public import FederationModel

/// A kind of objects, as an API server serves it.
public struct KubernetesKind: Hashable, Sendable {
  /// `v1`, `batch/v1`.
  public var apiVersion: String
  /// In addresses: `jobs`.
  public var plural: String
  /// `Job`.
  public var kind: String
  public var isNamespaced: Bool

  public init(apiVersion: String, plural: String, kind: String, isNamespaced: Bool) {
    self.apiVersion = apiVersion
    self.plural = plural
    self.kind = kind
    self.isNamespaced = isNamespaced
  }

  /// Of all its objects.
  ///
  /// - Parameter namespace: passed over for kinds that have none.
  public func collection(in namespace: String) -> String {
    KubernetesPath.collection(apiVersion, plural, namespace: isNamespaced ? namespace : nil)
  }

  public func path(of name: String, in namespace: String) -> String {
    KubernetesPath.object(apiVersion, plural, namespace: isNamespaced ? namespace : nil, name: name)
  }

  /// As kubectl names an object: `job.batch/x`, `configmap/x`.
  public func title(of name: String) -> String {
    let group = apiVersion.split(separator: "/").dropLast().first.map { ".\($0)" } ?? ""
    return "\(kind.lowercased())\(group)/\(name)"
  }
}

/// - Source: Kubernetes documentation, "The Kubernetes API", API groups and versioning: `APIResourceList`, `APIGroupList`.
extension KubernetesClient {
  /// - Parameter apiVersion: `v1`, or a group with its version.
  /// - Throws: `.notFound` for what the API server does not serve, in kubectl's words.
  public func kind(_ kind: String, of apiVersion: String) async throws(FederationError) -> KubernetesKind {
    let missing = FederationError(.notFound, "no matches for kind \"\(kind)\" in version \"\(apiVersion)\"")
    let found = try await resources(of: apiVersion) ?? []
    guard let resource = found.first(where: { $0["kind"]?.stringValue == kind }),
      let served = KubernetesKind(resource, of: apiVersion)
    else { throw missing }
    return served
  }

  /// The kind that kubectl understands by a word: a plural, a singular, a short name or a kind, perhaps with its group
  /// (`jobs.batch`, `deployments.v1.apps`). Of several groups the first that has it.
  ///
  /// - Throws: `.notFound` for what the API server does not serve, in kubectl's words.
  public func kind(named word: String) async throws(FederationError) -> KubernetesKind {
    let parts = word.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false).map { $0.lowercased() }
    let group = parts.count > 1 ? parts[1] : nil
    if group == nil, let found = try await resource(parts[0], of: "v1") { return found }
    let groups = try await get("/apis")["groups"]?.arrayValue ?? []
    for entry in groups {
      guard let name = entry["name"]?.stringValue else { continue }
      let versions = (entry["versions"]?.arrayValue ?? []).compactMap { $0["version"]?.stringValue }
      let preferred = entry["preferredVersion"]?["version"]?.stringValue ?? versions.first
      let chosen = group == nil || group == name ? preferred : versions.first { group == "\($0).\(name)" }
      guard let chosen, let found = try await resource(parts[0], of: "\(name)/\(chosen)") else { continue }
      return found
    }
    throw FederationError(.notFound, "the server doesn't have a resource type \"\(word)\"")
  }

  private func resource(_ word: String, of apiVersion: String) async throws(FederationError) -> KubernetesKind? {
    let found = try await resources(of: apiVersion) ?? []
    return found.first { resource in
      let names = [resource["name"], resource["singularName"]] + (resource["shortNames"]?.arrayValue ?? [])
      return names.contains { $0?.stringValue == word } || resource["kind"]?.stringValue?.lowercased() == word
    }.flatMap { KubernetesKind($0, of: apiVersion) }
  }

  /// Without what is a part of others (`pods/log`); nil: there is no such version.
  private func resources(of apiVersion: String) async throws(FederationError) -> [JSONValue]? {
    let parts = apiVersion.split(separator: "/", omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), parts.allSatisfy({ !$0.isEmpty && $0 != ".." && $0 != "." }) else {
      return nil
    }
    let path =
      (parts.count == 1 ? "/api/" : "/apis/") + parts.map { KubernetesPath.escaped(String($0)) }.joined(separator: "/")
    do throws(FederationError) {
      return (try await get(path)["resources"]?.arrayValue ?? [])
        .filter { $0["name"]?.stringValue?.contains("/") == false }
    } catch {
      guard error.code == .notFound else { throw error }
      return nil
    }
  }
}

extension KubernetesKind {
  fileprivate init?(_ resource: JSONValue, of apiVersion: String) {
    guard let plural = resource["name"]?.stringValue, let kind = resource["kind"]?.stringValue else { return nil }
    self.init(
      apiVersion: apiVersion, plural: plural, kind: kind, isNamespaced: resource["namespaced"]?.boolValue ?? false)
  }
}
