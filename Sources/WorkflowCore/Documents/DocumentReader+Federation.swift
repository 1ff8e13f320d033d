import FederationModel

extension DocumentReader {
  /// The annotation whose JSON text stands for a `federation:` block.
  static let federationAnnotation = "fubini.dev/federation"

  mutating func readFederation(_ node: DocumentNode) -> FederationBlock {
    var block = FederationBlock()
    fields(of: node, FieldTables.federation) { reader, key, value in
      switch key {
      case "clusters": reader.readClusters(value, into: &block)
      case "walltime":
        block.walltime = reader.fixedDuration(value)
        if block.walltime == .zero { reader.report("must be a duration above zero, without tags", at: value.mark) }
      case "priorityClass": block.priorityClass = reader.choice(value)
      case "onDisconnect": block.onDisconnect = reader.choice(value)
      case "gang":
        reader.fields(of: value, FieldTables.gang) { reader, _, size in
          block.gangSize = reader.integer(size, in: 1...Self.gangSizeMax).map { Int($0) }
        }
      case "gpuType":
        block.gpuType = reader.text(value)
        if let type = block.gpuType, !SlurmHints.isOptionText(type) {
          reader.report("must be the name of a type of GPU, without tags", at: value.mark)
        }
      case "placementPolicy": block.placementPolicy = reader.readPlacementPolicy(value)
      case "slurm": block.slurm = reader.readSlurm(value)
      case "datasets": block.datasets = value.isNull ? nil : reader.readDatasetMounts(value)
      case "recompute": block.recompute = reader.choice(value)
      case "stageOut": block.stageOut = reader.choice(value)
      case "spot": block.spot = reader.choice(value)
      case "onPreempt": block.onPreempt = reader.readPreemptionHook(value)
      default: block.maxPrice = reader.money(value)
      }
    }
    return block
  }

  /// Its name alone, or a map with its thresholds.
  private mutating func readPlacementPolicy(_ node: DocumentNode) -> PlacementPolicy? {
    guard case .mapping = node.value else {
      let name: PlacementPolicy.Name? = choice(node)
      return name.map { PlacementPolicy(name: $0) }
    }
    var policy = PlacementPolicy()
    fields(of: node, FieldTables.placementPolicy) { reader, key, value in
      switch key {
      case "name": policy.name = reader.choice(value) ?? policy.name
      case "waitThreshold": policy.waitThreshold = reader.fixedDuration(value) ?? policy.waitThreshold
      default: policy.priceThreshold = reader.money(value)
      }
    }
    return policy
  }

  private mutating func readPreemptionHook(_ node: DocumentNode) -> PreemptionHook {
    var hook = PreemptionHook()
    fields(of: node, FieldTables.onPreempt) { reader, key, value in
      switch key {
      case "signal": hook.signal = reader.choice(value) ?? hook.signal
      case "grace":
        guard let grace = reader.fixedDuration(value) else { return }
        guard grace <= PreemptionHook.graceMax else {
          return reader.report("must be at most ten minutes: somebody waits for the room", at: value.mark)
        }
        hook.grace = grace
      default: hook.checkpoint = reader.text(value)
      }
    }
    return hook
  }

  private mutating func fixedDuration(_ node: DocumentNode) -> Duration? {
    guard let text = durationText(node) else { return nil }
    if text.contains("{{") { report("must be a duration without tags", at: node.mark) }
    return GoDuration.parse(text)
  }

  private mutating func money(_ node: DocumentNode) -> Money? {
    guard let text = text(node) else { return nil }
    let money = Money(text)
    if money == nil {
      report("must be an amount with at most two decimals like \"12.50 CNY\", not \"\(text)\"", at: node.mark)
    }
    return money
  }

  static let gangSizeMax: Int64 = 100_000

  private mutating func readSlurm(_ node: DocumentNode) -> SlurmHints {
    var hints = SlurmHints()
    fields(of: node, FieldTables.slurm) { reader, key, value in
      switch key {
      case "batch": hints.isBatch = reader.bool(value)
      case "exclusive": hints.exclusive = reader.bool(value) ?? false
      case "requeue": hints.requeue = reader.bool(value) ?? false
      case "nodes": hints.nodes = reader.integer(value, in: 1...Self.gangSizeMax).map { Int($0) }
      case "tasksPerNode": hints.tasksPerNode = reader.integer(value, in: 1...Self.gangSizeMax).map { Int($0) }
      default:
        guard let text = reader.text(value) else { return }
        guard SlurmHints.isOptionText(text) else {
          return reader.report("must be a value of Slurm's option of that name, without tags", at: value.mark)
        }
        switch key {
        case "account": hints.account = text
        case "constraint": hints.constraint = text
        case "licences": hints.licences = text
        case "partition": hints.partition = text
        case "qos": hints.qos = text
        default: hints.reservation = text
        }
      }
    }
    return hints
  }

  private mutating func readClusters(_ node: DocumentNode, into block: inout FederationBlock) {
    var result = block
    fields(of: node, FieldTables.clusters) { reader, key, value in
      switch key {
      case "kinds": result.kinds = reader.list(value) { reader, item -> ClusterKind? in reader.choice(item) }
      case "labels": result.labels = reader.textMap(value)
      default: result.exclude = reader.texts(value).map { ClusterName($0) }
      }
    }
    block = result
  }

  /// The block that an annotation holds as JSON, for clients that drop fields they do not know; nil when there is none.
  mutating func readFederationAnnotation(_ annotations: [String: String], at mark: SourceMark) -> FederationBlock? {
    guard let text = annotations[Self.federationAnnotation] else { return nil }
    return at("annotations") { reader in
      reader.at(Self.federationAnnotation) { reader in
        do throws(DocumentErrors) {
          let node = try JSONDocumentParser.parse(Array(text.utf8), limits: .standard)
          return reader.readFederation(node.marked(mark))
        } catch {
          reader.report(error.problems.first?.message ?? "not readable as JSON", at: mark)
          return nil
        }
      }
    }
  }
}

extension DocumentNode {
  /// The same tree, every part of it standing at `mark`: JSON inside a text has no lines of its own.
  func marked(_ mark: SourceMark) -> DocumentNode {
    switch value {
    case .sequence(let items): DocumentNode(.sequence(items.map { $0.marked(mark) }), mark: mark)
    case .mapping(let members):
      DocumentNode(
        .mapping(members.map { Member(key: $0.key, keyMark: mark, value: $0.value.marked(mark)) }), mark: mark)
    default: DocumentNode(value, mark: mark)
    }
  }
}
