import FederationModel
import SlurmFrontDoor
import Testing

@Suite("Slurm's values")
struct ValueTests {
  @Test(
    "times in all six forms, rounded up to minutes",
    arguments: [
      ("90", 5400), ("1:30", 120), ("1:02:03", 3780), ("2-3", 183_600), ("1-2:30", 95_400), ("1-2:30:01", 95_460),
      ("0:01", 60),
    ] as [(String, Int64)])
  func limits(_ text: String, _ seconds: Int64) { #expect(SlurmTime.limit(text) == .seconds(seconds)) }

  @Test("what is no time is none, and some words are no limit")
  func otherLimits() {
    for text in ["", "x", "1:2:3:4", "-5", "1-", "1-2:3:4:5", "1.5", "--", "1-2-3"] {
      #expect(SlurmTime.limit(text) == nil, "\(text)")
    }
    for text in ["0", "UNLIMITED", "infinite", "-1", "0:00"] { #expect(SlurmTime.limit(text) == .unlimited, "\(text)") }
  }

  @Test("times are written as squeue and sacct write them")
  func written() {
    #expect(
      [0, 5, 65, 3723, 183_723].map { SlurmTime.short($0) } == ["0:00", "0:05", "1:05", "1:02:03", "2-03:02:03"])
    #expect([5, 183_723].map { SlurmTime.long($0) } == ["00:00:05", "2-03:02:03"])
  }

  @Test("moments for --begin: relative, of a day, of a date, in the reader's zone")
  func moments() {
    let now = Timestamp(milliseconds: 1_795_350_000_000)  // 2026-11-22T12:20:00Z
    func at(_ text: String, _ offset: Int64 = 0) -> Int64? {
      SlurmTime.moment(text, now: now, offset: offset, isForward: true).map { $0.milliseconds / 1000 - 1_795_350_000 }
    }
    #expect(at("now") == 0 && at("now+2hours") == 7200 && at("now+90") == 90 && at("now+1week") == 604_800)
    #expect(at("16:00") == 13_200 && at("12:00") == 85_200 && at("midnight") == 42_000)
    #expect(at("2026-11-23") == 42_000 && at("2026-11-23T01:00:30") == 45_630 && at("11/23/26") == 42_000)
    #expect(at("16:00", 3600) == 9600)
    for text in ["", "nowish", "25:00", "2026-13-01", "now+1fortnight", "T", "1:2:3:4"] {
      #expect(at(text) == nil, "\(text)")
    }
  }

  @Test("memory in each unit, in mebibytes rounded up")
  func memory() {
    #expect(
      ["500", "1500K", "2G", "1T", "4GB", "0"].map { MemorySize.mebibytes($0) } == [500, 2, 2048, 1 << 20, 4096, 0])
    for text in ["", "G", "1P", "-1", "1.5G", "1 G", "10000000000"] { #expect(MemorySize.mebibytes(text) == nil) }
    #expect([500, 2048, 1 << 20, 0].map { MemorySize.text(mebibytes: $0) } == ["500M", "2G", "1T", "0M"])
  }

  @Test("arrays: lists, ranges, steps, and how many at once")
  func arrays() {
    #expect(TaskArray("1-10:2,15%4") == TaskArray(indices: [1, 3, 5, 7, 9, 15], parallelism: 4))
    #expect(TaskArray("3,1,2,2")?.indices == [1, 2, 3] && TaskArray("0")?.indices == [0])
    for text in ["", "a", "5-1", "1-", "1:2", "1-5:0", "1%0", "1%", "0-10000", "4000001", "1%2%3", ",1"] {
      #expect(TaskArray(text) == nil, "\(text)")
    }
    #expect(TaskArray.text(of: [1, 2, 3, 7, 9, 10]) == "1-3,7,9-10")
    #expect(TaskArray.text(of: [0, 2, 4, 6]) == "0,2,4,6" && TaskArray.text(of: [5]) == "5")
  }

  @Test("what arrays are shown as is read back as the same array", arguments: 0..<200)
  func arrayRoundTrip(_ seed: Int) {
    let indices = (0..<40).filter { ($0 * 7919 + seed * 104_729) % (2 + seed % 5) == 0 }.map { Int32($0) }
    guard !indices.isEmpty else { return }
    #expect(TaskArray(TaskArray.text(of: indices))?.indices == indices)
  }

  @Test("dependencies are read, shown, and judged by what became of the others")
  func dependencies() throws {
    let both = try JobDependency("afterok:1:2_3,afterany:4")
    #expect(both.text == "afterok:1,afterok:2_3,afterany:4" && !both.isAny)
    #expect(both.verdict { _ in .succeeded } == .met)
    #expect(both.verdict { $0.job == 4 ? .open(startedSecondsAgo: nil) : .succeeded } == .waiting)
    #expect(both.verdict { $0.task == 3 ? .failed : .open(startedSecondsAgo: 1) } == .never)
    let either = try JobDependency("afterok:1?afternotok:2")
    #expect(either.verdict { $0.job == 1 ? .failed : .failed } == .met)
    #expect(either.verdict { $0.job == 1 ? .failed : .succeeded } == .never)
    #expect(either.verdict { $0.job == 1 ? .failed : .open(startedSecondsAgo: nil) } == .waiting)
    let after = try JobDependency("after:7+2")
    #expect(after.verdict { _ in .open(startedSecondsAgo: 119) } == .waiting)
    #expect(after.verdict { _ in .open(startedSecondsAgo: 120) } == .met)
    #expect(after.verdict { _ in .open(startedSecondsAgo: nil) } == .waiting)
    #expect(try JobDependency("singleton").verdict { _ in .open(startedSecondsAgo: 1) } == .waiting)
    // Task by task it is looked at once the other array is over.
    let each = try JobDependency("aftercorr:5")
    #expect(each.text == "aftercorr:5" && each.verdict { _ in .failed } == .met)
    #expect(each.verdict { _ in .open(startedSecondsAgo: 1) } == .waiting && each.verdict { _ in .unknown } == .never)
    // A job that nobody knows any more may have ended any way.
    #expect(try JobDependency("afterany:9").verdict { _ in .unknown } == .met)
    #expect(try JobDependency("afterok:9").verdict { _ in .unknown } == .never)
    for text in [
      "", "afterok", "afterok:", "afterok:x", "singleton:1", "afterok:1,afterany:2?afterok:3", "expand:1",
      "afterok:1+2",
    ] {
      #expect(throws: SlurmRefusal.self, "\(text)") { try JobDependency(text) }
    }
  }

  @Test("file name patterns, with widths, without replacement after a backslash")
  func patterns() {
    let values = FileNamePattern.Values(
      job: 128, arrayJob: 123, arrayTask: 5, name: "train", user: "ann", node: "edge-1")
    func name(_ text: String) -> String { FileNamePattern(text).name(values) }
    #expect(name("slurm-%A_%a.out") == "slurm-123_5.out" && name("%x-%j.%u@%N") == "train-128.ann@edge-1")
    #expect(name("%4j-%03a") == "0128-005" && name("100%%") == "100%" && name("%q%") == "%q%")
    #expect(name("\\%j") == "%j")
    let single = FileNamePattern.Values(job: 7, arrayJob: 7, arrayTask: nil, name: "x", user: "u", node: "n")
    #expect(FileNamePattern("%a").name(single) == "4294967294")
    #expect(FileNamePattern.standard(isArray: false).name(single) == "slurm-7.out")
  }

  @Test("the environment that travels has neither secrets nor what belongs to the machine")
  func environment() {
    let here = [
      "PATH": "/opt/bin", "HOME": "/home/ann", "FUBINI_TOKEN": "x", "AWS_SECRET_ACCESS_KEY": "y",
      "OMP_NUM_THREADS": "4",
      "SSH_AUTH_SOCK": "/s", "MY_API_KEY": "z", "SLURM_JOB_ID": "9", "DB_PASSWORD": "p",
    ]
    #expect(Set(JobEnvironment.exported(here, .all).keys) == ["PATH", "OMP_NUM_THREADS"])
    #expect(JobEnvironment.exported(here, .none).isEmpty)
    let named = JobEnvironment.exported(here, .list(names: ["MY_API_KEY"], values: ["A": "1"], isAll: false))
    #expect(named == ["MY_API_KEY": "z", "A": "1"])
    #expect(JobEnvironment.shell(["A": "it's"]) == "export A='it'\\''s'\n")
  }
}
