import FederationModel
import Testing

@testable import AgentRuntime

#if canImport(Glibc)
  import Glibc
#endif

@Suite struct OriginLocationTests {
  private func rclone(_ uri: String, _ secret: [String: String] = [:], file: String? = nil) throws -> (
    type: String, parameters: [String: String], root: String, only: String?
  ) {
    guard
      case .rclone(let type, let parameters, let root, let only, _) = try OriginLocation.parse(
        uri, secret: secret, file: file)
    else { throw FederationError(.internal, "no backend of rclone's") }
    return (type, parameters, root, only)
  }

  @Test("an S3 address names bucket, prefix and service; credentials come from the secret alone")
  func s3() throws {
    let secret = ["accessKeyId": "id", "secretAccessKey": "key", "sessionToken": "t"]
    let found = try rclone("s3://bucket/a%20b/c?endpoint=http://127.0.0.1:9000&region=r", secret)
    #expect(found.type == "s3" && found.root == "bucket/a b/c" && found.only == nil)
    #expect(found.parameters["endpoint"] == "http://127.0.0.1:9000" && found.parameters["force_path_style"] == "true")
    #expect(found.parameters["access_key_id"] == "id" && found.parameters["session_token"] == "t")
    #expect(try rclone("s3://bucket").parameters["provider"] == "AWS")
    #expect(try rclone("s3://bucket/dir/x.tar", file: "x.tar").only == "x.tar")
    #expect(try rclone("s3://bucket/dir/x.tar/", file: "x.tar").only == nil)
    #expect(throws: FederationError.self) { try rclone("s3://bucket", ["accessKeyId": "id"]) }
  }

  @Test("an HTTP address with a slash at its end is a directory, one without is a file")
  func http() throws {
    let directory = try rclone("https://host:8443/a%20b/")
    #expect(directory.parameters["url"] == "https://host:8443/a%20b/" && directory.only == nil)
    let file = try rclone("https://host/data/x.fa", ["user": "u", "password": "p"])
    #expect(file.parameters["url"] == "https://host/data/" && file.only == "x.fa")
    #expect(file.parameters["headers"] == "Authorization,Basic dTpw")
    #expect(try rclone("http://h/", ["token": "t"]).parameters["headers"] == "Authorization,Bearer t")
  }

  @Test("SFTP needs a user, and the keys of its host")
  func sftp() throws {
    let secret = ["privateKey": "a\nb\n", "knownHosts": "host ssh-ed25519 AAAA"]
    let found = try rclone("sftp://me@host:2222/data/set", secret)
    #expect(found.root == "/data/set" && found.parameters["user"] == "me" && found.parameters["port"] == "2222")
    #expect(found.parameters["key_pem"] == "a\\nb\\n")
    let error = #expect(throws: FederationError.self) { try rclone("sftp://me@host/x", ["password": "p"]) }
    #expect(error?.publicMessage.contains("knownHosts") == true)
    #expect(throws: FederationError.self) { try rclone("sftp://host/x", secret) }
  }

