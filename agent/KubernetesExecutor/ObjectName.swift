internal import FederationModel

/// What the objects of one run are called, and how they are known as ours (I7): `fubini-MMMMMMMM-RRRRRRRRRRRRRRRR`.
///
/// Creating them twice is a conflict with themselves. One of that name without our labels is somebody else's.
struct ObjectName: Hashable, Sendable {
  static let markLabel = "fubini.dev/mark"
  static let runLabel = "fubini.dev/run"
  static let projectLabel = "fubini.dev/project"
  /// Of Kueue.
  static let queueLabel = "kueue.x-k8s.io/queue-name"
  /// Of Indexed Jobs' pods.
  static let rankAnnotation = "batch.kubernetes.io/job-completion-index"
  /// Keeps a Job that somebody deletes until its end is recorded.
  static let finalizer = "fubini.dev/recorded"

  var mark: String
  var run: RunID

  var text: String { "fubini-\(mark)-\(run.hexadecimal)" }

  init(mark: String, run: RunID) {
    self.mark = mark
    self.run = run
  }

  /// nil for the name of what is not ours. A pod's name has an ending of its own: `isPrefix`.
  init?(_ text: some StringProtocol, mark: String, isPrefix: Bool = false) {
    let prefix = "fubini-\(mark)-"
    guard text.hasPrefix(prefix) else { return nil }
    var rest = text.dropFirst(prefix.count)
    if isPrefix {
      let ending = rest.dropFirst(16)
      guard ending.isEmpty || ending.hasPrefix("-") || ending.hasPrefix(".") else { return nil }
      rest = rest.prefix(16)
    }
    guard let run = RunID(hexadecimal: rest) else { return nil }
    self.init(mark: mark, run: run)
  }

  /// Which run an object with these metadata is of; nil for what is not ours: name and labels must both say so.
  init?(metadata: JSONValue, mark: String) {
    guard let labels = metadata["labels"], labels[Self.markLabel]?.stringValue == mark,
      let run = labels[Self.runLabel]?.stringValue.flatMap({ RunID(hexadecimal: $0) }),
      let name = metadata["name"]?.stringValue,
      let owner = ObjectName(name, mark: mark, isPrefix: true), owner.run == run
    else { return nil }
    self = owner
  }

  /// - Parameter project: names of projects are label values.
  func labels(project: ProjectName) -> [String: JSONValue] {
    [
      Self.markLabel: .string(mark), Self.runLabel: .string(run.hexadecimal),
      Self.projectLabel: .string(project.text),
    ]
  }
}
