import FederationModel
import Testing

@testable import ControlPlaneCore
@testable import ControlPlaneServer

@Suite struct MetricsTests {
  @Test("A histogram's buckets are cumulative, a bound belongs to its own bucket, and the last holds everything")
  func histogram() {
    let registry = MetricsRegistry()
    let histogram = registry.histogram("h_seconds", "How long.", buckets: [0.5, 1])
    for value in [0.25, 0.5, 0.75, 1, 3, .nan] { histogram.observe(value) }
    #expect(
      registry.prometheusText() == """
        # HELP h_seconds How long.
        # TYPE h_seconds histogram
        h_seconds_bucket{le="0.5"} 2
        h_seconds_bucket{le="1"} 4
        h_seconds_bucket{le="+Inf"} 5
        h_seconds_sum 5.5
        h_seconds_count 5

        """)
  }

  @Test("Label values are escaped and sorted")
  func labels() {
    let registry = MetricsRegistry()
    let counter = registry.counter("c_total", "Of \\ and\nlines.", labels: ["a", "b"])
    counter.add(labels: ["z", "1"])
    counter.add(2, labels: ["q\"\\\n", "1"])
    counter.add(labels: ["z", "1"])
    #expect(
      registry.prometheusText() == """
        # HELP c_total Of \\\\ and\\nlines.
        # TYPE c_total counter
        c_total{a="q\\"\\\\\\n",b="1"} 2
        c_total{a="z",b="1"} 2

        """)
  }

  @Test("Invented label values stop growing a family at its limit, and are still counted")
  func bounded() {
    let registry = MetricsRegistry()
    let counter = registry.counter("c_total", "Bounded.", labels: ["a"])
    let surplus = 50
    for index in 0..<(SeriesTable<UInt64>.limit + surplus) { counter.add(labels: ["v\(index)"]) }
    let lines = registry.prometheusText().split(separator: "\n").filter { !$0.hasPrefix("#") }
    #expect(lines.count == SeriesTable<UInt64>.limit + 1)
    #expect(lines.contains("c_total{a=\"other\"} \(surplus)"))
  }

  @Test("Counts from many tasks at once are all there")
  func concurrent() async {
    let registry = MetricsRegistry()
    let counter = registry.counter("c_total", "Counted.")
    let histogram = registry.histogram("h", "Observed.", buckets: [1])
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask {
          for _ in 0..<1000 {
            counter.add()
            histogram.observe(1)
          }
        }
      }
    }
    let text = registry.prometheusText()
    #expect(text.contains("\nc_total 8000\n"))
    #expect(text.contains("\nh_count 8000\n"))
  }

  @Test("A process that no longer leads reports no queue and no workflows")
  func deposed() {
    let metrics = ControlPlaneMetrics()
    metrics.turn(
      inputs: 3, TurnCost(seconds: 0.002, cpu: 0.001, applying: 0.001, taking: 0, snapshot: 0), queueDepth: 7,
      Census(workflows: 2, pendingTasks: 5, runs: 4, connectedClusters: 1))
    metrics.committed(seconds: 0.002, rows: 11)
    metrics.request(route: "/v1/version", method: "GET", status: 200, seconds: 0.01)
    let leading = metrics.prometheusText(LeadershipView(isLeader: true, leaderURL: nil, commitSequence: 9))
    for line in [
      "fubini_leader 1", "fubini_commit_sequence 9", "fubini_queue_depth 7", "fubini_workflows 2",
      "fubini_pending_tasks 5",
      "fubini_runs 4", "fubini_connected_clusters 1", "fubini_inputs_total 3", "fubini_rows_written_total 11",
      "fubini_commit_seconds_count 1", "fubini_turn_seconds_count 1", "fubini_turn_cpu_seconds_longest 0.001",
      "fubini_http_requests_total{route=\"/v1/version\",method=\"GET\",status=\"200\"} 1",
    ] { #expect(leading.contains("\n\(line)\n"), "no line: \(line)") }
    let standing = metrics.prometheusText(LeadershipView(isLeader: false, leaderURL: nil, commitSequence: 9))
    for line in [
      "fubini_leader 0", "fubini_queue_depth 0", "fubini_workflows 0", "fubini_runs 0", "fubini_inputs_total 3",
    ] {
      #expect(standing.contains("\n\(line)\n"), "no line: \(line)")
    }
  }

  @Test("Every line is a comment or a sample with a number")
  func wellFormed() throws {
    let line = #/[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? (NaN|[-+]?(Inf|[0-9.e+-]+))/#
    for text in ControlPlaneMetrics().prometheusText().split(separator: "\n") where !text.hasPrefix("# ") {
      #expect(try line.wholeMatch(in: text) != nil, "\(text)")
    }
  }
}
