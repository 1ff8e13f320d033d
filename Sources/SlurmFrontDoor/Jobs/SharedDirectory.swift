/// A directory that clusters and submitting machines see alike: jobs that are submitted below it run in it, and nothing is copied.
///
/// Its operator says so with a file in the directory itself, which is the proof that both see the same one, and each cluster's
/// operator by naming a volume claim for it (`claims.named`).
public struct SharedDirectory: Hashable, Sendable {
  /// The name of the claim, which clusters have.
  public var claim: String
  /// Absolute, as the submitting machine sees it, and the job.
  public var path: String

  /// In the directory: one line, the claim's name.
  public static let markName = ".fubini-shared"

  /// - Parameter mark: the text of the mark.
  /// - Returns: nil for what is no name of a claim.
  public init?(path: String, mark: String) {
    let name = mark.split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
    let isName = name.utf8.allSatisfy {
      (0x61...0x7a).contains($0) || (0x41...0x5a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2d || $0 == 0x2e
        || $0 == 0x5f
    }
    guard isName, (1...63).contains(name.utf8.count), path.hasPrefix("/"), path != "/" else { return nil }
    claim = name
    self.path = path
  }
}
