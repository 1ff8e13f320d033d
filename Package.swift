// swift-tools-version: 6.2
import PackageDescription

/// The language rules of every target: Swift 6 mode (below), explicit existentials and imports, warnings as errors.
///
/// Not `MemberImportVisibility`: in which module a C structure such as `stat` counts as defined (Glibc's or CoreFoundation)
/// depends on which files one compiler process is given together, and so on the machine's cores and on what is built anew.
let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .treatAllWarnings(as: .error),
]

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let asyncHTTPClient: Target.Dependency = .product(name: "AsyncHTTPClient", package: "async-http-client")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let deque: Target.Dependency = .product(name: "DequeModule", package: "swift-collections")
let grdb: Target.Dependency = .product(name: "GRDB", package: "GRDB.swift")
let grpc: Target.Dependency = .product(name: "GRPCCore", package: "grpc-swift-2")
let grpcTransport: Target.Dependency = .product(name: "GRPCNIOTransportHTTP2Posix", package: "grpc-swift-nio-transport")
let grpcProtobuf: Target.Dependency = .product(name: "GRPCProtobuf", package: "grpc-swift-protobuf")
let heap: Target.Dependency = .product(name: "HeapModule", package: "swift-collections")
let httpTypes: Target.Dependency = .product(name: "HTTPTypes", package: "swift-http-types")
let hummingbird: Target.Dependency = .product(name: "Hummingbird", package: "hummingbird")
let hummingbirdCore: Target.Dependency = .product(name: "HummingbirdCore", package: "hummingbird")
let hummingbirdTesting: Target.Dependency = .product(name: "HummingbirdTesting", package: "hummingbird")
let hummingbirdTLS: Target.Dependency = .product(name: "HummingbirdTLS", package: "hummingbird")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let nioCertificateReloading: Target.Dependency = .product(name: "NIOCertificateReloading", package: "swift-nio-extras")
let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let nioTLS: Target.Dependency = .product(name: "NIOTLS", package: "swift-nio")
let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
let serviceLifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let subprocess: Target.Dependency = .product(name: "Subprocess", package: "swift-subprocess")
let swiftASN1: Target.Dependency = .product(name: "SwiftASN1", package: "swift-asn1")
let systemPackage: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let unixSignals: Target.Dependency = .product(name: "UnixSignals", package: "swift-service-lifecycle")
let x509: Target.Dependency = .product(name: "X509", package: "swift-certificates")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")

