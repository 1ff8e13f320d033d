import ControlPlaneCore
import ControlPlaneStore
import Crypto
import FederationAPI
import FederationModel
import FoundationEssentials
import HTTPTypes
import Hummingbird
import WorkflowCore

extension APIServer {
  var workflowRoutes: [Route] {
    let workflow = "/v1/projects/:p/workflows/:w"
    let actions = ["suspend", "resume", "stop", "terminate", "retry"].map { verb in
      Route(.post, "\(workflow)/\(verb)", .project(.update, .workflow), "\(verb.capitalized)s a workflow.") {
        request, context in
        let body = try await request.document(WorkflowActionRequest.self, orElse: WorkflowActionRequest())
        return try await act(try WorkflowCommand(verb: verb, body), request, context)
      }
    }
    return [
      Route(.post, "/v1/workflows", .project(.create, .workflow), "Submits a workflow.") { try await submit($0, $1) },
      Route(.get, "/v1/workflows", .project(.read, .workflow), "Lists workflows, newest first.") {
        try await list($0, $1)
      },
      Route(.post, "/v1/projects/:p/workflows", .project(.create, .workflow), "Submits a workflow to a project.") {
        try await submit($0, $1)
      },
      Route(.get, "/v1/projects/:p/workflows", .project(.read, .workflow), "Lists a project's workflows, newest first.")
      {
        try await list($0, $1)
      },
      Route(.get, workflow, .project(.read, .workflow), "A workflow with its nodes.") { _, context in
        try await detail(context)
      },
      Route(.delete, workflow, .project(.delete, .workflow), "Ends a workflow if it runs, and removes it.") {
        request, context in
        try await act(.delete, request, context)
      },
      Route(
        .post, "\(workflow)/set", .project(.update, .workflow), "Gives nodes that wait outputs, a message, or an end."
      ) { request, context in
        let body = try await request.document(SetNodesRequest.self)
        let command = try WorkflowCommand(
          settingNodes: body.nodeFieldSelector, phase: body.phase, message: body.message,
          parameters: body.parameters ?? [:])
        return try await act(command, request, context)
      },
      Route(
        .post, "\(workflow)/resubmit", .project(.create, .workflow), "Submits a workflow anew, under a new name."
      ) { try await resubmit($0, $1) },
      Route(.get, "\(workflow)/nodes", .project(.read, .workflow), "A workflow's nodes, page by page.") {
        try await nodes($0, $1)
      },
      Route(.get, "\(workflow)/explain", .project(.read, .workflow), "Why a node is where it is.") {
        try await explain($0, $1)
      },
    ] + actions
  }

  // MARK: Submitting

  private func submit(_ request: Request, _ context: APIContext) async throws -> Response {
    let request = try await request.received(limit: APIContext.submissionSizeLimit)
    return try await services.flights.run(for: try Self.submitter(request, context)) {
      let (definition, submission, bytes) = try await submission(request, context)
      return try await submit(definition, submission, bytes, request, context)
    }
  }

  /// The document of a native submission with what the caller sets in it, and the body as it came. What it takes from templates is
  /// not in it yet.
  func submission(
    _ request: Request, _ context: APIContext
  ) async throws -> (definition: WorkflowDefinition, submission: SubmitRequest, bytes: [UInt8]) {
    let isWrapped = request.headers[.contentType]?.hasPrefix(SubmitRequest.contentType) == true
    let bytes = try await request.bytes(limit: isWrapped ? APIContext.submissionSizeLimit : APIContext.sizeLimit)
    let isStrict = request.query("strict") != "false"
    let (definition, submission) = try await services.submissions.run(for: try Self.submitter(request, context)) {
      try Self.submission(bytes, isWrapped: isWrapped, isStrict: isStrict)
    }
    if let definition { return (definition, submission, bytes) }
    let stored = try await stored(submission.from ?? "", request, context)
    return (try Self.overridden(stored, submission), submission, bytes)
  }

