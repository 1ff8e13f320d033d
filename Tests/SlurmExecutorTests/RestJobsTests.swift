internal import FederationModel
internal import Testing

@testable internal import SlurmExecutor

/// Answers of slurmrestd in the shapes of its versions, written from their documented fields.
@Suite struct RestJobsTests {
  /// 22.05: plain numbers, null for what is not there, a state is a text.
  static let plain = """
    {"meta": {"plugin": {"type": "openapi/v0.0.38"}, "Slurm": {"version": {"major": 22, "micro": 8, "minor": 5}}},
     "errors": [], "jobs": [
      {"job_id": 1, "array_job_id": 0, "array_task_id": null, "array_task_string": "", "job_state": "RUNNING",
       "state_reason": "None", "submit_time": 1000, "start_time": 1010, "end_time": 4610, "time_limit": 60,
       "partition": "main", "nodes": "n1", "cpus": 4, "name": "fubini-x", "user_id": 7, "exit_code": 0},
      {"job_id": 2, "array_job_id": 2, "array_task_id": null, "array_task_string": "1-2", "job_state": "PENDING",
       "state_reason": "Resources", "submit_time": 1000, "start_time": 0, "time_limit": 60, "partition": "main",
       "nodes": "", "cpus": 1, "name": "fubini-a", "user_id": 7},
      {"job_id": 3, "array_job_id": 2, "array_task_id": 0, "array_task_string": "", "job_state": "TIMEOUT",
       "state_reason": "TimeLimit", "submit_time": 1000, "start_time": 1100, "end_time": 1160, "time_limit": 1,
       "partition": "main", "nodes": "n1", "cpus": 1, "name": "fubini-a", "user_id": 7},
      {"job_id": 9, "job_state": "RUNNING", "name": "foreign", "user_id": 8, "cpus": 1}]}
    """
  /// 23.02: numbers that may be unset or infinite are objects, a state is a text still.
  static let dressed = """
    {"jobs": [
      {"job_id": 1, "array_job_id": {"set": true, "infinite": false, "number": 0},
       "array_task_id": {"set": false, "infinite": false, "number": 0}, "array_task_string": "", "job_state": "RUNNING",
       "state_reason": "None", "submit_time": 1000, "start_time": 1010, "end_time": 4610,
       "time_limit": {"set": true, "infinite": false, "number": 60}, "partition": "main", "nodes": "n1",
       "cpus": {"set": true, "infinite": false, "number": 4}, "name": "fubini-x", "user_id": 7},
      {"job_id": 2, "array_job_id": {"set": true, "infinite": false, "number": 2},
       "array_task_id": {"set": false, "infinite": false, "number": 0}, "array_task_string": "1-2",
       "job_state": "PENDING", "state_reason": "Resources", "submit_time": 1000, "start_time": 0,
       "time_limit": {"set": true, "infinite": false, "number": 60}, "partition": "main", "nodes": "",
       "cpus": {"set": true, "infinite": false, "number": 1}, "name": "fubini-a", "user_id": 7},
      {"job_id": 3, "array_job_id": {"set": true, "infinite": false, "number": 2},
       "array_task_id": {"set": true, "infinite": false, "number": 0}, "array_task_string": "", "job_state": "TIMEOUT",
       "state_reason": "TimeLimit", "submit_time": 1000, "start_time": 1100, "end_time": 1160,
       "time_limit": {"set": true, "infinite": false, "number": 1}, "partition": "main", "nodes": "n1",
       "cpus": {"set": true, "infinite": false, "number": 1}, "name": "fubini-a", "user_id": 7}],
     "warnings": [], "errors": []}
    """
  /// 23.11 to 25.05: times are objects too, a state is a list with flags in it, and there are more fields.
  static let listed = """
    {"jobs": [
      {"job_id": 1, "array_job_id": {"set": true, "infinite": false, "number": 0},
       "array_task_id": {"set": false, "infinite": false, "number": 0}, "array_task_string": "",
       "job_state": ["RUNNING"], "state_reason": "None", "submit_time": {"set": true, "infinite": false, "number": 1000},
       "start_time": {"set": true, "infinite": false, "number": 1010},
       "end_time": {"set": true, "infinite": false, "number": 4610},
       "time_limit": {"set": true, "infinite": false, "number": 60}, "partition": "main", "nodes": "n1",
       "cpus": {"set": true, "infinite": false, "number": 4}, "name": "fubini-x", "user_id": 7,
       "exit_code": {"status": ["SUCCESS"], "return_code": {"set": true, "infinite": false, "number": 0},
       "signal": {"id": {"set": false, "infinite": false, "number": 0}, "name": ""}}, "stdin_expanded": "/dev/null"},
      {"job_id": 2, "array_job_id": {"set": true, "infinite": false, "number": 2},
       "array_task_id": {"set": false, "infinite": false, "number": 0}, "array_task_string": "1-2",
       "job_state": ["PENDING"], "state_reason": "Resources",
       "submit_time": {"set": true, "infinite": false, "number": 1000},
       "start_time": {"set": false, "infinite": false, "number": 0},
       "time_limit": {"set": true, "infinite": false, "number": 60}, "partition": "main", "nodes": "",
       "cpus": {"set": true, "infinite": false, "number": 1}, "name": "fubini-a", "user_id": 7},
      {"job_id": 3, "array_job_id": {"set": true, "infinite": false, "number": 2},
       "array_task_id": {"set": true, "infinite": false, "number": 0}, "array_task_string": "",
       "job_state": ["TIMEOUT"], "state_reason": "TimeLimit",
       "submit_time": {"set": true, "infinite": false, "number": 1000},
       "start_time": {"set": true, "infinite": false, "number": 1100},
       "end_time": {"set": true, "infinite": false, "number": 1160},
       "time_limit": {"set": true, "infinite": false, "number": 1}, "partition": "main", "nodes": "n1",
       "cpus": {"set": true, "infinite": false, "number": 1}, "name": "fubini-a", "user_id": 7}],
     "last_backfill": {"set": true, "infinite": false, "number": 5}, "last_update": {"set": true, "number": 6},
     "warnings": [], "errors": []}
    """

