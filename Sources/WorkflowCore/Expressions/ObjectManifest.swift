public import FederationModel

/// The text of a `resource` template's manifest.
public enum ObjectManifest {
  /// The objects that it has, YAML or JSON; documents that are empty are left out, and `List`s are taken apart.
  ///
  /// - Throws: `FederationError` (`invalidArgument`) for what is neither.
  public static func objects(_ text: String) throws(FederationError) -> [JSONValue] {
    let trees: [DocumentNode]
    do throws(DocumentErrors) {
      trees = try DocumentSource.trees(of: Array(text.utf8), format: .auto, limits: .standard)
    } catch {
      let problem = error.problems.first.map { ": \($0.message)" } ?? ""
      throw FederationError(.invalidArgument, "the manifest is neither YAML nor JSON\(problem)")
    }
    return trees.filter { !$0.isNull }.map(\.jsonValue).flatMap { object in
      guard object["kind"]?.stringValue == "List", let items = object["items"]?.arrayValue else { return [object] }
      return items
    }
  }
}
