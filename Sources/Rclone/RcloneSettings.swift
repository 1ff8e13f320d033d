public import FederationModel

/// How one `rclone rcd` is started.
public struct RcloneSettings: Sendable {
  /// A path, or a name that is looked up in PATH.
  public var program = "rclone"
  /// Variables for it, read anew at each start: they may hold secrets, so they are in its environment alone (I9). They win over what
  /// it would see of this process.
  public var environment: @Sendable () throws(FederationError) -> [String: String] = { [:] }
  /// Variables of this process that it may see as well, besides PATH, HOME and those that name proxies.
  public var inherits: @Sendable (_ name: String) -> Bool = { _ in false }
  /// Where it listens: a unix socket that only our user can reach, of at most 100 bytes. nil, or a release that offers none: loopback.
  public var socketPath: String?
  /// Of its cache of open files, for each file.
  public var bufferSize = "1Mi"

  public init() {}
}
