/// An option of one of Slurm's commands, and what becomes of it here.
public struct SlurmOption: Hashable, Sendable {
  public enum Argument: Hashable, Sendable { case none, required, optional }
  public enum Effect: Hashable, Sendable {
    case obeyed
    /// It changes nothing here, and why that is right; said to who gives it.
    case none(String)
    /// Obeying it is not possible, and ignoring it would change what happens.
    case refused(String)
  }
  public var name: String
  public var short: Character?
  public var argument: Argument
  public var effect: Effect

  public init(
    _ name: String, _ short: Character? = nil, _ argument: Argument = .required, _ effect: Effect = .obeyed
  ) {
    self.name = name
    self.short = short
    self.argument = argument
    self.effect = effect
  }
}

/// An option as it was given.
public struct GivenOption: Hashable, Sendable {
  /// The long name.
  public var name: String
  public var value: String?
  public init(_ name: String, _ value: String? = nil) {
    self.name = name
    self.value = value
  }
}

/// The options of one command, read as glibc's `getopt_long` reads them: bundled short ones, `--name=value`, `--name value`, and names
/// that are cut short where that leaves no doubt.
public struct OptionTable: Sendable {
  public var program: String
  public var options: [SlurmOption]
  /// Of `getopt_long`'s own complaints.
  public var usageExitCode: Int32

  public init(_ program: String, usageExitCode: Int32 = 1, _ options: [SlurmOption]) {
    self.program = program
    self.options = options
    self.usageExitCode = usageExitCode
  }

  public struct Scan: Hashable, Sendable {
    public var options: [GivenOption] = []
    public var operands: [String] = []
  }

  /// - Parameter stopsAtOperand: whether everything from the first operand on is left alone, as for a program and its arguments.
  public func scan(_ arguments: [String], stopsAtOperand: Bool = false) throws(SlurmRefusal) -> Scan {
    var result = Scan()
    var rest = arguments[...]
    while let word = rest.popFirst() {
      if word == "--" {
        result.operands += rest
        break
      }
      if word.hasPrefix("--") {
        result.options.append(try long(word.dropFirst(2), &rest))
      } else if word.hasPrefix("-"), word.count > 1 {
        try short(word.dropFirst(), &rest, &result)
      } else if stopsAtOperand {
        result.operands = [word] + rest
        break
      } else {
        result.operands.append(word)
      }
    }
    return result
  }

  private func long(_ word: Substring, _ rest: inout ArraySlice<String>) throws(SlurmRefusal) -> GivenOption {
    let name = String(word.prefix { $0 != "=" })
    let value = word.firstIndex(of: "=").map { String(word[word.index(after: $0)...]) }
    let option = try find(name)
    switch option.argument {
    case .none:
      guard value == nil else { throw usage("option '--\(option.name)' doesn't allow an argument") }
      return GivenOption(option.name)
    case .optional: return GivenOption(option.name, value)
    case .required:
      guard let value = value ?? rest.popFirst() else { throw usage("option '--\(option.name)' requires an argument") }
      return GivenOption(option.name, value)
    }
  }

  private func find(_ name: String) throws(SlurmRefusal) -> SlurmOption {
    if let exact = options.first(where: { $0.name == name }) { return exact }
    let near = options.filter { $0.name.hasPrefix(name) }
    guard let first = near.first, !name.isEmpty else { throw usage("unrecognized option '--\(name)'") }
    guard near.count == 1 else {
      let names = near.map { "'--\($0.name)'" }.joined(separator: " ")
      throw usage("option '--\(name)' is ambiguous; possibilities: \(names)")
    }
    return first
  }

  private func short(
    _ word: Substring, _ rest: inout ArraySlice<String>, _ result: inout Scan
  ) throws(SlurmRefusal) {
    var word = word
    while let letter = word.popFirst() {
      guard let option = options.first(where: { $0.short == letter }) else {
        throw usage("invalid option -- '\(letter)'")
      }
      switch option.argument {
      case .none: result.options.append(GivenOption(option.name))
      case .optional:
        result.options.append(GivenOption(option.name, word.isEmpty ? nil : String(word)))
        return
      case .required:
        guard let value = word.isEmpty ? rest.popFirst() : String(word) else {
          throw usage("option requires an argument -- '\(letter)'")
        }
        // `-n=4` is read as "=4" by getopt; Slurm itself drops the sign for a few options, and so do we for all.
        result.options.append(GivenOption(option.name, value.hasPrefix("=") ? String(value.dropFirst()) : value))
        return
      }
    }
  }

  private func usage(_ text: String) -> SlurmRefusal { .usage(text, program, exitCode: usageExitCode) }

  public subscript(name: String) -> SlurmOption? { options.first { $0.name == name } }
}
