import FederationModel
import Testing

@testable import AgentRuntime

@Suite struct ConfigurationParserTests {
  @Test("what a Slurm site says for tasks of a kind is read, and a key that is none of it is refused by the nearest")
  func siteDefaults() throws {
    func slurm(_ rules: String) throws -> SlurmConfiguration {
      try ConfigurationParser.parse(
        yaml: "executor: slurm\nslurm: {sharedDirectory: /s, inputWait: 0s, defaults: [\(rules)]}"
      )
      .slurm
    }
    let read = try slurm(
      "{when: {class: idle, labels: {team: md}, project: physics, gpus: true}, partition: gpu, gpuType: a100}, {account: all}"
    )
    var first = SlurmConfiguration.SlurmDefault()
    (first.priorityClass, first.labels, first.project, first.gpus) = (.idle, ["team": "md"], "physics", true)
    first.values = ["partition": "gpu", "gpuType": "a100"]
    var second = SlurmConfiguration.SlurmDefault()
    second.values = ["account": "all"]
    #expect(read.defaults == [first, second] && read.inputWait == .zero)
    for (rule, words) in [
      ("{partitoin: a}", "did you mean \"slurm.defaults.partition\""),
      ("{when: {label: {a: b}}, qos: x}", "did you mean \"slurm.defaults.when.labels\""),
      ("{when: {class: urgent}, qos: x}", "slurm.defaults.when.class"),
      ("{when: idle, qos: x}", "slurm.defaults.when must be"),
      ("idle", "slurm.defaults must be"),
      ("{when: {gpus: some}, qos: x}", "slurm.defaults.when.gpus must be true or false"),
    ] {
      let error = #expect(throws: FederationError.self) { _ = try slurm(rule) }
      #expect(error?.publicMessage.contains(words) == true, "\(rule): \(error!)")
    }
  }

  @Test("every key is read")
  func everything() throws {
    let configuration = try ConfigurationParser.parse(
      yaml: """
        controlPlane: ["a:1", "b:2"]
        stateDirectory: /var/lib/x
        executor: null
        slots: 4
        resources: {cpu: 500m, memory: 2Gi, gpus: 1}
        images: [{pattern: "python:*", runsAs: host}]
        rootFileSystems: {debian: /srv/debian}
        allowedHostPaths: [/opt]
        sandbox: none
        network: none
        cgroups: /fubini
        processLimit: 100
        transferLimit: 50MB/s
        artifactCacheSize: 1Gi
        logLevel: debug
        tenancy: mapped
        projects: {physics: {user: phys, account: phys-2026}}
        """)
    #expect(configuration.controlPlane == ["a:1", "b:2"])
    #expect(configuration.executor == .null)
    #expect(configuration.cpuMillicores == 500)
    #expect(configuration.memoryBytes == 2 << 30)
    #expect(configuration.transferLimit.bytesPerSecond(atMinute: 0) == 50_000_000)
    #expect(configuration.transferLimit.rclone == "50000000B")
    #expect(configuration.cache.capacityBytes == 1 << 30)
    #expect(configuration.images == [.init(pattern: "python:*", runsAs: "host")])
    #expect(configuration.sandbox == .none)
    #expect("\(configuration.controlGroups)" == "/fubini")
    #expect(configuration.processLimit == 100)
    #expect(configuration.logLevel == .debug)
    #expect(configuration.tenancy.kind == .mapped)
    #expect(configuration.tenancy.projects == ["physics": .init(user: "phys", account: "phys-2026")])
  }

