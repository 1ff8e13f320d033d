import FederationModel
import Testing

@testable import KubernetesAPI

/// What is read and written without a server.
@Suite struct KubernetesTextTests {
  // MARK: Addresses

  @Test func `Paths are as the API's own, and names are escaped`() {
    #expect(KubernetesPath.collection("batch/v1", "jobs", namespace: "x") == "/apis/batch/v1/namespaces/x/jobs")
    #expect(
      KubernetesPath.object("v1", "pods", namespace: "x", name: "p", "log") == "/api/v1/namespaces/x/pods/p/log")
    #expect(KubernetesPath.object("v1", "nodes", name: "a/b") == "/api/v1/nodes/a%2Fb")
  }

  @Test func `A query's values are escaped, and a server's own path stays`() throws {
    let url = try KubernetesPath.url(
      "https://host/k8s/clusters/c-1/", "/api/v1/pods", [("labelSelector", "a=b,c in (d)")])
    #expect(url == "https://host/k8s/clusters/c-1/api/v1/pods?labelSelector=a%3Db%2Cc%20in%20%28d%29")
  }

  /// An object's path without its name is its collection's: to delete that would delete everything.
  @Test(arguments: ["/api/v1/namespaces/x/pods/", "api", "/api/v1//pods", "/a/../b", "/a?b", "/a b"])
  func `A path with an empty name is refused`(path: String) {
    #expect(throws: FederationError.self) { try KubernetesPath.url("https://h", path, []) }
    #expect(throws: FederationError.self) {
      try KubernetesPath.url("https://h", KubernetesPath.object("v1", "pods", namespace: "", name: "p"), [])
    }
  }

  @Test func `The parts of an address are told apart`() {
    typealias Authority = TransportConfiguration.Authority
    let plain = Authority("https://a.example:6443/x")
    #expect(plain?.host == "a.example" && plain?.rest == ":6443/x")
    let six = Authority("https://[::1]:6443")
    #expect(six?.host == "::1" && six?.rest == ":6443")
    #expect(Authority("https:///x") == nil)
  }

  @Test func `A token goes over no line that anybody can read`() {
    let far = KubernetesConnection(server: "http://10.0.0.1:8080", credential: .token("t"))
    #expect(throws: FederationError.self) { try TransportConfiguration.make(far) }
    let near = KubernetesConnection(server: "http://127.0.0.1:8001", credential: .token("t"))
    #expect(throws: Never.self) { try TransportConfiguration.make(near) }
    #expect(throws: Never.self) { try TransportConfiguration.make(KubernetesConnection(server: "http://10.0.0.1")) }
  }

  // MARK: JSON

  @Test func `JSON is read as it is written`() throws {
    let text =
      #"{"a":[1,-2,3.5,1e3,true,false,null,"x\n\"\u00e4\ud83d\ude00"],"b":{"c":{}},"d":[],"e":12345678901234567168}"#
    let value = try JSONReader.value(Array(text.utf8))
    #expect(value["a"] == [1, -2, 3.5, 1000.0, true, false, nil, "x\n\"ä😀"])
    #expect(value["b"]?["c"] == [:])
    #expect(value["d"] == [])
    #expect(value["e"] == .number(12_345_678_901_234_567_168))
    #expect(try JSONReader.value(Array(" {\n\t\"k\" : [ 1 , 2 ] }\r\n".utf8)) == ["k": [1, 2]])
  }

  @Test(arguments: [
    "", "{", "[1,]", "{\"a\"}", "{\"a\":1,}", "\"a", "\"\\x\"", "\"\\u12\"", "tru", "1 2", "{a:1}", "-", "\"\u{1}\"",
    "nan", "[1 2]",
  ])
  func `What is no JSON is refused`(text: String) {
    #expect(throws: JSONReader.Failure.self) { try JSONReader.value(Array(text.utf8)) }
  }

  @Test func `Nesting is bounded, and half a pair of surrogates breaks nothing`() throws {
    let deep = String(repeating: "[", count: 100_000) + String(repeating: "]", count: 100_000)
    #expect(throws: JSONReader.Failure.self) { try JSONReader.value(Array(deep.utf8)) }
    #expect(try JSONReader.value(Array(#""\ud83dx""#.utf8)) == "\u{fffd}x")
  }

  @Test func `The items of a list come one by one, wherever they stand`() throws {
    let text = #"{"kind":"PodList","items":[{"a":1},{"a":2}],"metadata":{"resourceVersion":"7","continue":""}}"#
    var items: [JSONValue] = []
    let rest = try JSONReader.list(Array(text.utf8)) { items.append($0) }
    #expect(items == [["a": 1], ["a": 2]])
    #expect(rest["metadata"]?["resourceVersion"] == "7")
    #expect(rest["items"] == nil)
    // Some servers write null for none.
    #expect(try JSONReader.list(Array(#"{"items":null}"#.utf8)) { _ in Issue.record("no item") } == ["items": nil])
  }

  // MARK: Lines and events

  @Test func `Lines are the same however the bytes are cut`() {
    let text = Array("one\n\ntwo\nthree\nrest".utf8)
    for size in 1...text.count {
      var splitter = LineSplitter(limit: 10)
      var lines: [LineSplitter.Line] = []
      for start in stride(from: 0, to: text.count, by: size) {
        lines += splitter.add(text[start..<min(start + size, text.count)])
      }
      #expect(lines == ["one", "two", "three"].map { .whole(Array($0.utf8)) })
    }
  }

  @Test func `A line that is too long is thrown away, and the next one is whole`() {
    var splitter = LineSplitter(limit: 4)
    #expect(splitter.add(Array("12345".utf8)).isEmpty)
    #expect(splitter.add(Array("6\n1234\n".utf8)) == [.tooLong, .whole(Array("1234".utf8))])
  }

  @Test func `Events are told apart`() {
    func event(_ text: String) -> WatchEvent { WatchEvent(line: Array(text.utf8)) }
    #expect(event(#"{"type":"ADDED","object":{"a":1}}"#) == .changed(["a": 1]))
    #expect(event(#"{"type":"DELETED","object":{"a":1}}"#) == .deleted(["a": 1]))
    #expect(event(#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}"#) == .bookmark("9"))
    guard
      case .failed(let status) = event(#"{"type":"ERROR","object":{"code":410,"reason":"Expired","message":"old"}}"#)
    else {
      Issue.record("an ERROR is a failure")
      return
    }
    #expect(status.isExpired && status.message == "old")
    for text in ["", "x", "{}", #"{"type":"NEW","object":{}}"#, #"{"type":"BOOKMARK","object":{}}"#] {
      guard case .unreadable = event(text) else {
        Issue.record("\(text) was read")
        continue
      }
    }
  }

  // MARK: Refusals

  @Test(arguments: [
    (400, "", ErrorCode.invalidArgument), (401, "", .unauthenticated), (403, "Forbidden", .permissionDenied),
    (404, "NotFound", .notFound), (409, "AlreadyExists", .alreadyExists), (409, "Conflict", .failedPrecondition),
    (410, "Expired", .failedPrecondition), (422, "Invalid", .invalidArgument), (429, "", .resourceExhausted),
    (500, "", .unavailable), (503, "", .unavailable), (504, "Timeout", .deadlineExceeded),
  ])
  func `Each status has its code, and its message is the server's`(code: Int, reason: String, expected: ErrorCode) {
    let body = #"{"kind":"Status","message":"because","reason":"\#(reason)","code":\#(code)}"#
    let error = KubernetesStatus(code: code, body: Array(body.utf8)).error
    #expect(error.code == expected)
    #expect(error.publicMessage == "because")
    #expect(error.kubernetesStatus?.code == code && error.kubernetesStatus?.reason == reason)
  }

  @Test func `What a proxy writes is bounded, and a page of HTML is no message`() {
    let long = KubernetesStatus(code: 502, body: Array(String(repeating: "\u{1b}x", count: 10_000).utf8))
    #expect(long.message.count <= KubernetesStatus.messageMax && !long.message.contains("\u{1b}"))
    #expect(KubernetesStatus(code: 502, body: Array("<html>bad</html>".utf8)).message.contains("502"))
  }

  @Test func `Who asks for a pause is given one, but no endless one`() {
    #expect(KubernetesStatus(code: 429, body: [], retryAfter: "7").retryAfter == .seconds(7))
    #expect(KubernetesStatus(code: 429, body: [], retryAfter: "999999999").retryAfter == .seconds(120))
    #expect(KubernetesStatus(code: 429, body: [], retryAfter: "soon").retryAfter == nil)
    let details = Array(#"{"details":{"retryAfterSeconds":3}}"#.utf8)
    #expect(KubernetesStatus(code: 503, body: details).retryAfter == .seconds(3))
  }
}
