internal import Execution
internal import FederationModel
internal import Testing

@testable internal import KubernetesExecutor

/// Which objects are ours (I7).
@Suite struct ObjectNameTests {
  static let mark = OwnershipMark.text(federationID: "fed", cluster: "cloud")
  static let run = RunID(incarnation: 7, counter: 42)

  static func metadata(name: String, mark: String = mark, run: String = run.hexadecimal) -> JSONValue {
    [
      "name": .string(name),
      "labels": [ObjectName.markLabel: .string(mark), ObjectName.runLabel: .string(run)],
    ]
  }

  @Test("A name of ours is read back, and is a DNS label that leaves room for a pod's ending")
  func roundTrip() {
    let name = ObjectName(mark: Self.mark, run: Self.run)
    #expect(ObjectName(name.text, mark: Self.mark) == name)
    #expect(ClusterName(name.text).isDNSLabel)
    #expect(name.text.utf8.count <= 57)
  }

  @Test("The mark differs by federation and by cluster, so that two agents share a namespace")
  func marks() {
    let name = ObjectName(mark: Self.mark, run: Self.run).text
    for other in [
      OwnershipMark.text(federationID: "fed", cluster: "other"),
      OwnershipMark.text(federationID: "x", cluster: "cloud"),
    ] {
      #expect(other != Self.mark)
      #expect(ObjectName(name, mark: other) == nil)
    }
  }

  @Test(
    "I7: without our labels, or with another run's, an object of that name is somebody else's",
    arguments: [
      metadata(name: "fubini-\(mark)-\(run.hexadecimal)", mark: "00000000"),
      metadata(name: "fubini-\(mark)-\(run.hexadecimal)", run: RunID(1).hexadecimal),
      metadata(name: "training"), ["name": .string("fubini-\(mark)-\(run.hexadecimal)")], [:],
    ])
  func namesakes(_ metadata: JSONValue) {
    #expect(ObjectName(metadata: metadata, mark: Self.mark) == nil)
  }

  @Test("A pod's name begins with its Job's; what merely looks alike does not")
  func pods() {
    let name = ObjectName(mark: Self.mark, run: Self.run).text
    #expect(ObjectName(name + "-x7k2p", mark: Self.mark, isPrefix: true)?.run == Self.run)
    #expect(ObjectName(name + "0", mark: Self.mark, isPrefix: true) == nil)
    #expect(ObjectName(name + "-x7k2p", mark: Self.mark) == nil)
  }
}
