import FederationModel
import Testing

@testable import WorkflowCore

@Suite("Expressions in a machine")
struct MachineMomentTests {
  @Test("now() and random functions say the same again in a machine that was rebuilt, later and elsewhere")
  func rebuilt() throws {
    var driver = try MachineDriver(
      spec: """
          entrypoint: main
          templates:
          - name: main
            steps:
            - - {name: fan, template: say, withItems: [1, 2], arguments: {parameters: [{name: id, value: "{{=sprig.uuidv4()}}"}]}}
          - name: say
            inputs: {parameters: [{name: id}]}
            container: {image: i, args: ["{{inputs.parameters.id}}", "{{=now()}}", "{{=sprig.randAlphaNum(8)}}"]}
        """)
    driver.send(.start)
    let open = driver.open
    let before = try open.map { try driver.machine.taskSpec(for: $0).arguments }
    #expect(before.map { $0[1] } == ["2023-11-14T22:13:20Z", "2023-11-14T22:13:20Z"])
    #expect(Set(before.map { $0[0] }).count == 2)
    #expect(Set(before.map { $0[2] }).count == 2)
    // Time goes on, and another leader takes over.
    driver.now = driver.now + .seconds(3600)
    driver.send(.timeReached)
    let machine = try WorkflowMachine(
      definition: driver.machine.definition, identity: driver.machine.identity, status: driver.machine.status,
      nodes: driver.machine.nodes)
    #expect(try open.map { try machine.taskSpec(for: $0).arguments } == before)
  }
}
