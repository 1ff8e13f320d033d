import FederationModel

/// `securityContext`: runs are processes of an ordinary user, without capabilities, in a sandbox. What asks for that has what it asks for;
/// what asks for more is refused.
extension DocumentReader {
  mutating func readSecurityContext(_ node: DocumentNode) {
    fields(of: node, FieldTables.securityContext) { reader, key, value in
      if value.isNull { return }
      switch key {
      case "privileged": if reader.bool(value) == true { reader.refuse("a run has no rights over its machine", value) }
      case "procMount":
        if reader.text(value) != "Default" { reader.refuse("a run does not see more of /proc than its own", value) }
      case "runAsUser":
        if reader.integer(value, in: 0...Int64(UInt32.max)) == 0 {
          reader.refuse("runs are never root", value)
        } else {
          reader.warn("runs have the user and group that their cluster gives them")
        }
      case "capabilities":
        reader.fields(of: value, FieldTables.capabilities) { reader, key, value in
          let names = reader.texts(value)
          if key == "add", !names.isEmpty {
            reader.refuse("runs have no capabilities, and cannot be given \(names.joined(separator: ", "))", value)
          }
        }
      // Runs are not root, and gain no privileges by programs that they start, whatever is written.
      default: _ = reader.bool(value)
      }
    }
  }

  /// Of a stored document an earlier release has accepted it.
  private mutating func refuse(_ reason: String, _ node: DocumentNode) {
    if !isTrusted { report(reason, at: node.mark) }
  }
}
