internal import Execution
internal import FederationModel
internal import FoundationEssentials
internal import KubernetesAPI
internal import KubernetesExecutor
internal import Logging
internal import NIOCore
internal import ProcessExecutor
internal import WorkflowCore

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// The agent's program in the pod of a `resource` template: asks the cluster's API as the pod's service account, and puts the values down that
/// the template wants.
public enum ResourceCommand {
  public static let name = ResourceProgram.command

  /// - Returns: the exit code: 0 when it is done, 1 when it is not, with the reason in the last line of what is written; 126 when nobody said
  ///   what to do.
  public static func main() async -> Int32 {
    NIOSingletons.groupLoopCountSuggestion = 1
    NIOSingletons.blockingPoolThreadCountSuggestion = 1
    guard let bytes = HostFiles.read(RequestProgram.path, limit: 8 << 20),
      let order = try? JSONDecoder().decode(RunResource.self, from: Data(bytes))
    else {
      say("there is nothing that is to be done")
      return 126
    }
    do {
      let connection = try KubernetesConnection.inCluster()
      let client = try KubernetesClient(connection, logger: Logger(label: "resource") { _ in SwiftLogNoOpLogHandler() })
      let owner = getenv(ResourceOwner.variable).flatMap { ResourceOwner(String(cString: $0)) }
      let work = ResourceWork(
        order: order, client: client, namespace: connection.namespace ?? "default", owner: owner,
        say: { CommandOutput.complain($0) })
      let values = try work.values(of: await work.perform())
      for (index, value) in values.enumerated() { try put(value, at: RunResource.path(ofOutput: index)) }
      return 0
    } catch {
      say(ResourceWork.text(of: error))
      return 1
    }
  }

  /// One newline at its end does not count when it is collected.
  private static func put(_ value: String, at path: String) throws {
    guard value.utf8.count <= OutputCollection.valueBytesMax else {
      throw FederationError(
        .failedPrecondition,
        "a value has \(ByteCount(Int64(value.utf8.count))); at most \(ByteCount(OutputCollection.valueBytesMax)) fit")
    }
    let file = try POSIXFile.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
    defer { POSIXFile.close(file) }
    try POSIXFile.write(file, Array((value + "\n").utf8), path)
  }

  private static func say(_ text: String) { CommandOutput.complain("\n\(RequestCommand.prefix)\(text)") }
}
