internal import FederationModel

/// What Slurm knows of jobs, by slurmrestd where the operator names its socket, else by `squeue`.
extension SlurmExecutor {
  /// All jobs of a cluster are in one answer, with every field that there is: 4 KB each.
  private static var answerBytesMax: Int { 64 << 20 }
  private static var restTimeout: Duration { .seconds(20) }
  private static var pollTimeout: Duration { .seconds(30) }

  /// One question for all jobs. A socket that fails is left alone for a while, and `squeue` asked instead.
  ///
  /// - Throws: `.unavailable` when neither answers.
  func askForJobs() async throws -> [SlurmJob] {
    let now = clock.now
    if let socket = configuration.restSocket, now >= restDue {
      do {
        let jobs = try await restJobs(UnixSocketHTTP(path: socket))
        restBackoff.succeeded(in: clock.now - now)
        restProblem = nil
        return jobs
      } catch {
        restBackoff.failed()
        restVersion = nil
        restProblem = (error as? FederationError)?.publicMessage ?? "\(error)"
        restDue = clock.now + restBackoff.pause(jitter: jitter)
      }
    }
    let arguments = ["--noheader", "--array", "--states=all", "--user=\(userID)", "--format=\(SlurmJob.format)"]
    let output = try await commands.run(configuration.programs.squeue, arguments, timeout: Self.pollTimeout)
    guard output.status == 0 else { throw SlurmFailure(output).error }
    return SlurmJob.parse(output.standardOutput).jobs
  }

  private func restJobs(_ client: UnixSocketHTTP) async throws -> [SlurmJob] {
    let version = try await version(client)
    let answer = try await client.get(
      "/slurm/\(version)/jobs", limit: Self.answerBytesMax, timeout: Self.restTimeout)
    guard answer.status == 200 else {
      throw FederationError(.unavailable, "slurmrestd answers with status \(answer.status)", retryAfter: .seconds(5))
    }
    return try RestJobs(answer.body, user: userID, now: Self.wallClockSeconds).jobs
  }

  /// The newest version that both know, found once.
  private func version(_ client: UnixSocketHTTP) async throws -> String {
    if let restVersion { return restVersion }
    for version in RestJobs.versions {
      let answer = try await client.get("/slurm/\(version)/ping", limit: 1 << 20, timeout: Self.restTimeout)
      if answer.status == 200 {
        restVersion = version
        return version
      }
      guard answer.status == 404 else {
        throw FederationError(.unavailable, "slurmrestd answers with status \(answer.status)", retryAfter: .seconds(5))
      }
    }
    throw FederationError(
      .unavailable,
      "slurmrestd offers none of \(RestJobs.versions.joined(separator: ", ")): start it with one of them (-s)",
      retryAfter: .seconds(60))
  }
}