  @Test("the cache's keys are read, and what cannot be is refused")
  func cache() throws {
    let configuration = try ConfigurationParser.parse(
      yaml: """
        transferLimit: "08:00,10MB/s 19:00,off"
        linkLimits: {repository: 5MB/s, hpc-b: "22:00,off 07:00,1MB/s"}
        cache: {directory: /scratch/cache, capacity: 2Ti, name: hpc, writer: false, scrubInterval: 12h, scrubRate: 5MB/s,
          origins: [/archive], rclone: /opt/rclone}
        """)
    let cache = configuration.cache
    #expect(cache.directory == "/scratch/cache" && cache.capacityBytes == 2 << 40 && cache.name == "hpc")
    #expect(!cache.isWriter && cache.scrubInterval == .seconds(43_200) && cache.scrubBytesPerSecond == 5_000_000)
    #expect(cache.origins == ["/archive"] && cache.rclone == "/opt/rclone")
    let limit = configuration.transferLimit
    #expect(limit.rclone == "08:00,10000000B 19:00,off")
    #expect(limit.bytesPerSecond(atMinute: 9 * 60) == 10_000_000)
    #expect(limit.bytesPerSecond(atMinute: 20 * 60) == nil)
    // Before the first change of the day, yesterday's last one holds.
    #expect(limit.bytesPerSecond(atMinute: 60) == nil)
    #expect(configuration.linkLimits.keys.sorted() == ["hpc-b", "repository"])
    #expect(configuration.linkLimits["hpc-b"]?.bytesPerSecond(atMinute: 8 * 60) == 1_000_000)
    #expect(try ConfigurationParser.parse(yaml: "cache: {scrubInterval: off}").cache.scrubInterval == nil)
    #expect(try ConfigurationParser.parse(yaml: "cache: {scrubInterval: 30s}").cache.scrubInterval == .seconds(30))
    for text in [
      "cache: {size: 1}", "cache: {writer: perhaps}", "cache: {directory: here}", "cache: {scrubInterval: soon}",
      "cache: {name: A_B}", "cache: {origins: [x]}", "transferLimit: \"25:00,1MB/s\"", "linkLimits: 5MB/s",
      "linkLimits: {repository: fast}", "linkLimits: {A_B: 5MB/s}", "cache: {scrubInterval: 0s}",
      "transferLimit: \"08:00,fast\"",
    ] {
      #expect(throws: FederationError.self, "\(text)") { try ConfigurationParser.parse(yaml: text) }
    }
  }

  @Test("the environment overrides the file")
  func environment() throws {
    let configuration = try ConfigurationParser.parse(
      yaml: "slots: 1", environment: ["FUBINI_SLOTS": "9", "FUBINI_CONTROL_PLANE": "x:1,y:2"])
    #expect(configuration.slots == 9)
    #expect(configuration.controlPlane == ["x:1", "y:2"])
  }

  @Test(
    "what is wrong is refused with its key, place and remedy",
    arguments: [
      ("slotz: 3", "did you mean \"slots\""), ("resources: {cpus: 1}", "\"resources.cpu\""),
      ("slots: many", "slots must be"),
      ("transferLimit: fast", "50MB/s"), ("sandbox: maybe", "bubblewrap, none"),
      ("cgroups: fubini", "auto, none, or a control group"), ("processLimit: 0", "4,194,304"),
      ("- a", "must be a mapping"),
      ("a: [", "no YAML"),
    ])
  func refused(yaml: String, expected: String) {
    let error = #expect(throws: FederationError.self) { try ConfigurationParser.parse(yaml: yaml) }
    #expect(error?.code == .invalidArgument)
    #expect(error?.publicMessage.contains(expected) == true, "\(error?.publicMessage ?? "")")
  }

  @Test("a token bucket keeps the long-run rate for any chunk size", arguments: [1, 1000, 100_000])
  func bucket(chunk: Int) {
    var bucket = TokenBucket(bytesPerSecond: 10_000, nowNanoseconds: 0)
    var now: UInt64 = 0
    var moved = 0
    while moved < 300_000 {
      now += UInt64(bucket.take(chunk, nowNanoseconds: now).seconds * 1e9)
      moved += chunk
    }
    let rate = Double(moved) / (Double(now) * 1e-9 + 0.25)
    #expect(rate < 11_000, "rate \(rate)")
  }

  @Test("an install plan keeps runs alive across agent restarts and refuses paths that mean more")
  func plan() throws {
    var plan = InstallPlan(
      service: .system, executable: "/usr/bin/fubini-agent", stateDirectory: "/var/lib/f", home: "/root")
    try plan.validate()
    #expect(plan.unit.contains("KillMode=process"))
    #expect(plan.unit.contains("ExecStart=/usr/bin/fubini-agent run --state-dir /var/lib/f\n"))
    plan.stateDirectory = "/var/lib/f\nExecStart=/bin/sh"
    #expect(throws: FederationError.self) { try plan.validate() }
  }

  @Test("network file systems are known by the mount table")
  func mounts() {
    let table = "29 1 0:25 / /home rw,relatime shared:1 - nfs4 server:/home rw\n30 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    #expect(StateDirectory.fileSystemType(ofDevice: "0:25", in: table).map(StateDirectory.isNetworkType) == true)
    #expect(StateDirectory.fileSystemType(ofDevice: "8:1", in: table).map(StateDirectory.isNetworkType) == false)
  }
}
