package import FederationModel
internal import Glibc
internal import Synchronization

/// Where the directories of runs go that are forgotten: away in one step, and deleted one after the other when there is time.
///
/// To delete what one short run leaves takes a busy disk tens of milliseconds, and what a long one leaves may be a million
/// files. Whoever starts runs and sees their ends must not wait for that.
package final class Trash: Sendable {
  private struct State {
    var waiting: [String] = []
    var isWorking = false
    var nextName = 0
  }

  /// With more than that nothing is put off any longer, so that deleting keeps up with what is made.
  static let waitingMax = 10_000

  private let directory: String
  private let state = Mutex(State())

  /// - Parameter directory: on the file system of what is thrown away. What an earlier agent left there is deleted.
  package init(directory: String) throws(FederationError) {
    self.directory = directory
    try HostFiles.makeDirectory(directory)
    let left = (HostFiles.list(directory) ?? []).map { directory + "/" + $0.name }
    state.withLock { state in
      state.waiting = left
      work(&state)
    }
  }

  /// Takes the directory of a run, or its root alone, away. Afterwards there is none at `path`.
  package func take(_ path: String) {
    let place: String? = state.withLock { state in
      guard state.waiting.count < Self.waitingMax else { return nil }
      state.nextName += 1
      return "\(directory)/\(getpid())-\(state.nextName)"
    }
    guard let place, rename(path, place) == 0 else { return Self.remove(path) }
    state.withLock { state in
      state.waiting.append(place)
      work(&state)
    }
  }

  private func work(_ state: inout State) {
    guard !state.isWorking, !state.waiting.isEmpty else { return }
    state.isWorking = true
    Task.detached(priority: .utility) { [self] in
      while let path = next() {
        HostFiles.remove(path)
        await Task.yield()
      }
    }
  }

  private func next() -> String? {
    state.withLock { state in
      if state.waiting.isEmpty { state.isWorking = false }
      return state.waiting.popLast()
    }
  }

  /// The fence goes last: a half-deleted run still counts as started.
  private static func remove(_ directory: String) {
    let descriptor = openat(AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    if descriptor >= 0 {
      _ = HostFiles.empty(descriptor) { strcmp($0, "started") == 0 || strcmp($0, "exit") == 0 }
    }
    HostFiles.remove(directory)
  }
}
