package import Execution
package import FederationModel

/// The places inside a run that must exist and be writable. Pure.
package struct RunLayout {
  static let defaultWorkingDirectory = TaskSpec.defaultWorkingDirectory
  package static let scriptPath = "/argo/staging/script"

  var workingDirectory: String
  /// Normalised, absolute, without the root.
  package var directories: Set<String>
  /// Of the author's files, normalised.
  var paths: [String]

  /// - Throws: `.invalidArgument` for a path that is not absolute.
  package init(_ run: RunRequest) throws(FederationError) {
    func absolute(_ path: String) throws(FederationError) -> String {
      guard let path = AbsolutePath.normalise(path) else {
        throw FederationError(
          .invalidArgument, "the path \(path) is not absolute; paths of artifacts and parameters must be")
      }
      return path
    }
    workingDirectory = try absolute(run.spec.workingDirectory ?? Self.defaultWorkingDirectory)
    directories = [workingDirectory, "/tmp", Self.defaultWorkingDirectory]
    for path in run.spec.scratchPaths { directories.insert(try absolute(path)) }
    for mount in run.spec.directoryMounts ?? [] { directories.insert(try absolute(mount.directory)) }
    var files =
      run.spec.outputArtifacts.map(\.path) + run.spec.outputParameters.map(\.path) + run.spec.inputs.map(\.path)
      + run.inputs.map(\.path) + (run.spec.script == nil ? [] : [Self.scriptPath])
    files += (run.spec.directoryMounts ?? []).map(\.path)
    files += (run.spec.claims ?? []).flatMap(\.mounts).map(\.path)
    paths = []
    for path in files {
      let path = try absolute(path)
      paths.append(path)
      directories.insert(AbsolutePath.parent(of: path))
    }
    directories.remove("/")
  }
}
