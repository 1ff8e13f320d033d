internal import Execution
internal import FederationModel
internal import Supervisor

/// Volume claims of a run: directories that are there already, or that its workflow has made for its first run.
extension RunPreparation {
  /// - Throws: `.unplaceable` for a claim that is not declared, `.failedPrecondition` for a directory that is not there.
  func sharedDirectories(of run: RunRequest, _ account: RunAccount) throws(FederationError) -> [SharedDirectory] {
    var shared: [SharedDirectory] = []
    for claim in run.spec.claims ?? [] {
      let source = try directory(of: claim, run, account)
      for mount in claim.mounts {
        guard let path = AbsolutePath.normalise(mount.path), path != "/" else {
          throw FederationError(.invalidArgument, "a volume claim cannot be mounted at \(mount.path)")
        }
        shared.append(SharedDirectory(source: source, path: path, isReadOnly: mount.isReadOnly))
      }
    }
    return shared
  }

  private func directory(
    of claim: ClaimVolume, _ run: RunRequest, _ account: RunAccount
  ) throws(FederationError) -> String {
    guard let owner = claim.workflow else {
      guard let path = claims.named[claim.name] else {
        throw FederationError(.unplaceable, "this cluster's operator declares no volume claim \(claim.name)")
      }
      guard HostFiles.list(path) != nil else {
        throw FederationError(.failedPrecondition, "the directory of the volume claim \(claim.name) is not there")
      }
      return path
    }
    guard let directory = claims.directory else {
      throw FederationError(.unplaceable, "this cluster's operator declares no directory for volume claims")
    }
    guard [run.project.text, owner.uid, claim.name].allSatisfy(ClaimDirectories.isPart) else {
      throw FederationError(.invalidArgument, "\(claim.name) cannot be the name of a directory")
    }
    let home = ClaimDirectories.workflowDirectory(owner.uid, of: run.project, in: directory)
    // Others' programs come through these to their own.
    try HostFiles.makeDirectory("\(directory)/\(run.project)", mode: 0o711)
    try HostFiles.makeDirectory(home, mode: 0o711)
    let mark = home + "/" + ClaimDirectories.markName
    if !HostFiles.exists(mark) {
      try HostFiles.write(
        mark, "\(claims.mark)\n\(owner.goesWithFailure ? "always" : "success")\n".utf8, mode: 0o600)
    }
    let path = home + "/" + claim.name
    if !HostFiles.exists(path) {
      try HostFiles.makeDirectory(path, mode: 0o700)
      if let identity = account.identity { HostFiles.give(path, to: identity) }
    }
    return path
  }
}