  /// The workflow of `template/NAME`, `cluster-template/NAME` or `cron/NAME`.
  private func stored(
    _ from: String, _ request: Request, _ context: APIContext
  ) async throws -> WorkflowDefinition {
    let caller = try context.signedIn()
    let project = ProjectName(
      try context.parameters.get("p") != nil
        ? context.parameter("p") : request.query("project") ?? caller.project?.text ?? "default")
    let halves = from.split(separator: "/", maxSplits: 1).map(String.init)
    let kinds: [String: StoredObjectKind] = [
      "template": .workflowTemplate, "cluster-template": .clusterWorkflowTemplate, "cron": .cronWorkflow,
    ]
    guard halves.count == 2, let kind = kinds[halves[0]] else {
      throw FederationError(
        .invalidArgument, "from is template/NAME, cluster-template/NAME or cron/NAME, not \"\(from.prefix(80))\"")
    }
    let reading = Permission(.read, kind.resource)
    if !kind.isFederal { try Authorisation.require(reading, in: project, caller) }
    return try await workflow(of: kind, halves[1], in: project)
  }

  /// Who takes turns with others: the project, as far as the request names it outside its document, else the user.
  static func submitter(_ request: Request, _ context: APIContext) throws -> String {
    let caller = try context.signedIn()
    let named = context.parameters.get("p") ?? context.parameters.get("namespace") ?? request.query("project")
    return (named ?? caller.project?.text).map { "project \($0)" } ?? "user \(caller.user)"
  }

  /// Without a definition the submission says what it is made from.
  private static func submission(_ bytes: [UInt8], isWrapped: Bool, isStrict: Bool) throws -> (
    definition: WorkflowDefinition?, submission: SubmitRequest
  ) {
    var submission = SubmitRequest(document: "")
    let definition: WorkflowDefinition
    if isWrapped {
      try JSONBody.refuseNUL(in: bytes)
      do { submission = try JSONDecoder().decode(SubmitRequest.self, from: Data(bytes)) } catch {
        throw FederationError(.invalidArgument, "the body is not a submission document", cause: error)
      }
      if submission.from != nil {
        guard submission.document.isEmpty else {
          throw FederationError(.invalidArgument, "a submission has a document or from, not both")
        }
        return (nil, submission)
      }
      definition = try WorkflowDefinition.decode(Array(submission.document.utf8), strict: isStrict)
    } else {
      definition = try WorkflowDefinition.decode(bytes, strict: isStrict)
    }
    return (try overridden(definition, submission), submission)
  }

  static func overridden(_ definition: WorkflowDefinition, _ submission: SubmitRequest) throws -> WorkflowDefinition {
    var definition = definition
    if let parameters = submission.parameters, !parameters.isEmpty {
      definition = try definition.withArguments(parameters)
    }
    if let entrypoint = submission.entrypoint { definition = try definition.withEntrypoint(entrypoint) }
    if let labels = submission.labels { definition = try definition.withLabels(labels) }
    return definition
  }

  /// The common end of both dialects' submissions.
  func submit(
    _ definition: WorkflowDefinition, _ submission: SubmitRequest, _ bytes: [UInt8], _ request: Request,
    _ context: APIContext
  ) async throws -> Response {
    let caller = try context.signedIn()
    let project = ProjectName(
      try context.parameters.get("p") != nil
        ? context.parameter("p")
        : request.query("project") ?? definition.metadata.namespace ?? caller.project?.text ?? "default")
    try Authorisation.require(Permission(.create, .workflow), in: project, caller)
    let definition = try await services.objects.resolved(definition, in: project)
    let (name, uid) = try await identity(of: definition, submission, project, request, caller)
    if request.query("dryRun") == "true" {
      let document = try JSONDecoder().decode(JSONValue.self, from: Data(definition.canonicalJSON.utf8))
      return try .json(SubmitResponse(project: project.text, name: name, uid: "", dryRun: true, document: document))
    }
    let command = try await services.submissions.run(for: "project \(project)") {
      Command.submit(Submission(definition: definition, project: project, name: name, uid: uid))
    }
    let reply = try await services.commands.perform(
      command, as: caller.principal, idempotency: try Self.idempotency(request, bytes, project))
    guard case .submitted(let project, let name, let uid) = reply else {
      throw FederationError(.internal, "the submission was answered with something else")
    }
    return try .json(SubmitResponse(project: project.text, name: name, uid: uid), .created)
  }

