internal import Glibc

/// Where this machine's control groups are mounted and in which of them this process lives. Pure: made of two texts of /proc.
///
/// - Source: Linux `cgroups(7)`, `proc(5)` (`/proc/pid/mountinfo`, `/proc/pid/cgroup`).
struct ControlGroupHierarchy: Equatable {
  enum Controller: String, CaseIterable { case memory, cpu, pids }

  struct Mount: Equatable {
    var directory: String
    /// The group that is seen at `directory`: not `/` in a container that shares its host's names.
    var root: String
    /// Version 1: what is mounted here. Version 2: empty, its files say.
    var controllers: Set<Controller>
  }

  /// Version 2, alone or beside version 1; nil where it is not mounted.
  var unified: Mount?
  var unifiedOwn: String?
  /// Version 1, by controller.
  var legacy: [Controller: Mount] = [:]
  var legacyOwn: [Controller: String] = [:]

  init(mountinfo: String, groups: String) {
    for line in mountinfo.split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count > 8, let hyphen = fields.firstIndex(of: "-"), hyphen + 3 < fields.count else { continue }
      let (root, directory) = (String(fields[3]), String(fields[4]))
      // A path with a space or a newline is written with a backslash. No distribution mounts control groups there.
      guard !directory.contains("\\"), !root.contains("\\") else { continue }
      switch fields[hyphen + 1] {
      case "cgroup2" where unified == nil: unified = Mount(directory: directory, root: root, controllers: [])
      case "cgroup":
        let options = fields[hyphen + 3].split(separator: ",").compactMap { Controller(rawValue: String($0)) }
        for controller in options where legacy[controller] == nil {
          legacy[controller] = Mount(directory: directory, root: root, controllers: Set(options))
        }
      default: continue
      }
    }
    for line in groups.split(separator: "\n") {
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { continue }
      if fields[0] == "0", fields[1].isEmpty { unifiedOwn = String(fields[2]) }
      for name in fields[1].split(separator: ",") {
        if let controller = Controller(rawValue: String(name)) { legacyOwn[controller] = String(fields[2]) }
      }
    }
  }

  /// Of this process.
  static func current() -> ControlGroupHierarchy {
    func text(_ path: String) -> String { String(decoding: Files.read(path, limit: 1 << 20) ?? [], as: UTF8.self) }
    return ControlGroupHierarchy(mountinfo: text("/proc/self/mountinfo"), groups: text("/proc/self/cgroup"))
  }

  /// The directory of a group that is named as /proc/pid/cgroup names it; nil when it lies outside of what is mounted.
  static func directory(of group: String, in mount: Mount) -> String? {
    guard group.hasPrefix("/"), !group.split(separator: "/").contains("..") else { return nil }
    let tail: Substring
    if mount.root == "/" || mount.root.hasPrefix("/..") {
      tail = group[...]
    } else if group == mount.root || group.hasPrefix(mount.root + "/") {
      tail = group.dropFirst(mount.root.utf8.count)
    } else {
      return nil
    }
    return tail == "/" ? mount.directory : mount.directory + tail
  }
}
