import FederationAPI
import FederationHarness
import Foundation
import Postgres
import Synchronization

/// The work that is under way while things are killed: workflows of a few seconds whose tasks tell what they do.
struct ChaosWorkload: Sendable {
  let federation: Federation
  let trace: TraceCollector

  /// Four to six tasks side by side, then one more; every second workflow retries what failed. `beats`: tenths of a second.
  func document(_ name: String, beats: [Int], retries: Bool, replace: Bool) -> String {
    let retry = retries ? "\n    retryStrategy: {limit: \"2\", retryPolicy: Always}" : ""
    let items = beats.enumerated().map { "{part: \($0.offset), beats: \($0.element)}" }.joined(separator: ", ")
    let attempt = retries ? "{{retries}}" : "0"
    return """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: \(name)}
      spec:
        entrypoint: main
        federation: {onDisconnect: \(replace ? "replace" : "wait")}
        templates:
        - name: main
          steps:
          - - name: work
              template: work
              withItems: [\(items)]
              arguments: {parameters: [{name: part, value: "{{item.part}}"}, {name: beats, value: "{{item.beats}}"}]}
          - - name: last
              template: work
              arguments: {parameters: [{name: part, value: last}, {name: beats, value: "1"}]}
        - name: work
          inputs: {parameters: [{name: part}, {name: beats}]}\(retry)
          container:
            image: debian:12
            command: [sh, -c]
            args:
            - |
              say() { read now rest </proc/uptime; echo "${FUBINI_RUN%%-*} {{workflow.name}}/{{inputs.parameters.part}}/\(attempt) $1 $now" >\(trace.pipe); }
              say start
              i=0; while [ $i -lt {{inputs.parameters.beats}} ]; do sleep 0.1; say beat; i=$((i+1)); done
              say end
      """
  }

  /// Submits until it is acknowledged, whatever happens to the control planes meanwhile: always under the same key.
  /// - Throws: what was refused for good, or when nothing was acknowledged in a minute.
  func submit(_ name: String, _ document: String) async throws -> String {
    let end = ContinuousClock.now + .seconds(60)
    var last = "no control plane answered"
    var replica = 0
    while ContinuousClock.now < end {
      do {
        let client = try federation.client(replica)
        let answer = try await client.submit(document, key: "chaos-\(name)", timeout: .seconds(5))
        return answer.name
      } catch let failure as RESTFailure {
        guard [409, 429, 500, 502, 503, 504].contains(failure.status) else { throw failure }
        last = "\(failure)"
      } catch { last = "\(error)" }
      replica = (replica + 1) % federation.replicas.count
      try await Task.sleep(for: .milliseconds(100))
    }
    throw HarnessError("\(name) was not acknowledged in a minute: \(last)")
  }

  /// Shells of our tasks that live: only they have the pipe of this federation in their command line.
  static func liveRuns(_ federation: Federation) -> [(process: OwnedProcess, text: String)] {
    OwnedProcess.all(withCommandLineContaining: federation.shared + "/trace").compactMap { entry in
      guard let program = entry.words.first, program == "sh" || program.hasSuffix("/sh") else { return nil }
      let task = entry.words.joined(separator: " ").split(separator: " ").first { $0.contains("chaos-") } ?? ""
      return (entry.process, "process \(entry.process.pid) of \(task)")
    }
  }

  /// Waits until every workflow has ended. - Throws: with what is still open.
  func settle(timeout: Duration) async throws {
    var open: [String] = []
    try await poll(
      "everything is over; open:\n  \(open.joined(separator: "\n  "))", timeout: timeout, every: .milliseconds(100)
    ) {
      // PostgreSQL may be away at this moment.
      guard
        let rows = try? await federation.query(
          """
          SELECT w.name || ' ' || w.phase || coalesce(': ' || n.name || ' ' || n.phase || ' ' || n.message, '')
            || coalesce(' (run ' || to_hex(r.run_id) || ' epoch ' || r.epoch || ' phase ' || r.phase || ' on ' || r.cluster || ')', '')
          FROM workflows w
          LEFT JOIN nodes n ON n.workflow_id = w.id AND n.type = 'Pod' AND n.phase IN ('Pending', 'Running')
          LEFT JOIN runs r ON r.workflow_id = n.workflow_id AND r.ordinal = n.ordinal AND r.phase < 5
          WHERE w.phase IN ('Pending', 'Running') LIMIT 40
          """)
      else { return false }
      open = try rows.rows.map { try $0.text(0) }
      return open.isEmpty
    }
  }
}