  /// Name and UID of a new workflow. With an idempotency key they follow from it, so that a repetition asks for the same workflow.
  func identity(
    of definition: WorkflowDefinition, _ submission: SubmitRequest, _ project: ProjectName, _ request: Request,
    _ caller: Caller
  ) async throws -> (name: String, uid: String) {
    try await identity(of: definition, submission, project, Self.identityBytes(request, caller, project))
  }

  func identity(
    of definition: WorkflowDefinition, _ submission: SubmitRequest, _ project: ProjectName, _ bytes: [UInt8]
  ) async throws -> (name: String, uid: String) {
    let uid = WorkflowName.uuid(bytes)
    if submission.generateName == nil, let name = submission.name ?? definition.metadata.name {
      try WorkflowName.check(name)
      // The core knows the names of workflows that live. A repetition has the UID of what it repeats, and is answered as that was.
      if let existing = try await services.store.workflowHead(WorkflowReference(project: project, name: name)),
        existing.uid != uid
      {
        throw FederationError(
          .alreadyExists,
          "workflow \(name) exists already in project \(project): take another name, or generateName, or delete that one"
        )
      }
      return (name, uid)
    }
    let name = (submission.generateName ?? definition.metadata.generateName ?? "workflow-") + WorkflowName.suffix(bytes)
    try WorkflowName.check(name)
    return (name, uid)
  }

  /// What the UID of something new is made of: random, or what follows from the idempotency key.
  static func identityBytes(_ request: Request, _ caller: Caller, _ project: ProjectName) -> [UInt8] {
    guard let key = request.headers[.idempotencyKey] else { return randomBytes() }
    return Array(SHA256.hash(data: Data("\(caller.user)\n\(project)\n\(key)".utf8)).prefix(16))
  }

  /// - Parameter project: where the path does not name it: the same request to another project is another request.
  static func idempotency(
    _ request: Request, _ body: [UInt8], _ project: ProjectName? = nil
  ) throws -> IdempotencyKey? {
    guard let key = request.headers[.idempotencyKey] else { return nil }
    guard (1...128).contains(key.utf8.count) else {
      throw FederationError(.invalidArgument, "an Idempotency-Key has 1 to 128 bytes")
    }
    var hash = SHA256()
    hash.update(data: Data("\(request.method.rawValue) \(request.uri.path)\n".utf8))
    if let project { hash.update(data: Data("\(project)\n".utf8)) }
    hash.update(data: Data(body))
    return IdempotencyKey(key: key, requestHash: hash.finalize().hexadecimal)
  }

  // MARK: Reading

  /// The workflow that the path names: by name, UID or `@latest`.
  func workflow(_ context: APIContext) async throws -> WorkflowHead {
    let project = ProjectName(try context.parameter(context.parameters.get("p") != nil ? "p" : "namespace"))
    let name = try context.parameter(context.parameters.get("w") != nil ? "w" : "name")
    let reference = try await reference(project, name)
    if let found = try await services.store.workflowHead(reference) { return found }
    // No name has the form of a UID unless its author made it so.
    guard reference.name.utf8.count == 36, let found = try await services.store.workflowHead(uid: reference.name),
      found.project == project
    else { throw FederationError(.notFound, "there is no workflow \(name) in project \(project)") }
    return found
  }

  private func reference(_ project: ProjectName, _ name: String) async throws -> WorkflowReference {
    guard name == "@latest" else { return WorkflowReference(project: project, name: name) }
    guard let latest = try await services.store.workflowHeads(WorkflowFilter(project: project), limit: 1).first else {
      throw FederationError(.notFound, "project \(project) has no workflow yet")
    }
    return WorkflowReference(project: project, name: latest.name)
  }

