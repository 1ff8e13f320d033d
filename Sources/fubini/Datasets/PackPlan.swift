internal import FederationModel

/// Which files go into which pack: small ones behind each other in the order of their paths, each larger one by itself.
struct PackPlan: Sendable {
  struct Pack: Sendable, Equatable {
    /// Places in the tree's list of files, in order.
    var files: [Int]
    var size: Int64
  }
  private(set) var packs: [Pack] = []
  /// Packs that one worker takes at once: the server is asked once for all of them.
  private(set) var batches: [Range<Int>] = []

  private static let batchPacksMax = 64

  /// Empty files and links are in no pack.
  init(_ files: [FileTree.File]) {
    var open = Pack(files: [], size: 0)
    for (index, file) in files.enumerated() where file.size > 0 {
      if file.size >= DatasetManifest.packedFileMax {
        packs.append(Pack(files: [index], size: file.size))
        continue
      }
      if open.size + file.size > DatasetManifest.packBytesMax {
        packs.append(open)
        open = Pack(files: [], size: 0)
      }
      open.files.append(index)
      open.size += file.size
    }
    if !open.files.isEmpty { packs.append(open) }
    var start = 0
    var bytes: Int64 = 0
    for index in packs.indices {
      if index > start, bytes + packs[index].size > DatasetManifest.packBytesMax || index - start == Self.batchPacksMax
      {
        batches.append(start..<index)
        (start, bytes) = (index, 0)
      }
      bytes += packs[index].size
    }
    if start < packs.count { batches.append(start..<packs.count) }
  }
}
