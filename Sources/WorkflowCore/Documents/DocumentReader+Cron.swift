import FederationModel

extension DocumentReader {
  /// A `CronWorkflow`'s values; those of its workflow are in `workflow`, with their places below `spec.workflowSpec`.
  struct CronWorkflow {
    var metadata = WorkflowMetadata()
    var spec = CronWorkflowSpec()
    var workflow = Workflow()
  }

  mutating func readCronWorkflow(_ root: DocumentNode) -> CronWorkflow {
    var cron = CronWorkflow()
    cron.workflow.specPath = DocumentPath() / "spec" / "workflowSpec"
    fields(of: root, FieldTables.workflow) { reader, key, value in
      switch key {
      case "apiVersion": reader.checkAPIVersion(value)
      case "kind": break
      case "metadata": cron.metadata = reader.readMetadata(value)
      default: reader.readCronSpec(value, into: &cron)
      }
    }
    reportMissingParts(of: root)
    if (cron.metadata.name?.utf8.count ?? 0) > 52 {
      at("metadata") {
        $0.at("name") { reader in
          reader.report(
            "must have at most 52 characters: names of its workflows end in a moment",
            at: root["metadata"]?["name"]?.mark ?? root.mark)
        }
      }
    }
    cron.spec.workflow = cron.workflow.spec
    return cron
  }

  private mutating func readCronSpec(_ node: DocumentNode, into cron: inout CronWorkflow) {
    var result = cron
    fields(of: node, FieldTables.cronSpec) { reader, key, value in
      if value.isNull { return }
      switch key {
      case "schedule":
        if let text = reader.text(value), !text.isEmpty { result.spec.schedules.insert(text, at: 0) }
      case "schedules": result.spec.schedules += reader.texts(value).filter { !$0.isEmpty }
      case "timezone": result.spec.timezone = reader.text(value).flatMap { $0.isEmpty ? nil : $0 }
      case "concurrencyPolicy":
        if value.scalarText != "" { result.spec.concurrencyPolicy = reader.choice(value) ?? .allow }
      case "startingDeadlineSeconds":
        result.spec.startingDeadlineSeconds = reader.integer(value, in: 0...Self.secondsMax)
      case "successfulJobsHistoryLimit":
        result.spec.successfulJobsHistoryLimit = reader.integer(value, in: 0...Self.parallelismMax).map { Int($0) } ?? 3
      case "failedJobsHistoryLimit":
        result.spec.failedJobsHistoryLimit = reader.integer(value, in: 0...Self.parallelismMax).map { Int($0) } ?? 1
      case "suspend": result.spec.isSuspended = reader.bool(value) ?? false
      case "when": result.spec.when = reader.expressionText(value)
      case "stopStrategy":
        reader.fields(of: value, FieldTables.stopStrategy) { reader, _, value in
          result.spec.stopExpression = reader.expressionText(value)
        }
      case "workflowMetadata":
        let added = reader.readObjectLabels(value, FieldTables.cronWorkflowMetadata)
        (result.spec.workflowLabels, result.spec.workflowAnnotations) = added
        // Tags of the workflow may speak of them.
        result.workflow.metadata.labels.merge(added.labels) { $1 }
        result.workflow.metadata.annotations.merge(added.annotations) { $1 }
      default: reader.readSpec(value, into: &result.workflow)
      }
    }
    if result.spec.schedules.isEmpty {
      report("a cron workflow needs at least one schedule: schedules: [\"0 3 * * *\"]", at: node.mark)
    }
    if node["workflowSpec"]?.isNull ?? true { report("workflowSpec is missing", at: node.mark) }
    cron = result
  }

  /// An expr-lang text that is not empty; its names are known when it is evaluated.
  mutating func expressionText(_ node: DocumentNode) -> String? {
    guard let text = text(node), !text.isEmpty else { return nil }
    // `{{= ... }}` around the whole is Argo's other way to write it.
    guard !text.hasTags else { return text }
    do { _ = try ExpressionParser.parse(text) } catch {
      report((error as? FederationError)?.publicMessage ?? "\(error)", at: node.mark)
    }
    return text
  }
}
