internal import FederationAPI
internal import FederationModel

/// `[PROJECT/]NAME[@VERSION]`, as people write it.
struct DatasetName: Equatable, Sendable {
  /// nil: the project of the command.
  var project: String?
  var name: String
  /// nil: the newest.
  var version: Int32?
  /// Whether one was named, `latest` included.
  private(set) var hasVersion = false

  /// - Throws: usage.
  init(_ text: String) throws {
    var rest = text[...]
    if let at = rest.lastIndex(of: "@") {
      let word = rest[rest.index(after: at)...]
      rest = rest[..<at]
      hasVersion = true
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

  /// The one of a data set's versions, newest first, that is meant.
  func only<Item>(_ items: [Item], _ number: (Item) -> Int32) throws -> [Item] {
    guard let item = version.map({ wanted in items.first { number($0) == wanted } }) ?? items.first else {
      throw CommandFailure(.error, "\(name) has no version \(versionWord).")
    }
    return [item]
  }

  /// Makes the data set unless it is there.
  func declare(_ request: DatasetRequest, _ client: APIClient) async throws {
    do {
      let _: DatasetDocument = try await client.post(
        ["v1", "projects", project ?? client.connection.project, "datasets"], body: request)
    } catch let failure as CommandFailure where failure.message.contains("exists already") {}
  }

  /// - Throws: usage, for a command that is about all versions and was given one.
  func withoutVersion(_ command: String) throws -> Self {
    guard !hasVersion else {
      throw CommandFailure(.usage, "\(command) is about the data set with all its versions: name it without one.")
    }
    return self
  }

  func path(_ client: APIClient, _ rest: String...) -> [String] {
    ["v1", "projects", project ?? client.connection.project, "datasets", name] + rest
  }

  var versionWord: String { version.map(String.init) ?? "latest" }
}
