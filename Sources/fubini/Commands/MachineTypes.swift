internal import ArgumentParser
internal import FederationAPI
internal import FederationModel
internal import NIOHTTP1
internal import SlurmFrontDoor

struct MachineTypeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "machinetype", abstract: "What the machine types of job files stand for: set, list, rm.",
    discussion: """
      Names like c2_m4_cpu (2 CPUs, 4 GiB) and "c4_m15_1 * NVIDIA T4" (and one GPU of the type t4) say it themselves, unless they are set.
      """,
    subcommands: [Set.self, ListAll.self, Remove.self])

  struct Set: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Set what a machine type stands for.")
    @Argument var name: String
    @Option var cpus: Int64
    @Option(help: "4Gi") var memory: String
    @Option var gpus: Int64?
    @Option(help: "As clusters name it: a100.") var gpuType: String?
    @Option(
      help: "A cluster, clusters with the label partition, or a partition of Slurm clusters; without it any cluster.")
    var partition: String?

    func run() async throws {
      guard let bytes = Quantity.parse(memory), bytes >= 1 << 20 else {
        throw CommandFailure(.usage, "The memory is an amount like 4Gi, not \"\(memory)\".")
      }
      try await withClient { client in
        let _: AcceptedDocument = try await client.post(
          ["v1", "machine-types", name],
          body: MachineTypeRequest(
            cpus: cpus, memoryMebibytes: bytes >> 20, gpus: gpus, gpuType: gpuType, partition: partition),
          method: .PUT)
        Terminal.line("\(name): set. Jobs that are submitted already keep what they have.")
      }
    }
  }

  struct ListAll: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "list", abstract: "List the machine types that are set.", aliases: ["ls"])
    @OptionGroup var output: OutputOption
    func run() async throws {
      try await withClient { client in
        let list: MachineTypeList = try await client.get(["v1", "machine-types"])
        try output.format.print(list, names: list.items.map(\.name)) { _ in
          Table(
            headings: ["NAME", "CPUS", "MEMORY", "GPUS", "PARTITION", "CHANGED", "BY"],
            rows: list.items.map { type in
              [
                type.name, "\(type.cpus)", MemorySize.text(mebibytes: type.memoryMebibytes),
                type.gpus == 0 ? "-" : "\(type.gpus)" + (type.gpuType.map { " \($0)" } ?? ""), type.partition ?? "-",
                type.changedAt.description, type.changedBy,
              ]
            }
          ).render()
        }
      }
    }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "rm", abstract: "Remove a machine type.")
    @Argument var name: String
    func run() async throws {
      try await withClient { client in
        let _: AcceptedDocument = try await client.decode(
          .init(method: .DELETE, path: ["v1", "machine-types", name]))
        Terminal.line("\(name): removed.")
      }
    }
  }

  /// What a name stands for: by the table, and else by itself.
  static func type(named name: String, _ client: APIClient) async throws -> MachineType {
    let list: MachineTypeList = try await client.get(["v1", "machine-types"])
    if let found = list.items.first(where: { $0.name == name }) {
      return MachineType(
        cpus: found.cpus, memoryMebibytes: found.memoryMebibytes, gpus: found.gpus, gpuType: found.gpuType,
        partition: found.partition)
    }
    guard let type = MachineType(name: name) else {
      let known = list.items.map(\.name).joined(separator: ", ")
      throw CommandFailure(
        .error,
        "There is no machine type \(name). It is a name like c2_m4_cpu"
          + (known.isEmpty ? "." : ", or one of \(known)."))
    }
    return type
  }
}
