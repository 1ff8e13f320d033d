/// The version of every program built from this package.
public enum ProductVersion {
  /// Semantic versioning; the agent protocol has versions of its own.
  public static let current = "0.1.0"
}
