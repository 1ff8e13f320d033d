import FederationAPI
import FederationHarness
import FederationModel
import Foundation
import Testing

extension Integration {
  /// Argo's own examples through the REST API, on two clusters at once. They are data beside the repository, not in it.
  @Suite("Argo's examples, end to end", .timeLimit(.minutes(20)))
  struct ArgoCorpusTests {
    private struct Entry: Decodable {
      var path: String
      var kinds: [String]
      var tier: String
      var expectedPhase: String?
      var needs: [String]
      var note: String
      enum CodingKeys: String, CodingKey {
        case path, kinds, tier, needs, note
        case expectedPhase = "expected_phase"
      }
    }

    /// Examples that do not come out as in Argo, each with its reason; docs/reference/argo-compatibility.md has them, too. One that
    /// comes out right has to be taken off the list.
    static let exceptions: [String: String] = [
      "examples/container-set-template/parallel-workflow.yaml":
        "the members of a container set need the static build of the agent in their root file system; the tests' is not"
    ]

    private static let folder: URL =
      ProcessInfo.processInfo.environment["FUBINI_SHARED_DATA"].map { URL(filePath: $0).appending(path: "argo") }
      ?? URL(filePath: Integration.repositoryFile("../shared/data/argo")).standardized

    /// What became of an example.
    private struct Outcome: Sendable {
      var path: String
      /// Empty: as in Argo.
      var fault: String
    }

    @Test(
      "Every example of tiers A and B that needs no Kubernetes comes to the phase that it comes to in Argo, and its values, order and output to what it makes plain"
    )
    func corpus() async throws {
      guard let index = try? Data(contentsOf: Self.folder.appending(path: "expected.json")) else {
        print("skipped: no corpus at \(Self.folder.path)")
        return
      }
      let all = try JSONDecoder().decode([Entry].self, from: index).filter { ["A", "B"].contains($0.tier) }
      try #require(all.count == 67)
      // Some are links of the repository that they come from, to files that did not come along.
      let readable = try all.filter { try !Self.text(of: $0).hasPrefix("../") }
      print("Argo's examples: \(all.count - readable.count) of \(all.count) are links to files that are not there")
      let isWhole = ProcessInfo.processInfo.environment["FUBINI_CORPUS_ALL"] != nil
      let entries = readable.filter { isWhole || !$0.path.hasSuffix("forever.yaml") }
      if !isWhole {
        print("Argo's examples: forever.yaml, which takes 500 seconds, runs where FUBINI_CORPUS_ALL is set")
      }
      let examples = entries
      let images = try ShimImages.make()
      defer { images.remove() }
      var options = FederationOptions()
      options.agents = ["one", "two"].map { name in
        var agent = FederationOptions.Agent(name, slots: 6)
        agent.keys = images.agentKeys
        return agent
      }
      options.disconnectLimit = 60
      try await Federation.with(options) { federation in
        let client = try federation.client()
        try await Self.prepare(client)
        let outcomes = try await withThrowingTaskGroup(of: Outcome.self) { group in
          var waiting = examples[...]
          // A few at a time: what is measured is what they come to, not how many fit.
          for _ in 0..<8 { if let entry = waiting.popFirst() { group.addTask { try await Self.run(entry, client) } } }
          var outcomes: [Outcome] = []
          while let outcome = try await group.next() {
            outcomes.append(outcome)
            if let entry = waiting.popFirst() { group.addTask { try await Self.run(entry, client) } }
          }
          return outcomes
        }
        let failed = outcomes.filter { !$0.fault.isEmpty }.sorted { $0.path < $1.path }
        print("Argo's examples: \(outcomes.count - failed.count) of \(outcomes.count) as in Argo")
        for outcome in failed { print("  \(outcome.path): \(outcome.fault)") }
        #expect(Set(failed.map(\.path)) == Set(Self.exceptions.keys))
      }
    }

