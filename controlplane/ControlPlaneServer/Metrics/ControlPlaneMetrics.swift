import ControlPlaneCore
import FederationModel

/// What one control-plane process reports about itself at `/metrics`.
final class ControlPlaneMetrics: LeaderMetrics {
  private let registry = MetricsRegistry()
  private let isLeader: Gauge
  private let commitSequence: Gauge
  private let turnSeconds: Histogram
  private let turnCPU: Histogram
  private let turnLongest: Gauge
  private let turnInputs: Histogram
  private let inputs: Counter
  private let queueDepth: Gauge
  private let workflows: Gauge
  private let pendingTasks: Gauge
  private let runs: Gauge
  private let connectedClusters: Gauge
  private let commitSeconds: Histogram
  private let rowsWritten: Counter
  private let requests: Counter
  private let requestSeconds: Histogram

  /// 100 us to 10 s: from one row on a local disk to a database that is about to be given up.
  private static let latencies = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
  ]

  init() {
    registry.counter("fubini_build_info", "Always 1; the version that runs.", labels: ["version"])
      .add(labels: [ProductVersion.current])
    isLeader = registry.gauge("fubini_leader", "1 while this process leads, else 0.")
    commitSequence = registry.gauge("fubini_commit_sequence", "The last commit that this process knows of.")
    queueDepth = registry.gauge("fubini_queue_depth", "Inputs that wait to be applied by the leader.")
    workflows = registry.gauge("fubini_workflows", "Workflows that have not finished, on the leader.")
    pendingTasks = registry.gauge("fubini_pending_tasks", "Tasks that wait for a placement, on the leader.")
    runs = registry.gauge("fubini_runs", "Runs that have not ended, on the leader.")
    connectedClusters = registry.gauge(
      "fubini_connected_clusters", "Clusters whose agent has a session, on the leader.")
    inputs = registry.counter("fubini_inputs_total", "Inputs that the leader has applied.")
    turnSeconds = registry.histogram("fubini_turn_seconds", "Length of the leader's turns.", buckets: Self.latencies)
    turnCPU = registry.histogram(
      "fubini_turn_cpu_seconds", "CPU time of the leader's turns: what they cost on a machine that does nothing else.",
      buckets: Self.latencies)
    turnLongest = registry.gauge(
      "fubini_turn_cpu_seconds_longest",
      "The dearest turn since the process began, in CPU time; it is to stay below 0.005."
    )
    turnInputs = registry.histogram(
      "fubini_turn_inputs", "Inputs applied in one turn.",
      buckets: [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096])
    commitSeconds = registry.histogram(
      "fubini_commit_seconds", "From sending a unit to the database's answer.", buckets: Self.latencies)
    rowsWritten = registry.counter("fubini_rows_written_total", "Rows in committed units.")
    requests = registry.counter(
      "fubini_http_requests_total", "Requests of the API, by route.", labels: ["route", "method", "status"])
    requestSeconds = registry.histogram(
      "fubini_http_request_seconds", "Until an answer begins, by route.", labels: ["route"],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10])
    registry.sampled("process_cpu_seconds_total", "CPU time, user and system.", kind: .counter) {
      ProcessUsage.cpuSeconds
    }
    registry.sampled("process_resident_memory_bytes", "Memory in RAM.") { ProcessUsage.residentBytes }
    let startedAt = Timestamp.wallClock
    registry.sampled("process_start_time_seconds", "When the process began, since 1970.") {
      Double(startedAt.milliseconds) / 1000
    }
  }

  func turn(inputs count: Int, _ cost: TurnCost, queueDepth depth: Int, _ census: Census) {
    inputs.add(UInt64(max(0, count)))
    turnInputs.observe(Double(count))
    turnSeconds.observe(cost.seconds)
    turnCPU.observe(cost.cpu)
    // The leader's loop is the only writer.
    if cost.cpu > turnLongest.value { turnLongest.set(cost.cpu) }
    queueDepth.set(depth)
    workflows.set(census.workflows)
    pendingTasks.set(census.pendingTasks)
    runs.set(census.runs)
    connectedClusters.set(census.connectedClusters)
  }

  func committed(seconds: Double, rows: Int) {
    commitSeconds.observe(seconds)
    rowsWritten.add(UInt64(max(0, rows)))
  }

  /// - Parameter route: The path of the route table, never the path that was asked for: label values are a bounded set.
  func request(route: String, method: String, status: Int, seconds: Double) {
    requests.add(labels: [route, Self.methods.contains(method) ? method : "other", String(status)])
    requestSeconds.observe(seconds, labels: [route])
  }
  private static let methods: Set<String> = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

  /// The text of one scrape. A process that no longer leads knows nothing of queues and workflows: it reports none, rather than its
  /// last memory of them.
  func prometheusText(_ leadership: LeadershipView? = nil) -> String {
    if let leadership {
      isLeader.set(leadership.isLeader ? 1 : 0)
      commitSequence.set(Double(leadership.commitSequence))
      if !leadership.isLeader {
        for gauge in [queueDepth, workflows, pendingTasks, runs, connectedClusters] { gauge.set(0) }
      }
    }
    return registry.prometheusText()
  }
}
