internal import FederationModel

/// The mark that this agent's jobs carry in their names (I7): `fubini-MMMMMMMM-RRRRRRRRRRRRRRRR` for one run, and
/// `fubini-MMMMMMMM-aNNNNNNNNNNNNNNNN` for a job array.
struct JobName: Hashable, Sendable {
  enum Subject: Hashable, Sendable {
    case run(RunID)
    /// A number drawn for the submission; `jobs/aN/runs` says which runs it has.
    case array(UInt64)
  }
  var mark: String
  var subject: Subject

  var text: String { "fubini-\(mark)-\(key)" }

  /// Also the name of the submission's directory below `jobs`.
  var key: String {
    switch subject {
    case .run(let id): id.hexadecimal
    case .array(let number): "a" + Self.hexadecimal(number)
    }
  }

  init(mark: String, subject: Subject) {
    self.mark = mark
    self.subject = subject
  }

  /// nil for a job that is not ours.
  init?(_ text: some StringProtocol, mark: String) {
    let prefix = "fubini-\(mark)-"
    guard text.hasPrefix(prefix) else { return nil }
    self.init(key: text.dropFirst(prefix.count), mark: mark)
  }

  init?(key: some StringProtocol, mark: String) {
    self.mark = mark
    if key.utf8.count == 17, key.utf8.first == 0x61, let number = UInt64(key.dropFirst(), radix: 16) {
      subject = .array(number)
    } else if let id = RunID(hexadecimal: key) {
      subject = .run(id)
    } else {
      return nil
    }
  }

  private static func hexadecimal(_ number: UInt64) -> String {
    let digits = String(number, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
