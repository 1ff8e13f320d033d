import Foundation

/// How long the fuzz tests go on: a short slice by default, `FUBINI_FUZZ_ROUNDS` inputs in all when `make fuzz` says so.
enum FuzzRounds {
  static func perSeed(_ slice: Int, seeds: Int) -> Int {
    guard let text = ProcessInfo.processInfo.environment["FUBINI_FUZZ_ROUNDS"], let rounds = Int(text), rounds > 0
    else { return slice }
    return max(1, rounds / seeds)
  }
}
