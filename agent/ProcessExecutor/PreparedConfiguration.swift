package import FederationModel

/// The `/etc` that runs on the host's own tools see: chosen files, the same for every run.
package enum PreparedConfiguration {
  /// Copied from the host where they exist; none of them holds a secret.
  static let copied = [
    "hosts", "resolv.conf", "nsswitch.conf", "ld.so.cache", "ld.so.conf", "localtime", "timezone", "mime.types",
    "services",
    "protocols", "gai.conf", "host.conf", "shells", "os-release", "debian_version", "magic",
  ]

  /// Writes it anew, so that a restart takes up what has changed on the host. Returns its path.
  package static func write(in directory: String, identity: RunIdentity) throws(FederationError) -> String {
    let etc = directory + "/etc"
    try HostFiles.makeDirectory(etc, mode: 0o755)
    for name in copied {
      // Links are followed: localtime and resolv.conf usually are some.
      guard let bytes = readFollowingLinks("/etc/" + name, limit: 8 << 20) else { continue }
      try HostFiles.write(etc + "/" + name, bytes, mode: 0o644)
    }
    let user = "fubini:x:\(identity.user):\(identity.group):Fubini run:/workspace:/bin/sh\n"
    try HostFiles.write(etc + "/passwd", "root:x:0:0:root:/root:/bin/sh\n\(user)".utf8, mode: 0o644)
    try HostFiles.write(etc + "/group", "root:x:0:\nfubini:x:\(identity.group):\n".utf8, mode: 0o644)
    // Places for what is bound over it.
    for path in Sandbox.hostConfiguration where HostFiles.exists(path) {
      try HostFiles.makeDirectory(etc + path.dropFirst(4), mode: 0o755)
    }
    return etc
  }

  private static func readFollowingLinks(_ path: String, limit: Int) -> [UInt8]? {
    HostFiles.resolve(path).flatMap { HostFiles.read($0, limit: limit) }
  }
}
