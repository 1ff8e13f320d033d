internal import Glibc

/// The executable's code in memory.
enum ResidentCode {
  /// Gives back the pages of code that starting up has touched. What is needed again is mapped from the page cache at once;
  /// of an agent's binary that is a small part, and the supervisor lives on small machines for months.
  static func release() {
    let maps = String(decoding: Files.read("/proc/self/maps", limit: 256 << 10) ?? [], as: UTF8.self)
    for line in maps.split(separator: "\n") {
      // Code alone: read-only data may hold relocations, which no file could bring back.
      let fields = line.split(separator: " ", omittingEmptySubsequences: true)
      guard fields.count > 5, fields[1] == "r-xp", fields[5].hasPrefix("/") else { continue }
      let range = fields[0].split(separator: "-").compactMap { UInt(String($0), radix: 16) }
      guard range.count == 2, let start = UnsafeMutableRawPointer(bitPattern: range[0]) else { continue }
      madvise(start, Int(range[1] - range[0]), MADV_DONTNEED)
    }
  }
}
