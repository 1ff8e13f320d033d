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
    if key == nil { report("needs the key of an object, or of all below it: dir/", at: node.mark) }
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
    fields(of: node, FieldTables.http) { reader, name, value in
      if name == "url" {
        url = reader.text(value)
        return
      }
      reader.fields(of: value, FieldTables.httpAuth) { reader, _, value in
        reader.fields(of: value, FieldTables.basicAuth) { reader, name, value in
          reader.readSecret(value, name == "usernameSecret" ? "user" : "password", into: &secrets)
        }
      }
    }
    guard let url, !url.isEmpty else { return report("needs a url", at: node.mark) }
    artifact.foreign = ForeignSource(place: .http(url: url), secret: secrets.name, fields: secrets.fields)
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
