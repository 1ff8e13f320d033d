internal import FederationModel

/// Lets the Unix user of a project read a data set in the agent's cache, and nobody else: an entry of an access control list.
struct DatasetGrant: Sendable {
  /// Project to user.
  let users: [ProjectName: String]

  /// Idempotent.
  ///
  /// - Throws: `.failedPrecondition` where the file system has no such lists.
  func callAsFunction(_ directory: String, to project: ProjectName) async throws {
    guard let user = users[project] else {
      throw FederationError(.permissionDenied, "project \(project) has no Unix user on this cluster")
    }
    let result = try await BlockingWork.run {
      let answer = try StepRunner.execute(["setfacl", "-m", "u:\(user):r-x", "--", directory])
      return (answer.status, String(answer.output.prefix(200)))
    }
    guard result.0 == 0 else {
      throw FederationError(
        .failedPrecondition,
        "user \(user) cannot be let read the data set (\(result.1)): the operator installs the package acl, and puts "
          + "`cache.directory` on a file system with access control lists")
    }
  }
}
