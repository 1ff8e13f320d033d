internal import Execution
internal import FederationModel
internal import Supervisor

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif

/// Reads what a run that has ended leaves: result, parameters, artifacts.
struct OutputCollection: Sendable {
  static let valueBytesMax: Int64 = 256 << 10

  let files: any RunFileAccess
  let cache: DataCache
  let repository: any ArtifactRepository
  /// Where outputs go that are not the repository's; nil: nowhere.
  var delivery: OutputDelivery?
  /// Whether the control plane of this session can order an output into the repository later.
  var keepsUnstored: @Sendable () -> Bool = { false }

  /// Never fails for what the run did: a missing or oversized output becomes the outcome's phase and message.
  ///
  /// - Throws: retryable errors only (no session, disk full): collecting again is safe and moves nothing twice.
  func collect(_ request: RunRequest, _ observation: RunObservation) async throws -> CollectedOutputs {
    var collected = CollectedOutputs(
      phase: observation.phase, message: observation.message, outputs: TaskOutputs(), bytesOut: 0)
    if observation.phase == .cancelled { return try await checkpoint(of: request, collected) }
    if request.spec.capturesResult { collected.outputs.result = try await result(request.id) }
    guard observation.phase == .succeeded || observation.phase == .failed else { return collected }
    do { collected.outputs.exitCodes = try await exitCodes(of: request) } catch let error as FederationError
      where !error.isRetryable
    {}
    let isOurs = request.spec.http != nil || request.spec.resource != nil
    if observation.phase == .failed, isOurs, observation.cause == nil, let reason = try await refusal(request.id) {
      collected.message = reason
    }
    let needsRoot = !request.spec.outputParameters.isEmpty || !request.spec.outputArtifacts.isEmpty
    guard needsRoot else { return collected }
    do {
      for parameter in request.spec.outputParameters {
        collected.outputs.parameters[parameter.name] = try await value(of: parameter, request)
      }
      for artifact in request.spec.outputArtifacts {
        guard let stored = try await store(artifact, request, moved: &collected.bytesOut) else { continue }
        collected.outputs.artifacts[artifact.name] = stored
      }
    } catch let error as FederationError {
      if error.isRetryable { throw error }
      // A program that failed is expected to leave things out; its own failure is what people want to read.
      if observation.phase == .succeeded {
        collected.phase = .error
        collected.message = error.publicMessage
      }
    }
    return collected
  }

  /// What a run had reached when it was asked to end. One that put nothing down, or what cannot be read, begins anew.
  private func checkpoint(of request: RunRequest, _ collected: CollectedOutputs) async throws -> CollectedOutputs {
    var collected = collected
    guard let name = request.spec.federation.onPreempt?.checkpoint,
      let artifact = request.spec.outputArtifacts.first(where: { $0.name == name })
    else { return collected }
    do {
      collected.outputs.artifacts[name] = try await store(artifact, request, moved: &collected.bytesOut)
    } catch let error as FederationError {
      if error.isRetryable { throw error }
    }
    return collected
  }

  /// What the agent's own program has said last: why the answer, or the object, is none that is wanted.
  private func refusal(_ run: RunID) async throws -> String? {
    guard let log = try await files.openLog(of: run) else { return nil }
    let bytes = try await BlockingWork.run { try POSIXFile.readAll(log.descriptor, limit: RequestCommand.logBytesMax) }
    guard let line = bytes.split(separator: 0x0a).last else { return nil }
    let text = Self.text(Array(line))
    return text.hasPrefix(RequestCommand.prefix) ? String(text.dropFirst(RequestCommand.prefix.count)) : nil
  }

  private func result(_ run: RunID) async throws -> String? {
    guard let file = try await files.openResult(of: run) else { return "" }
    return try await BlockingWork.run {
      Self.result(of: try POSIXFile.readAll(file.descriptor, limit: Int(Self.valueBytesMax) + 1))
    }
  }

