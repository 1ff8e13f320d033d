import FederationHarness
import FederationModel
import Foundation
import Subprocess
import Testing

extension Integration {
  /// A client of Slurm, which finds our commands under Slurm's names.
  @Suite("Slurm's clients", .timeLimit(.minutes(15)))
  struct SlurmClientTests {
    /// Runs a program of Tests/Clients in a directory of its own, with our commands under Slurm's names.
    private static func check(
      _ program: String, _ arguments: [String] = [], _ options: FederationOptions = FederationOptions(),
      prepare: @Sendable (Federation, String) throws -> Void = { _, _ in }
    ) async throws {
      guard let python = try await ArgoClientTests.python() else { return }
      try await Federation.with(options) { federation in
        let shims = federation.path("shims")
        let made = try await federation.fubini(["install-slurm-shims", "--dir", shims])
        try #require(made.code == 0, "\(made.output)")
        let client = try federation.client()
        let directory = federation.path("work")
        try prepare(federation, directory)
        let result = try await run(
          .name("env"),
          arguments: Arguments(
            [python, Integration.repositoryFile("Tests/Clients/\(program)"), directory] + arguments),
          environment: .inherit.updating([
            "PATH": "\(shims):/usr/bin:/bin", "FUBINI_URL": client.url, "FUBINI_TOKEN": client.token ?? "",
            "XDG_STATE_HOME": federation.path("state"), "PYTHONDONTWRITEBYTECODE": "1",
          ]), output: .string(limit: 1 << 20), error: .string(limit: 1 << 20))
        #expect(
          result.terminationStatus.isSuccess,
          "\(result.standardOutput.suffix(4000))\n\(result.standardError.suffix(8000))")
      }
    }

    @Test("dpdispatcher runs its jobs through sbatch and squeue as on a Slurm cluster")
    func dpdispatcher() async throws { try await Self.check("dpdispatcher_program.py") }

    /// A cluster whose jobs see the Python that Snakemake is, as its users have it on a file system that all nodes share.
    private static func options(_ python: String, claims: String? = nil) -> FederationOptions {
      var options = FederationOptions()
      options.agents = [.init("one", slots: 4)]
      let environment = python.split(separator: "/").dropLast(2).joined(separator: "/")
      options.agents[0].keys["allowedHostPaths"] = "[/\(environment)]"
      if let claims { options.agents[0].keys["claims"] = "{named: {lab: \(claims)}}" }
      return options
    }

    @Test("dask-jobqueue's workers are jobs, which reach their scheduler and go when they are not wanted")
    func dask() async throws {
      guard let python = try await ArgoClientTests.python() else { return }
      var options = Self.options(python)
      options.agents[0].keys["network"] = "host"
      try await Self.check("dask_program.py", [], options)
    }

    @Test("Snakemake's plugin for Slurm runs a workflow whose files travel with its jobs")
    func snakemakeStaged() async throws {
      guard let python = try await ArgoClientTests.python() else { return }
      try await Self.check("snakemake_program.py", ["staged"], Self.options(python))
    }

    @Test("Snakemake's plugin for Slurm runs a workflow in a directory that clusters share")
    func snakemakeInPlace() async throws { try await Self.checkInPlace("snakemake_program.py", ["shared"]) }

    @Test("submitit's functions run as jobs and arrays; failures and cancellations are told as on a Slurm cluster")
    func submitit() async throws { try await Self.checkInPlace("submitit_program.py", []) }

    /// The same in a directory that the cluster's user may write in.
    private static func checkInPlace(_ program: String, _ arguments: [String]) async throws {
      guard let python = try await ArgoClientTests.python() else { return }
      let shared = "/tmp/fubini-lab-\(UInt64.random(in: 0 ... .max))"
      try FileManager.default.createDirectory(atPath: shared + "/ann", withIntermediateDirectories: true)
      try FileManager.default.setAttributes([.posixPermissions: 0o777], ofItemAtPath: shared + "/ann")
      defer { try? FileManager.default.removeItem(atPath: shared) }
      try "lab\n".write(toFile: shared + "/.fubini-shared", atomically: true, encoding: .utf8)
      try await check(program, arguments, options(python, claims: shared)) { _, directory in
        try FileManager.default.createSymbolicLink(atPath: directory, withDestinationPath: shared + "/ann")
      }
    }
  }

  /// Programs that others' clients run, against a federation of real processes. They know nothing of Fubini but address and token.
  @Suite("Argo's clients", .timeLimit(.minutes(15)))
  struct ArgoClientTests {
    /// A Python with the clients; nil, said with its reason, where it cannot be made.
    static func python() async throws -> String? {
      let installer = Integration.repositoryFile("scripts/install-argo-clients.sh")
      let result = try await run(
        .name("sh"), arguments: [installer], output: .string(limit: 4096), error: .string(limit: 1 << 16))
      if result.terminationStatus == .exited(3) {
        print("skipped: \(result.standardError)")
        return nil
      }
      guard result.terminationStatus.isSuccess else { throw HarnessError("\(result.standardError)") }
      return result.standardOutput.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    private static func check(_ program: String) async throws {
      guard let python = try await python() else { return }
      var options = FederationOptions()
      options.agents = [.init("one"), .init("two")]
      try await Federation.with(options) { federation in
        let client = try federation.client()
        let result = try await run(
          .name("env"), arguments: [python, Integration.repositoryFile("Tests/Clients/\(program)")],
          environment: .inherit.updating([
            "ARGO_HOST": client.url, "ARGO_TOKEN": client.token ?? "", "ARGO_NAMESPACE": "default",
            "PYTHONDONTWRITEBYTECODE": "1",
          ]), output: .string(limit: 1 << 20), error: .string(limit: 1 << 20))
        #expect(
          result.terminationStatus.isSuccess,
          "\(result.standardOutput.suffix(2000))\n\(result.standardError.suffix(4000))")
      }
    }

    @Test("A program in Hera's style runs as it does against Argo: workflows, outputs, logs, templates, cron, archive")
    func hera() async throws { try await Self.check("hera_program.py") }

    @Test("A program in pydflow's style runs as it does against Argo: steps, DAG, loops, nesting, keys, control")
    func pydflow() async throws { try await Self.check("pydflow_program.py") }

    @Test("pydflow beside its own S3: uploads, Python OPs, slices, downloads")
    func pydflowAndItsBucket() async throws { try await Self.check("pydflow_s3_program.py") }
  }
}
