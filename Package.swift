// swift-tools-version:6.2
// One package for every target, so that dependencies build once. The layers are those of docs/architecture.md:
// an arrow is an import, and nothing points back.

import PackageDescription

let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let asyncHTTPClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let collections = Target.Dependency.product(name: "Collections", package: "swift-collections")
let configuration = Target.Dependency.product(name: "Configuration", package: "swift-configuration")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let cryptoExtras = Target.Dependency.product(name: "CryptoExtras", package: "swift-crypto")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let grdbSQLite = Target.Dependency.product(name: "GRDBSQLite", package: "GRDB.swift")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let hummingbirdCore = Target.Dependency.product(name: "HummingbirdCore", package: "hummingbird")
let hummingbirdHTTP2 = Target.Dependency.product(name: "HummingbirdHTTP2", package: "hummingbird")
let jwtKit = Target.Dependency.product(name: "JWTKit", package: "jwt-kit")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioFoundationCompat = Target.Dependency.product(name: "NIOFoundationCompat", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioHTTPTypesHTTP1 = Target.Dependency.product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras")
let nioHTTPTypes = Target.Dependency.product(name: "NIOHTTPTypes", package: "swift-nio-extras")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let nioTLS = Target.Dependency.product(name: "NIOTLS", package: "swift-nio")
let serviceLifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let subprocess = Target.Dependency.product(name: "Subprocess", package: "swift-subprocess")
let unixSignals = Target.Dependency.product(name: "UnixSignals", package: "swift-service-lifecycle")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")
let x509 = Target.Dependency.product(name: "X509", package: "swift-certificates")

/// A library target with the house settings.
func layer(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

/// The tests of one layer, under the layer's name.
func tests(_ layer: String, _ more: [Target.Dependency] = []) -> Target {
    .testTarget(name: "\(layer)Tests", dependencies: [.init(stringLiteral: layer)] + more, swiftSettings: settings)
}

let package = Package(
    name: "outport",
    platforms: [.macOS(.v15)],
    products: [.executable(name: "outport", targets: ["outport"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-certificates", exact: "1.21.1"),
        .package(url: "https://github.com/apple/swift-collections", exact: "1.6.0"),
        .package(url: "https://github.com/apple/swift-configuration", exact: "1.4.0"),
        .package(url: "https://github.com/apple/swift-crypto", exact: "4.5.2"),
        .package(url: "https://github.com/apple/swift-http-types", exact: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras", exact: "1.35.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", exact: "2.37.6"),
        .package(url: "https://github.com/groue/GRDB.swift", exact: "7.10.0"),
        .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", exact: "2.28.1"),
        .package(url: "https://github.com/swift-server/async-http-client", exact: "1.37.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", exact: "2.13.0"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", exact: "1.0.2"),
        .package(url: "https://github.com/vapor/jwt-kit", exact: "5.7.1"),
    ],
    targets: [
        // Values: no input or output.
        layer("OCI", [crypto]),
        layer("Schedule"),
        layer("JSON"),
        layer("JMESPath", ["JSON"]),
        layer("GatewayProtocol", ["OCI"]),
        layer("ClusterProtocol", ["OCI"]),

        // System calls that Swift does not see.
        .target(name: "COutport"),

        // State.
        layer("Persistence", ["COutport", "OCI", grdb, grdbSQLite, crypto, nioCore, nioPosix]),
        layer("RegistryCore", ["OCI", "Persistence", nioCore]),
        layer("Identity", ["OCI", "Persistence", crypto, cryptoExtras, jwtKit, nioPosix, x509]),

        // Wire.
        layer(
            "HTTPServing",
            [
                "COutport", "OCI", "Persistence", hummingbirdCore, hummingbirdHTTP2, serviceLifecycle, nioHTTPTypes, nioHTTPTypesHTTP1,
                nioHTTP1,
                nioPosix, nioSSL, nioTLS, x509, crypto, httpTypes, logging,
            ]),
        layer("RegistryClient", ["OCI", nioCore, nioPosix, nioHTTP1, nioSSL, nioFoundationCompat, x509, crypto]),
        layer("DistributionAPI", ["HTTPServing", "Identity", "RegistryCore", nioFoundationCompat]),
        layer("Gateway", ["GatewayProtocol", "HTTPServing", "Identity", "RegistryCore", "Schedule"]),
        layer("Import", ["Persistence", "RegistryClient", "RegistryCore", logging, nioCore]),
        layer("Webhooks", ["Identity", "JSON", "Persistence", "RegistryClient", "RegistryCore", logging]),
        layer(
            "ResourceManager",
            [
                "ClusterProtocol", "Gateway", "Import", "HTTPServing", "Identity", "JSON", "RegistryCore", "Schedule", "Webhooks", crypto,
                nioPosix,
            ]),
        layer("SyncAgent", ["GatewayProtocol", "Identity", "RegistryClient", "RegistryCore", "Schedule", logging]),

        layer(
            "Kubernetes",
            [
                "COutport", "ClusterProtocol", "HTTPServing", "JSON", "OCI", "Persistence", "RegistryClient", asyncHTTPClient, crypto,
                logging,
                nioCore, nioFoundationCompat, nioSSL, x509, yams,
            ]),

        .executableTarget(
            name: "outport",
            dependencies: [
                "COutport", "ClusterProtocol", "DistributionAPI", "Gateway", "Import", "Kubernetes", "JMESPath", "JSON", "ResourceManager",
                "SyncAgent",
                "Webhooks",
                argumentParser, asyncHTTPClient, configuration, jwtKit, logging, serviceLifecycle, unixSignals,
            ],
            swiftSettings: settings),

        .target(
            name: "TestSupport",
            dependencies: [
                "OCI", "Persistence", "RegistryCore", "Identity", "HTTPServing", "DistributionAPI", "Gateway", "GatewayProtocol",
                "Schedule", "SyncAgent", "Webhooks", hummingbirdCore, nioCore, nioPosix, httpTypes, logging,
            ],
            path: "Tests/TestSupport", swiftSettings: settings),
        // The crash harness: docs/crash-testing.md. No product of the package.
        .target(name: "CCrashVFS", path: "Tests/Support/CCrashVFS", linkerSettings: [.linkedLibrary("sqlite3")]),
        .target(
            name: "Crash",
            dependencies: [
                "CCrashVFS", "Gateway", "Identity", "OCI", "Persistence", "RegistryCore", "SyncAgent", "TestSupport", nioCore, nioPosix,
            ], path: "Tests/Support/Crash", swiftSettings: settings),
        .executableTarget(name: "outport-crash", dependencies: ["Crash"], path: "Tests/Support/CrashTool", swiftSettings: settings),
        tests("Crash", ["TestSupport"]),
        // The simulator: docs/simulation.md. No product of the package.
        .target(
            name: "Simulation",
            dependencies: [
                "Gateway", "GatewayProtocol", "HTTPServing", "Identity", "OCI", "Persistence", "RegistryClient", "RegistryCore",
                "Schedule", "SyncAgent",
                "TestSupport", hummingbirdCore, httpTypes, logging, nioCore,
            ], path: "Tests/Support/Simulation", swiftSettings: settings),
        .executableTarget(
            name: "outport-simulate", dependencies: ["Simulation"], path: "Tests/Support/SimulationTool", swiftSettings: settings),
        .testTarget(name: "SimulationTests", dependencies: ["outport-simulate", subprocess], swiftSettings: settings),
        .target(
            name: "Fuzz",
            dependencies: [
                "ClusterProtocol", "DistributionAPI", "GatewayProtocol", "HTTPServing", "Identity", "Import", "JSON", "Kubernetes", "OCI",
                "RegistryCore", "Schedule", "SyncAgent", "TestSupport",
                httpTypes,
                nioCore,
            ], path: "Tests/Support/Fuzz", swiftSettings: settings),
        .executableTarget(name: "outport-fuzz", dependencies: ["Fuzz"], path: "Tests/Support/FuzzTool", swiftSettings: settings),
        tests("Fuzz"),

        tests("OCI", ["TestSupport"]),
        tests("Persistence", ["TestSupport"]),
        tests("RegistryCore", ["TestSupport", grdb, nioCore]),
        tests("Identity", ["TestSupport"]),
        tests(
            "HTTPServing", ["TestSupport", "DistributionAPI", "RegistryClient", nioEmbedded, nioPosix, nioSSL, serviceLifecycle, logging]),
        tests("DistributionAPI", ["JSON", "TestSupport"]),
        tests("Gateway", ["TestSupport"]),
        tests("Kubernetes", ["ClusterProtocol", "HTTPServing", "JSON", "RegistryClient", "TestSupport", logging, nioCore]),
        tests("SyncAgent", ["TestSupport"]),
        tests("Schedule"),
        tests("JSON"),
        tests("Import", ["OCI", "Persistence", "RegistryClient", "RegistryCore", "TestSupport", logging, nioCore]),
        tests("ResourceManager", ["ClusterProtocol", "JSON", "TestSupport", crypto, jwtKit, x509]),
        tests("Webhooks", ["OCI", "Persistence", "RegistryClient", "RegistryCore", "JSON", "TestSupport", logging, nioCore]),
        tests("JMESPath", ["JSON"]),
        tests("outport", ["JMESPath", "JSON", "TestSupport", argumentParser, nioCore, nioPosix]),

        // Real clients and the real binary as processes of their own; needs `Scripts/install-clients test`.
        .testTarget(
            name: "EndToEndTests",
            dependencies: [
                "ClusterProtocol", "JSON", "Kubernetes", "outport", asyncHTTPClient, crypto, nioCore, nioPosix, nioSSL, subprocess,
            ], swiftSettings: settings),
    ]
)
