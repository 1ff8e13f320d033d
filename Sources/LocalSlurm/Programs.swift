public import FederationModel
internal import FoundationEssentials

#if canImport(Glibc)
  internal import Glibc
#endif

/// Slurm's programs on this machine.
public enum SlurmPrograms {
  static let daemons = ["munged", "slurmctld", "slurmd"]
  static let commands = ["sbatch", "scancel", "scontrol", "sinfo", "squeue"]
  private static let directories = [
    "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/slurm/bin", "/opt/slurm/sbin",
  ]

  /// nil when it is not installed.
  public static func find(_ name: String) -> String? {
    directories.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
  }

  /// Why no cluster can be started here, and what to do about it; nil when one can.
  ///
  /// An ordinary user can run all of it: the jobs are then that user's, as on a login node. The user must have a name,
  /// because Slurm's configuration knows its users by name.
  public static var missing: FederationError? {
    let absent = (daemons + commands).filter { find($0) == nil }
    guard absent.isEmpty else {
      return FederationError(
        .failedPrecondition,
        "Slurm is not installed (\(absent.joined(separator: ", ")) not found): "
          + "`apt-get install slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge`, "
          + "or run scripts/install-prerequisites.sh.")
    }
    guard user != nil else {
      return FederationError(
        .failedPrecondition, "User \(geteuid()) has no name, and Slurm knows users by name: add it to /etc/passwd.")
    }
    return nil
  }

  /// Why no cluster with accounting can be started here; nil when one can.
  public static var missingAccounting: FederationError? {
    let absent = ["slurmdbd", "mariadbd", "sacct", "sacctmgr"].filter { find($0) == nil }
    guard absent.isEmpty, systemTables.allSatisfy({ FileManager.default.isReadableFile(atPath: $0) }) else {
      return FederationError(
        .failedPrecondition,
        "Slurm's accounting is not installed (\((absent + systemTables).joined(separator: ", "))): "
          + "`apt-get install slurmdbd mariadb-server-core`.")
    }
    return nil
  }

  /// What a data directory of MariaDB's begins with.
  static let systemTables = ["mysql_system_tables.sql", "mysql_system_tables_data.sql"].map { "/usr/share/mysql/\($0)" }

  static func require(_ name: String) throws -> String {
    guard let path = find(name) else {
      throw missing ?? FederationError(.failedPrecondition, "Slurm's \(name) is not installed.")
    }
    return path
  }

  static var user: String? {
    var entry = passwd()
    var buffer = [CChar](repeating: 0, count: 16_384)
    var found: UnsafeMutablePointer<passwd>?
    guard getpwuid_r(geteuid(), &entry, &buffer, buffer.count, &found) == 0, let found else { return nil }
    return String(cString: found.pointee.pw_name)
  }

  /// This machine's name up to the first dot.
  static var host: String {
    var buffer = [CChar](repeating: 0, count: 256)
    gethostname(&buffer, buffer.count - 1)
    let name = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return String(name.prefix { $0 != "." })
  }
}