  private func list(_ request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    var filter = WorkflowFilter(project: caller.project)
    filter.projects = caller.rights.projects(allowing: Permission(.read, .workflow))
    // The path says which project; a query beside it was not authorised and is not looked at.
    if context.parameters.get("p") != nil {
      filter.project = ProjectName(try context.parameter("p"))
    } else if let project = request.query("project"), !project.isEmpty {
      filter.project = ProjectName(project)
    }
    filter.phases = try (request.query("phase") ?? "").split(separator: ",").map { text in
      guard let phase = NodePhase(rawValue: String(text)) else {
        throw FederationError(
          .invalidArgument, "\"\(text)\" is no phase; phases are \(NodePhase.allCases.map(\.rawValue))")
      }
      return phase
    }
    filter.createdSince = try request.query("since").map { text in
      guard let time = WireTime(text) else {
        throw FederationError(
          .invalidArgument, "since is a moment like 2026-03-01T12:00:00Z, not \"\(text.prefix(40))\"")
      }
      return time.timestamp
    }
    filter.labels = try LabelSelector.equalities(request.query("labelSelector") ?? "")
    let limit = try request.limit()
    let before = try request.query("continue").map { WorkflowID(try Cursor.number($0)) }
    let rows = try await services.store.workflowHeads(filter, before: before, limit: limit)
    let counts = try await services.store.taskCounts(of: rows.map(\.id))
    let waiting = await standstill(of: rows, counts)
    return try .json(
      WorkflowList(
        items: rows.map { WorkflowSummary($0, tasks: counts[$0.id] ?? [:], waiting: waiting[$0.reference]) },
        next: rows.count == limit ? rows.last.map { String($0.id.number) } : nil))
  }

  /// What those of `heads` wait for of which no task runs. Beyond the first hundred of them the reasons are left out.
  private func standstill(
    of heads: [WorkflowHead], _ counts: [WorkflowID: [String: Int]]
  ) async -> [WorkflowReference: Standstill] {
    let still = heads.filter { head in
      !head.status.phase.isTerminal && (counts[head.id]?[NodePhase.running.rawValue] ?? 0) == 0
    }
    guard !still.isEmpty else { return [:] }
    return await services.commands.standstill(of: still.prefix(Self.standstillMax).map(\.reference))
  }

  /// Each asks the leader for one candidate table.
  private static var standstillMax: Int { 100 }

  private func detail(_ context: APIContext) async throws -> Response {
    let sequence = try await services.store.position().sequence
    let head = try await workflow(context)
    let limit = WorkflowDetail.nodeLimit
    let records = try await services.store.nodes(of: head.id, limit: limit + 1)
    let nodes = try await nodesView(head, Array(records.prefix(limit))).documents
    let totals = try await services.store.totals(of: head.id)
    let tasks = try await services.store.taskCounts(of: [head.id])[head.id] ?? [:]
    let document = try await services.store.document(of: head.id) ?? "{}"
    return try .json(
      WorkflowDetail(
        summary: WorkflowSummary(
          head, tasks: tasks, waiting: await standstill(of: [head], [head.id: tasks])[head.reference]),
        document: try JSONDecoder().decode(JSONValue.self, from: Data(document.utf8)), nodes: nodes,
        nodesTruncated: records.count > limit, outputs: OutputsDocument(head.status.outputs),
        cost: totals.charges.sorted { $0.key < $1.key }.map { MoneyDocument($0.value, $0.key) },
        bytesMoved: totals.bytesMoved, commitSequence: sequence))
  }

  private func nodes(_ request: Request, _ context: APIContext) async throws -> Response {
    let head = try await workflow(context)
    let limit = try request.limit(500)
    let after = try request.query("continue").map { try Cursor.number($0) } ?? -1
    let page = try await services.store.nodes(of: head.id, after: after, limit: limit)
    return try .json(
      NodeList(
        items: try await nodesView(head, page).documents,
        next: page.count == limit ? page.last.map { String($0.id.ordinal) } : nil))
  }

  // MARK: Acting

  private func resubmit(_ request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    let bytes = try await request.bytes()
    let body = bytes.isEmpty ? ResubmitRequest() : try JSONBody.decode(ResubmitRequest.self, from: bytes)
    let loaded = try await argoLoaded(context)
    let accepted = try await resubmit(
      loaded.row, parameters: body.parameters ?? [:], isMemoized: body.memoized == true,
      try Self.idempotency(request, bytes), request, caller)
    let uid = try await services.store.workflowHead(accepted)?.uid ?? ""
    return try .json(SubmitResponse(project: accepted.project.text, name: accepted.name, uid: uid), .created)
  }

