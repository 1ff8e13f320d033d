import Foundation
import Testing

@testable import WorkflowCore

/// `docs/reference/argo-support.md` is made of the field tables. After changing them, run this suite once with
/// `FUBINI_WRITE_DOCUMENTS=1`.
@Suite("The table of supported fields")
struct ArgoSupportTableTests {
  /// In the order of the document.
  private static let objects: [(title: String, table: FieldTable)] = [
    ("Workflow", FieldTables.workflow), ("metadata", FieldTables.metadata), ("spec", FieldTables.spec),
    ("spec.workflowMetadata", FieldTables.workflowMetadata),
    ("spec.workflowMetadata.labelsFrom", FieldTables.labelSource),
    ("spec.artifactGC", FieldTables.workflowArtifactGC),
    ("spec.artifactRepositoryRef", FieldTables.artifactRepositoryRef),
    ("spec.workflowTemplateRef", FieldTables.workflowTemplateRef),
    ("CronWorkflow's spec", FieldTables.cronSpec), ("stopStrategy", FieldTables.stopStrategy),
    ("CronWorkflow's workflowMetadata", FieldTables.cronWorkflowMetadata), ("template", FieldTables.template),
    ("template.metadata", FieldTables.objectLabels), ("container", FieldTables.container),
    ("script", FieldTables.script), ("env[]", FieldTables.environmentVariable),
    ("env[].valueFrom", FieldTables.variableSource),
    ("secretKeyRef, configMapKeyRef", FieldTables.keyReference), ("fieldRef", FieldTables.fieldReference),
    ("resourceFieldRef", FieldTables.resourceField),
    ("envFrom[]", FieldTables.wholeObject), ("secretRef, configMapRef", FieldTables.objectReference),
    ("initContainers[], sidecars[]", FieldTables.companion), ("containerSet", FieldTables.containerSet),
    ("containerSet.containers[]", FieldTables.setContainer),
    ("containerSet.retryStrategy", FieldTables.setRetryStrategy),
    ("template.http", FieldTables.httpTemplate), ("template.http.bodyFrom", FieldTables.httpBodyFrom),
    ("template.http.headers[]", FieldTables.httpHeader),
    ("template.http.headers[].valueFrom", FieldTables.httpHeaderSource),
    ("template.resource", FieldTables.resourceTemplate),
    ("template.data", FieldTables.data), ("template.data.source", FieldTables.dataSource),
    ("template.data.transformation[]", FieldTables.transformation),
    ("ports[]", FieldTables.port), ("probes", FieldTables.probe), ("probes.exec", FieldTables.execAction),
    ("probes.httpGet", FieldTables.httpAction), ("probes.httpGet.httpHeaders[]", FieldTables.probeHeader),
    ("probes.tcpSocket", FieldTables.tcpAction), ("securityContext", FieldTables.securityContext),
    ("securityContext.capabilities", FieldTables.capabilities),
    ("resources", FieldTables.resources), ("volumes[]", FieldTables.volume), ("emptyDir", FieldTables.emptyDir),
    ("volumes[].secret", FieldTables.secretVolume), ("volumes[].configMap", FieldTables.configMapVolume),
    ("volumes[].downwardAPI", FieldTables.downwardAPI), ("volumes[].projected", FieldTables.projected),
    ("projected.sources[]", FieldTables.projectedSource),
    ("projected.sources[].secret, .configMap", FieldTables.projectedObject), ("items[]", FieldTables.keyToPath),
    ("downwardAPI.items[]", FieldTables.fieldFile), ("volumeMounts[]", FieldTables.volumeMount),
    ("steps[][]", FieldTables.step), ("templateRef", FieldTables.templateRef), ("dag", FieldTables.dag),
    ("dag.tasks[]", FieldTables.task),
    ("withSequence", FieldTables.sequence), ("continueOn", FieldTables.continueOn), ("hooks", FieldTables.hook),
    ("synchronization", FieldTables.synchronization), ("mutex", FieldTables.mutex),
    ("semaphore", FieldTables.semaphore),
    ("semaphore.configMapKeyRef", FieldTables.configMapKey), ("semaphore.database", FieldTables.databaseSemaphore),
    ("memoize", FieldTables.memoize), ("memoize.cache", FieldTables.memoCache),
    ("memoize.cache.configMap", FieldTables.memoConfigMap), ("ttlStrategy", FieldTables.ttlStrategy),
    ("suspend", FieldTables.suspend), ("retryStrategy", FieldTables.retryStrategy),
    ("retryStrategy.affinity", FieldTables.retryAffinity), ("backoff", FieldTables.backoff),
    ("arguments, inputs", FieldTables.arguments), ("outputs", FieldTables.outputs),
    ("parameters[]", FieldTables.parameter), ("valueFrom", FieldTables.valueFrom),
    ("artifacts[]", FieldTables.artifact), ("artifacts[].artifactGC", FieldTables.artifactGC), ("raw", FieldTables.raw),
    ("s3", FieldTables.s3),
    ("http", FieldTables.http), ("http.headers[]", FieldTables.plainHeader), ("http.auth", FieldTables.httpAuth),
    ("http.auth.basicAuth", FieldTables.basicAuth), ("git", FieldTables.git),
    ("accessKeySecret and other secrets", FieldTables.secretKey),
    ("archive", FieldTables.archive), ("archive.tar", FieldTables.tar), ("federation (ours)", FieldTables.federation),
    ("federation.clusters (ours)", FieldTables.clusters),
    ("federation.datasets[] (ours)", FieldTables.datasetMount),
    ("federation.gang (ours)", FieldTables.gang), ("federation.onPreempt (ours)", FieldTables.onPreempt),
    ("federation.slurm (ours)", FieldTables.slurm),
  ]

