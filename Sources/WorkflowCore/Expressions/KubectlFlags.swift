public import FederationModel

/// What `flags` of a `resource` template say: those of kubectl's flags that mean something here, and the names of objects. Others are refused
/// by name.
///
/// - Source: kubectl's reference, `kubectl create|apply|delete|get|patch|replace`.
public struct KubectlFlags: Hashable, Sendable {
  public enum Validation: String, Hashable, Sendable { case strict = "Strict", warn = "Warn", ignore = "Ignore" }

  /// `TYPE`, as it is written: a plural, a singular, a short name or a kind, perhaps with its group (`deployments.apps`).
  public private(set) var type: String?
  public private(set) var names: [String] = []
  public private(set) var namespace: String?
  public private(set) var labelSelector: String?
  public private(set) var fieldSelector: String?
  public private(set) var selectsAll = false
  public private(set) var validation = Validation.strict
  public private(set) var ignoresAbsence: Bool?
  /// As the API takes it: `Background`, `Foreground`, `Orphan`.
  public private(set) var propagationPolicy = "Background"
  public private(set) var graceSeconds: Int64?
  /// Whether a deletion is waited for.
  public private(set) var waits = true
  public private(set) var fieldManager: String?
  /// Whether fields of other managers are taken over; nil: as `kubectl apply` does without `--server-side`.
  public private(set) var forcesConflicts: Bool?

  /// Whether they choose objects of a type by what these are like.
  public var selects: Bool { labelSelector != nil || fieldSelector != nil || selectsAll }

  /// - Throws: `FederationError` (`invalidArgument`) naming the flag.
  public init(_ words: [String], action: RunResource.Action) throws(FederationError) {
    var positional: [String] = []
    var isServerSide = false
    var forces = false
    var index = 0
    while index < words.count {
      let word = words[index]
      index += 1
      guard word.hasPrefix("-"), word != "-" else {
        positional.append(word)
        continue
      }
      let equals = word.firstIndex(of: "=")
      let name = String(word[..<(equals ?? word.endIndex)])
      var value = equals.map { String(word[word.index(after: $0)...]) }
      guard let flag = Self.flags[name], flag.actions?.contains(action) ?? true else {
        throw FederationError(
          .invalidArgument, "the flag \(name) of kubectl is not supported for \(action.rawValue) of a resource template"
        )
      }
      if value == nil, flag.takesValue {
        guard index < words.count else { throw FederationError(.invalidArgument, "the flag \(name) needs a value") }
        value = words[index]
        index += 1
      }
      switch flag.meaning {
      case .namespace: namespace = value
      case .labels: labelSelector = value
      case .fields: fieldSelector = value
      case .all: selectsAll = try Self.bool(name, value)
      case .validation: validation = try Self.validation(name, value)
      case .absence: ignoresAbsence = try Self.bool(name, value)
      case .cascade: propagationPolicy = try Self.policy(name, value)
      case .grace: graceSeconds = try Self.seconds(name, value)
      case .now: if try Self.bool(name, value) { graceSeconds = 1 }
      case .force: forces = try Self.bool(name, value)
      case .wait: waits = try Self.bool(name, value)
      case .manager: fieldManager = value
      case .serverSide: isServerSide = try Self.bool(name, value)
      case .conflicts: forcesConflicts = try Self.bool(name, value)
      }
    }
    if isServerSide, forcesConflicts == nil { forcesConflicts = false }
    // As kubectl: without grace only for whoever says `--force`.
    if action == .delete { graceSeconds = forces ? graceSeconds ?? 0 : graceSeconds.map { max(1, $0) } }
    try take(positional, action)
  }