  private func act(_ command: WorkflowCommand, _ request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    let project = ProjectName(try context.parameter("p"))
    let reference = try await reference(project, try context.parameter("w"))
    let reply = try await services.commands.perform(
      .workflow(reference, command), as: caller.principal, idempotency: try Self.idempotency(request, []))
    if case .workflow(let project, let name, let uid) = reply {
      return try .json(AcceptedDocument(name: name, project: project.text, uid: uid))
    }
    return try .json(AcceptedDocument(name: reference.name, project: project.text))
  }
}

/// A candidate table as the core writes it.
struct CandidateList: Decodable {
  var message: String?
  var candidates: [CandidateDocument]?
  var unplaceable: Bool?
  var priority: PriorityDocument?
}

extension WorkflowCommand {
  /// - Throws: `.invalidArgument` for a selector that is none.
  init(verb: String, _ body: WorkflowActionRequest) throws {
    let selector = try body.nodeFieldSelector.flatMap { $0.isEmpty ? nil : try NodeSelector(fields: $0) }
    switch verb {
    case "suspend": self = .suspend
    case "resume":
      // Without a selector the workflow goes on, and so does every suspend node in it.
      self =
        selector == nil && body.parameters == nil
        ? .resume : .resumeNodes(selector ?? .all, parameters: body.parameters ?? [:])
    case "stop":
      // As in Argo: nodes that wait for a person are ended; whatever else runs is stopped with the workflow alone.
      let message = body.message ?? ""
      self = selector.map { .set($0, phase: .failed, message: message, parameters: [:]) } ?? .stop(message: message)
    case "terminate": self = .terminate
    default:
      self = .retry(
        restartSuccessful: body.restartSuccessful ?? false, selector, parameters: body.parameters ?? [:])
    }
  }
}

/// Equality label selectors: `a=b,c=d`.
enum LabelSelector {
  static func equalities(_ text: String) throws -> [String: String] {
    var labels: [String: String] = [:]
    for part in text.split(separator: ",") {
      let sides = part.split(separator: "=", omittingEmptySubsequences: true).map { $0.trimmingPrefix(" ") }
      guard sides.count == 2 else {
        throw FederationError(.invalidArgument, "labelSelector is KEY=VALUE[,KEY=VALUE...], not \"\(part.prefix(80))\"")
      }
      labels[String(sides[0])] = String(sides[1])
    }
    return labels
  }
}

/// Names of new workflows.
enum WorkflowName {
  /// Kubernetes' alphabet for generated names: no vowels, so that no words arise.
  private static let alphabet = Array("bcdfghjklmnpqrstvwxz2456789")

  static func suffix(_ bytes: [UInt8]) -> String {
    String(bytes.prefix(5).map { alphabet[Int($0) % alphabet.count] })
  }

  /// RFC 9562, version 4 layout over the given bytes.
  static func uuid(_ bytes: [UInt8]) -> String {
    var bytes = bytes
    bytes[6] = bytes[6] & 0x0f | 0x40
    bytes[8] = bytes[8] & 0x3f | 0x80
    let text = bytes.hexadecimal
    var parts: [Substring] = []
    var rest = text[...]
    for length in [8, 4, 4, 4, 12] {
      parts.append(rest.prefix(length))
      rest = rest.dropFirst(length)
    }
    return parts.joined(separator: "-")
  }

  static func check(_ name: String, of word: String = "workflow", bytesMax: Int = 253) throws {
    let isValid =
      (1...bytesMax).contains(name.utf8.count)
      && name.utf8.allSatisfy { (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x2d || $0 == 0x2e }
      && name.first != "-" && name.last != "-" && name.first != "." && name.last != "."
    guard isValid else {
      throw FederationError(
        .invalidArgument,
        "a \(word)'s name has 1 to \(bytesMax) lower-case letters, digits, '-' and '.', not \"\(name.prefix(80))\"")
    }
  }
}
