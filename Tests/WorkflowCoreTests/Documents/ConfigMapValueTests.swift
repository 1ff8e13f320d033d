import FederationModel
import Testing

@testable import WorkflowCore

@Suite("Values of config maps in workflows") struct ConfigMapValueTests {
  private static func definition(_ parameter: String, env: String = "") throws -> WorkflowDefinition {
    let text = """
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: w}
      spec:
        entrypoint: m
        arguments: {parameters: [\(parameter)]}
        templates:
        - name: m
          container: {image: i, command: [c], env: [\(env)]}
      """
    return try WorkflowDefinition.decode(Array(text.utf8))
  }

  @Test("A value takes the place of its reference, and a value that is given already wins")
  func insertion() throws {
    let reference = "valueFrom: {configMapKeyRef: {name: conf, key: k}}"
    let definition = try Self.definition(
      "{name: p, \(reference)}, {name: q, value: given, \(reference)}", env: "{name: E, \(reference)}")
    #expect(definition.configMapReferences == [ConfigMapReference(name: "conf", key: "k")])
    let filled = try definition.withConfigMaps(["conf": ["k": "v", "other": "x"]])
    #expect(filled.spec.arguments.parameters.map(\.value) == ["v", "given"])
    // Environments are read when the run starts.
    #expect(filled.configMapReferences.isEmpty && filled.spec.templates == definition.spec.templates)
    let set = try definition.withArguments(["p": "mine"]).withConfigMaps(["conf": ["k": "v"]])
    #expect(set.spec.arguments.parameters.map(\.value) == ["mine", "given"])
  }

  @Test("A value that is not there is refused with its place, unless there is a default or it may be missing")
  func missing() throws {
    let reference = "configMapKeyRef: {name: conf, key: k}"
    for maps in [[:], ["conf": ["other": "x"]]] as [[String: [String: String]]] {
      let error = #expect(throws: DocumentErrors.self) {
        try Self.definition("{name: p, valueFrom: {\(reference)}}").withConfigMaps(maps)
      }
      #expect(error?.problems.first?.path == "spec.arguments.parameters[0].valueFrom.configMapKeyRef")
      let fallback = try Self.definition("{name: p, valueFrom: {default: d, \(reference)}}").withConfigMaps(maps)
      #expect(fallback.spec.arguments.parameters[0].value == "d")
      let own = try Self.definition("{name: p, default: d, valueFrom: {\(reference)}}").withConfigMaps(maps)
      #expect(own.spec.arguments.parameters[0].value == nil && own.spec.arguments.parameters[0].defaultValue == "d")
      let optional = try Self.definition(
        "{name: p, valueFrom: {configMapKeyRef: {name: conf, key: k, optional: true}}}"
      ).withConfigMaps(maps)
      #expect(optional.spec.arguments.parameters[0].value == "")
    }
  }

  @Test("A name or key may hold parameters of the workflow that have values")
  func parametersInNames() throws {
    let definition = try Self.definition(
      "{name: map, value: conf}, {name: key, default: k}, {name: none}, {name: p, valueFrom: {configMapKeyRef: "
        + "{name: '{{workflow.parameters.map}}', key: '{{workflow.parameters.key}}'}}}")
    #expect(definition.configMapReferences == [ConfigMapReference(name: "conf", key: "k")])
    #expect(try definition.withConfigMaps(["conf": ["k": "v"]]).spec.arguments.parameters[3].value == "v")
    let other = try definition.withArguments(["map": "other"])
    #expect(try other.withConfigMaps(["other": ["k": "w"]]).spec.arguments.parameters[3].value == "w")
    let error = #expect(throws: DocumentErrors.self) {
      try Self.definition(
        "{name: none}, {name: p, valueFrom: {configMapKeyRef: {name: '{{workflow.parameters.none}}', key: k}}}"
      ).withConfigMaps(["": ["k": "v"]])
    }
    #expect(error?.problems.first?.path == "spec.arguments.parameters[1].valueFrom.configMapKeyRef")
  }

  @Test("Names with other tags are refused, because they are looked up before anything runs")
  func tags() {
    #expect(throws: DocumentErrors.self) {
      try Self.definition("{name: p, valueFrom: {configMapKeyRef: {name: '{{workflow.name}}', key: k}}}")
    }
    #expect(throws: DocumentErrors.self) {
      try Self.definition("{name: p, valueFrom: {configMapKeyRef: {name: conf}}}")
    }
  }

  @Test("A stream of documents is read with the config maps in it")
  func stream() throws {
    let text = """
      kind: ConfigMap
      metadata: {name: conf}
      data: {a: b}
      ---
      apiVersion: argoproj.io/v1alpha1
      kind: Workflow
      metadata: {name: w}
      spec: {entrypoint: m, templates: [{name: m, suspend: {}}]}
      """
    let stream = try DocumentStream(Array(text.utf8))
    #expect(stream.configMaps.map { $0["data"] } == [["a": "b"]])
    #expect(stream.documents.map(\.metadata.name) == ["w"])
    #expect(throws: DocumentErrors.self) { try DocumentStream(Array("kind: Secret".utf8)) }
  }
}
