/// A regular expression that lines of a log are searched with, in time linear in the line.
public struct LinePattern: Sendable {
  private let regex: GoRegex

  /// - Throws: `FederationError` (`invalidArgument`) when the pattern is malformed or too long.
  public init(_ pattern: String) throws { regex = try GoRegex(pattern) }

  /// A line beyond `GoRegex.textLimit` is not searched, and counts as one without it.
  public func isFound(in line: String) -> Bool { (try? regex.matches(line)) ?? false }
}