    /// Templates and config maps that examples speak of.
    private static func prepare(_ client: RESTClient) async throws {
      for fixture in [
        "cluster-workflow-template/clustertemplates.yaml", "workflow-template/templates.yaml",
        "configmaps/simple-parameters-configmap.yaml", "dag-inline-workflowtemplate.yaml",
      ] {
        let text = try String(contentsOf: folder.appending(path: "examples/\(fixture)"), encoding: .utf8)
        let answer = try await apply(text, client)
        #expect(answer.status == 200, "\(fixture): \(answer.text.prefix(600))")
      }
      let semaphores = try await client.send(
        "PUT", "/v1/projects/default/config-maps/my-config",
        body: Data(#"{"data":{"workflow":"1","template":"1"}}"#.utf8))
      #expect(semaphores.status == 200, "\(semaphores.text)")
    }

    private static func apply(_ text: String, _ client: RESTClient) async throws -> RESTClient.Response {
      try await client.send(
        "POST", "/v1/documents?project=default", body: Data(text.utf8), contentType: "application/yaml")
    }

    private static func run(_ entry: Entry, _ client: RESTClient) async throws -> Outcome {
      // Some examples throw dice: what may come out badly one time in ten is tried again.
      let attempts = entry.note.contains("random") ? 3 : 1
      var outcome = Outcome(path: entry.path, fault: "")
      for _ in 0..<attempts {
        do {
          outcome.fault = ""
          for name in try await submit(entry, client) {
            let fault = try await finish(name, entry, client)
            if !fault.isEmpty { outcome.fault = fault }
          }
        } catch { outcome.fault = String("\(error)".replacing("\n", with: " ").prefix(500)) }
        if outcome.fault.isEmpty { break }
      }
      return outcome
    }

    private static func text(of entry: Entry) throws -> String {
      try String(contentsOf: folder.appending(path: entry.path), encoding: .utf8)
    }

    /// Stores and submits what a document holds. - Returns: the workflows' names.
    private static func submit(_ entry: Entry, _ client: RESTClient) async throws -> [String] {
      var text = try text(of: entry)
      // The second of two ways to do the same, through Kubernetes.
      if entry.path.hasSuffix("cron-backfill.yaml") {
        text = text.components(separatedBy: "\n---\n").filter { !$0.contains("backfill-v1") }.joined(
          separator: "\n---\n")
      }
      if entry.kinds == ["Workflow"] {
        let answer = try await client.send(
          "POST", "/v1/projects/default/workflows", body: Data(text.utf8), contentType: "application/yaml")
        return [try answer.decoded(SubmitResponse.self).name]
      }
      let applied = try await apply(text, client).decoded(AppliedList.self)
      var names = applied.items.filter { $0.kind == "Workflow" }.map(\.name)
      for item in applied.items where names.isEmpty || item.kind == "CronWorkflow" {
        let kinds = [
          "WorkflowTemplate": "template", "ClusterWorkflowTemplate": "cluster-template", "CronWorkflow": "cron",
        ]
        guard let kind = kinds[item.kind] else { continue }
        var request = SubmitRequest(document: "")
        request.from = "\(kind)/\(item.name)"
        if entry.needs.contains(where: { $0.contains("appellation") }) { request.parameters = ["appellation": "World"] }
        let answer = try await client.send(
          "POST", "/v1/projects/default/workflows", body: try JSONEncoder().encode(request),
          contentType: SubmitRequest.contentType)
        names.append(try answer.decoded(SubmitResponse.self).name)
        // Its clock would go on, and forget what is beyond its history.
        if kind == "cron" {
          _ = try await client.send("DELETE", "/v1/projects/default/cron-workflows/\(item.name)")
        }
      }
      return names
    }

    private static func finish(_ name: String, _ entry: Entry, _ client: RESTClient) async throws -> String {
      let needsResume = entry.needs.contains { $0.contains("interaction") }
      // `forever` counts 500 seconds.
      let end = ContinuousClock.now + (entry.path.hasSuffix("forever.yaml") ? .seconds(900) : .seconds(480))
      while true {
        let detail = try await client.workflow(name)
        if detail.summary.phase.isTerminal {
          if detail.summary.phase.rawValue == entry.expectedPhase {
            return try await ArgoCorpusResult.all[entry.path]?.fault(in: detail, client) ?? ""
          }
          let nodes = detail.nodes.filter { $0.phase == .failed || $0.phase == .error }.prefix(3)
          return "\(detail.summary.phase.rawValue), not \(entry.expectedPhase ?? "-"): \(detail.summary.message) "
            + nodes.map { "\($0.displayName): \($0.message)" }.joined(separator: "; ")
        }
        if needsResume, detail.nodes.contains(where: { $0.type == "Suspend" && $0.phase == .running }) {
          _ = try? await client.action(name, "resume", WorkflowActionRequest(parameters: ["approve": "YES"]))
        }
        guard ContinuousClock.now < end else {
          return "not over: "
            + detail.nodes.filter { !$0.phase.isTerminal }.prefix(3).map { "\($0.displayName): \($0.message)" }
            .joined(separator: "; ")
        }
        try await Task.sleep(for: .milliseconds(250))
      }
    }
  }
}

/// What stands in for images that the examples name: file trees with a few of this machine's programs.
struct ShimImages {
  let directory: String
  private let argosay: String

