public import FederationModel

/// What users send together: documents of Argo's kinds, and config maps for them.
public struct DocumentStream: Sendable {
  /// In the order of the text.
  public var documents: [ArgoDocument]
  /// As they are written.
  public var configMaps: [JSONValue]

  /// Reads a text of YAML documents, or of one JSON document.
  ///
  /// - Throws: `DocumentErrors` with the problems of all documents of Argo's kinds. Config maps are not looked at.
  public init(
    _ bytes: some Collection<UInt8>, strict: Bool = true, limits: DocumentLimits = .standard
  ) throws(DocumentErrors) {
    let bytes = Array(bytes.prefix(limits.bytes + 1))
    let roots = try DocumentSource.trees(of: bytes, format: .auto, limits: limits)
    let others = roots.filter { !Self.isConfigMap($0) }
    configMaps = roots.filter(Self.isConfigMap).map(\.jsonValue)
    guard !configMaps.isEmpty else {
      documents = try ArgoDocument.decodeAll(bytes, strict: strict, limits: limits)
      return
    }
    guard !others.isEmpty else {
      documents = []
      return
    }
    // Beside config maps, lines are not told: what is left is a text of its own.
    let text = others.map(\.canonicalJSON).joined(separator: "\n---\n")
    documents = try ArgoDocument.decodeAll(Array(text.utf8), format: .yaml, strict: strict, limits: .stored)
  }

  private static func isConfigMap(_ root: DocumentNode) -> Bool { root["kind"]?.scalarText == "ConfigMap" }
}