  private static let document = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().appending(path: "docs/reference/argo-support.md")
  private static let begin = "<!-- generated: begin -->\n"
  private static let end = "<!-- generated: end -->\n"

  private static func names(_ fields: some Sequence<String>) -> String {
    fields.sorted().map { "`\($0)`" }.joined(separator: ", ")
  }

  static func render() -> String {
    var text = ""
    for (title, table) in objects {
      text += "\n### \(title)\n\n"
      text += "Supported: \(table.honoured.isEmpty ? "nothing beyond the object itself" : names(table.honoured)).\n"
      if !table.accepted.isEmpty { text += "\nAccepted without effect: \(names(table.accepted)).\n" }
      text += rows("obeyed by clusters of Kubernetes alone, elsewhere kept with a warning", table.pods)
      text += rows("kept with a warning", table.noted) + rows("refused", table.refused)
    }
    return text + "\n"
  }

  private static func rows(_ title: String, _ fields: [String: String]) -> String {
    guard !fields.isEmpty else { return "" }
    var text = "\n| \(title) | why |\n|---|---|\n"
    let rows = Dictionary(grouping: fields.keys) { fields[$0]! }.map { (fields: $0.value.sorted(), why: $0.key) }
    for row in rows.sorted(by: { $0.fields[0] < $1.fields[0] }) { text += "| \(names(row.fields)) | \(row.why) |\n" }
    return text
  }

  @Test("the reference names every field that is supported, accepted without effect, or refused, and why")
  func isCurrent() throws {
    let text = try String(contentsOf: Self.document, encoding: .utf8)
    let head = try #require(text.range(of: Self.begin))
    let tail = try #require(text.range(of: Self.end))
    if ProcessInfo.processInfo.environment["FUBINI_WRITE_DOCUMENTS"] == "1" {
      let new = text[..<head.upperBound] + Self.render() + text[tail.lowerBound...]
      try String(new).write(to: Self.document, atomically: true, encoding: .utf8)
      return
    }
    #expect(
      text[head.upperBound..<tail.lowerBound] == Self.render(),
      "the field tables changed: run this suite with FUBINI_WRITE_DOCUMENTS=1")
  }
}
