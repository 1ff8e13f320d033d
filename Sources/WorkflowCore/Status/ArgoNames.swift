/// Names that Argo derives from other names.
public enum ArgoNames {
  /// The id of a node: the workflow's name for the root, else `<workflow>-<FNV-1a of the node's full name>`.
  ///
  /// - Source: Argo `workflow_types.go`, `Workflow.NodeID`; FNV-1a with 32 bits.
  public static func nodeID(workflow: String, node: String) -> String {
    if node == workflow { return workflow }
    var hash: UInt32 = 2_166_136_261
    for byte in node.utf8 { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
    return "\(workflow)-\(hash)"
  }
}

extension WorkflowMachine {
  func argoID(of node: Int32) -> String { ArgoNames.nodeID(workflow: identity.name, node: nodes[Int(node)].name) }
}
