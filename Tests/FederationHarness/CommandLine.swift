internal import Foundation

extension Federation {
  /// Runs `fubini` as a user does, and returns its exit code and what it wrote.
  ///
  /// - Parameter port: of the loopback, for a proxy in between; nil: the first control plane's own.
  public func fubini(
    _ arguments: [String], port: Int? = nil, timeout: Duration = .seconds(300)
  ) async throws -> (code: Int32, output: String) {
    let token = try String(contentsOfFile: path("admin.token"), encoding: .utf8)
    let log = path("log/fubini-\(UInt32.random(in: 0 ... .max)).log")
    let code = try await OwnedProcess.run(
      ["\(binaries)/fubini"] + arguments,
      environment: [
        "FUBINI_URL": "http://127.0.0.1:\(port ?? replicas[0].httpPort)",
        "FUBINI_TOKEN": token.trimmingCharacters(in: .whitespacesAndNewlines),
      ], log: log, timeout: timeout)
    return (code, (try? String(contentsOfFile: log, encoding: .utf8)) ?? "")
  }

  /// The same in a directory, with further variables.
  public func fubini(
    _ arguments: [String], in directory: String, environment: [String: String], timeout: Duration = .seconds(120)
  ) async throws -> (code: Int32, output: String) {
    let token = try String(contentsOfFile: path("admin.token"), encoding: .utf8)
    let log = path("log/fubini-\(UInt32.random(in: 0 ... .max)).log")
    let code = try await OwnedProcess.run(
      ["/usr/bin/env", "-C", directory, "\(binaries)/fubini"] + arguments,
      environment: environment.merging(
        [
          "FUBINI_URL": "http://127.0.0.1:\(replicas[0].httpPort)",
          "FUBINI_TOKEN": token.trimmingCharacters(in: .whitespacesAndNewlines),
        ]) { $1 }, log: log, timeout: timeout)
    return (code, (try? String(contentsOfFile: log, encoding: .utf8)) ?? "")
  }
}
