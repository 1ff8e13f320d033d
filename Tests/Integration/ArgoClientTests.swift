import FederationHarness
import FederationModel
import Foundation
import Subprocess
import Testing

extension Integration {
  /// A client of Slurm, which finds our commands under Slurm's names.
  @Suite("Slurm's clients", .timeLimit(.minutes(15)))
  struct SlurmClientTests {
    @Test("dpdispatcher runs its jobs through sbatch and squeue as on a Slurm cluster")
    func dpdispatcher() async throws {
      guard let python = try await ArgoClientTests.python() else { return }
      try await Federation.with { federation in
        let shims = federation.path("shims")
        let made = try await federation.fubini(["install-slurm-shims", "--dir", shims])
        try #require(made.code == 0, "\(made.output)")
        let client = try federation.client()
        let result = try await run(
          .name("env"),
          arguments: [
            python, Integration.repositoryFile("Tests/Clients/dpdispatcher_program.py"), federation.path("dp"),
          ],
          environment: .inherit.updating([
            "PATH": "\(shims):/usr/bin:/bin", "FUBINI_URL": client.url, "FUBINI_TOKEN": client.token ?? "",
            "XDG_STATE_HOME": federation.path("state"), "PYTHONDONTWRITEBYTECODE": "1",
          ]), output: .string(limit: 1 << 20), error: .string(limit: 1 << 20))
        #expect(
          result.terminationStatus.isSuccess,
          "\(result.standardOutput.suffix(2000))\n\(result.standardError.suffix(4000))")
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
      guard result.terminationStatus.isSuccess else {
        print("skipped: \(result.standardError)")
        return nil
      }
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
