import FederationModel

/// Numbers: what is none counts as 0.
extension ExpressionEvaluator {
  mutating func sprigNumber(_ name: String, _ a: ExpressionArguments) throws -> ExprValue? {
    switch name {
    case "atoi": return .integer(Int64(try a.string(0)) ?? 0)
    case "int", "int64": return .integer(Self.sprigInteger(try a.value(0)))
    case "float64": return .number(Self.sprigDouble(try a.value(0)))
    case "toDecimal": return .integer(Int64(try a.value(0).goText, radix: 8) ?? 0)
    case "add1": return .integer(Self.sprigInteger(try a.value(0)) &+ 1)
    case "add": return .integer(a.values.reduce(0) { $0 &+ Self.sprigInteger($1) })
    case "mul":
      let first = Self.sprigInteger(try a.value(0))
      return .integer(a.values.dropFirst().reduce(first) { $0 &* Self.sprigInteger($1) })
    case "sub", "div", "mod": return .integer(try whole(name, a))
    case "max", "biggest", "min":
      let numbers = a.values.map(Self.sprigInteger)
      guard let least = numbers.min(), let most = numbers.max() else { throw a.failure("needs numbers") }
      return .integer(name == "min" ? least : most)
    case "maxf", "minf":
      let numbers = a.values.map(Self.sprigDouble)
      guard let first = numbers.first else { throw a.failure("needs numbers") }
      return .number(numbers.reduce(first) { name == "maxf" ? Swift.max($0, $1) : Swift.min($0, $1) })
    case "add1f": return .number(try decimal("addf", [try a.value(0), .integer(1)], a))
    case "addf", "subf", "mulf", "divf": return .number(try decimal(name, a.values, a))
    case "floor": return .number(Self.sprigDouble(try a.value(0)).rounded(.down))
    case "ceil": return .number(Self.sprigDouble(try a.value(0)).rounded(.up))
    case "round": return .number(try rounded(a))
    case "until":
      let count = try a.integer(0)
      return .list(try steps(0, count, count < 0 ? -1 : 1))
    case "untilStep": return .list(try steps(try a.integer(0), try a.integer(1), try a.integer(2)))
    case "seq": return .string(try sequence(a))
    default: return nil
    }
  }

  private func whole(_ name: String, _ a: ExpressionArguments) throws -> Int64 {
    let (x, y) = (Self.sprigInteger(try a.value(0)), Self.sprigInteger(try a.value(1)))
    if name == "sub" { return x &- y }
    guard y != 0 else { throw a.failure("integer divide by zero") }
    return name == "div"
      ? x.dividedReportingOverflow(by: y).partialValue : x.remainderReportingOverflow(dividingBy: y).partialValue
  }

  /// sprig counts in decimals, so that 0.1 and 0.2 are 0.3: fifteen digits of a floating-point result are as exact.
  private func decimal(_ name: String, _ values: [ExprValue], _ a: ExpressionArguments) throws -> Double {
    let numbers = values.map(Self.sprigDouble)
    guard let first = numbers.first else { return 0 }
    if name == "divf", numbers.dropFirst().contains(0) { throw a.failure("decimal division by 0") }
    let result = numbers.dropFirst().reduce(first) { sum, number in
      switch name {
      case "addf": sum + number
      case "subf": sum - number
      case "mulf": sum * number
      default: sum / number
      }
    }
    return name == "divf" ? result : Self.cleaned(result)
  }

  private static func cleaned(_ value: Double) -> Double {
    guard value.isFinite, value != 0, abs(value) < 1e15, abs(value) > 1e-6 else { return value }
    var scale = 1.0
    while abs(value) * scale < 1e14, scale < 1e15 { scale *= 10 }
    return (value * scale).rounded() / scale
  }

  private func rounded(_ a: ExpressionArguments) throws -> Double {
    let threshold = a.count > 2 ? Self.sprigDouble(try a.value(2)) : 0.5
    let scale = GoMath.power(10, Double(try a.integer(1)))
    let scaled = scale * Self.sprigDouble(try a.value(0))
    let fraction = scaled - scaled.rounded(.towardZero)
    return (fraction >= threshold ? scaled.rounded(.up) : scaled.rounded(.down)) / scale
  }

  private mutating func steps(_ start: Int, _ stop: Int, _ step: Int) throws -> [ExprValue] {
    guard step != 0, (stop < start) == (step < 0) || stop == start else { return [] }
    let (distance, overflow) = stop.subtractingReportingOverflow(start)
    guard !overflow, step != .min, abs(distance / step) <= 1_000_000 else {
      throw ExpressionProblem("a sequence makes more than 1000000 elements")
    }
    try spend(abs(distance / step))
    return stride(from: start, to: stop, by: step).map { .integer(Int64($0)) }
  }

  /// As the program `seq`: the end is part of it.
  private mutating func sequence(_ a: ExpressionArguments) throws -> String {
    let numbers = try a.values.indices.map { try a.integer($0) }
    guard (1...3).contains(numbers.count), numbers.allSatisfy({ abs($0) < 1 << 53 }) else { return "" }
    let start = numbers.count == 1 ? 1 : numbers[0]
    let end = numbers[numbers.count - 1]
    let direction = end < start ? -1 : 1
    let step = numbers.count == 3 ? numbers[1] : direction
    if numbers.count == 3, end < start, step > 0 { return "" }
    return try joined(try steps(start, end + direction, step), " ")
  }
}