  @Test(
    "The same jobs are read from the shapes of 22.05 (v0.0.37, v0.0.38), 23.02 (v0.0.39), and 23.11 to 25.05 (v0.0.40 on)",
    arguments: [plain, dressed, listed])
  func shapes(_ text: String) throws {
    let found = try RestJobs(Array(text.utf8), user: 7, now: 1040)
    #expect(found.unreadable == 0)
    #expect(found.jobs.map(\.target) == ["1", "2_1", "2_2", "2_0"])
    #expect(found.jobs.map(\.state) == [.live("RUNNING"), .pending, .pending, .ended(.timeout)])
    #expect(found.jobs.map(\.reason) == ["None", "Resources", "Resources", "TimeLimit"])
    let (running, waiting, ended) = (found.jobs[0], found.jobs[1], found.jobs[3])
    #expect(running.submittedAt == 1000 && running.startsAt == 1010 && running.cpus == 4 && running.nodeList == "n1")
    #expect(running.timeLimit == .seconds(3600) && running.elapsed == .seconds(30) && !running.isAtTimeLimit)
    #expect(waiting.startsAt == nil && waiting.elapsed == nil && waiting.partition == "main")
    #expect(ended.elapsed == .seconds(60) && ended.isAtTimeLimit && ended.name == "fubini-a")
  }

  @Test("Fields that are missing or new are no matter; what is no job is counted, and what is no answer refused")
  func tolerance() throws {
    let text = """
      {"new": {}, "jobs": [{"job_id": 1, "name": "a", "job_state": "RUNNING"}, {"job_id": "x"}, 7, null, {},
        {"job_id": {"set": true, "number": 5}, "name": "b", "job_state": ["RUNNING", "COMPLETING"], "cpus": "many",
         "time_limit": {"set": true, "infinite": true, "number": 0}, "start_time": {"number": 9}, "nodes": null},
        {"job_id": 6, "name": "c", "job_state": ["LATER"]}, {"job_id": 7, "name": "d", "job_state": []}]}
      """
    let found = try RestJobs(Array(text.utf8), user: 7, now: 10)
    #expect(found.jobs.map(\.id) == [1, 5, 6] && found.unreadable == 5)
    #expect(found.jobs.map(\.state) == [.live("RUNNING"), .live("COMPLETING"), .live("LATER")])
    #expect(found.jobs[1].timeLimit == nil && found.jobs[1].startsAt == 9 && found.jobs[1].cpus == 1)
    for text in ["", "[]", "{}", "{\"jobs\": 1}", "{\"jobs\": [", "no"] {
      #expect(throws: FederationError.self, "\(text)") { try RestJobs(Array(text.utf8), user: 7, now: 0) }
    }
  }

  @Test(
    "The tasks of an array that wait are those in its text",
    arguments: [
      ("1-2", [1, 2]), ("0", [0]), ("0-2,5,7-11:2%4", [0, 1, 2, 5, 7, 9, 11]), ("[3-4]", [3, 4]),
      ("0-1,3-...", [0, 1]), ("0,...", [0]), ("5-2", []), ("0-99999999999", []), ("x", []), ("", []),
    ] as [(String, [Int])])
  func indices(_ text: String, _ indices: [Int]) {
    #expect(RestJobs.indices(text) == indices)
  }

  @Test("No answer makes the reader fail", arguments: 0..<200)
  func fuzz(_ seed: Int) {
    var random = SeededGenerator(seed: UInt64(seed))
    var bytes = Array([Self.plain, Self.dressed, Self.listed][seed % 3].utf8)
    for _ in 0..<Int.random(in: 1...20, using: &random) {
      bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
    }
    let found = try? RestJobs(bytes, user: 7, now: 1040)
    #expect((found?.jobs.count ?? 0) < 200_000, "seed \(seed)")
    _ = try? UnixSocketHTTP.answer(bytes)
  }

  @Test(
    "An answer of HTTP is a status and a body",
    arguments: [
      ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc", 200, "ab"), ("HTTP/1.0 404 \r\n\r\nno", 404, "no"),
      ("HTTP/1.1 200 OK\r\ncontent-length:0\r\nX: y\r\n\r\n", 200, ""),
    ])
  func answers(_ text: String, _ status: Int, _ body: String) throws {
    #expect(try UnixSocketHTTP.answer(Array(text.utf8)) == .init(status: status, body: Array(body.utf8)))
  }

  @Test(
    "What is none, ends early or is encoded is refused",
    arguments: [
      "", "HTTP/1.1 200 OK", "SSH-2.0\r\n\r\n", "HTTP/1.1 x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ])
  func noAnswers(_ text: String) {
    #expect(throws: FederationError.self) { try UnixSocketHTTP.answer(Array(text.utf8)) }
  }
}
