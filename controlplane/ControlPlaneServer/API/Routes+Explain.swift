import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import FoundationEssentials
import HTTPTypes
import Hummingbird
import WorkflowCore

extension APIServer {
  /// Runs of a task that `explain` tells of, the newest; and of the newest of these with their tables.
  private static let runsTold = 50
  private static let tablesTold = 10

  func explain(_ request: Request, _ context: APIContext) async throws -> Response {
    let head = try await workflow(context)
    guard let name = request.query("node"), !name.isEmpty else { return try await explainStandstill(head, context) }
    guard let node = try await services.store.node(of: head.id, named: name) else {
      throw FederationError(.notFound, "workflow \(head.name) has no node \(name)")
    }
    let runs = try await services.store.newestRuns(of: TaskID(workflow: head.id, node: node.id), limit: Self.runsTold)
    let history = try await history(of: TaskID(workflow: head.id, node: node.id), runs)
    // A run that was given up leaves its task waiting for the next one.
    if let run = runs.last, node.phase.isTerminal || !run.phase.isTerminal {
      let placed = history.last { $0.kind == "Placed" }
      let reason = await reasons(head, [node.id])[node.id]
      return try .json(
        ExplanationDocument(
          message: reason
            ?? "\(run.phase.name) on \(run.cluster)"
            + (run.phase.isTerminal || run.message.isEmpty ? "" : ": \(run.message)"),
          decidedAt: run.explanation == 0 ? nil : placed?.at, candidates: placed?.candidates ?? [], history: history))
    }
    if node.phase.isTerminal || !node.type.isTask {
      return try .json(
        ExplanationDocument(
          message: node.message.isEmpty ? node.phase.rawValue : node.message, candidates: [], history: history))
    }
    var document = try await explanation(of: node.name, in: head, context)
    document.history = history
    return try .json(document)
  }

  /// Without a node: what the workflow waits for where nothing of it runs, else that it does not wait.
  private func explainStandstill(_ head: WorkflowHead, _ context: APIContext) async throws -> Response {
    guard !head.status.phase.isTerminal else {
      return try .json(
        ExplanationDocument(message: "the workflow has ended: \(head.status.phase.rawValue)", candidates: []))
    }
    let running = try await services.store.taskCounts(of: [head.id])[head.id]?[NodePhase.running.rawValue] ?? 0
    guard running == 0, let still = await services.commands.standstill(of: [head.reference])[head.reference] else {
      let message = head.status.isSuspended ? "the workflow is suspended" : "nothing keeps it waiting: its tasks run"
      return try .json(ExplanationDocument(message: message, candidates: []))
    }
    // Between the two questions the task may have been placed: then the second answer is the newer truth.
    var document = try await explanation(of: still.name, in: head, context)
    if document.message?.isEmpty ?? true { document.message = still.reason }
    document.node = still.displayName
    return try .json(document)
  }

  /// A task that waits, or where its run is, as the leader has it.
  private func explanation(
    of name: String, in head: WorkflowHead, _ context: APIContext
  ) async throws -> ExplanationDocument {
    let caller = try context.signedIn()
    let reply = try await services.commands.perform(
      .explain(head.reference, node: name), as: caller.principal, idempotency: nil)
    guard case .explanation(let text) = reply else {
      throw FederationError(.internal, "the explanation is of another kind")
    }
    let table = try JSONDecoder().decode(CandidateList.self, from: Data(text.utf8))
    return ExplanationDocument(
      message: table.message, candidates: table.candidates ?? [], unplaceable: table.unplaceable,
      priority: table.priority)
  }

  /// What was decided about a task: its placements with their tables, how their runs ended, and what happened in between.
  private func history(of task: TaskID, _ runs: [RunRow]) async throws -> [DecisionDocument] {
    var decisions: [(at: Timestamp, document: DecisionDocument)] = []
    let tables = try await services.store.explanations(
      runs.suffix(Self.tablesTold).map(\.explanation).filter { $0 != 0 })
    for run in runs {
      let table = try tables[run.explanation].map {
        try JSONDecoder().decode(CandidateList.self, from: Data($0.document.utf8))
      }
      let chosen = table?.candidates?.first { $0.cluster == run.cluster.text }
      let name = run.id.hexadecimal
      decisions.append(
        (
          run.boundAt,
          DecisionDocument(
            at: run.boundAt.wire, kind: "Placed", cluster: run.cluster.text, run: name, attempt: run.epoch,
            message: chosen?.reason ?? "", candidates: table?.candidates)
        ))
      guard let end = run.finishedAt else { continue }
      let message = [run.phase.name, run.message, run.cancelReason ?? ""].filter { !$0.isEmpty }.joined(separator: ": ")
      decisions.append(
        (
          end,
          DecisionDocument(
            at: end.wire, kind: "Ended", cluster: run.cluster.text, run: name, attempt: run.epoch, message: message)
        ))
    }
    for event in try await services.store.events(of: task).map(\.row) {
      decisions.append(
        (
          event.at,
          DecisionDocument(
            at: event.at.wire, kind: event.reason, cluster: event.cluster?.text, message: event.message)
        ))
    }
    // Those of one moment stay in the order in which they were read: a run is placed before it ends.
    return decisions.enumerated().sorted { ($0.element.at, $0.offset) < ($1.element.at, $1.offset) }
      .map(\.element.document)
  }
}
