/// The labels that Kubernetes gives every node, for clusters that are none: documents ask for them.
///
/// - Source: Kubernetes, "Well-Known Labels"; values as in Go's `GOOS` and `GOARCH`.
public enum MachineLabels {
  public static let system = "kubernetes.io/os"
  public static let architecture = "kubernetes.io/arch"
  public static let names: Set<String> = [system, architecture]
  /// By the names that nodes had for the same before Kubernetes 1.14, and that documents still use.
  public static let currentName = ["beta.kubernetes.io/os": system, "beta.kubernetes.io/arch": architecture]

  /// Of the machine that this was compiled for.
  public static var own: [String: String] {
    #if os(Linux)
      var labels = [system: "linux"]
    #else
      var labels: [String: String] = [:]
    #endif
    #if arch(x86_64)
      labels[architecture] = "amd64"
    #elseif arch(arm64)
      labels[architecture] = "arm64"
    #endif
    return labels
  }
}