  /// `TYPE`, `TYPE NAME...` or `TYPE/NAME...`.
  private mutating func take(_ words: [String], _ action: RunResource.Action) throws(FederationError) {
    guard !words.isEmpty else {
      if selects { throw FederationError(.invalidArgument, "the flags select objects, and name no type of them") }
      return
    }
    guard [.get, .delete, .patch].contains(action) else {
      throw FederationError(
        .invalidArgument, "\(action.rawValue) takes its object from the manifest, and flags may not name another one")
    }
    if words[0].contains("/") {
      for word in words {
        let parts = word.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty, type == nil || type == parts[0] else {
          throw FederationError(.invalidArgument, "the flags must name objects of one type, as TYPE/NAME")
        }
        type = parts[0]
        names.append(parts[1])
      }
    } else {
      guard !words.contains(where: { $0.isEmpty || $0.contains("/") || $0.contains(",") }) else {
        throw FederationError(.invalidArgument, "the flags must name one type of objects, as TYPE NAME")
      }
      type = words[0]
      names = Array(words.dropFirst())
    }
    guard names.isEmpty == selects else {
      throw FederationError(
        .invalidArgument,
        selects ? "objects are named or selected, not both" : "the flags name a type of objects, and no object")
    }
    guard action == .delete || names.count == 1 else {
      throw FederationError(.invalidArgument, "\(action.rawValue) of a resource template takes one object")
    }
  }

  // MARK: Flags

  private enum Meaning {
    case namespace, labels, fields, all, validation, absence, cascade, grace, now, force, wait, manager, serverSide,
      conflicts
  }
  private struct Flag {
    var meaning: Meaning
    var takesValue = false
    /// nil: of all.
    var actions: Set<RunResource.Action>?
  }
  private static let flags: [String: Flag] = {
    let selection: Set<RunResource.Action> = [.delete]
    let writing: Set<RunResource.Action> = [.create, .apply, .replace]
    return [
      "-n": Flag(meaning: .namespace, takesValue: true), "--namespace": Flag(meaning: .namespace, takesValue: true),
      "-l": Flag(meaning: .labels, takesValue: true, actions: selection),
      "--selector": Flag(meaning: .labels, takesValue: true, actions: selection),
      "--field-selector": Flag(meaning: .fields, takesValue: true, actions: selection),
      "--all": Flag(meaning: .all, actions: [.delete]), "--validate": Flag(meaning: .validation, actions: writing),
      "--ignore-not-found": Flag(meaning: .absence, actions: [.get, .delete]),
      "--cascade": Flag(meaning: .cascade, actions: [.delete]),
      "--grace-period": Flag(meaning: .grace, takesValue: true, actions: [.delete]),
      "--now": Flag(meaning: .now, actions: [.delete]), "--force": Flag(meaning: .force, actions: [.delete]),
      "--wait": Flag(meaning: .wait, actions: [.delete]),
      "--field-manager": Flag(meaning: .manager, takesValue: true, actions: [.create, .apply, .replace, .patch]),
      "--server-side": Flag(meaning: .serverSide, actions: [.apply]),
      "--force-conflicts": Flag(meaning: .conflicts, actions: [.apply]),
    ]
  }()

  private static func failure(_ name: String, _ wanted: String) -> FederationError {
    FederationError(.invalidArgument, "the flag \(name) must be \(wanted)")
  }

  private static func bool(_ name: String, _ value: String?) throws(FederationError) -> Bool {
    switch value {
    case nil, "true": true
    case "false": false
    default: throw failure(name, "true or false")
    }
  }

  private static func validation(_ name: String, _ value: String?) throws(FederationError) -> Validation {
    switch value {
    case nil, "true", "strict": .strict
    case "warn": .warn
    case "false", "ignore": .ignore
    default: throw failure(name, "strict, warn or ignore")
    }
  }

  private static func policy(_ name: String, _ value: String?) throws(FederationError) -> String {
    switch value {
    case nil, "true", "background": "Background"
    case "foreground": "Foreground"
    case "false", "orphan": "Orphan"
    default: throw failure(name, "background, foreground or orphan")
    }
  }

  private static func seconds(_ name: String, _ value: String?) throws(FederationError) -> Int64? {
    guard let seconds = value.flatMap({ Int64($0) }) else { throw failure(name, "a whole number of seconds") }
    // As in kubectl: what is below says nothing.
    return seconds < 0 ? nil : seconds
  }
}