  static func make() throws -> ShimImages {
    let directory = NSTemporaryDirectory() + "/fubini-shims-\(UInt64.random(in: 0 ... .max))"
    let images = ShimImages(directory: directory, argosay: directory + "/argosay")
    let script = """
      set -eu
      umask 022
      root="$1"
      for place in bin lib lib64 usr etc tmp mnt work; do mkdir -p "$root/$place"; done
      for program in /bin/sh /bin/cat /bin/sleep /bin/mkdir /bin/echo /bin/grep /bin/date /bin/ls /bin/rm; do
        real=$(readlink -f "$program")
        mkdir -p "$root/bin"
        cp "$real" "$root/bin/${program##*/}"
        ldd "$real" | grep -o '/[^ ]*' | while read -r library; do
          mkdir -p "$root$(dirname "$library")"
          cp -L "$library" "$root$library"
        done
      done
      cat > "$root/argosay" <<'SHIM'
      #!/bin/sh
      case "${1:-}" in
      "") echo "hello argo" ;;
      echo)
        if [ -n "${3:-}" ]; then mkdir -p "${3%/*}"; echo "${2:-}" > "$3"; else echo "${2:-}"; fi ;;
      cat) shift; cat "$@" ;;
      sleep) sleep "$2" ;;
      exit) exit "${2:-0}" ;;
      sh) sh "$2" ;;
      assert_contains) grep -q -- "$3" "$2" ;;
      *) exit 1 ;;
      esac
      SHIM
      chmod 755 "$root/argosay"
      cp "$root/argosay" "$root/bin/argosay"
      printf '#!/bin/sh\\necho "$@"\\n' > "$root/bin/cowsay"
      chmod 755 "$root/bin/cowsay"
      """
    let process = Process()
    process.executableURL = URL(filePath: "/bin/sh")
    process.arguments = ["-c", script, "sh", images.argosay]
    try process.run()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw HarnessError("the stand-ins for images cannot be made") }
    return images
  }

  /// For an agent's configuration.
  var agentKeys: [String: String] {
    [
      "images": """
      [{pattern: "argoproj/argosay:*", runsAs: shim, command: [/argosay]}, {pattern: "*/argosay:*", runsAs: shim, command: [/argosay]}, \
      {pattern: "*whalesay*", runsAs: shim}, {pattern: "rancher/cowsay*", runsAs: shim}, {pattern: "*", runsAs: host}]
      """,
      "rootFileSystems": "{shim: \(argosay)}",
    ]
  }

  func remove() { try? FileManager.default.removeItem(atPath: directory) }
}