let package = Package(
  name: "fubini",
  platforms: [.macOS(.v15)],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-asn1", from: "1.7.4"),
    .package(url: "https://github.com/apple/swift-certificates", from: "1.21.1"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
    .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(url: "https://github.com/grpc/grpc-swift-2", from: "2.4.3"),
    .package(url: "https://github.com/grpc/grpc-swift-nio-transport", from: "2.9.2"),
    .package(url: "https://github.com/grpc/grpc-swift-protobuf", from: "2.4.1"),
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
  ],
  targets: [
    // MARK: Pure cores, and code that several executables share
    .target(name: "FederationModel", swiftSettings: settings),
    .target(name: "WorkflowCore", dependencies: ["FederationModel", yams], swiftSettings: settings),
    .target(name: "SchedulerCore", dependencies: ["FederationModel", heap], swiftSettings: settings),
    .target(name: "SimulatorCore", dependencies: ["FederationModel", "SchedulerCore", heap], swiftSettings: settings),
    .target(name: "SlurmFrontDoor", dependencies: ["FederationModel"], swiftSettings: settings),
    .target(name: "LedgerCore", dependencies: ["FederationModel"], swiftSettings: settings),
    .target(
      name: "ControlPlaneCore",
      dependencies: ["FederationModel", "LedgerCore", "SchedulerCore", "WorkflowCore", deque, heap],
      swiftSettings: settings),
    .target(
      name: "FederationAPI", dependencies: ["FederationModel", grpc, grpcProtobuf, protobuf],
      exclude: ["Protocol/agent.proto", "REST/README.md"], swiftSettings: settings),
    .target(
      name: "FederationPKI", dependencies: ["FederationModel", crypto, swiftASN1, x509], swiftSettings: settings),

    .target(name: "HTTP2Framing", dependencies: [nioCore], swiftSettings: settings),

    // MARK: Other people's stores
    .target(
      name: "Rclone", dependencies: ["FederationModel", crypto, logging, serviceLifecycle, subprocess],
      swiftSettings: settings),

    // MARK: Command line
    .target(name: "LocalProcess", dependencies: ["FederationModel"], swiftSettings: settings),
    .target(name: "LocalSlurm", dependencies: ["FederationModel", "LocalProcess"], swiftSettings: settings),
    .executableTarget(
      name: "fubini",
      dependencies: [
        "FederationAPI", "FederationModel", "LocalProcess", "LocalSlurm", "SlurmFrontDoor", argumentParser,
        asyncHTTPClient, crypto,
        nioCore, nioHTTP1, nioPosix,
        nioSSL, yams,
      ],
      swiftSettings: settings),

    .executableTarget(
      name: "simulator", dependencies: ["FederationModel", "SchedulerCore", "SimulatorCore", argumentParser],
      swiftSettings: settings),

    // MARK: Control plane
    .systemLibrary(name: "CPQ", path: "controlplane/CPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    .target(
      name: "Postgres", dependencies: ["CPQ"], path: "controlplane/Postgres", swiftSettings: settings),
    .target(
      name: "Migrations", path: "migrations",
      resources: [
        .embedInCode("V0001__foundation.sql"), .embedInCode("V0002__slices_and_indexes.sql"),
        .embedInCode("V0003__certificate_trust.sql"),
        .embedInCode("V0004__changes.sql"), .embedInCode("V0005__data.sql"),
        .embedInCode("V0006__prices_and_packs.sql"),
        .embedInCode("V0007__data_lifecycle.sql"),
        .embedInCode("V0008__input_bytes.sql"), .embedInCode("V0009__artifact_garbage.sql"),
        .embedInCode("V0010__ledger.sql"), .embedInCode("V0011__access.sql"),
        .embedInCode("V0012__shares.sql"),
        .embedInCode("V0013__allowances.sql"),
        .embedInCode("V0014__data.sql"),
        .embedInCode("V0015__preemption.sql"),
        .embedInCode("V0016__egress.sql"),
        .embedInCode("V0017__slices.sql"),
        .embedInCode("V0018__spot.sql"),
        .embedInCode("V0019__organisations.sql"),
        .embedInCode("V0020__objects.sql"),
        .embedInCode("V0021__cron_states.sql"),
        .embedInCode("V0023__gates.sql"),
        .embedInCode("V0024__ttl.sql"),
        .embedInCode("V0025__daemons.sql"),
        .embedInCode("V0029__held_artifacts.sql"),
        .embedInCode("V0031__jobs.sql"),
        .embedInCode("V0034__grants.sql"),
        .embedInCode("V0035__run_causes.sql"),
        .embedInCode("V0036__machine_types.sql"),
        .embedInCode("V0046__left_out_tasks.sql"),
        .embedInCode("V0052__partition_prices.sql"),
      ],
      swiftSettings: settings),
    .target(
      name: "ControlPlaneStore",
      dependencies: [
        "ControlPlaneCore", "FederationModel", "LedgerCore", "Migrations", "Postgres", "SchedulerCore", "WorkflowCore",
        crypto,
      ],
      path: "controlplane/ControlPlaneStore", swiftSettings: settings),
    .target(
      name: "ControlPlaneServer",
      dependencies: [
        "ControlPlaneCore", "ControlPlaneStore", "FederationAPI", "FederationModel", "FederationPKI", "HTTP2Framing",
        "LedgerCore", "Postgres", "Rclone",
        "SchedulerCore", "SlurmFrontDoor",
        "WorkflowCore", argumentParser, asyncHTTPClient, crypto, deque, grpc, grpcProtobuf, grpcTransport, httpTypes,
        hummingbird, hummingbirdCore,
        hummingbirdTLS, logging, nioCertificateReloading, nioCore, nioHTTP1, nioPosix, nioSSL, nioTLS, protobuf,
        serviceLifecycle, subprocess,
        swiftASN1, systemPackage, unixSignals, x509, yams,
      ],
      path: "controlplane/ControlPlaneServer", swiftSettings: settings),
    .executableTarget(
      name: "fubini-controlplane", dependencies: ["ControlPlaneServer"], path: "controlplane/fubini-controlplane",
      swiftSettings: settings),

    // MARK: Agent
    .target(
      name: "KubernetesAPI",
      dependencies: [
        "Execution", "FederationModel", asyncHTTPClient, deque, logging, nioCore, nioHTTP1, nioPosix, nioSSL, yams,
      ],
      path: "agent/KubernetesAPI", swiftSettings: settings),
    .target(
      name: "Execution", dependencies: ["FederationModel", deque], path: "agent/Execution", swiftSettings: settings),
    .target(name: "CSupervisor", path: "agent/CSupervisor"),
    .target(name: "Supervisor", dependencies: ["CSupervisor"], path: "agent/Supervisor", swiftSettings: settings),
    .target(
      name: "ProcessExecutor", dependencies: ["CSupervisor", "Execution", "FederationModel", "Supervisor"],
      path: "agent/ProcessExecutor", swiftSettings: settings),
    .target(
      name: "SlurmExecutor",
      dependencies: ["Execution", "FederationModel", "ProcessExecutor", "Supervisor", subprocess, systemPackage],
      path: "agent/SlurmExecutor", swiftSettings: settings),
    .target(
      name: "KubernetesExecutor",
      dependencies: ["Execution", "FederationModel", "KubernetesAPI", "ProcessExecutor", "Supervisor", deque, logging],
      path: "agent/KubernetesExecutor", swiftSettings: settings),
    .target(
      name: "AgentRuntime",
      dependencies: [
        "CSupervisor", "Execution", "FederationAPI", "FederationModel", "FederationPKI", "HTTP2Framing",
        "ProcessExecutor", "Rclone", "SlurmExecutor", "Supervisor", "WorkflowCore", argumentParser, asyncHTTPClient,
        crypto,
        "KubernetesAPI", "KubernetesExecutor",
        deque, grdb, grpc, grpcProtobuf, grpcTransport, logging, nioCertificateReloading, nioCore, nioHTTP1, nioPosix,
        nioSSL,
        nioTLS,
        protobuf, serviceLifecycle, subprocess, swiftASN1, systemPackage, x509, yams,
      ],
      path: "agent/AgentRuntime", swiftSettings: settings),
    .executableTarget(
      name: "fubini-agent", dependencies: ["AgentRuntime", "ProcessExecutor", "Supervisor"], path: "agent/fubini-agent",
      swiftSettings: settings),

    // MARK: Tests
    .target(
      name: "TestSupport",
      dependencies: ["FederationModel", "LocalProcess", "LocalSlurm", "Postgres", subprocess],
      path: "Tests/TestSupport", swiftSettings: settings),
    .executableTarget(
      name: "supervisor-fixture", dependencies: ["Supervisor"], path: "Tests/SupervisorFixture", swiftSettings: settings
    ),
    .testTarget(name: "FederationModelTests", dependencies: ["FederationModel"], swiftSettings: settings),
    .testTarget(name: "WorkflowCoreTests", dependencies: ["FederationModel", "WorkflowCore"], swiftSettings: settings),
    .testTarget(
      name: "SchedulerCoreTests", dependencies: ["FederationModel", "SchedulerCore"], swiftSettings: settings),
    .testTarget(
      name: "SimulatorTests", dependencies: ["FederationModel", "SchedulerCore", "SimulatorCore"],
      swiftSettings: settings),
    .testTarget(
      name: "SlurmFrontDoorTests",
      dependencies: ["FederationModel", "SlurmFrontDoor", "TestSupport", "LocalSlurm", subprocess],
      swiftSettings: settings),
    .testTarget(name: "LedgerCoreTests", dependencies: ["FederationModel", "LedgerCore"], swiftSettings: settings),
    .testTarget(
      name: "ControlPlaneCoreTests",
      dependencies: ["ControlPlaneCore", "FederationModel", "LedgerCore", "SchedulerCore", "WorkflowCore"],
      swiftSettings: settings),
    .testTarget(
      name: "FederationPKITests", dependencies: ["FederationModel", "FederationPKI", crypto, swiftASN1, x509],
      swiftSettings: settings),
    .testTarget(name: "PostgresTests", dependencies: ["Postgres", "TestSupport"], swiftSettings: settings),
    .testTarget(
      name: "ControlPlaneStoreTests",
      dependencies: [
        "ControlPlaneCore", "ControlPlaneStore", "FederationModel", "LedgerCore", "Migrations", "Postgres",
        "SchedulerCore", "TestSupport", "WorkflowCore",
      ], swiftSettings: settings),
    .testTarget(
      name: "ControlPlaneServerTests",
      dependencies: [
        "ControlPlaneCore", "ControlPlaneServer", "ControlPlaneStore", "FederationAPI", "FederationModel",
        "FederationPKI", "Postgres", "Rclone",
        "TestSupport", "WorkflowCore", asyncHTTPClient, crypto, httpTypes, hummingbird, hummingbirdCore,
        hummingbirdTesting, logging,
        nioCore, nioHTTP1,
      ], swiftSettings: settings),
    .testTarget(
      name: "GatewayTransportTests",
      dependencies: [
        "AgentRuntime", "ControlPlaneServer", "FederationAPI", "FederationModel", "FederationPKI", "HTTP2Framing",
        crypto, grpc, grpcTransport, nioCore,
        nioPosix, nioSSL, protobuf, swiftASN1, x509,
      ], swiftSettings: settings),
    .testTarget(
      name: "SupervisorTests", dependencies: ["CSupervisor", "Supervisor", "supervisor-fixture"],
      swiftSettings: settings),
    .testTarget(
      name: "ProcessExecutorTests",
      dependencies: [
        "CSupervisor", "Execution", "FederationModel", "ProcessExecutor", "Supervisor", "supervisor-fixture",
      ],
      swiftSettings: settings),
    .testTarget(
      name: "SlurmExecutorTests",
      dependencies: [
        "Execution", "FederationModel", "LocalProcess", "LocalSlurm", "SlurmExecutor", "Supervisor", "TestSupport",
        "supervisor-fixture",
      ],
      swiftSettings: settings),
    .target(
      name: "KubernetesSupport",
      dependencies: ["FederationModel", "KubernetesAPI", "LocalProcess", "TestSupport", logging],
      path: "Tests/Kubernetes", exclude: ["kubelet.py"], swiftSettings: settings),
    .testTarget(
      name: "KubernetesAPITests",
      dependencies: ["FederationModel", "KubernetesAPI", "KubernetesSupport", logging, nioCore, nioHTTP1, nioPosix],
      swiftSettings: settings),
    .testTarget(
      name: "KubernetesExecutorTests",
      dependencies: [
        "Execution", "FederationModel", "KubernetesAPI", "KubernetesExecutor", "ProcessExecutor", "Supervisor",
      ], swiftSettings: settings),
    .testTarget(
      name: "AgentRuntimeTests",
      dependencies: [
        "AgentRuntime", "CSupervisor", "Execution", "FederationAPI", "FederationModel", "FederationPKI",
        "KubernetesAPI", "KubernetesExecutor", "KubernetesSupport",
        "ProcessExecutor", "Rclone", "SlurmExecutor", "Supervisor", "TestSupport", "fubini-agent", crypto, grpc,
        grpcProtobuf, grpcTransport, logging, nioCore, nioPosix, protobuf,
      ], swiftSettings: settings),
    .testTarget(
      name: "LocalSlurmTests", dependencies: ["FederationModel", "LocalProcess", "LocalSlurm", "TestSupport"],
      swiftSettings: settings),
    .testTarget(
      name: "FubiniCLITests",
      dependencies: [
        "FederationAPI", "FederationModel", "KubernetesAPI", "KubernetesExecutor", "KubernetesSupport", "LocalProcess",
        "LocalSlurm", "SlurmFrontDoor", "TestSupport", "fubini", argumentParser, nioCore, nioHTTP1, nioPosix,
        subprocess,
        yams,
      ],
      swiftSettings: settings),
    .target(
      name: "FederationHarness",
      dependencies: [
        "FederationAPI", "FederationModel", "Postgres", "TestSupport", asyncHTTPClient, nioCore, nioHTTP1, nioPosix,
      ],
      path: "Tests/FederationHarness", swiftSettings: settings),
    .testTarget(
      name: "IntegrationTests",
      dependencies: [
        "FederationAPI", "FederationHarness", "FederationModel", "FederationPKI", "KubernetesAPI", "KubernetesSupport",
        "LocalSlurm", "Postgres", "TestSupport", "fubini", "fubini-agent", "fubini-controlplane", subprocess, yams,
      ],
      path: "Tests/Integration", swiftSettings: settings),
    .executableTarget(
      name: "fubini-bench",
      dependencies: [
        "FederationAPI", "FederationHarness", "FederationModel", "LocalSlurm", "Postgres", "TestSupport",
        "WorkflowCore",
        argumentParser,
      ],
      path: "Tests/Benchmarks", swiftSettings: settings),
    .target(name: "PlacementReference", path: "Tests/PlacementReference"),
    .executableTarget(
      name: "scheduler-bench",
      dependencies: [
        "ControlPlaneCore", "FederationModel", "PlacementReference", "SchedulerCore", "SimulatorCore", "WorkflowCore",
        argumentParser,
      ],
      path: "Tests/SchedulerBenchmarks", swiftSettings: settings),
  ],
  swiftLanguageModes: [.v6]
)
