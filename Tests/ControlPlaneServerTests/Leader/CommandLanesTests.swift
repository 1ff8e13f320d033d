import ControlPlaneCore
import FederationModel
import Testing

@testable import ControlPlaneServer

@Suite("Projects' commands in turns")
struct CommandLanesTests {
  private static func command(_ project: ProjectName, _ number: Int64) -> Input {
    .command(
      .project(project, .archive(true)), request: RequestID(number), principal: Principal(user: "u"), idempotency: nil)
  }

  private static func number(_ input: Input?) -> Int64? {
    guard case .command(_, let request, _, _) = input else { return nil }
    return request.number
  }

  @Test("One command of each project after the other; those of one project in their order")
  func turns() {
    var lanes = CommandLanes()
    let unowned = Input.command(
      .recover(nil), request: RequestID(301), principal: Principal(user: "u"), idempotency: nil)
    let commands =
      (1...100).map { Self.command("flood", $0) } + (201...203).map { Self.command("quiet", $0) } + [unowned]
    for command in commands {
      let isTaken = lanes.append(command, limit: 1000)
      #expect(isTaken)
    }
    let first = (0..<8).map { _ in Self.number(lanes.popFirst()) }
    #expect(first == [1, 201, 301, 2, 202, 3, 203, 4])
    #expect(lanes.count == 96)
    let rest = lanes.removeAll().compactMap(Self.number)
    #expect(rest == Array(5...100) && lanes.isEmpty)
  }

  @Test("A flood fills half of what there is, and others still find room")
  func room() {
    var lanes = CommandLanes()
    var taken = 0
    while lanes.append(Self.command("flood", 1), limit: 100) { taken += 1 }
    #expect(taken == 50)
    var others = 0
    while lanes.append(Self.command("second", 1), limit: 100) { others += 1 }
    let (quiet, flood) = (
      lanes.append(Self.command("quiet", 1), limit: 100), lanes.append(Self.command("flood", 1), limit: 100)
    )
    #expect(others == 25 && quiet && !flood)
  }
}
