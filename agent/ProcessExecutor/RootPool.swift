internal import CSupervisor
internal import FederationModel
internal import Glibc
internal import Synchronization

/// The roots of ended runs, emptied, for the next runs of the same project and user.
///
/// A run's root holds a dozen directories and links on which its sandbox mounts. To make them anew for each short run and to
/// delete them after it costs more than the run: a file system looks at what it has deleted lately before it hands out an
/// inode again. So what is left is checked and kept instead. Nothing of the earlier run passes to the next: what is not part
/// of the skeleton is removed, and so is a part of it that was changed in any way (kind, owner, mode, attributes, target).
final class RootPool: Sendable {
  /// Roots are exchanged among runs that could not tell them apart, and never between projects.
  struct Kind: Hashable, Sendable {
    var project: ProjectName
    var identity: RunIdentity?
    /// What the image is here: it decides what the root holds.
    var runsAs: String

    init(_ project: ProjectName, _ identity: RunIdentity?, _ runsAs: String) {
      self.project = project
      self.identity = identity
      self.runsAs = runsAs
    }
  }

  private struct State {
    var free: [Kind: [Int]] = [:]
    var freeCount = 0
    var nextName = 0
    var lent: [RunID: (kind: Kind, skeleton: Sandbox.Skeleton)] = [:]
  }

  /// As many as a machine's short runs need at once; more are deleted as ever.
  static let rootsMax = 128

  private let directory: String
  private let state = Mutex(State())

  /// Starts empty: what an earlier agent kept is deleted.
  init(directory: String) throws(FederationError) {
    self.directory = directory
    HostFiles.remove(directory)
    try HostFiles.makeDirectory(directory)
  }

  /// Moves a kept root to `path`, where nothing is yet. Returns whether there was one.
  func take(_ kind: Kind, to path: String) -> Bool {
    let name: Int? = state.withLock { state in
      guard let name = state.free[kind]?.popLast() else { return nil }
      if state.free[kind]?.isEmpty == true { state.free[kind] = nil }
      state.freeCount -= 1
      return name
    }
    guard let name else { return false }
    if rename(self.path(name), path) == 0 { return true }
    HostFiles.remove(self.path(name))
    return false
  }

  /// Remembers what the root of a run is made of, so that it may be kept when the run has ended.
  func noteStart(of id: RunID, _ kind: Kind, _ skeleton: Sandbox.Skeleton) {
    state.withLock { $0.lent[id] = (kind, skeleton) }
  }

  /// Takes the root of an ended run away, if it can be used again and there is room; the caller deletes what is left.
  ///
  /// - Parameter started: the run's fence. Its lock is held by the sandbox's init: while that lives the root is in use.
  func keep(_ id: RunID, root: String, started: String) {
    let entry = state.withLock { $0.lent.removeValue(forKey: id) }
    guard let (kind, skeleton) = entry, Self.isUnlocked(started),
      RootCleaning(owner: kind.identity?.user ?? geteuid(), skeleton: skeleton).clean(root)
    else { return }
    let name: Int? = state.withLock { state in
      guard state.freeCount < Self.rootsMax else { return nil }
      state.nextName += 1
      return state.nextName
    }
    guard let name, rename(root, path(name)) == 0 else { return }
    state.withLock { state in
      state.free[kind, default: []].append(name)
      state.freeCount += 1
    }
  }

  private func path(_ name: Int) -> String { "\(directory)/\(name)" }

  private static func isUnlocked(_ path: String) -> Bool {
    let file = csupervisor_open(path, O_RDONLY | O_NOFOLLOW, 0)
    guard file >= 0 else { return false }
    defer { close(file) }
    return flock(file, LOCK_EX | LOCK_NB) == 0
  }
}

/// Brings a root back to its skeleton. Works through descriptors and follows no link.
private struct RootCleaning {
  let owner: UInt32
  let skeleton: Sandbox.Skeleton

  /// Returns whether `root` is now what a new run may get.
  func clean(_ root: String) -> Bool {
    guard let descriptor = open(AT_FDCWD, root, modes: [0o755, 0o700]) else { return false }
    return HostFiles.empty(descriptor) { isSkeleton($0, in: descriptor) }
  }

  /// A part of the skeleton as it was made. Directories are emptied.
  private func isSkeleton(_ name: UnsafePointer<CChar>, in root: Int32) -> Bool {
    guard let text = String(validatingCString: name) else { return false }
    if let target = skeleton.links[text] { return HostFiles.linkTarget(root, name) == target }
    guard skeleton.directories.contains(text), let descriptor = open(root, name, modes: [0o755]) else { return false }
    return HostFiles.empty(descriptor)
  }

  /// nil for anything but a directory as it was made.
  private func open(_ parent: Int32, _ name: UnsafePointer<CChar>, modes: Set<mode_t>) -> Int32? {
    let descriptor = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    var status = stat()
    if fstat(descriptor, &status) == 0, status.st_uid == owner, modes.contains(status.st_mode & 0o7777),
      csupervisor_has_attributes(descriptor) == 0
    {
      return descriptor
    }
    close(descriptor)
    return nil
  }
}
