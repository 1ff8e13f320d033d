internal import Execution
internal import FederationModel
internal import Yams

extension ConfigurationParser {
  static let claimKeys = ["directory", "named"]

  static func setClaims(_ node: Node, in configuration: inout AgentConfiguration) throws {
    guard let mapping = node.mapping else { throw invalid("claims", "a mapping of directory and named", node) }
    func path(_ key: String, _ node: Node) throws -> String {
      let path = try text(key, node)
      guard path.hasPrefix("/"), path != "/", !path.contains("/../"), !path.hasSuffix("/..") else {
        throw invalid(key, "an absolute path", node)
      }
      return path
    }
    for (key, value) in mapping {
      switch try name(key, in: claimKeys, of: "claims.") {
      case "directory": configuration.claimDirectory = try path("claims.directory", value)
      default:
        guard let named = value.mapping, named.count <= 256 else {
          throw invalid("claims.named", "a mapping of at most 256 names to directories", value)
        }
        for (name, directory) in named {
          let claim = try text("claims.named", name)
          guard ClaimDirectories.isPart(claim) else { throw invalid("claims.named", "names of claims", name) }
          configuration.namedClaims[claim] = try path("claims.named.\(claim)", directory)
        }
      }
    }
  }
}
