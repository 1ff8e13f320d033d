internal import Execution
internal import FederationModel

/// The command line of a run in an Apptainer image. Pure.
///
/// As in the sandbox, the run sees directories of its own where its files are named, and nothing of the host's but what Apptainer's
/// own configuration binds.
struct Apptainer {
  static let prefix = "apptainer:"

  var program: String
  /// The image file.
  var image: String
  /// The run's private root on the host.
  var root: String
  var layout: RunLayout
  var inputs: [StagedInput]
  /// Second paths of the run's own directories.
  var mounts: [DirectoryMount] = []
  /// Directories of the host that are not the run's alone.
  var shared: [SharedDirectory] = []
  var usesGPUs: Bool

  /// - Throws: `.invalidArgument` for a path that Apptainer's syntax of binds cannot express.
  func arguments(_ command: [String]) throws(FederationError) -> [String] {
    var arguments = [program, "exec", "--contain", "--ipc", "--pid", "--no-home", "--pwd", layout.workingDirectory]
    if usesGPUs { arguments.append("--nv") }
    for directory in layout.directories.sorted() {
      arguments += ["--bind", try bind(root + directory, directory, "rw")]
    }
    for mount in mounts {
      let path = AbsolutePath.normalise(mount.path) ?? mount.path
      arguments += ["--bind", try bind(root + mount.directory, path, mount.isReadOnly ? "ro" : "rw")]
    }
    for directory in shared {
      arguments += ["--bind", try bind(directory.source, directory.path, directory.isReadOnly ? "ro" : "rw")]
    }
    for input in inputs {
      arguments += ["--bind", try bind(input.hostPath, AbsolutePath.normalise(input.path) ?? input.path, "ro")]
    }
    return arguments + [image] + command
  }

  private func bind(_ source: String, _ path: String, _ mode: String) throws(FederationError) -> String {
    for text in [source, path] where text.utf8.contains(where: { $0 == 0x3a || $0 == 0x2c || $0 == 0x5c }) {
      throw FederationError(
        .invalidArgument, "the path \(text) has a colon, a comma or a backslash, which Apptainer cannot bind")
    }
    return "\(source):\(path):\(mode)"
  }
}

/// What an author names, as Apptainer takes it for the container. In its own environment it would obey some of it: `APPTAINER_BIND`
/// shows what the author wants of the host.
///
/// - Source: Apptainer's user guide, "Environment and Metadata".
package enum ApptainerEnvironment {
  /// Of what such a run runs as.
  package static let imagePrefix = Apptainer.prefix

  /// nil for what Apptainer decides by itself.
  ///
  /// - Parameter program: by its name it may be SingularityCE, whose prefix is another.
  package static func veiled(_ variable: String, program: String) -> String? {
    guard variable != "HOME" else { return nil }
    let name = program.split(separator: "/").last ?? ""
    return (name.hasPrefix("singularity") ? "SINGULARITYENV_" : "APPTAINERENV_") + variable
  }

  static func veiled(_ given: [EnvironmentVariable], program: String) -> [EnvironmentVariable] {
    given.compactMap { one in
      veiled(one.name, program: program).map { EnvironmentVariable(name: $0, value: one.value) }
    }
  }
}