  /// Of the end of what a program has written: one trailing newline does not count, and of the rest the last 256 KiB are the result.
  ///
  /// - Source: Argo Workflows v3.7, `workflow/executor/executor.go`, `CaptureScriptResult`.
  static func result(of written: [UInt8]) -> String {
    let end = written.last == UInt8(ascii: "\n") ? written.dropLast() : written[...]
    return text(cut: Array(end.suffix(Int(valueBytesMax))))
  }

  /// How the containers of a set have ended, as the program has noted that starts them.
  private func exitCodes(of request: RunRequest) async throws -> [String: Int32]? {
    guard let containers = request.spec.containers, containers.list.contains(where: { $0.role == .member }) else {
      return nil
    }
    guard let file = try await files.openOutput(ContainerPlan.endsPath, of: request.id) else { return nil }
    let bytes = try await BlockingWork.run { try POSIXFile.readAll(file.descriptor, limit: 64 << 10) }
    var codes: [String: Int32] = [:]
    for line in bytes.split(separator: UInt8(ascii: "\n")) {
      let words = String(decoding: line, as: UTF8.self).split(separator: " ")
      // A program may write there whatever it likes: what is no container of this run is nothing.
      guard words.count == 2, let code = Int32(words[1]), containers.list.contains(where: { $0.name == words[0] })
      else {
        continue
      }
      codes[String(words[0])] = code
    }
    return codes
  }

  /// Where an output is that is not at its path: images mostly begin at `/`, so that a program writes `result.txt` and its author
  /// collects `/result.txt`; here it began below. nil where the author chose the directory.
  static func placeOfRelative(_ path: String, _ spec: TaskSpec) -> String? {
    guard spec.workingDirectory == nil else { return nil }
    return spec.storedPath(of: TaskSpec.defaultWorkingDirectory + path)
  }

  private func value(of parameter: OutputParameter, _ request: RunRequest) async throws -> String {
    let what = "output parameter \(parameter.name)"
    let file: OpenedFile?
    do {
      var opened = try await files.openOutput(request.spec.storedPath(of: parameter.path), of: request.id)
      if opened == nil, let other = Self.placeOfRelative(parameter.path, request.spec) {
        opened = try await files.openOutput(other, of: request.id)
      }
      file = opened
    } catch let error as FederationError where !error.isRetryable {
      throw FederationError(.failedPrecondition, "\(what): \(error.publicMessage)")
    }
    guard let file else {
      if let value = parameter.defaultValue { return value }
      throw FederationError(.failedPrecondition, "\(what): \(parameter.path) does not exist")
    }
    guard file.size <= Self.valueBytesMax else {
      throw FederationError(
        .failedPrecondition,
        "\(what): \(parameter.path) holds \(ByteCount(file.size)); at most \(ByteCount(Self.valueBytesMax)) fit, use an artifact"
      )
    }
    return try await BlockingWork.run {
      Self.text(try POSIXFile.readAll(file.descriptor, limit: Int(Self.valueBytesMax)))
    }
  }

  /// As Argo reads values: one trailing newline does not count. A value is text: what is no UTF-8 becomes U+FFFD, and so does
  /// NUL, which would cut short the argument or variable that the value is put into. Bytes as they are belong in an artifact.
  static func text(_ bytes: [UInt8]) -> String {
    text(cut: bytes.last == UInt8(ascii: "\n") ? bytes.dropLast() : bytes)
  }

  private static func text(cut bytes: [UInt8]) -> String {
    let text = String(decoding: bytes, as: UTF8.self)
    return bytes.contains(0) ? String(text.unicodeScalars.map { $0 == "\0" ? "\u{fffd}" : Character($0) }) : text
  }

