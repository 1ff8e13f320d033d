public import FederationModel

/// What an operator declares for volume claims.
public struct ClaimDirectories: Hashable, Sendable, Codable {
  /// Where workflows have directories of their own: seen under the same path by everything that runs here. nil: they have none.
  public var directory: String?
  /// Directories by the names of the claims that they are.
  public var named: [String: String]
  /// The federation and the cluster: nothing is deleted that does not carry it (I7).
  public var mark: String

  public init(directory: String? = nil, named: [String: String] = [:], mark: String = "") {
    self.directory = directory
    self.named = named
    self.mark = mark
  }

  /// Of all that one workflow has here.
  public static func workflowDirectory(_ uid: String, of project: ProjectName, in directory: String) -> String {
    "\(directory)/\(project)/\(uid)"
  }

  /// In that directory: the mark, and whether it goes with a workflow that failed.
  public static let markName = ".fubini"

  /// Whether a text may be one part of a path.
  public static func isPart(_ text: String) -> Bool {
    !text.isEmpty && text.utf8.count <= 253 && text != "." && text != ".." && text != markName
      && text.utf8.allSatisfy { byte in
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
          || byte == 0x2d || byte == 0x2e || byte == 0x5f
      }
  }
}

/// A directory of the host that a run sees at a path of its own.
public struct SharedDirectory: Hashable, Sendable {
  /// Absolute, on the host.
  public var source: String
  /// Absolute, as the run sees it.
  public var path: String
  public var isReadOnly: Bool
  public init(source: String, path: String, isReadOnly: Bool) {
    self.source = source
    self.path = path
    self.isReadOnly = isReadOnly
  }
}
