internal import FederationModel
internal import FoundationEssentials

/// The jobs in an answer of slurmrestd to `GET /slurm/VERSION/jobs`, by the names of their fields.
///
/// Numbers are plain up to v0.0.38, and `{"set", "infinite", "number"}` in later versions; a state is a text up to v0.0.39 and a
/// list from v0.0.40 on. Either is read in each place, whatever the version says; fields that are not there are as if empty.
///
/// - Source: the OpenAPI documents of slurmrestd, v0.0.37 to v0.0.42.
struct RestJobs {
  var jobs: [SlurmJob]
  /// Entries that are no job that can be read.
  var unreadable: Int

  /// Versions to try, the newest first.
  static let versions = (37...42).reversed().map { "v0.0.\($0)" }

  /// - Parameters:
  ///   - user: whose jobs count; others are left out.
  ///   - now: seconds since 1970.
  /// - Throws: `.unavailable` when it is no such answer.
  init(_ body: [UInt8], user: UInt32, now: Int64) throws(FederationError) {
    let document: Document
    do { document = try JSONDecoder().decode(Document.self, from: Data(body)) } catch {
      throw FederationError(
        .unavailable, "slurmrestd's answer cannot be read", internalContext: "\(error)", retryAfter: .seconds(60))
    }
    jobs = []
    unreadable = 0
    for entry in document.jobs {
      guard let entry = entry.value, let job = entry.job(now: now) else {
        unreadable += 1
        continue
      }
      if let owner = entry.user_id?.value, owner != Int64(user) { continue }
      guard job.index == nil, let waiting = entry.array_task_string?.value, !waiting.isEmpty else {
        jobs.append(job)
        continue
      }
      for index in Self.indices(waiting) {
        var task = job
        task.index = index
        jobs.append(task)
      }
    }
  }

  /// `0-2,5,7-11:2%4` is 0, 1, 2, 5, 7, 9 and 11; what has been cut to `...` is left out. At most a hundred thousand.
  static func indices(_ text: String) -> [Int] {
    let most = 100_000
    var found: [Int] = []
    let plain = text.prefix { $0 != "%" }.filter { $0 != "[" && $0 != "]" }
    for item in plain.split(separator: ",") {
      let parts = item.split(separator: ":")
      let ends = (parts.first ?? "").split(separator: "-").map { Int($0) }
      guard ends.count <= 2, let first = ends.first ?? nil, let last = ends.last ?? nil, first >= 0, last >= first,
        let step = parts.count > 1 ? Int(parts[1]) : 1, step > 0, found.count + (last - first) / step < most
      else { continue }
      found += stride(from: first, through: last, by: step)
    }
    return found
  }

  // MARK: As it is written

  private struct Document: Decodable { var jobs: [Lenient<Entry>] }

  /// nil for what is something else than expected: one strange field must not cost all jobs.
  private struct Lenient<Value: Decodable>: Decodable {
    var value: Value?
    init(from decoder: any Decoder) { value = try? Value(from: decoder) }
  }

  private struct Entry: Decodable {
    var job_id: Number?
    var array_job_id: Number?
    var array_task_id: Number?
    var array_task_string: Text?
    var job_state: Words?
    var state_reason: Text?
    var submit_time: Number?
    var start_time: Number?
    var end_time: Number?
    var time_limit: Number?
    var partition: Text?
    var nodes: Text?
    var cpus: Number?
    var name: Text?
    var user_id: Number?

    func job(now: Int64) -> SlurmJob? {
      guard let id = job_id?.value, id > 0, let name = name?.value, let words = job_state?.value,
        let word = Self.state(words)
      else { return nil }
      let state = JobState(word)
      let array = array_job_id?.value ?? 0
      let started = start_time?.value.flatMap { $0 > 0 ? $0 : nil }
      var elapsed: Duration?
      if let started {
        switch state {
        case .pending: break
        case .live: elapsed = .seconds(max(0, now - started))
        case .ended: elapsed = .seconds(max(0, (end_time?.value ?? now) - started))
        }
      }
      return SlurmJob(
        id: UInt64(id), arrayID: array > 0 ? UInt64(array) : UInt64(id),
        // Outside of arrays some versions write 0 for it.
        index: array > 0 ? array_task_id?.value.flatMap { Int(exactly: $0) } : nil, state: state,
        reason: state_reason?.value ?? "", partition: partition?.value ?? "", nodeList: nodes?.value ?? "",
        cpus: cpus?.value ?? 1, submittedAt: submit_time?.value.flatMap { $0 > 0 ? $0 : nil }, startsAt: started,
        timeLimit: time_limit?.value.flatMap { (0..<100_000_000).contains($0) ? .seconds($0 * 60) : nil },
        elapsed: elapsed, name: name)
    }

    /// A state, and flags beside it: the ones that `squeue` puts in its place.
    static func state(_ words: [String]) -> String? {
      ["COMPLETING", "CONFIGURING", "STOPPED", "SUSPENDED"].first { words.contains($0) } ?? words.first
    }
  }

  /// A whole number, plain or in its later clothes; nil when it is not set, infinite, or none.
  private struct Number: Decodable {
    var value: Int64?
    private enum Key: String, CodingKey { case set, infinite, number }

    init(from decoder: any Decoder) {
      if let plain = try? decoder.singleValueContainer().decode(Int64.self) {
        value = plain
      } else if let fields = try? decoder.container(keyedBy: Key.self) {
        let isSet = (try? fields.decode(Bool.self, forKey: .set)) ?? true
        let isInfinite = (try? fields.decode(Bool.self, forKey: .infinite)) ?? false
        if isSet, !isInfinite { value = try? fields.decode(Int64.self, forKey: .number) }
      }
    }
  }

  private struct Text: Decodable {
    var value: String?
    init(from decoder: any Decoder) { value = try? decoder.singleValueContainer().decode(String.self) }
  }

  /// A word or a list of words.
  private struct Words: Decodable {
    var value: [String]?
    init(from decoder: any Decoder) {
      let container = try? decoder.singleValueContainer()
      value = (try? container?.decode([String].self)) ?? (try? container?.decode(String.self)).map { [$0] }
    }
  }
}
