internal import CSupervisor
internal import Glibc

/// What this program holds in memory while it has nothing to do: agent and supervisor live on small machines for months.
///
/// Two things make an idle agent large without being of use to it. The pages of the executable that starting up, joining or
/// a run has touched stay mapped for good; and the C library keeps freed memory, in one heap per thread, for the next
/// request. Both are given back here. Nothing is lost by it: a page of code that is needed again is mapped from the page cache.
public enum ResidentMemory {
  /// More than this of the executable's pages is worth giving back. 5 MiB of it are constants that cannot be given back; the rest
  /// is code, which heartbeats alone map again within a minute: the kernel maps 64 KiB around each fault.
  public static let fileBytesMax = 12 << 20

  /// Bytes of files (the executable, and libraries where there are any) that are mapped and in memory; nil without a /proc.
  ///
  /// - Source: proc(5), the third field of /proc/PID/statm, in pages.
  public static func fileBytes() -> Int? {
    guard let bytes = Files.read("/proc/self/statm", limit: 256) else { return nil }
    let fields = String(decoding: bytes, as: UTF8.self).split(separator: " ")
    return fields.count > 2 ? Int(fields[2]).map { $0 * Int(sysconf(Int32(_SC_PAGESIZE))) } : nil
  }

  /// Gives back the pages of code and constants, and freed memory.
  public static func release() {
    let text = String(decoding: Files.read("/proc/self/smaps", limit: 4 << 20) ?? [], as: UTF8.self)
    for range in unchangedFileRanges(smaps: text) {
      madvise(UnsafeMutableRawPointer(bitPattern: range.lowerBound), range.count, MADV_DONTNEED)
    }
    csupervisor_trim_heaps()
  }

  /// The mappings whose every page a file brings back: nobody can write to them, and nobody has. Relocated constants are
  /// read-only, too, but were written before (`Anonymous` is not 0); their pages exist nowhere else.
  ///
  /// - Source: proc(5), /proc/PID/smaps.
  static func unchangedFileRanges(smaps: String) -> [Range<UInt>] {
    var ranges: [Range<UInt>] = []
    var candidate: Range<UInt>?
    for line in smaps.split(separator: "\n") {
      let fields = line.split(separator: " ", omittingEmptySubsequences: true)
      guard let first = fields.first else { continue }
      if first == "Anonymous:" {
        if fields.count > 1, fields[1] == "0", let candidate { ranges.append(candidate) }
        candidate = nil
      } else if !first.hasSuffix(":") {
        // The head of a mapping: addresses, rights, offset, device, inode, path.
        candidate = nil
        let bounds = first.split(separator: "-").compactMap { UInt(String($0), radix: 16) }
        guard fields.count > 5, fields[1] == "r-xp" || fields[1] == "r--p", fields[5].hasPrefix("/") else { continue }
        if bounds.count == 2, bounds[0] > 0, bounds[0] < bounds[1] { candidate = bounds[0]..<bounds[1] }
      }
    }
    return ranges
  }
}
