// The long run behind `make fuzz`: `fuzz TARGET ROUNDS SEED`. scripts/fuzz.sh compiles it, optimised, beside the targets that the tests
// use, in a package of its own.
import FederationModel
import Foundation

@testable import WorkflowCore

#if canImport(Glibc)
  import Glibc
#endif

func processorNanoseconds() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

func peakMemoryMiB() -> Int {
  var usage = rusage()
  // RUSAGE_SELF, which Swift sees as another type.
  getrusage(0, &usage)
  return usage.ru_maxrss / 1024
}

/// At once, so that it is there when the next input crashes.
func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }

func fuzz(_ target: FuzzTarget, rounds: Int, seed: UInt64, note: UnsafeMutableBufferPointer<UInt8>) -> Int {
  var random = SeededGenerator(seed: seed)
  var (slowest, slowestInput, slow): (UInt64, String, Int) = (0, "", 0)
  for round in 0..<rounds {
    let input = target.input(using: &random)
    // What was being done stands in a file that outlives a crash.
    let text = Array("\(target.rawValue) round \(round): ".utf8) + Array(input.utf8.prefix(note.count - 64)) + [0]
    _ = note.update(fromContentsOf: text)
    let start = processorNanoseconds()
    target.run(input)
    let taken = processorNanoseconds() - start
    if taken > slowest { (slowest, slowestInput) = (taken, input) }
    if taken > 50_000_000 {
      slow += 1
      if slow <= 5 { say("SLOW \(target.rawValue) \(taken / 1_000_000) ms: \(input.debugDescription.prefix(2000))") }
    }
  }
  say(
    "\(target.rawValue): \(rounds) inputs, seed \(seed), slowest \(slowest / 1000) us, \(slow) above 50 ms, peak memory \(peakMemoryMiB()) MiB"
  )
  if slow == 0 { say("  slowest: \(slowestInput.debugDescription.prefix(160))") }
  return slow
}

let arguments = CommandLine.arguments
guard arguments.count == 5, let rounds = Int(arguments[2]), let seed = UInt64(arguments[3]) else {
  say("usage: fuzz TARGET|all ROUNDS SEED NOTE-FILE")
  exit(2)
}
let descriptor = open(arguments[4], O_RDWR | O_CREAT | O_TRUNC, 0o600)
let size = 1 << 16
guard descriptor >= 0, ftruncate(descriptor, size) == 0,
  let memory = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), memory != MAP_FAILED
else {
  say("cannot write \(arguments[4])")
  exit(2)
}
let note = UnsafeMutableBufferPointer(start: memory.assumingMemoryBound(to: UInt8.self), count: size)
let targets = arguments[1] == "all" ? FuzzTarget.allCases : FuzzTarget(rawValue: arguments[1]).map { [$0] } ?? []
guard !targets.isEmpty else {
  say("targets: \(FuzzTarget.allCases.map(\.rawValue).joined(separator: ", "))")
  exit(2)
}
exit(targets.reduce(0) { $0 + fuzz($1, rounds: rounds, seed: seed, note: note) } == 0 ? 0 : 1)
