import ControlPlaneCore
import ControlPlaneStore
import FederationAPI
import FederationModel
import Hummingbird

/// What the machine types of job files stand for: a table that the federation's operators edit.
extension APIServer {
  var machineTypeRoutes: [Route] {
    let type = "/v1/machine-types/:type"
    return [
      Route(
        .get, "/v1/machine-types", .anywhere(.read, .workflow), "What the machine types of job files stand for."
      ) { _, _ in
        try .json(MachineTypeList(items: try await services.store.machineTypes().map { MachineTypeDocument($0) }))
      },
      Route(.put, type, .federation(.update, .cluster), "Sets what a machine type of job files stands for.") {
        try await setMachineType($0, $1)
      },
      Route(.delete, type, .federation(.update, .cluster), "Removes a machine type.") { _, context in
        let (name, caller) = (try context.parameter("type"), try context.signedIn())
        guard
          try await services.store.removeMachineType(
            name, by: caller.user, from: caller.principal.address, at: .wallClock)
        else { throw FederationError(.notFound, "there is no machine type \(name.prefix(100))") }
        return try .json(AcceptedDocument(name: name))
      },
    ]
  }

  private func setMachineType(_ request: Request, _ context: APIContext) async throws -> Response {
    let caller = try context.signedIn()
    let name = try context.parameter("type")
    let body = try await request.document(MachineTypeRequest.self)
    guard (1...100).contains(name.utf8.count), name.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f })
    else { throw FederationError(.invalidArgument, "the name of a machine type has 1 to 100 bytes on one line") }
    let gpus = body.gpus ?? 0
    guard (1...1 << 20).contains(body.cpus), (1...1 << 40).contains(body.memoryMebibytes), (0...1 << 16).contains(gpus)
    else {
      throw FederationError(
        .invalidArgument, "a machine type has at least one CPU and one mebibyte, and no less than no GPUs")
    }
    for text in [body.gpuType, body.partition].compactMap({ $0 }) where text.isEmpty || text.utf8.count > 200 {
      throw FederationError(.invalidArgument, "gpuType and partition have 1 to 200 bytes, where they are given")
    }
    try await services.store.put(
      MachineTypeRow(
        name: name, cpus: body.cpus, memoryMebibytes: body.memoryMebibytes, gpus: gpus, gpuType: body.gpuType,
        partition: body.partition, changedAt: .wallClock, changedBy: caller.user),
      from: caller.principal.address)
    return try .json(AcceptedDocument(name: name))
  }
}

extension MachineTypeDocument {
  fileprivate init(_ row: MachineTypeRow) {
    self.init(
      name: row.name, cpus: row.cpus, memoryMebibytes: row.memoryMebibytes, gpus: row.gpus, gpuType: row.gpuType,
      partition: row.partition, changedAt: row.changedAt.wire, changedBy: row.changedBy)
  }
}
