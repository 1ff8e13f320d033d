internal import Execution
internal import FederationAPI
internal import FederationModel
internal import Foundation
internal import Logging
internal import Testing

@testable internal import AgentRuntime

@Suite("Directories of workflows")
struct ClaimKeeperTests {
  @Test("I7: only what carries the mark of this cluster is told and deleted, and nothing that a run here mounts")
  func marks() throws {
    let directory = NSTemporaryDirectory() + "claims-\(UInt64.random(in: .min ... .max))"
    defer { try? FileManager.default.removeItem(atPath: directory) }
    func make(_ uid: String, _ mark: String?) throws {
      let home = "\(directory)/lab/\(uid)"
      try FileManager.default.createDirectory(atPath: home + "/scratch", withIntermediateDirectories: true)
      try Data("x".utf8).write(to: URL(filePath: home + "/scratch/file"))
      if let mark { try Data(mark.utf8).write(to: URL(filePath: home + "/" + ClaimDirectories.markName)) }
    }
    try make("over", "f c\nsuccess\n")
    try make("kept", "f c\nalways\n")
    try make("busy", "f c\nalways\n")
    try make("others", "f other\nalways\n")
    try make("unmarked", nil)
    let keeper = ClaimKeeper(
      claims: ClaimDirectories(directory: directory, mark: "f c"), logger: Logger(label: "test"))
    let report = try #require(keeper.report(keeping: ["busy"]))
    #expect(
      Dictionary(uniqueKeysWithValues: report.owners.map { ($0.workflowUid, $0.goesWithFailure) })
        == ["over": false, "kept": true])
    keeper.remove(["over", "busy", "others", "unmarked"], keeping: ["busy"])
    let left = try FileManager.default.contentsOfDirectory(atPath: directory + "/lab").sorted()
    #expect(left == ["busy", "kept", "others", "unmarked"])
    #expect(FileManager.default.fileExists(atPath: directory + "/lab/busy/scratch/file"))
    keeper.remove(["kept", "busy"], keeping: [])
    #expect(keeper.report(keeping: []) == nil)
  }
}