  @Test("file:// names a cluster and a directory; webdavs a URL")
  func others() throws {
    #expect(
      try OriginLocation.parse("file://hpc-a/data/x") == .directory("hpc-a", path: "/data/x", only: nil))
    let dav = try rclone("webdavs://host/dav/x?vendor=nextcloud", ["user": "u", "password": "p"])
    #expect(dav.parameters["url"] == "https://host/dav/x" && dav.parameters["pass"] == "p")
    let other = try rclone("rclone:share/data", ["type": "smb", "host": "nas", "user": "u"])
    #expect(other.type == "smb" && other.root == "share/data" && other.parameters == ["host": "nas", "user": "u"])
  }

  @Test(
    "what reaches into the cluster, or cannot be understood, is refused",
    arguments: [
      ("ftp://host/x", [:]), ("nothing", [:]), ("s3://", [:]), ("s3://b/../c", [:]), ("s3://b/%2e%2e/c", [:]),
      ("s3://b?endpoint=http://169.254.169.254/", [:]), ("http://169.254.169.254/latest/", [:]),
      ("http://metadata.google.internal/x", [:]), ("https://u:p@host/", [:]), ("https://host/x?y=z", [:]),
      ("https://host/x#y", [:]), ("s3://b/%zz", [:]), ("s3://b/%0a", [:]), ("https://host:99999/", [:]),
      ("https://h/", ["token": "a\nb"]), ("rclone:x", [:]), ("rclone:/etc", ["type": "local"]),
      ("rclone:x", ["type": "crypt", "remote": "/etc"]), ("rclone:x", ["type": "sftp", "ssh": "sh -c id"]),
      ("rclone:x", ["type": "webdav", "bearer_token_command": "id"]),
      ("rclone:x", ["type": "sftp", "key_file": "/root/.ssh/id"]), ("rclone:x", ["type": "s3", "env_auth": "true"]),
      ("http://2852039166/latest/", [:]), ("http://0xa9fea9fe/", [:]), ("http://0251.0376.0251.0376/", [:]),
      ("http://[::ffff:169.254.169.254]/", [:]), ("http://[fe80::1%25eth0]/", [:]), ("http://[fd00:ec2::254]/", [:]),
      ("http://Metadata.Google.Internal./x", [:]), ("http://100.100.100.200/", [:]),
      ("rclone:x", ["type": "http", "url": "http://169.254.169.254/"]),
      ("rclone:x", ["type": "webdav", "url": "http://u@[::ffff:a9fe:a9fe]:80/x"]),
      ("rclone:x", ["type": "s3", "endpoint": "169.254.169.254:80"]),
      ("rclone:x", ["type": "azureblob", "use_msi": "true", "key": "k"]),
      ("rclone:x", ["type": "azureblob", "account": "a"]), ("rclone:x", ["type": "gcs"]),
      ("rclone:x", ["type": "s3", "iam_role": "r"]), ("rclone:x", ["type": "s3", "profile": "p"]),
      ("rclone:x", ["type": "oracleobjectstorage", "provider": "instance_principal_auth"]),
      ("rclone:x", ["type": "sftp", "host": "h", "user": "u"]), ("sftp://u@h/x", ["knownHosts": "h ssh-rsa A"]),
      ("rclone:a/../b", ["type": "smb"]), ("file://c/x?y=1", [:]),
      // Other spellings of backends that ask the machine who they are, and backends that nobody knows.
      ("rclone:x", ["type": "oos", "provider": "env_auth"]), ("rclone:x", ["type": "googlecloudstorage"]),
      ("rclone:x", ["type": "gcs", "token": "x"]), ("rclone:x", ["type": "gcs", "access_token": "x"]),
      ("rclone:x", ["type": "google cloud storage", "token": "{}"]), ("rclone:x", ["type": "Local"]),
      ("rclone:x", ["type": "brand-new"]), ("rclone:x", ["type": "s3", "ENV_AUTH": "true"]),
      ("rclone:x", ["type": "s3", "env-auth": "true"]),
      ("rclone:x", ["type": "hdfs", "username": "u", "service_principal_name": "hdfs/nn"]),
      // Other spellings of metadata services.
      ("rclone:x", ["type": "http", "url": "http://u:\(String(repeating: "a", count: 4100))@169.254.169.254/"]),
      ("rclone:x", ["type": "http", "url": "http://h/\(String(repeating: "a", count: 16 << 10))"]),
      (
        "rclone:x",
        [
          "type": "azureblob", "connection_string": "QueueEndpoint=http://a/;BlobEndpoint=http://169.254.169.254/",
        ]
      ), ("rclone:x", ["type": "azureblob", "key": "k", "account": "169.254.169.254/"]),
      (
        "rclone:x",
        ["type": "gcs", "service_account_credentials": #"{"token_uri": "http://169.254.169.254/token"}"#]
      ),
      (
        "rclone:x",
        [
          "type": "gcs",
          "service_account_credentials": #"{"token_uri": "https:\/\/\u0031\u0036\u0039.254.169.254\/"}"#,
        ]
      ), ("rclone:x", ["type": "http", "url": "http://a/?next=http://169.254.169.254/"]),
      ("rclone:x", ["type": "http", "url": "http://１６９。２５４。１６９。２５４/"]),
      ("rclone:x", ["type": "s3", "endpoint": "１６９.254.169.254"]),
      ("rclone:x", ["type": "http", "url": "http://%31%36%39.254.169.254/"]),
      ("rclone:x", ["type": "ftp", "host": "metaｄata.google.internal"]),
      ("https://１６９.254.169.254/", [:]), ("https://169。254。169。254/", [:]), ("http://[fd20:ce::254]/", [:]),
      ("rclone:x", ["type": "http", "url": "http://a/", "headers": "Metadata-Flavor,Google"]),
      ("s3://b?region=x@169.254.169.254/", [:]), ("s3://b", ["region": "x@169.254.169.254/"]),
      ("s3://b?endpoint=https://１６９.254.169.254/", [:]),
    ] as [(String, [String: String])])
  func refused(uri: String, secret: [String: String]) {
    #expect(throws: FederationError.self, "\(uri)") { try OriginLocation.parse(uri, secret: secret) }
  }

  @Test(
    "what is given all it needs is taken, in any language",
    arguments: [
      ["type": "gcs", "anonymous": "true"], ["type": "oos", "provider": "no_auth", "region": "eu-frankfurt-1"],
      [
        "type": "googlecloudstorage",
        "service_account_credentials":
          #"{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\nMII\u003d\n-----END", "#
          + #""token_uri": "https://oauth2.googleapis.com/token"}"#,
      ],
      ["type": "smb", "host": "nas", "user": "Jürgen", "pass": "½ Käse…", "domain": "BÜRO"],
      [
        "type": "webdav", "url": "https://cloud.example/remote.php/dav/files/Jürgen", "vendor": "nextcloud",
        "user": "u",
      ],
      [
        "type": "azureblob",
        "connection_string":
          "DefaultEndpointsProtocol=https;AccountName=lab;AccountKey=k+/==;EndpointSuffix=core.windows.net",
      ], ["type": "s3", "provider": "Minio", "endpoint": "http://[::1]:9000", "region": "eu-1"],
      ["type": "drive", "token": #"{"access_token":"ya29","expiry":"2026-01-02T03:04:05Z"}"#, "root_folder_id": "x"],
    ])
  func taken(secret: [String: String]) throws {
    #expect(try rclone("rclone:x", secret).type == secret["type"])
  }

  @Test("rclone reads origins without a home of its own, and with nobody to ask for the machine's identity")
  func identityless() async throws {
    let directory = try TemporaryDirectory()
    try directory.write("#!/bin/sh\n[ \"$1\" != rcd ] || env >\(directory.path)/seen\n", to: "rclone")
    chmod(directory.path + "/rclone", 0o755)
    let mover = try RcloneMover(
      program: directory.path + "/rclone", directory: directory.path + "/own", logger: silentLogger())
    let running = Task { await mover.run() }
    let opening = Task {
      _ = try await mover.open(type: "http", parameters: [:], root: "", only: nil, knownHosts: nil, secrets: [])
    }
    defer {
      running.cancel()
      opening.cancel()
    }
    var seen: Set<Substring> = []
    try await waitUntil {
      seen = Set(((try? directory.read("seen")) ?? "").split(separator: "\n"))
      return seen.contains { $0.hasPrefix("RCLONE_RC_PASS=") } && seen.contains { $0.hasPrefix("TZ=") }
    }
    #expect(seen.contains("HOME=\(directory.path)/own/home") && seen.contains("AWS_EC2_METADATA_DISABLED=true"))
    #expect(seen.contains("GCE_METADATA_HOST=127.0.0.1:1"))
  }

  @Test("I9: no message about a secret shows its values")
  func quiet() {
    let secret = ["type": "sftp", "ssh": "hunter2-hunter2", "accessKeyId": "hunter2-hunter2"]
    for uri in ["rclone:x", "s3://b", "sftp://host/x"] {
      let error = #expect(throws: FederationError.self) { try OriginLocation.parse(uri, secret: secret) }
      #expect(error.map { !"\($0)".contains("hunter2") } == true)
    }
  }
}
