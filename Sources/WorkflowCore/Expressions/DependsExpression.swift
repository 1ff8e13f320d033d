import FederationModel

/// How a task can have ended, in the words of `depends`.
enum DependsResult: String, Sendable, CaseIterable {
  case succeeded = "Succeeded"
  case failed = "Failed"
  case errored = "Errored"
  case skipped = "Skipped"
  case omitted = "Omitted"
  case daemoned = "Daemoned"
  case anySucceeded = "AnySucceeded"
  case allFailed = "AllFailed"
}

/// A dag task's `depends`: task results joined by `&&`, `||`, `!` and parentheses.
///
/// Held in reverse Polish order, so that neither reading nor evaluating it needs a stack of calls.
/// - Source: Argo "Enhanced Depends Logic": a bare name means `(name.Succeeded || name.Skipped || name.Daemoned)`.
struct DependsExpression: Sendable, Equatable {
  static let lengthLimit = 256 << 10

  enum Operation: Sendable, Equatable {
    case test(String, DependsResult)
    case not, and, or
  }
  let operations: [Operation]

  /// `dependencies` as Argo maps them, with the `continueOn` of each.
  init(dependencies: [(name: String, continueOn: ContinueOn)]) {
    var operations: [Operation] = []
    for (index, dependency) in dependencies.enumerated() {
      operations += Self.bare(dependency.name)
      if dependency.continueOn.failed { operations += [.test(dependency.name, .failed), .or] }
      if dependency.continueOn.error { operations += [.test(dependency.name, .errored), .or] }
      if index > 0 { operations.append(.and) }
    }
    self.operations = operations
  }

  private static func bare(_ name: String) -> [Operation] {
    [.test(name, .succeeded), .test(name, .skipped), .or, .test(name, .daemoned), .or]
  }

  /// - Throws: `FederationError` (`invalidArgument`) that says what is wrong, and where.
  init(parsing text: String) throws {
    guard text.utf8.count <= Self.lengthLimit else {
      throw Self.failure("is longer than \(Self.lengthLimit) bytes", text)
    }
    var output: [Operation] = []
    var pending: [Token] = []
    var expectsOperand = true
    for token in try Self.tokens(of: text) {
      switch token {
      case .name(let name):
        guard expectsOperand else { throw Self.failure("lacks an operator before '\(name)'", text) }
        output += try Self.test(name, text)
        expectsOperand = false
      case .not, .open:
        guard expectsOperand else { throw Self.failure("lacks an operator before '\(token.text)'", text) }
        pending.append(token)
      case .and, .or:
        guard !expectsOperand else { throw Self.failure("lacks a task before '\(token.text)'", text) }
        while let top = pending.last, top.precedence >= token.precedence {
          output.append(pending.removeLast().operation!)
        }
        pending.append(token)
        expectsOperand = true
      case .close:
        guard !expectsOperand else { throw Self.failure("lacks a task before ')'", text) }
        while let top = pending.last, top != .open { output.append(pending.removeLast().operation!) }
        guard pending.popLast() == .open else { throw Self.failure("has a ')' too many", text) }
      }
    }
    guard !expectsOperand else { throw Self.failure("ends where a task is expected", text) }
    while let top = pending.popLast() {
      guard let operation = top.operation else { throw Self.failure("lacks a ')'", text) }
      output.append(operation)
    }
    operations = output
  }

  /// Each once, in the order of their first mention.
  var taskNames: [String] {
    var seen = Set<String>()
    return operations.compactMap { if case .test(let name, _) = $0, seen.insert(name).inserted { name } else { nil } }
  }

  func evaluate(_ holds: (String, DependsResult) throws -> Bool) rethrows -> Bool {
    var stack: [Bool] = []
    for operation in operations {
      switch operation {
      case .test(let name, let result): stack.append(try holds(name, result))
      case .not: stack.append(!stack.removeLast())
      case .and, .or:
        let right = stack.removeLast()
        let left = stack.removeLast()
        stack.append(operation == .and ? left && right : left || right)
      }
    }
    return stack.last ?? true
  }

  private enum Token: Equatable {
    case name(String)
    case not, and, or, open, close
    var precedence: Int {
      switch self {
      case .not: 3;
      case .and: 2;
      case .or: 1;
      case .name, .open, .close: 0
      }
    }
    var operation: Operation? {
      switch self {
      case .not: .not;
      case .and: .and;
      case .or: .or;
      case .name, .open, .close: nil
      }
    }
    var text: String {
      switch self {
      case .name(let name): name;
      case .not: "!";
      case .and: "&&";
      case .or: "||";
      case .open: "(";
      case .close: ")"
      }
    }
  }

  private static func test(_ name: String, _ text: String) throws -> [Operation] {
    guard let dot = name.lastIndex(of: ".") else { return bare(name) }
    let result = String(name[name.index(after: dot)...])
    guard let kind = DependsResult(rawValue: result) else {
      let known = DependsResult.allCases.map(\.rawValue).joined(separator: ", ")
      throw failure("asks for '\(result)'; a task's result is one of \(known)", text)
    }
    return [.test(String(name[..<dot]), kind)]
  }

  private static func tokens(of text: String) throws -> [Token] {
    var tokens: [Token] = []
    let bytes = Array(text.utf8)
    var index = 0
    while index < bytes.count {
      let byte = bytes[index]
      let next = index + 1 < bytes.count ? bytes[index + 1] : 0
      switch byte {
      case 0x20, 0x09, 0x0a, 0x0d: index += 1
      case UInt8(ascii: "("): index += 1; tokens.append(.open)
      case UInt8(ascii: ")"): index += 1; tokens.append(.close)
      case UInt8(ascii: "!"): index += 1; tokens.append(.not)
      case UInt8(ascii: "&") where next == byte: index += 2; tokens.append(.and)
      case UInt8(ascii: "|") where next == byte: index += 2; tokens.append(.or)
      case _ where isNameByte(byte):
        let start = index
        while index < bytes.count, isNameByte(bytes[index]) || bytes[index] == 0x2e { index += 1 }
        tokens.append(.name(String(decoding: bytes[start..<index], as: UTF8.self)))
      default: throw failure("has an unexpected character at byte \(index)", text)
      }
    }
    return tokens
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte) || byte == 0x2d
      || byte == 0x5f
  }

  private static func failure(_ what: String, _ text: String) -> FederationError {
    FederationError(.invalidArgument, "depends '\(text.prefix(200))' \(what)")
  }
}
