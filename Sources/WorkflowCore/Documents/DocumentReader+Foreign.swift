import FederationModel

/// Artifacts in buckets and on web servers.
extension DocumentReader {
  /// `s3`: a key of the project's repository, or an object of a bucket.
  mutating func readS3(_ node: DocumentNode, into artifact: inout WorkflowArtifact) {
    var (endpoint, bucket, key, region): (String?, String?, String?, String?)
    var isInsecure = false
    var secrets = SecretFields()
    fields(of: node, FieldTables.s3) { reader, name, value in
      switch name {
      case "endpoint": endpoint = reader.text(value)
      case "bucket": bucket = reader.text(value)
      case "region": region = reader.text(value)
      case "insecure": isInsecure = reader.bool(value) ?? false
      case "accessKeySecret": reader.readSecret(value, "accessKeyId", into: &secrets)
      case "secretKeySecret": reader.readSecret(value, "secretAccessKey", into: &secrets)
      case "sessionTokenSecret": reader.readSecret(value, "sessionToken", into: &secrets)
      default: key = reader.readKey(value)
      }
    }
    guard let bucket, !bucket.isEmpty else {
      artifact.key = key
      if endpoint != nil || region != nil || isInsecure || secrets.name != nil {
        report(
          "without a bucket the key is one of the project's own repository, which takes nothing else", at: node.mark)
      }
      return
    }
    if key == nil, !takesWholeBuckets { report("needs the key of an object, or of all below it: dir/", at: node.mark) }
    if (secrets.fields["accessKeyId"] == nil) != (secrets.fields["secretAccessKey"] == nil) {
      report("takes accessKeySecret and secretKeySecret together", at: node.mark)
    }
    artifact.foreign = ForeignSource(
      place: .s3(endpoint: endpoint, bucket: bucket, key: key ?? "", region: region, isInsecure: isInsecure),
      secret: secrets.name, fields: secrets.fields)
  }

  /// `http`: what is at an address.
  mutating func readHTTP(_ node: DocumentNode, into artifact: inout WorkflowArtifact) {
    var url: String?
    var secrets = SecretFields()
    var headers: [RunHTTP.Header] = []
    fields(of: node, FieldTables.http) { reader, name, value in
      if name == "url" {
        url = reader.text(value)
        return
      }
      if name == "headers" {
        headers = reader.readPlainHeaders(value)
        return
      }
      reader.fields(of: value, FieldTables.httpAuth) { reader, _, value in
        reader.fields(of: value, FieldTables.basicAuth) { reader, name, value in
          reader.readSecret(value, name == "usernameSecret" ? "user" : "password", into: &secrets)
        }
      }
    }
    guard let url else { return report("needs a url", at: node.mark) }
    // Whether it may be missing is known when all of the artifact has been read.
    if url.isEmpty { return }
    artifact.foreign = ForeignSource(
      place: .http(url: url, headers: headers), secret: secrets.name, fields: secrets.fields)
  }

  private mutating func readPlainHeaders(_ node: DocumentNode) -> [RunHTTP.Header] {
    list(node) { reader, item in
      var header = RunHTTP.Header(name: "", value: "")
      reader.fields(of: item, FieldTables.plainHeader) { reader, key, value in
        if key == "name" { header.name = reader.text(value) ?? "" } else { header.value = reader.text(value) ?? "" }
      }
      let isName = !header.name.isEmpty && header.name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x3a }
      if !isName { reader.report("a header needs a name of letters, digits and hyphens", at: item.mark) }
      return header
    }
  }

  /// `git`: a repository's files, checked out.
  mutating func readGit(_ node: DocumentNode, into artifact: inout WorkflowArtifact) {
    var git = GitSource(url: "")
    var secrets = SecretFields()
    fields(of: node, FieldTables.git) { reader, name, value in
      switch name {
      case "repo": git.url = reader.text(value) ?? ""
      case "revision": git.revision = reader.text(value).flatMap { $0.isEmpty ? nil : $0 }
      case "branch": git.branch = reader.text(value).flatMap { $0.isEmpty ? nil : $0 }
      case "depth": git.depth = reader.integer(value, in: 0...1_000_000_000).flatMap { $0 == 0 ? nil : Int($0) }
      case "fetch": git.fetch = reader.texts(value)
      case "singleBranch": git.isSingleBranch = reader.bool(value) ?? false
      case "disableSubmodules": git.skipsSubmodules = reader.bool(value) ?? false
      case "insecureSkipTLS": git.skipsVerification = reader.bool(value) ?? false
      case "insecureIgnoreHostKey": git.ignoresHostKey = reader.bool(value) ?? false
      case "usernameSecret": reader.readSecret(value, "user", into: &secrets)
      case "passwordSecret": reader.readSecret(value, "password", into: &secrets)
      default: reader.readSecret(value, "privateKey", into: &secrets)
      }
    }
    if git.url.isEmpty { return report("needs a repo", at: node.mark) }
    if git.isSingleBranch, git.branch == nil { report("singleBranch needs a branch", at: node.mark) }
    let source = ForeignSource(place: .git(git), secret: secrets.name, fields: secrets.fields)
    if !source.texts.contains(where: \.hasTags) {
      do { _ = try source.origin { $0 } } catch {
        report((error as? FederationError)?.publicMessage ?? "is no repository", at: node.mark)
      }
    }
    artifact.foreign = source
  }

  /// One secret of the project, and which of its values are used.
  private struct SecretFields {
    var name: String?
    var fields: [String: String] = [:]
  }

  private mutating func readSecret(_ node: DocumentNode, _ field: String, into secrets: inout SecretFields) {
    var (name, key): (String?, String?)
    fields(of: node, FieldTables.secretKey) { reader, member, value in
      if member == "name" { name = reader.text(value) } else { key = reader.text(value) }
    }
    guard let name, let key, DatasetReference.isName(name), !key.isEmpty else {
      return report("needs the name of a secret of the project, and the key of one of its values", at: node.mark)
    }
    if let other = secrets.name, other != name {
      report("takes all its values from one secret of the project, not from \(other) and \(name)", at: node.mark)
    }
    secrets.name = name
    secrets.fields[field] = key
  }
}
