// What was acknowledged outlives the process.

import Foundation
import Synchronization
import Testing

@Suite struct CrashTests {
    @Test("R7: the parent killed in 20 rounds of pushes serves every acknowledged tag whole, and nothing half") func killedWhilePushing()
        async throws
    {
        let seed = UInt64(ProcessInfo.processInfo.environment["OUTPORT_SEED"] ?? "") ?? .random(in: 0...999_999)
        print("R7: OUTPORT_SEED=\(seed)")
        try await withSandbox(alone: true) { box in
            let parent = try await Parent.start(box)
            let builder = try await parent.token("builder")
            var random = SplitMix(state: seed)
            let tags = Tags()
            var rounds = 0
            // Twenty; more where the machine is so slow that hardly a push ends between two of them.
            while rounds < 20 || tags.acknowledged <= 20 && rounds < 200 {
                let round = rounds
                rounds += 1
                if round > 0, round % 4 == 0 {
                    // Killed while it starts.
                    let moment = Duration.milliseconds(Int.random(in: 0...150, using: &random))
                    try await parent.server.launch()
                    try await Task.sleep(for: moment)
                    try await parent.server.kill()
                }
                if round > 0 { try await parent.server.start() }
                let moment = Duration.milliseconds(Int.random(in: 20...700, using: &random))
                let seeds = (0..<3).map { _ in random.next() }
                await withTaskGroup(of: Void.self) { group in
                    for (pusher, seed) in seeds.enumerated() {
                        group.addTask { await Self.push(round: round, pusher: pusher, seed: seed, parent, builder, tags) }
                    }
                    group.addTask {
                        try? await Task.sleep(for: moment)
                        try? await parent.server.kill()
                    }
                }
            }
            #expect(parent.server.output.ranges(of: "serves https://").count >= 20)
            try await parent.server.start()
            let registry = try parent.registry(by: builder)
            let known = tags.all
            var served = 0
            for (tag, value) in known.sorted(by: { $0.key < $1.key }) {
                let reply = try await registry.manifest("GET", "crash", tag)
                if reply.status == 404 {
                    // Nobody was promised it.
                    #expect(value.acknowledged == nil, "seed \(seed): \(tag) was acknowledged and is gone")
                    continue
                }
                served += 1
                let digest = reply.body.digest
                // The tag is where it was acknowledged last, or where a push was moving it when the process died.
                #expect(value.acknowledged == digest || value.tried.contains(digest), "seed \(seed): \(tag) is elsewhere")
                #expect(try await registry.flaw("crash", tag) == nil, "seed \(seed): \(tag)")
            }
            let acknowledged = tags.acknowledged
            print("R7: \(acknowledged) of \(known.count) tags acknowledged, \(served) served, after \(rounds) kills")
            #expect(acknowledged > 20)
            #expect(
                !parent.server.output.contains(" error "),
                "\(parent.server.output.split(separator: "\n").filter { $0.contains(" error ") }.prefix(3))")

            // And a real client pushes on.
            let clients = try Clients(box)
            let image = try await ImageLayout.busybox(box)
            try await clients.push(image.reference, to: registry, "crash:skopeo").succeeded()
            try await parent.server.kill()
            try await parent.server.start()
            #expect(try await registry.flaw("crash", "skopeo", digest: image.digest) == nil)
            #expect(try await parent.server.stop() == 0)
        }
    }

    @Test("R7: a first start that is killed at any moment leaves a folder that the next start completes") func killedAtFirstStart()
        async throws
    {
        try await withSandbox { box in
            for milliseconds in [0, 10, 20, 30, 40, 60, 80, 100, 130, 170] {
                let server = OutportServer(.serve, box: box, data: box.path("parent"), port: try Ports.free())
                try await server.launch()
                try await Task.sleep(for: .milliseconds(milliseconds))
                try await server.kill()
                try await server.start()
                let file = URL(filePath: server.data + "/bootstrap.json")
                let bootstrap = try JSONDecoder().decode(Parent.Bootstrap.self, from: try Data(contentsOf: file))
                try await command(
                    Program.outport,
                    [
                        "login", "--service-principal", "-u", bootstrap.clientId, "-p", bootstrap.clientSecret, "--tenant",
                        bootstrap.tenantId, "--server",
                        bootstrap.resourceManager, "--ca", server.ca,
                    ], environment: ["OUTPORT_CONFIG_DIR": try box.newFolder("cli")]
                ).succeeded()
                try await server.kill()
            }
        }
    }

    /// What is known of each tag.
    private final class Tags: Sendable {
        struct Value {
            var acknowledged: String?
            /// Sent since, without an answer.
            var tried: Set<String> = []
        }

        private let values = Mutex<[String: Value]>([:])
        var all: [String: Value] { self.values.withLock { $0 } }
        /// How many there are that were acknowledged, and not been moved since without an answer.
        var acknowledged: Int { self.values.withLock { $0.values.count { $0.acknowledged != nil } } }
        func trying(_ tag: String, _ digest: String) { self.values.withLock { _ = $0[tag, default: Value()].tried.insert(digest) } }
        func acknowledge(_ tag: String, _ digest: String) { self.values.withLock { $0[tag] = Value(acknowledged: digest) } }
    }

    /// Pushes new tags, and moves one, until the parent is gone.
    private static func push(round: Int, pusher: Int, seed: UInt64, _ parent: Parent, _ builder: Credentials, _ tags: Tags) async {
        var random = SplitMix(state: seed)
        guard let registry = try? parent.registry(by: builder) else { return }
        for number in 0... {
            let tag = number % 3 == 2 ? "moving-\(pusher)" : "r\(round)-p\(pusher)-\(number)"
            let layers = (0..<2).map { _ in Data.random(Int.random(in: 1...60_000, using: &random), using: &random) }
            guard let image = try? Artifact.image(layers: layers) else { return }
            tags.trying(tag, image.digest)
            do {
                guard try await registry.push(image, "crash", tag) else { return }
                tags.acknowledge(tag, image.digest)
            } catch {
                return
            }
        }
    }
}

/// A generator that a seed determines.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var z = self.state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
