import ArgumentParser

@main
struct SchedulerBenchmarks: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "scheduler-bench", abstract: "Benchmarks of the co-scheduler.",
    subcommands: [PlacementBenchmark.self, SnapshotBenchmark.self, CoSchedulingBenchmark.self])
}
