import FederationModel
import Foundation
import Rclone

/// An S3 bucket, and how to reach it. Credentials are named by file, and read when the daemon starts.
public struct BucketConfiguration: Sendable, Equatable {
  public var bucket: String
  /// Before every key; nil: none.
  public var prefix: String?
  /// URL of the service; nil: AWS.
  public var endpoint: String?
  public var region: String?
  /// Whether the bucket is part of the path instead of the host name.
  public var pathStyle = true
  /// Files with one line each; without them the environment's or the machine's own credentials are used.
  public var accessKeyIDFile: String?
  public var secretAccessKeyFile: String?
  /// PEM file with the CA of the endpoint's certificate; nil: the system's.
  public var certificateAuthorityFile: String?
  /// The program; looked up in PATH without a slash.
  public var rclone = "rclone"

  public init(bucket: String) { self.bucket = bucket }

  /// The bucket and prefix as rclone names them.
  var remote: String { "s3:" + bucket + (prefix.map { "/" + $0 } ?? "") }

  /// What tells rclone of the bucket. Holds secrets: for a child's environment alone (I9).
  ///
  /// - Source: rclone's documentation, "Config file options as environment variables", and of its S3 backend.
  func environment(read: (String) throws(FederationError) -> String) throws(FederationError) -> [String: String] {
    var values = [
      "RCLONE_CONFIG_S3_TYPE": "s3",
      "RCLONE_CONFIG_S3_PROVIDER": endpoint == nil ? "AWS" : "Other",
      "RCLONE_CONFIG_S3_FORCE_PATH_STYLE": pathStyle ? "true" : "false",
      // The bucket is the operator's to make, and rights to ask for it need not exist.
      "RCLONE_CONFIG_S3_NO_CHECK_BUCKET": "true",
      // We look at what has arrived ourselves.
      "RCLONE_CONFIG_S3_NO_HEAD": "true",
    ]
    if let endpoint { values["RCLONE_CONFIG_S3_ENDPOINT"] = endpoint }
    if let region { values["RCLONE_CONFIG_S3_REGION"] = region }
    if let certificateAuthorityFile { values["RCLONE_CA_CERT"] = certificateAuthorityFile }
    if let accessKeyIDFile, let secretAccessKeyFile {
      values["RCLONE_CONFIG_S3_ACCESS_KEY_ID"] = try read(accessKeyIDFile)
      values["RCLONE_CONFIG_S3_SECRET_ACCESS_KEY"] = try read(secretAccessKeyFile)
    } else {
      values["RCLONE_CONFIG_S3_ENV_AUTH"] = "true"
    }
    return values
  }

  /// How the daemon is started.
  var rcloneSettings: RcloneSettings {
    var settings = RcloneSettings()
    settings.program = rclone
    settings.environment = { [self] () throws(FederationError) in
      try environment { (path) throws(FederationError) in try Self.secret(path) }
    }
    settings.inherits = { $0.hasPrefix("AWS_") }
    return settings
  }

  /// One line of a file.
  private static func secret(_ path: String) throws(FederationError) -> String {
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
      throw FederationError(.failedPrecondition, "the credentials file \(path) cannot be read")
    }
    let line = text.trimmingCharacters(in: .whitespacesAndNewlines)
    guard !line.isEmpty, !line.contains("\n") else {
      throw FederationError(.failedPrecondition, "the credentials file \(path) must hold one line")
    }
    return line
  }
}
