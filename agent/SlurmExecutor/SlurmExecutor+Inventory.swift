internal import Execution
internal import FederationModel

/// What the cluster has, asked for a few times a minute at most.
extension SlurmExecutor {
  private static var inventoryInterval: Duration { .seconds(60) }
  private static var commandTimeout: Duration { .seconds(30) }

  /// Partitions that take and start jobs, and that the operator counts.
  var usablePartitions: [PartitionState] {
    partitions.filter { partition in
      partition.availability == .up && partition.usableNodes > 0 && isCounted(partition.name)
    }
  }

  private func isCounted(_ partition: String) -> Bool {
    configuration.partitions.isEmpty || configuration.partitions.contains(partition)
  }

  /// Where a run goes; nil while that is not known.
  func partition(of request: RunRequest) -> PartitionState? {
    guard let name = configuration.partition(of: request) ?? stepAside(request) else {
      return partitions.first(where: \.isDefault)
    }
    return partitions.first { $0.name == name }
  }

  /// The partition to name for a run for which nobody names one, because Slurm's default could never start it; nil where it can, and
  /// where nothing better is known.
  func stepAside(_ request: RunRequest) -> String? {
    PartitionState.stepAside(
      from: partitions, to: usablePartitions, for: request, named: configuration.partition(of: request),
      isCounted: isCounted)
  }

  /// The partitions that the operator counts, with the queue waits that are estimated. The default is the one that runs go to for which
  /// nobody names one.
  var reportedPartitions: [Partition] {
    let named = configuration.partition.flatMap { name in partitions.contains { $0.name == name } ? name : nil }
    return partitions.filter { isCounted($0.name) }.map { partition in
      Partition(
        name: partition.name, isDefault: named.map { $0 == partition.name } ?? partition.isDefault,
        state: Partition.State(rawValue: partition.availability.rawValue) ?? .down, timeLimit: partition.timeLimit,
        defaultTime: partition.defaultTime, nodes: partition.nodes, usableNodes: partition.usableNodes,
        cpus: partition.cpus, freeCPUs: partition.freeCpus, cpusPerNode: partition.cpusPerNode,
        memoryPerNode: partition.memoryPerNode, gpus: partition.gpus, gpusPerNode: partition.gpusPerNode,
        waits: history.estimates(of: partition.name).map {
          PartitionWait(cpus: $0.cpus, median: $0.median, upper: $0.upper, samples: $0.samples)
        })
    }
  }

  /// What cannot change while Slurm runs. A controller that does not answer is asked nothing more here.
  ///
  /// - Throws: `.failedPrecondition` when the commands are missing.
  func learnLimits() async throws {
    let askedAt = clock.now
    do {
      let output = try await commands.run(
        configuration.programs.scontrol, ["show", "config"], timeout: Self.commandTimeout)
      guard output.status == 0 else { return }
      areLimitsKnown = true
      hasAccounting = configuration.usesAccounting && Self.keepsAccounts(output.standardOutput)
      for line in output.standardOutput.split(separator: "\n") where line.hasPrefix("MaxArraySize") {
        if let size = line.split(separator: "=").last.flatMap({ Int($0.filter(\.isNumber)) }) {
          arraySizeMax = max(1, min(configuration.arraySize, size))
        }
      }
    } catch let error as FederationError where error.isRetryable {
      health.failed(error.publicMessage, askedAt: askedAt, now: clock.now)
    }
  }

  /// - Returns: after how long to ask again.
  @discardableResult
  func refreshInventory() async -> Duration {
    let begin = clock.now
    do {
      if !areLimitsKnown { try await learnLimits() }
      let listing = try await list(["--format=\(NodeGroup.format)"])
      partitions = PartitionState.parse(listing)
      let names = usablePartitions.map(\.name)
      if names.isEmpty {
        capacity = .zero
      } else {
        // Partitions share nodes: each counts once.
        let nodes = try await list(["--partition=\(names.joined(separator: ","))", "--format=\(NodeGroup.nodeFormat)"])
        capacity = PartitionState.capacity(nodes)
      }
      health.answered()
      hasLookedNow()
      await seedWaits()
    } catch {
      health.failed((error as? FederationError)?.publicMessage ?? "\(error)", askedAt: begin, now: clock.now)
      hasLookedNow()
      return Self.inventoryInterval / 4
    }
    // An answer that took long was dear.
    return max(Self.inventoryInterval, min(.seconds(600), (clock.now - begin) * 20))
  }

  private func list(_ arguments: [String]) async throws -> String {
    let output = try await commands.run(
      configuration.programs.sinfo, ["--noheader"] + arguments, timeout: Self.commandTimeout)
    guard output.status == 0 else { throw SlurmFailure(output).error }
    return output.standardOutput
  }

  /// Slurm's own forecast where no job of ours has waited yet: what it plans for the jobs that wait there, by one `squeue --start` for
  /// all partitions; where none waits, or Slurm has no plan for them, for one core by `sbatch --test-only`, which does not count the
  /// jobs that wait. At most five questions a minute.
  private func seedWaits() async {
    let unknown = usablePartitions.filter { !history.hasOwnWaits(in: $0.name) }
    guard !unknown.isEmpty else { return }
    let names = unknown.map(\.name)
    let arguments = [
      "--start", "--noheader", "--partition=\(names.joined(separator: ","))", "--format=\(SlurmJob.format)",
    ]
    var told: Set<String> = []
    let asked = Self.wallClockSeconds
    if let output = try? await commands.run(configuration.programs.squeue, arguments, timeout: Self.commandTimeout),
      output.status == 0
    {
      told = history.planned(SlurmJob.parse(output.standardOutput).jobs, in: Set(names), now: asked)
    }
    for partition in unknown.filter({ !told.contains($0.name) }).prefix(4) {
      let arguments = [
        "--test-only", "--partition=\(partition.name)", "--ntasks=1", "--time=1", "--output=/dev/null", "--chdir=/",
      ]
      guard
        let output = try? await commands.run(
          configuration.programs.sbatch, arguments + configuration.extraOptions, input: "#!/bin/sh\n",
          timeout: Self.commandTimeout),
        let start = Self.forecastStart(output.standardError)
      else { continue }
      history.forecast(in: partition.name, cpus: 1, wait: .seconds(max(0, start - Self.wallClockSeconds)))
    }
  }

  /// The moment in `sbatch: Job 19 to start at 1795249869 using 1 processors on nodes n1 in partition batch`.
  static func forecastStart(_ text: String) -> Int64? {
    let words = text.split(whereSeparator: { $0 == " " || $0 == "\n" })
    guard let at = words.firstIndex(of: "at"), at + 1 < words.count, words[..<at].contains("start") else { return nil }
    return Int64(words[at + 1])
  }
}
