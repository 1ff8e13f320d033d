internal import CSupervisor
internal import Glibc

/// A question over the network, as a program: `probe tcp HOST PORT` and `probe http HOST PORT PATH [NAME VALUE]...`. It ends with 0 when the
/// answer is good. Whoever starts it ends it when that takes too long.
public enum ContainerProbe {
  /// The argument that makes the agent's program one.
  public static let command = "probe"

  public static func arguments(tcp host: String, port: Int32) -> [String] {
    [ContainerPlan.program, command, "tcp", host.isEmpty ? "127.0.0.1" : host, String(port)]
  }

  public static func arguments(
    http host: String, port: Int32, path: String, headers: [(name: String, value: String)]
  ) -> [String] {
    [ContainerPlan.program, command, "http", host.isEmpty ? "127.0.0.1" : host, String(port), path]
      + headers.flatMap { [$0.name, $0.value] }
  }

  /// Returns the exit code: 0 good, 1 bad, 2 for arguments that make no sense.
  public static func main(_ arguments: [String]) -> Int32 {
    guard arguments.count >= 3, let connection = connection(to: arguments[1], arguments[2]) else {
      return arguments.count < 3 ? 2 : 1
    }
    defer { close(connection) }
    switch arguments[0] {
    case "tcp": return 0
    case "http" where arguments.count >= 4 && arguments.count.isMultiple(of: 2):
      let status = status(of: Array(arguments[1...]), on: connection)
      return (200..<400).contains(status) ? 0 : 1
    default: return 2
    }
  }

  /// nil when nobody listens.
  private static func connection(to host: String, _ port: String) -> Int32? {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var found: UnsafeMutablePointer<addrinfo>?
    guard getaddrinfo(host, port, &hints, &found) == 0 else { return nil }
    defer { freeaddrinfo(found) }
    var next = found
    while let address = next?.pointee {
      let file = socket(address.ai_family, address.ai_socktype, address.ai_protocol)
      if file >= 0 {
        if connect(file, address.ai_addr, address.ai_addrlen) == 0 { return file }
        close(file)
      }
      next = address.ai_next
    }
    return nil
  }

  /// Of the answer to a GET; 0 for what is no answer.
  private static func status(of request: [String], on connection: Int32) -> Int {
    var head = "GET \(request[2]) HTTP/1.1\r\n"
    let headers = Array(request[3...])
    let names = stride(from: 0, to: headers.count, by: 2).map { headers[$0].lowercased() }
    if !names.contains("host") { head += "Host: \(request[0]):\(request[1])\r\n" }
    if !names.contains("user-agent") { head += "User-Agent: fubini-probe\r\n" }
    if !names.contains("accept") { head += "Accept: */*\r\n" }
    for index in stride(from: 0, to: headers.count, by: 2) { head += "\(headers[index]): \(headers[index + 1])\r\n" }
    head += "Connection: close\r\n\r\n"
    guard (try? Files.writeAll(connection, Array(head.utf8))) != nil else { return 0 }
    var line: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 512)
    while line.count < 4096, !line.contains(0x0a) {
      let got = read(connection, &buffer, buffer.count)
      if got < 0, errno == EINTR { continue }
      if got <= 0 { break }
      line += buffer[..<got]
    }
    let words = String(decoding: line.prefix { $0 != 0x0d && $0 != 0x0a }, as: UTF8.self).split(separator: " ")
    guard words.count >= 2, words[0].hasPrefix("HTTP/") else { return 0 }
    return Int(words[1]) ?? 0
  }
}
