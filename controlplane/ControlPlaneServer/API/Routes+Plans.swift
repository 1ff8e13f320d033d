import ControlPlaneCore
import FederationAPI
import FederationModel
import FoundationEssentials
import HTTPTypes
import Hummingbird
import SchedulerCore
import WorkflowCore

extension APIServer {
  var planRoutes: [Route] {
    let summary = "What is expected of a workflow, without submitting it."
    return [
      Route(.post, "/v1/plan", .project(.create, .plan), summary) { try await plan($0, $1) },
      Route(.post, "/v1/projects/:p/plan", .project(.create, .plan), summary) { try await plan($0, $1) },
    ]
  }

  /// Items that a loop may be taken to have.
  private static let fanOuts = 1...1000

  private func plan(_ request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    let (sent, submission, _) = try await submission(request, context)
    let project = ProjectName(
      try context.parameters.get("p") != nil
        ? context.parameter("p")
        : request.query("project") ?? sent.metadata.namespace ?? caller.project?.text ?? "default")
    try Authorisation.require(Permission(.create, .plan), in: project, caller)
    let definition = try await services.objects.resolved(sent, in: project)
    let fanOut = try request.query("fanOut").map { text in
      guard let count = Int(text), Self.fanOuts.contains(count) else {
        throw FederationError(.invalidArgument, "fanOut is a whole number from 1 to \(Self.fanOuts.upperBound)")
      }
      return count
    }
    let name = submission.name ?? definition.metadata.name ?? (definition.metadata.generateName ?? "workflow-") + "plan"
    let program = try WorkflowProgram(definition)
    // The leader is asked only by who has a place: a refusal costs it nothing.
    var (basis, unseen) = try await services.forecasts.withPlace {
      let basis = try await services.commands.forecastBasis(of: definition, in: project, reading: [])
      return try await Task.detached(priority: .utility) {
        let forecaster = try Forecaster(program, name: name, basis: basis, fanOut: fanOut ?? 4)
        return (basis, forecaster.unseenInputs())
      }.value
    }
    if !unseen.isEmpty {
      unseen = Array(unseen.prefix(ControlPlaneCore.looksAheadMax))
      // Whoever looks shows the project's secrets to an address that the document names: that takes who may run it.
      if caller.rights.allows(Permission(.create, .workflow), in: project) {
        try await lookAhead(at: unseen, of: project, as: caller)
      }
      basis = try await services.commands.forecastBasis(of: definition, in: project, reading: unseen)
    }
    let plan = try await services.forecasts.withPlace { [basis] in
      try await Task.detached(priority: .utility) {
        let forecaster = try Forecaster(program, name: name, basis: basis, fanOut: fanOut ?? 4)
        return try PlanDocument(forecaster.forecast(), project: project)
      }.value
    }
    return try .json(plan)
  }

  /// A plan waits so long for who looks at what its workflow reads; what is not known then is taken as nothing, and the plan says so.
  private static let looksAheadFor = Duration.seconds(10)

  /// Has inputs looked at, and waits a while for the answers.
  private func lookAhead(at inputs: [UnseenInput], of project: ProjectName, as caller: Caller) async throws {
    let known = await services.commands.seen(inputs, of: project)
    guard known.count < inputs.count else { return }
    _ = try await services.commands.perform(
      .lookAhead(inputs.filter { known[$0] == nil }, project), as: caller.principal, idempotency: nil)
    let end = ContinuousClock.now + Self.looksAheadFor
    while await services.commands.seen(inputs, of: project).count < inputs.count, .now < end {
      try await Task.sleep(for: .milliseconds(100))
    }
  }
}

/// Makes forecasts beside the handlers of other requests: each is a second of one core at most, and there are never more at once than
/// leave most of the machine to the control plane.
actor ForecastDesk {
  static let forecastsMax = 2
  private var open = 0

  /// - Throws: `.resourceExhausted` when as many are being made as may be.
  func withPlace<Result: Sendable>(_ body: sending () async throws -> Result) async throws -> Result {
    guard open < Self.forecastsMax else {
      throw FederationError(
        .resourceExhausted, "other plans are being made just now; try again", retryAfter: .seconds(1))
    }
    open += 1
    defer { open -= 1 }
    return try await body()
  }
}

