internal import FederationModel

/// `[PROJECT/]NAME[@VERSION]`, as people write it.
struct DatasetName: Equatable, Sendable {
  /// nil: the project of the command.
  var project: String?
  var name: String
  /// nil: the newest.
  var version: Int32?

  /// - Throws: usage.
  init(_ text: String) throws {
    var rest = text[...]
    if let at = rest.lastIndex(of: "@") {
      let word = rest[rest.index(after: at)...]
      rest = rest[..<at]
      if word != "latest" {
        guard let number = Int32(word), number > 0 else {
          throw CommandFailure(.usage, "A version is a number from 1, or latest, not \"\(word)\".")
        }
        version = number
      }
    }
    if let slash = rest.firstIndex(of: "/") {
      project = String(rest[..<slash])
      rest = rest[rest.index(after: slash)...]
    }
    name = String(rest)
    guard DatasetReference.isName(name), project.map(DatasetReference.isName) ?? true else {
      throw CommandFailure(
        .usage, "A data set is named like water-md, water-md@3 or project/water-md, not \"\(text)\".")
    }
  }

  func path(_ client: APIClient, _ rest: String...) -> [String] {
    ["v1", "projects", project ?? client.connection.project, "datasets", name] + rest
  }

  var versionWord: String { version.map(String.init) ?? "latest" }
}
