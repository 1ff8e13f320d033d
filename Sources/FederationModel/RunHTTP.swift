/// A request over HTTP in place of a program: an `http` template with every tag replaced.
public struct RunHTTP: Hashable, Sendable, Codable {
  public struct Header: Hashable, Sendable, Codable {
    public var name: String
    public var value: String
    public init(name: String, value: String) {
      self.name = name
      self.value = value
    }
  }
  public var method: String
  public var url: String
  public var headers: [Header]
  /// Headers whose values are those of secrets: the variable's name is the header's.
  public var secretHeaders: [EnvironmentSource]
  public var body: String
  public var timeout: Duration
  /// Whether any certificate is taken.
  public var skipsVerification: Bool
  /// expr-lang over `response.statusCode`, `.body` and `.headers`, and the same of `request`; nil: any status of 200 to 299 is a success.
  public var successCondition: String?

  public init(
    method: String = "GET", url: String, headers: [Header] = [], secretHeaders: [EnvironmentSource] = [],
    body: String = "", timeout: Duration = .seconds(30), skipsVerification: Bool = false,
    successCondition: String? = nil
  ) {
    self.method = method
    self.url = url
    self.headers = headers
    self.secretHeaders = secretHeaders
    self.body = body
    self.timeout = timeout
    self.skipsVerification = skipsVerification
    self.successCondition = successCondition
  }
}
