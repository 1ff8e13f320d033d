import FederationModel

/// `http` of a template.
extension DocumentReader {
  mutating func readHTTPTemplate(_ node: DocumentNode) -> HTTPTemplate {
    var request = HTTPTemplate()
    fields(of: node, FieldTables.httpTemplate) { reader, key, value in
      switch key {
      case "url": request.url = reader.text(value) ?? ""
      case "method": request.method = reader.readMethod(value)
      case "body": request.body = reader.text(value) ?? ""
      case "bodyFrom":
        reader.fields(of: value, FieldTables.httpBodyFrom) { reader, _, value in
          request.body = reader.readBytes(value)
        }
      case "timeoutSeconds": request.timeoutSeconds = reader.integerText(value, in: 1...86_400) ?? "30"
      case "insecureSkipVerify": request.skipsVerification = reader.bool(value) ?? false
      case "successCondition": request.successCondition = reader.text(value).flatMap { $0.isEmpty ? nil : $0 }
      default: reader.readHeaders(value, into: &request)
      }
    }
    if request.url.isEmpty { report("an http template needs a url", at: node.mark) }
    return request
  }

  private mutating func readMethod(_ node: DocumentNode) -> String {
    guard let method = text(node), !method.isEmpty else { return "GET" }
    if !method.contains("{{"), !Self.methods.contains(method) {
      report("must be one of \(Self.methods.joined(separator: ", ")), not \"\(method)\"", at: node.mark)
    }
    return method
  }

  private static let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]

  private mutating func readHeaders(_ node: DocumentNode, into request: inout HTTPTemplate) {
    let headers = list(node) { reader, item -> (RunHTTP.Header, EnvironmentSource?)? in
      var header = RunHTTP.Header(name: "", value: "")
      var secret: EnvironmentSource?
      reader.fields(of: item, FieldTables.httpHeader) { reader, key, value in
        switch key {
        case "name": header.name = reader.text(value) ?? ""
        case "value": header.value = reader.text(value) ?? ""
        default:
          reader.fields(of: value, FieldTables.httpHeaderSource) { reader, _, value in
            guard let reference = reader.readKeyReference(value, .secret) else { return }
            secret = .value(
              variable: "", key: reference.key, of: reference.object, isOptional: reference.isOptional)
          }
        }
      }
      let isName = !header.name.isEmpty && header.name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x3a }
      if !isName, !header.name.contains("{{") {
        reader.report("a header needs a name of letters, digits and hyphens", at: item.mark)
      }
      if case .value(_, let key, let object, let isOptional)? = secret {
        secret = .value(variable: header.name, key: key, of: object, isOptional: isOptional)
      }
      return (header, secret)
    }
    request.headers = headers.filter { $0.1 == nil }.map(\.0)
    request.secretHeaders = headers.compactMap(\.1)
  }

  /// Base64, as Kubernetes' types write bytes; text alone can be sent.
  private mutating func readBytes(_ node: DocumentNode) -> String {
    guard let written = text(node) else { return "" }
    guard let bytes = Self.base64(written), let body = String(validating: bytes, as: UTF8.self) else {
      report("must be base64 of a text", at: node.mark)
      return ""
    }
    return body
  }

  private static func base64(_ text: String) -> [UInt8]? {
    let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var bytes: [UInt8] = []
    var (bits, count) = (0, 0)
    for byte in text.utf8 where byte != UInt8(ascii: "=") && byte > 0x20 {
      guard let value = alphabet.firstIndex(of: byte) else { return nil }
      bits = bits << 6 | value
      count += 6
      if count >= 8 {
        count -= 8
        bytes.append(UInt8(truncatingIfNeeded: bits >> count))
        bits &= (1 << count) - 1
      }
    }
    return bytes
  }
}
