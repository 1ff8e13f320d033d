import FederationModel
import FoundationEssentials
import WorkflowCore

/// The system's rules of time zones, read once.
enum TimeZones {
  static let directory = "/usr/share/zoneinfo"

  /// nil: there is no such zone.
  static func rules(_ name: String) throws -> TimeZoneRules? {
    guard TimeZoneRules.isZoneName(name) else { return nil }
    guard let data = FileManager.default.contents(atPath: "\(directory)/\(name)"),
      data.count <= TimeZoneRules.sizeLimitBytes
    else { return nil }
    return try TimeZoneRules(tzif: Array(data))
  }
}

extension CronPlan {
  /// - Throws: `.invalidArgument` for a schedule, a time zone or an expression that is none.
  init(_ spec: CronWorkflowSpec) throws {
    try self.init(
      schedules: spec.schedules, timezone: spec.timezone ?? "",
      concurrencyPolicy: CronConcurrencyPolicy(rawValue: spec.concurrencyPolicy.rawValue) ?? .allow,
      startingDeadline: spec.startingDeadlineSeconds.map { .seconds($0) }, isSuspended: spec.isSuspended,
      when: spec.when ?? "", stopExpression: spec.stopExpression ?? "", zone: TimeZones.rules)
  }
}
