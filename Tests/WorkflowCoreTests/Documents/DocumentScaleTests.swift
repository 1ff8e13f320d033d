import Testing
import WorkflowCore

@Suite("Large documents")
struct DocumentScaleTests {
  private static func head(_ name: String) -> String {
    "apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: \(name)}\n"
      + "spec:\n  entrypoint: main\n  templates:\n"
  }

  /// 5,000 templates: one dag that calls each of the others.
  static func manyTemplates(_ count: Int) -> String {
    var text =
      head("big")
    text += "  - name: main\n    dag:\n      tasks:\n"
    for index in 1..<count {
      let depends = index > 1 ? ", depends: t\(index - 1)" : ""
      text +=
        "      - {name: t\(index), template: leaf\(index)\(depends), arguments: {parameters: [{name: p, value: x}]}}\n"
    }
    for index in 1..<count {
      text += "  - name: leaf\(index)\n    inputs:\n      parameters:\n      - name: p\n"
      text += "    container:\n      image: busybox\n      command: [echo]\n      args: [\"{{inputs.parameters.p}}\"]\n"
    }
    return text
  }

  /// A dag in which every task refers to the first one, far above its own parent.
  static func longChain(_ count: Int) -> String {
    var text =
      head("chain")
    text +=
      "  - {name: leaf, container: {image: b}}\n"
    text += "  - name: main\n    dag:\n      tasks:\n      - {name: t0, template: leaf}\n"
    for index in 1..<count {
      text +=
        "      - {name: t\(index), template: leaf, depends: t\(index - 1), "
      text += "when: '{{tasks.t\(index / 2).status}} == x'}\n"
    }
    return text
  }

  @Test("documents of 5,000 templates and of 10,000 chained tasks are validated in time")
  func large() throws {
    let clock = ContinuousClock()
    for (name, text) in [
      ("5,000 templates", Self.manyTemplates(5000)), ("10,000 chained tasks", Self.longChain(10_000)),
      ("a dag of 1,000", Self.longChain(1000)),
    ] {
      var definition: WorkflowDefinition?
      let decoding = try clock.measure { definition = try decode(text) }
      let json = try #require(definition).canonicalJSON
      let restoring = try clock.measure { _ = try WorkflowDefinition(json: json) }
      print("\(name) (\(text.utf8.count) bytes): decoded and validated in \(decoding), restored in \(restoring)")
      #if DEBUG
        let limit = Duration.seconds(20)
      #else
        let limit = Duration.seconds(1)
      #endif
      #expect(decoding < limit)
      #expect(restoring < limit)
    }
  }
}
