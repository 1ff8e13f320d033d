import FederationModel

extension WorkflowValidator {
  /// Data sets are read-only and are there before anything else of a run: nothing of the template's own may lie in one, and none may
  /// be put over what the run makes or gets.
  mutating func validateDatasetPaths(_ template: WorkflowTemplate, at path: DocumentPath) {
    let mounts = template.federation?.datasets ?? workflow.spec.federation?.datasets ?? []
    guard !mounts.isEmpty, case .container(let container) = template.body else { return }
    func check(_ what: String, _ place: String, _ at: DocumentPath, _ validator: inout WorkflowValidator) {
      // A path with tags is known when they are replaced; the agent looks again before it starts a run.
      guard !place.contains("{{"), let mount = mounts.first(where: { MountPath.overlap($0.mountPath, place) }) else {
        return
      }
      validator.report(
        "the path \(place) of \(what) overlaps data set \"\(mount.name)\", which is read-only at \(mount.mountPath)",
        at: at)
    }
    for (key, artifacts) in [("inputs", template.inputs.artifacts), ("outputs", template.outputs.artifacts)] {
      for (index, artifact) in artifacts.enumerated() {
        guard let place = artifact.path else { continue }
        check("artifact \"\(artifact.name)\"", place, path / key / "artifacts" / index / "path", &self)
      }
    }
    for (index, parameter) in template.outputs.parameters.enumerated() {
      guard case .path(let place)? = parameter.valueFrom?.source else { continue }
      check(
        "output parameter \"\(parameter.name)\"", place,
        path / "outputs" / "parameters" / index / "valueFrom" / "path", &self)
    }
    let body = path / (container.source == nil ? "container" : "script")
    for (index, mount) in container.volumeMounts.enumerated() {
      check("volume \"\(mount.name)\"", mount.mountPath, body / "volumeMounts" / index / "mountPath", &self)
    }
  }
}
