internal import ArgumentParser
internal import FederationModel
internal import Yams

/// Values for a workflow's parameters, one by one or of a file.
struct ParameterOptions: ParsableArguments {
  @Option(name: [.customShort("p"), .customLong("parameter")], help: "NAME=VALUE, as often as needed.")
  var parameters: [String] = []
  @Option(help: "A file of NAME: VALUE (YAML or JSON), or - for standard input; -p goes before it.")
  var parameterFile: String?

  /// - Throws: a usage failure for what is no `NAME=VALUE`, and for a file that is no map.
  func values() throws -> [String: String] {
    let given = try WorkflowFile.values(parameters)
    guard let parameterFile else { return given }
    return try Self.read(try WorkflowFile.read(parameterFile), parameterFile).merging(given) { $1 }
  }

  /// What is no text becomes one: numbers as they are written, lists and maps as JSON.
  static func read(_ text: String, _ file: String) throws -> [String: String] {
    let root: Node?
    do { root = try Yams.compose(yaml: text) } catch {
      throw CommandFailure(.usage, "\(file) is no YAML: \(error)")
    }
    guard case .mapping(let members)? = root else {
      throw CommandFailure(.usage, "\(file) is no map of parameters: write NAME: VALUE, one a line.")
    }
    var values: [String: String] = [:]
    for (key, value) in members {
      guard let name = key.scalar?.string else {
        throw CommandFailure(.usage, "\(file): the name of a parameter is a text.")
      }
      values[name] = value.scalar?.string ?? json(value).description
    }
    return values
  }

  private static func json(_ node: Node) -> JSONValue {
    switch node {
    case .mapping(let members):
      var object: [String: JSONValue] = [:]
      for (key, value) in members { object[key.scalar?.string ?? ""] = json(value) }
      return .object(object)
    case .sequence(let items): return .array(items.map(json))
    case .scalar(let scalar):
      // Quoted, it is a text whatever it looks like.
      guard scalar.style == .plain || scalar.style == .any else { return .string(scalar.string) }
      if node.null != nil { return .null }
      return node.bool.map { .bool($0) } ?? node.int.map { .integer(Int64($0)) } ?? node.float.map { .number($0) }
        ?? .string(scalar.string)
    case .alias: return .null
    }
  }
}
