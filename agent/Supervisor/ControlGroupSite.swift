internal import Glibc

/// The group below which the supervisor may make groups, or why there is none.
struct ControlGroupSite {
  typealias Controller = ControlGroupHierarchy.Controller

  var isUnified = false
  var parents: [Controller: String] = [:]
  /// Version 2: whether it is the group in which this process lives.
  private var isOwn = false
  private var problem: String?

  /// Whether its processes must leave it before children there can have controllers. Only the hierarchy's root may have
  /// both; it is the one group without a type.
  private var mustBeLeft: Bool {
    isOwn && access((parents.values.first ?? "") + "/cgroup.type", F_OK) == 0
  }

  /// What is not enforced, for the cluster's notices.
  var notices: [String] {
    guard parents[.memory] != nil || parents[.cpu] != nil else {
      return ["memory and CPU limits are not enforced here: \(problem ?? "no such control group is to be had")"]
    }
    let words: [(Controller, String)] = [
      (.memory, "memory limits"), (.cpu, "CPU limits"), (.pids, "limits of processes"),
    ]
    return words.filter { parents[$0.0] == nil }.map {
      "\($0.1) are not enforced here: the controller \($0.0.rawValue) is not delegated to the agent"
    }
  }

  /// Looks; makes the group that an operator named, unless it is a trial.
  static func find(
    _ setting: ControlGroupSetting, in hierarchy: ControlGroupHierarchy, isTrial: Bool = false
  ) -> ControlGroupSite {
    switch setting {
    case .none: return failed("the agent's configuration says `cgroups: none`")
    case .auto: break
    case .group(let path): if !isTrial { make(path, in: hierarchy) }
    }
    var unified = unifiedSite(setting, in: hierarchy)
    if isTrial, unified.problem == nil, unified.mustBeLeft {
      unified = failed(
        "other processes share the agent's control group, and there is no systemd to give the runs another")
    }
    if unified.problem == nil { return unified }
    // Beside version 1, version 2 has the controllers that nobody mounted there: seldom any.
    return hierarchy.legacy.isEmpty ? unified : legacySite(setting, in: hierarchy)
  }

  /// What cannot be made is told of where it is looked at. Nothing is made where no controller is.
  private static func make(_ group: String, in hierarchy: ControlGroupHierarchy) {
    var mounts = Controller.allCases.compactMap { hierarchy.legacy[$0] }
    if let unified = hierarchy.unified,
      !words(unified.directory + "/cgroup.controllers").isDisjoint(with: ["memory", "cpu"])
    {
      mounts.append(unified)
    }
    for mount in mounts {
      if let directory = ControlGroupHierarchy.directory(of: group, in: mount) { mkdir(directory, 0o755) }
    }
  }

  private static func failed(_ problem: String) -> ControlGroupSite {
    var site = ControlGroupSite()
    site.problem = problem
    return site
  }

  private static func unifiedSite(_ setting: ControlGroupSetting, in hierarchy: ControlGroupHierarchy)
    -> ControlGroupSite
  {
    guard let mount = hierarchy.unified, let own = hierarchy.unifiedOwn else {
      return failed("no control groups are mounted")
    }
    var group = own
    if case .group(let path) = setting { group = path }
    guard let directory = ControlGroupHierarchy.directory(of: group, in: mount) else {
      return failed("the control group \(group) is outside of what is mounted at \(mount.directory)")
    }
    let offered = words(directory + "/cgroup.controllers")
    guard offered.contains("memory") || offered.contains("cpu") else {
      return failed("the control group \(directory) has neither the memory nor the cpu controller")
    }
    guard access(directory, W_OK) == 0, access(directory + "/cgroup.subtree_control", W_OK) == 0 else {
      return failed("the control group \(directory) does not belong to the agent's user")
    }
    var site = ControlGroupSite()
    site.isUnified = true
    site.isOwn = group == own
    for controller in Controller.allCases where offered.contains(controller.rawValue) {
      site.parents[controller] = directory
    }
    return site
  }

  private static func legacySite(_ setting: ControlGroupSetting, in hierarchy: ControlGroupHierarchy)
    -> ControlGroupSite
  {
    var site = ControlGroupSite()
    var problems: [String] = []
    for controller in Controller.allCases {
      guard let mount = hierarchy.legacy[controller], let own = hierarchy.legacyOwn[controller] else { continue }
      var group = own
      if case .group(let path) = setting { group = path }
      guard let directory = ControlGroupHierarchy.directory(of: group, in: mount) else {
        problems.append("the control group \(group) is outside of what is mounted at \(mount.directory)")
        continue
      }
      guard access(directory, W_OK) == 0 else {
        problems.append("the control group \(directory): \(SystemFailure.text(of: errno))")
        continue
      }
      site.parents[controller] = directory
    }
    if site.parents[.memory] == nil, site.parents[.cpu] == nil {
      site.problem = problems.first ?? "neither the memory nor the cpu controller is mounted"
    }
    return site
  }

  /// Version 2: makes the controllers available to children of the site.
  mutating func occupy() {
    guard isUnified, let parent = parents.values.first else { return }
    do throws(SystemFailure) {
      let missing = Set(parents.keys.map(\.rawValue)).subtracting(Self.words(parent + "/cgroup.subtree_control"))
      guard !missing.isEmpty else { return }
      if mustBeLeft { try moveIntoLeaf(of: parent) }
      for controller in missing.sorted() {
        try ControlGroups.set(parent + "/cgroup.subtree_control", "+\(controller)")
      }
    } catch {
      parents = [:]
      problem =
        error.code == EBUSY
        ? "other processes share the control group \(parent); a service of systemd gives the runs one of their own"
        : "\(error)"
    }
  }

  private func moveIntoLeaf(of parent: String) throws(SystemFailure) {
    let members = Self.words(parent + "/cgroup.procs")
    guard members == [String(getpid())] else { throw SystemFailure("enter a control group", EBUSY) }
    try Files.makeDirectory(parent + "/supervisor", mode: 0o755)
    try ControlGroups.set(parent + "/supervisor/cgroup.procs", "0")
  }

  private static func words(_ path: String) -> Set<String> {
    let bytes = Files.read(path, limit: 64 << 10) ?? []
    return Set(String(decoding: bytes, as: UTF8.self).split { $0 == " " || $0 == "\n" }.map(String.init))
  }
}
