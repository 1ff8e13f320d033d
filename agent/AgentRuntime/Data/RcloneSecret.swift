/// What the parameters of a backend of rclone's may say: all that it needs, and nothing about the machine that it runs on.
enum RcloneSecret {
  /// Backends that are told everything they need, and what each must be given because it asks the machine that it runs on otherwise.
  /// rclone finds a backend by its name, by its prefix, and by its name without blanks; whatever is not here is refused, so that no
  /// backend, and no other spelling of one, comes in by itself.
  private static let backends: [String: Requirement] = {
    var backends: [String: Requirement] = [
      "azureblob": .azure, "azurefiles": .azure, "hdfs": .all(["username"]), "sftp": .oneOf(["pass", "key_pem"]),
    ]
    for name in ["google cloud storage", "googlecloudstorage", "gcs"] { backends[name] = .google }
    for name in ["oracleobjectstorage", "oos"] { backends[name] = .oracle }
    for name in [
      "amazon cloud drive", "amazonclouddrive", "acd", "b2", "box", "cloudinary", "doi", "drive", "dropbox", "fichier",
      "filefabric", "filelu", "filescom", "ftp", "gofile", "google photos", "googlephotos", "gphotos", "hidrive",
      "http",
      "iclouddrive", "imagekit", "internetarchive", "jottacloud", "koofr", "linkbox", "mailru", "mega", "netstorage",
      "onedrive", "opendrive", "pcloud", "pikpak", "pixeldrain", "premiumizeme", "protondrive", "putio", "qingstor",
      "quatrix", "s3", "seafile", "sharefile", "sia", "smb", "storj", "sugarsync", "swift", "tardigrade", "ulozto",
      "uptobox", "webdav", "yandex", "zoho",
    ] {
      backends[name] = .all([])
    }
    return backends
  }()

  private enum Requirement {
    case all([String])
    case oneOf([String])
    case azure, google, oracle
  }

  static func isKnown(_ type: String) -> Bool { backends[type] != nil }

  /// Whether a parameter is written as rclone writes its own; another spelling might be read as one that is refused.
  static func isParameter(_ name: String) -> Bool {
    name.utf8.allSatisfy { byte in (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte) || byte == 0x5f }
  }

  /// What somebody is called, or proves it with: text of any language, and no host.
  static func isText(_ name: String) -> Bool { ["user", "username", "pass", "password"].contains(name) }

  /// Headers by which clouds' metadata services know their own clients (`Metadata-Flavor: Google`, `Metadata: true`,
  /// `X-aws-ec2-metadata-token`): nobody else asks for them.
  static func asksForIdentity(_ name: String, _ value: String) -> Bool {
    name == "headers" && value.lowercased().contains("metadata")
  }

  /// - Parameter name: of a parameter.
  static func reachesIntoTheMachine(_ name: String) -> Bool {
    let exact: Set<String> = [
      "ssh", "remote", "upstreams", "profile", "ask_password", "key_use_agent", "use_emulator", "config_profile",
      "server_command", "subsystem", "iam_role", "iam_role_arn", "role_arn", "impersonate_service_account",
    ]
    let parts = [
      "env_auth", "use_msi", "use_az", "kerberos", "service_principal", "credentials_file", "socket", "proxy",
      "instance_principal",
    ]
    return exact.contains(name) || name.hasPrefix("msi_") || name.hasPrefix("override")
      || name.hasPrefix("imds") || name.hasSuffix("_file") || name.hasSuffix("_command") || name.hasSuffix("_path")
      || parts.contains { name.contains($0) }
  }

  /// Of a known backend: what has to be given; nil when it is, or nothing has to be.
  static func missing(_ type: String, _ parameters: [String: String]) -> String? {
    func isGiven(_ name: String) -> Bool { parameters[name]?.isEmpty == false }
    switch backends[type] ?? .all([]) {
    case .all(let names): return names.first { !isGiven($0) }
    case .oneOf(let names): return names.contains(where: isGiven) ? nil : names.joined(separator: " or ")
    case .google:
      // Of a token that it cannot read, and of parameters that its release does not know, rclone makes no error: it asks for
      // the machine's own account.
      let isOpen = parameters["anonymous"] == "true"
      return isOpen || isGiven("service_account_credentials") ? nil : "service_account_credentials or anonymous = true"
    case .azure:
      let isNamed = isGiven("tenant") && isGiven("client_id") && isGiven("client_secret")
      return isGiven("key") || isGiven("sas_url") || isGiven("connection_string") || isNamed
        ? nil : "key, sas_url or client_secret"
    case .oracle: return parameters["provider"] == "no_auth" ? nil : "provider = no_auth"
    }
  }
}
