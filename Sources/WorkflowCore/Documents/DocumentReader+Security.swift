import FederationModel

/// `securityContext`: elsewhere than in Kubernetes, runs are processes of an ordinary user, without capabilities, in a sandbox. What asks
/// for that has what it asks for; what asks for more is for Kubernetes alone (`PodSettings.features`).
extension DocumentReader {
  mutating func readSecurityContext(_ node: DocumentNode) -> JSONValue? {
    var context: [String: JSONValue] = [:]
    fields(of: node, FieldTables.securityContext) { reader, key, value in
      if value.isNull { return }
      switch key {
      case "procMount": _ = reader.text(value)
      case "runAsUser":
        if reader.integer(value, in: 0...Int64(UInt32.max)) != 0 {
          reader.warn("runs have the user and group that their cluster gives them", scope: Self.elsewhere)
        }
      case "capabilities":
        reader.fields(of: value, FieldTables.capabilities) { reader, _, value in _ = reader.texts(value) }
      case "sysctls": _ = reader.list(value) { _, item in item.jsonValue }
      case "allowPrivilegeEscalation", "privileged", "runAsNonRoot": _ = reader.bool(value)
      default: break  // The API looks at it.
      }
      context[key] = value.jsonValue
    }
    return context.isEmpty ? nil : .object(context)
  }
}
