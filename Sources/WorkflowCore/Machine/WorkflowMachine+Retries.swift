import FederationModel

/// `retryStrategy`: a Retry node and its attempts.
extension WorkflowMachine {
  func retryStrategy(of template: WorkflowTemplate) -> RetryStrategy? {
    template.retryStrategy ?? definition.spec.retryStrategy
  }

  /// The attempts of a Retry node, in order.
  func liveAttempts(of node: Int32) -> [Int32] {
    guard nodes[Int(node)].type == .retry else { return [] }
    return nodes[Int(node)].children.map(\.ordinal).filter {
      nodes[Int($0)].role == .attempt && !nodes[Int($0)].isSuperseded
    }
  }

  mutating func startAttempt(of node: Int32) {
    if let reason = refusal(for: node) { return end(node, .failed, reason) }
    guard let plan = plan(of: node) else { return end(node, .error, "template not found") }
    let record = nodes[Int(node)]
    let number = liveAttempts(of: node).count
    let suffix = "(\(number))"
    var attempt = NodePlace(
      name: record.name + suffix, displayName: record.displayName + suffix, role: .attempt, parent: record.id,
      boundary: record.boundary, step: Int32(number), upstream: [record.id]
    ).record(plan.nodeType, .pending, template: record.templateName, message: "")
    attempt.inputs = record.inputs
    add(attempt)
  }

  /// An attempt has ended: so does its Retry node, or another attempt follows, at once or after a wait.
  mutating func attemptEnded(_ attempt: Int32, of node: Int32) {
    guard !nodes[Int(node)].phase.isTerminal else { return }
    let last = nodes[Int(attempt)]
    nodes[Int(node)].outputs = last.outputs
    nodes[Int(node)].exitCode = last.exitCode
    markChanged(node)
    // What came after it has gone on with the one that has ended.
    if last.isDaemoned { return end(node, last.phase, last.message) }
    guard last.phase == .failed || last.phase == .error else { return end(node, last.phase, last.message) }
    if status.shutdown != nil || status.isPastDeadline, let reason = refusal(for: node) {
      return end(node, last.phase, reason)
    }
    guard nodes[Int(node)].cancelReason == nil else { return end(node, last.phase, last.message) }
    do {
      switch try decision(on: node, after: attempt) {
      case .end(let message): end(node, last.phase, message)
      case .retry(let moment) where moment <= now: startAttempt(of: node)
      case .retry(let moment):
        nodes[Int(node)].message = "Backoff for \(Self.describe(moment - now))"
        wake(node, at: moment)
      }
    } catch {
      end(node, .error, Self.message(of: error))
    }
  }

  private enum RetryDecision {
    case end(message: String)
    case retry(at: Timestamp)
  }

  /// - Source: Argo `workflow/controller/operator.go`, `processNodeRetries`.
  private func decision(on node: Int32, after attempt: Int32) throws -> RetryDecision {
    guard let template = plan(of: node)?.template, let strategy = retryStrategy(of: template) else {
      return .end(message: "")
    }
    let last = nodes[Int(attempt)]
    let context = TagContext.leaf(node)
    let attempts = liveAttempts(of: node)
    var moment = now
    if let backoff = strategy.backoff {
      let first = nodes[Int(attempts[0])].startedAt ?? now
      let limit = try backoff.maxDuration.flatMap { $0.isEmpty ? nil : $0 }.map {
        first + (try duration($0, in: context))
      }
      if let limit, now > limit { return .end(message: "Max duration limit exceeded") }
      moment = (last.finishedAt ?? now) + (try wait(backoff, after: attempts.count, in: context))
      if let limit, moment > limit { return .end(message: "Backoff would exceed max duration limit") }
    }
    switch strategy.policy ?? (strategy.expression == nil ? .onFailure : .always) {
    case .always: break
    case .onFailure: if last.phase != .failed { return .end(message: last.message) }
    case .onError: if last.phase != .error { return .end(message: last.message) }
    case .onTransientError:
      if !transientErrors.contains(last.phase, last.message) { return .end(message: last.message) }
    }
    if let limit = strategy.limit, !limit.isEmpty {
      let text = try substitute(limit, in: context)
      guard let count = Int(text), count >= 0 else {
        throw FederationError(.invalidArgument, "retryStrategy.limit '\(text)' is no whole number")
      }
      if attempts.count > count { return .end(message: "No more retries left") }
    }
    if let expression = strategy.expression, !expression.isEmpty {
      let result = try evaluate(expression, in: context) { name in
        if name.hasPrefix("lastRetry.") { return retryValue(name.dropFirst("lastRetry.".count), of: attempt) }
        return name == "retries" ? .text(String(attempts.count - 1)) : nil
      }
      guard case .bool(let isWanted) = try result.value() else {
        throw FederationError(.invalidArgument, "retryStrategy.expression '\(expression)' is neither true nor false")
      }
      if !isWanted { return .end(message: "retryStrategy.expression evaluated to false") }
    }
    return .retry(at: moment)
  }

  private func duration(_ text: String, in context: TagContext) throws -> Duration {
    let text = try substitute(text, in: context)
    guard let duration = GoDuration.parse(text) else {
      throw FederationError(.invalidArgument, "'\(text)' is no duration; write for example 90s or 1h30m")
    }
    return duration
  }

  /// `duration * factor^(attempts-1)`, at most `cap`.
  private func wait(_ backoff: RetryStrategy.Backoff, after attempts: Int, in context: TagContext) throws -> Duration {
    guard let text = backoff.duration, !text.isEmpty else { return .zero }
    var seconds = try duration(text, in: context).seconds
    if let factor = backoff.factor, !factor.isEmpty {
      let text = try substitute(factor, in: context)
      guard let value = Double(text), value >= 0, value.isFinite else {
        throw FederationError(.invalidArgument, "retryStrategy.backoff.factor '\(text)' is no number")
      }
      for _ in 1..<max(2, min(attempts, 1024)) where attempts > 1 { seconds = min(seconds * value, 1e9) }
    }
    if let cap = backoff.cap, !cap.isEmpty { seconds = min(seconds, try duration(cap, in: context).seconds) }
    return .milliseconds(Int64((seconds * 1000).rounded()))
  }

  /// `2 minutes 40 seconds`, as Argo words it.
  static func describe(_ duration: Duration) -> String {
    let total = max(0, (duration.milliseconds + 999) / 1000)
    let parts = [
      (total / 86_400, "days"), (total / 3600 % 24, "hours"), (total / 60 % 60, "minutes"), (total % 60, "seconds"),
    ]
    return parts.drop { $0.0 == 0 && $0.1 != "seconds" }.map { "\($0.0) \($0.1)" }.joined(separator: " ")
  }
}
