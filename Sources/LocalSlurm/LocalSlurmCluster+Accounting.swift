internal import FederationModel
internal import FoundationEssentials
internal import LocalProcess

#if canImport(Glibc)
  internal import Glibc
#endif

/// The database of a cluster that keeps accounts. MariaDB listens on a unix socket in a directory of its own and nowhere else;
/// whoever may open that directory is trusted, so it knows no passwords.
extension LocalSlurmCluster {
  /// Who owns the database when the cluster is root's: nobody, because MariaDB shall not run as root.
  private static let databaseUser: (name: String, id: uid_t) = ("nobody", 65534)

  /// Starts MariaDB and slurmdbd, and tells them of the cluster, its user and its qualities of service.
  func startAccounting() async throws {
    if !FileManager.default.fileExists(atPath: paths.database + "/mysql") { try await makeDatabase() }
    try launch("mariadbd", databaseArguments + ["--socket=\(paths.databaseSocket)", "--skip-networking"])
    try await wait(for: "mariadbd", timeout: .seconds(30)) { Self.accepts(paths.databaseSocket) }
    let isNew = daemon("slurmdbd") == nil
    try launch(
      "slurmdbd", [try SlurmPrograms.require("slurmdbd"), "-D"], more: ["MYSQL_UNIX_PORT": paths.databaseSocket])
    guard isNew else { return }
    try await wait(for: "slurmdbd", timeout: .seconds(60)) {
      (try? await command("sacctmgr", ["--noheader", "show", "cluster"], timeout: .seconds(10))) != nil
    }
    try await describe()
  }

  private var databaseArguments: [String] {
    get throws {
      // Nothing here outlives the cluster's directory: what makes a database survive a loss of power only costs time.
      [
        try SlurmPrograms.require("mariadbd"), "--no-defaults", "--datadir=\(paths.database)", "--skip-grant-tables",
        "--innodb-flush-method=nosync", "--skip-innodb-doublewrite", "--skip-innodb-file-per-table",
        "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=8M", "--innodb-buffer-pool-size=64M",
        "--innodb-lock-wait-timeout=900", "--skip-log-bin", "--performance-schema=OFF",
      ] + (geteuid() == 0 ? ["--user=\(Self.databaseUser.name)"] : [])
    }
  }

  /// The system tables alone: MariaDB's own script also makes help texts and views, which take three times as long.
  private func makeDatabase() async throws {
    try? FileManager.default.removeItem(atPath: paths.database)
    try FileManager.default.createDirectory(atPath: paths.database, withIntermediateDirectories: true)
    chmod(paths.database, 0o700)
    if geteuid() == 0 { chown(paths.database, Self.databaseUser.id, Self.databaseUser.id) }
    let tables = SlurmPrograms.systemTables.map {
      String(decoding: InputFile.read($0, limit: 4 << 20) ?? [], as: UTF8.self)
    }
    let output = try await ChildProcess.output(
      databaseArguments + ["--bootstrap"], environment: ownEnvironment,
      input: "create database mysql;\nuse mysql;\n" + tables.joined(separator: "\n"), scratch: paths.scratch,
      timeout: .seconds(60))
    guard output.exitCode == 0 else {
      throw FederationError(
        .unavailable, "The database of \(configuration.name) cannot be made: \(output.errors.suffix(2000))")
    }
  }

  /// What is there already is left as it is: `sacctmgr` then says that there is nothing new.
  private func describe() async throws {
    let user = SlurmPrograms.user ?? "root"
    let names = configuration.qos.map(\.name)
    var orders = [["add", "cluster", configuration.name], ["add", "account", "main"]]
    orders += configuration.qos.map { ["add", "qos", $0.name] + ($0.preemptsNormal ? ["preempt=normal"] : []) }
    orders.append(["add", "user", user, "account=main"])
    if !names.isEmpty {
      orders.append([
        "modify", "user", user, "set", "qos=\((["normal"] + names).joined(separator: ","))", "defaultqos=normal",
        "defaultaccount=main",
      ])
    }
    for order in orders {
      do { try await command("sacctmgr", ["--immediate"] + order, timeout: .seconds(60)) } catch let error
        as FederationError where error.publicMessage.contains("Nothing new added")
      {}
    }
  }
}
