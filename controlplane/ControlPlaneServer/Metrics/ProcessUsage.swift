import FoundationEssentials

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// What this process uses of the machine.
enum ProcessUsage {
  static var cpuSeconds: Double? { seconds(CLOCK_PROCESS_CPUTIME_ID) }

  /// CPU time of the calling thread: what a synchronous piece of work costs, however busy the machine is.
  static var threadSeconds: Double { seconds(CLOCK_THREAD_CPUTIME_ID) ?? 0 }

  private static func seconds(_ clock: clockid_t) -> Double? {
    // The two fields of a `timespec`. Their names belong to Glibc or to CoreFoundation, as it comes, when other files of this
    // module are compiled beside this one, and only one of the two is imported here.
    var time = (seconds: 0, nanoseconds: 0)
    let result = withUnsafeMutableBytes(of: &time) {
      clock_gettime(clock, $0.baseAddress!.assumingMemoryBound(to: timespec.self))
    }
    guard result == 0 else { return nil }
    return Double(time.seconds) + Double(time.nanoseconds) / 1e9
  }

  /// nil where there is no /proc.
  static var residentBytes: Double? {
    guard let data = FileManager.default.contents(atPath: "/proc/self/statm") else { return nil }
    let fields = String(decoding: data, as: UTF8.self).split(separator: " ")
    guard fields.count > 1, let pages = Double(fields[1]) else { return nil }
    return pages * Double(sysconf(Int32(_SC_PAGESIZE)))
  }
}
