import FederationModel

extension DocumentReader {
  /// So many data sets one run may mount.
  static let datasetMountsMax = 64

  /// `federation.datasets`. What is wrong with one mount, and what two of them say against each other, is reported here; what a
  /// mount hides of a template's own files is the validator's to find, which knows both.
  mutating func readDatasetMounts(_ node: DocumentNode) -> [DatasetMount] {
    var seen: [DatasetMount] = []
    let mounts = list(node) { reader, item -> DatasetMount? in
      guard let mount = reader.readDatasetMount(item) else { return nil }
      // A path that cannot be used says nothing about others.
      guard !mount.mountPath.isEmpty else { return mount }
      if let other = seen.first(where: { MountPath.overlap($0.mountPath, mount.mountPath) }) {
        reader.at("mountPath") {
          $0.report(
            "overlaps the path of data set \"\(other.name)\" (\(other.mountPath)): each needs a directory of its own",
            at: item["mountPath"]?.mark ?? item.mark)
        }
      }
      // Few are compared with few: a list that is too long is refused below, whatever is in it.
      if seen.count < Self.datasetMountsMax { seen.append(mount) }
      return mount
    }
    if mounts.count > Self.datasetMountsMax {
      report("a run mounts at most \(Self.datasetMountsMax) data sets, not \(mounts.count)", at: node.mark)
    }
    return mounts
  }

  private mutating func readDatasetMount(_ node: DocumentNode) -> DatasetMount? {
    guard case .mapping = node.value else {
      report("must be a map with name and mountPath, not \(node.kindName)", at: node.mark)
      return nil
    }
    var mount = DatasetMount(name: "", mountPath: "")
    fields(of: node, FieldTables.datasetMount) { reader, key, value in
      switch key {
      case "name":
        mount.name = reader.text(value) ?? ""
        if !DatasetReference.isName(mount.name) {
          reader.report(
            "must be the name of a data set: lower-case letters, digits and hyphens, at most 63, without tags",
            at: value.mark)
        }
      case "version": mount.version = reader.integer(value, in: 1...Int64(Int32.max)).map { Int32($0) }
      default:
        mount.mountPath = reader.text(value) ?? ""
        if let problem = MountPath.problem(of: mount.mountPath) {
          reader.report(problem, at: value.mark)
          mount.mountPath = ""
        } else {
          mount.mountPath = MountPath.normal(mount.mountPath)
        }
      }
    }
    if node["name"] == nil { report("the data set has no name", at: node.mark) }
    if node["mountPath"] == nil { report("the data set has no mountPath", at: node.mark) }
    return mount
  }
}

/// Where a data set may appear in a run.
enum MountPath {
  /// Directories that programs are loaded from, that the kernel makes, or that hold the machine's own set-up: neither they nor
  /// anything in them can be a data set.
  private static let reserved = [
    "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "usr",
  ]
  /// Directories that programs expect to find as they are; a data set may be put into them.
  private static let shared = ["home", "opt", "root", "srv", "tmp", "var"]
  static let bytesMax = 1024

  /// What is wrong with it; nil when nothing is.
  static func problem(of path: String) -> String? {
    guard path.hasPrefix("/") else { return "must be an absolute path, not \"\(path.prefix(80))\"" }
    guard !path.contains("{{") else { return "must be a path without tags" }
    guard path.utf8.count <= bytesMax else { return "is longer than \(bytesMax) bytes" }
    guard path.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f }) else {
      return "must not contain control characters"
    }
    let parts = components(path)
    guard !parts.contains(".."), !parts.contains(".") else { return "must not contain \".\" or \"..\"" }
    guard let first = parts.first.map(String.init) else {
      return "must be a directory below /: a data set cannot replace everything"
    }
    if reserved.contains(first) {
      return "would hide files of the system in /\(first): choose a path such as /data/\(parts.last ?? "")"
    }
    if parts.count == 1, shared.contains(first) {
      return "would hide all of /\(first): choose a path such as /data/\(first) or one below it"
    }
    return nil
  }

  /// Whether one is the other, or lies in it.
  static func overlap(_ a: String, _ b: String) -> Bool {
    let (a, b) = (components(a), components(b))
    return zip(a, b).allSatisfy { $0 == $1 }
  }

  /// Without empty components, so that one directory has one name.
  static func normal(_ path: String) -> String { "/" + components(path).joined(separator: "/") }

  private static func components(_ path: String) -> [Substring] { path.split(separator: "/") }
}
