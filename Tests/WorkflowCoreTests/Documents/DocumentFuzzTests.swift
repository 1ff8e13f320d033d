import Testing
import WorkflowCore

@Suite("Mutated documents")
struct DocumentFuzzTests {
  private static let seeds: [String] =
    WorkflowValidationTests.bad.map(\.text) + WorkflowValidationTests.good + WorkflowValidationTests.good + [
      workflow(
        """
        - name: main
          dag:
            tasks:
            - {name: a, template: leaf, withSequence: {count: "3", format: "x%02d"}}
            - {name: b, template: leaf, depends: "a.Succeeded || !(a)", withItems: [{k: 1}, {k: [a, b]}]}
        - &leaf
          name: leaf
          retryStrategy: {limit: "2", backoff: {duration: 1m}}
          script: {image: python, command: [python], source: "print('{{=toJson({'a': 1})}}')"}
        - {<<: *leaf, name: other, timeout: "{{inputs.parameters.t}}", inputs: {parameters: [{name: t, default: 5s}]}}
        """, spec: "hooks: {exit: {template: other}}\ntemplateDefaults: {timeout: 1h, metadata: {labels: {a: b}}}")
    ]

  private static let fragments = [
    "{{", "}}", "{{item}}", "[", "]", "{", "}", ": ", "- ", "\n", "  ", "&a ", "*a", "<<: *a", "!!str ", "|", ">", "\"",
    "'",
    "null", "~", "0x", "1e999", "-", "\u{0}", "\u{feff}", "é", "depends: ", "a && ", "---\n", "...", "#", "?", "%TAG",
    "\t",
  ]

  private static func mutate(_ bytes: [UInt8], using generator: inout SeededGenerator) -> [UInt8] {
    var bytes = bytes
    for _ in 0..<Int.random(in: 1...4, using: &generator) {
      let position = Int.random(in: 0...bytes.count, using: &generator)
      switch Int.random(in: 0..<6, using: &generator) {
      case 0 where position < bytes.count: bytes[position] = UInt8.random(in: 0...255, using: &generator)
      case 1 where position < bytes.count: bytes.remove(at: position)
      case 2: bytes.insert(contentsOf: Array(fragments.randomElement(using: &generator)!.utf8), at: position)
      case 3:
        let end = min(bytes.count, position + Int.random(in: 0...40, using: &generator))
        bytes.removeSubrange(position..<end)
      case 4:
        let end = min(bytes.count, position + Int.random(in: 0...60, using: &generator))
        bytes.insert(contentsOf: Array(bytes[position..<end]), at: Int.random(in: 0...bytes.count, using: &generator))
      default:
        bytes = Array(bytes.prefix(position)) + Array(bytes.suffix(Int.random(in: 0...bytes.count, using: &generator)))
      }
    }
    return bytes
  }

  @Test(
    "no mutated document crashes or hangs the decoder, and what is accepted reads back the same",
    arguments: [1, 2, 3] as [UInt64])
  func mutations(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    let clock = ContinuousClock()
    var acceptedCount = 0
    for round in 0..<FuzzRounds.perSeed(1500, seeds: 3) {
      let source = Array(Self.seeds.randomElement(using: &generator)!.utf8)
      let bytes = Self.mutate(source, using: &generator)
      var definition: WorkflowDefinition?
      var slowest = clock.measure { definition = try? WorkflowDefinition.decode(bytes) }
      // A busy machine may stop us for longer than the bound; a hang comes back when it is tried again.
      for _ in 0..<3 where slowest >= .milliseconds(50) {
        slowest = min(slowest, clock.measure { definition = try? WorkflowDefinition.decode(bytes) })
      }
      #expect(slowest < .milliseconds(50), "seed \(seed), round \(round): \(String(decoding: bytes, as: UTF8.self))")
      guard let definition else { continue }
      acceptedCount += 1
      let restored = try WorkflowDefinition(json: definition.canonicalJSON)
      #expect(
        restored.spec == definition.spec, "seed \(seed), round \(round): \(String(decoding: bytes, as: UTF8.self))")
    }
    #expect(acceptedCount > 0, "seed \(seed)")
  }
}