  private func store(
    _ artifact: OutputArtifact, _ request: RunRequest, moved: inout Int64
  ) async throws -> StoredArtifact? {
    let what = "output artifact \(artifact.name)"
    let found: (file: PackedFile, archive: ArchiveFormat)?
    do { found = try await pack(artifact, request) } catch var error as FederationError {
      error.publicMessage = "\(what): \(error.publicMessage)"
      throw error
    }
    guard let (packed, archive) = found else {
      if artifact.optional { return nil }
      throw FederationError(.failedPrecondition, "\(what): \(artifact.path) does not exist")
    }
    if let target = artifact.target {
      do { return try await deliver(packed, archive, artifact, to: target, for: request.id, moved: &moved) } catch var
        error as FederationError
      {
        error.publicMessage = "\(what): \(error.publicMessage)"
        throw error
      }
    }
    guard let key = artifact.key else {
      POSIXFile.removeTree(packed.path)
      throw FederationError(.invalidArgument, "\(what) has no key: the control plane must name it")
    }
    // For a small one the order to store it would cost more than its bytes.
    let staysUnstored =
      artifact.mayStayUnstored == true && packed.size >= DataEventOutbox.followedBytesMin && cache.reader == nil
      && keepsUnstored()
    let kept = try await cache.admit(packed, for: request.id, staysUnstored: staysUnstored)
    var stored = StoredArtifact(
      key: key, size: ByteCount(kept.size), sha256: kept.sha256, archive: archive)
    if staysUnstored {
      stored.isUnstored = true
      return stored
    }
    defer { if cache.reader != nil { POSIXFile.removeTree(kept.path) } }
    try await repository.put(kept, as: key, for: RepositoryAsker(run: request.id, project: request.project))
    moved += kept.size
    return stored
  }

  /// What is at an output's path, packed; nil when there is nothing. A directory that is not to be packed has to be, on its way: whoever
  /// reads it gets a directory.
  private func pack(
    _ artifact: OutputArtifact, _ request: RunRequest
  ) async throws -> (file: PackedFile, archive: ArchiveFormat)? {
    let paths = [request.spec.storedPath(of: artifact.path), Self.placeOfRelative(artifact.path, request.spec)]
    func pack(_ archive: ArchiveFormat, level: Int32?) async throws -> (file: PackedFile, archive: ArchiveFormat)? {
      for path in paths.compactMap(\.self) {
        if let packed = try await files.pack(
          path, archive: archive, level: level, of: request.id, into: cache.workDirectory)
        {
          return (packed, archive)
        }
      }
      return nil
    }
    do { return try await pack(artifact.archive, level: artifact.compressionLevel) } catch let error as FederationError
      where error.code == .failedPrecondition && artifact.archive == .none
    {
      return try await pack(.tar, level: artifact.target == nil ? nil : 1)
    }
  }

  /// - Returns: what says that it is there; of a directory no size, because others may write there, too.
  private func deliver(
    _ packed: PackedFile, _ archive: ArchiveFormat, _ artifact: OutputArtifact, to target: DataOrigin, for run: RunID,
    moved: inout Int64
  ) async throws -> StoredArtifact {
    defer { unlink(packed.path) }
    guard let delivery else {
      throw FederationError(.failedPrecondition, "this agent puts outputs into the repository alone")
    }
    guard artifact.archive == .none, archive == .tar else {
      try await delivery.put(packed, to: target, for: run)
      moved += packed.size
      return StoredArtifact(
        key: artifact.key ?? "", size: ByteCount(max(1, packed.size)), sha256: packed.sha256, archive: archive)
    }
    let directory = "\(cache.workDirectory)/deliver-\(UInt64.random(in: .min ... .max))"
    defer { POSIXFile.removeTree(directory) }
    try await BlockingWork.run {
      try POSIXFile.makeDirectories(directory)
      try ArtifactPacking.unpack(
        packed.path, archive: .tar, to: "/tree", mode: nil, root: try RootedTree(directory), rootPath: directory,
        scratch: directory + "/scratch")
    }
    moved += try await delivery.put(tree: directory + "/tree", to: target, for: run)
    return StoredArtifact(key: artifact.key ?? "", size: .zero, sha256: packed.sha256, archive: .none)
  }
}