extension PlanDocument {
  init(_ forecast: Forecast, project: ProjectName) throws {
    var (outcome, message) = ("Complete", String?.none)
    switch forecast.ending {
    case .complete: break
    case .bad(let text): (outcome, message) = ("Bad", text)
    case .stuck: outcome = "Stuck"
    case .cut: outcome = "Cut"
    }
    let tasks = Dictionary(grouping: forecast.tasks, by: \.group)
    let groups = try forecast.groups.prefix(Self.groupsMax).enumerated().map { index, group in
      try PlannedGroupDocument(group, tasks[index] ?? [], isWithTable: index < Self.tablesMax)
    }
    self.init(
      project: project.text, at: forecast.at.wire, outcome: outcome, message: message,
      makespanSeconds: QuantityDocument(forecast.makespan),
      money: forecast.money.sorted { $0.key < $1.key }.map {
        PlannedMoneyDocument(currency: $0.key, minorUnits: QuantityDocument($0.value))
      }, groups: groups, groupCount: forecast.groups.count,
      tasks: forecast.tasks.prefix(Self.tasksMax).map { PlannedTaskDocument($0) }, taskCount: forecast.tasks.count,
      transfers: forecast.transfers.prefix(Self.transfersMax).map { PlannedTransferDocument($0) },
      criticalPath: forecast.criticalPath.map { PlannedStepDocument(forecast.tasks[$0]) },
      improvements: forecast.changes.map {
        ImprovementDocument(
          message: $0.message, condition: $0.condition, cluster: $0.cluster.text,
          makespanSeconds: $0.makespan.milliseconds, money: $0.money)
      }, unknowns: forecast.unknowns)
  }
}

extension QuantityDocument {
  init(_ quantity: ForecastQuantity) {
    self.init(
      expected: quantity.expected.milliseconds, p50: quantity.median?.milliseconds, p90: quantity.upper?.milliseconds)
  }
}

extension PlannedGroupDocument {
  init(_ group: ForecastGroup, _ tasks: [ForecastTask], isWithTable: Bool) throws {
    var clusters: [String: Int] = [:]
    for task in tasks { if let cluster = task.cluster { clusters[cluster.text, default: 0] += 1 } }
    let runtime = group.runtime
    self.init(
      name: group.name, template: group.template, tasks: group.count,
      runtimeSeconds: QuantityDocument(
        expected: runtime.median.milliseconds, p50: runtime.samples > 0 ? runtime.median.milliseconds : nil,
        p90: runtime.samples > 0 ? runtime.upper.milliseconds : nil),
      runtimeFrom: group.runtimeFrom.rawValue, samples: runtime.samples, clusters: clusters,
      startSeconds: tasks.map(\.startAt).min()?.finite, endSeconds: tasks.map(\.endAt).max()?.finite,
      bytesMoved: tasks.reduce(0) { $0 + $1.moved.bytes },
      candidates: isWithTable ? try CandidateDocument.list(group.table) : [])
  }
}

extension PlannedTaskDocument {
  init(_ task: ForecastTask) {
    self.init(
      name: task.name, group: task.group, cluster: task.cluster?.text, readySeconds: task.readyAt.milliseconds,
      placedSeconds: task.placedAt.finite, stagedSeconds: task.stagedAt.finite, startSeconds: task.startAt.finite,
      endSeconds: task.endAt.finite, bytesMoved: task.moved.bytes, priceMinorUnits: task.price, currency: task.currency)
  }
}

extension PlannedTransferDocument {
  init(_ transfer: ForecastTransfer) {
    self.init(
      key: transfer.data?.text, source: transfer.from?.text ?? "outside", cluster: transfer.to.text,
      bytes: transfer.size.bytes, startSeconds: transfer.beginsAt.milliseconds,
      seconds: (transfer.endsAt - transfer.beginsAt).milliseconds, speculative: transfer.isSpeculative)
  }
}

extension PlannedStepDocument {
  init(_ task: ForecastTask) {
    let placed = task.placedAt.finite ?? task.readyAt
    let staged = task.stagedAt.finite ?? placed
    let start = task.startAt.finite ?? staged
    self.init(
      name: task.name, cluster: task.cluster?.text,
      waitSeconds: (placed - task.readyAt + max(0, start - staged)).milliseconds,
      stageSeconds: (staged - placed).milliseconds, runSeconds: ((task.endAt.finite ?? start) - start).milliseconds,
      endSeconds: task.endAt.finite)
  }
}

extension CandidateDocument {
  /// A candidate table as the API shows it everywhere.
  static func list(_ table: CandidateTable) throws -> [CandidateDocument] {
    try JSONDecoder().decode(CandidateList.self, from: Data(table.json.description.utf8)).candidates ?? []
  }
}

extension Double {
  /// Rounded to what is worth telling.
  fileprivate var milliseconds: Double { (self * 1000).rounded() / 1000 + 0 }
  fileprivate var finite: Double? { isFinite ? milliseconds : nil }
}
