// Opens what a machine found after a power cut, with the real code, and holds it against what was promised.

internal import NIOCore
package import OCI
internal import Persistence
internal import RegistryCore
package import TestSupport

/// What an image is held against.
package struct Expectation: Sendable {
    package let allowed: [Fact: Set<Truth>]
    /// Everything that was ever sent.
    package let contents: [Digest: Content]
    /// The clock at the cut, and the instant at which signed tokens are valid.
    package let now: Int64
    package let tokenTime: Int64

    package init(allowed: [Fact: Set<Truth>], contents: [Digest: Content], now: Int64, tokenTime: Int64) {
        self.allowed = allowed
        self.contents = contents
        self.now = now
        self.tokenTime = tokenTime
    }
}

/// Checks a data folder nobody uses.
package enum ImageCheck {
    /// - Returns: what is wrong; empty when all is as promised.
    package static func problems(in path: String, _ expected: Expectation) async -> [String] {
        var problems: [String] = []
        let clock = TestClock(milliseconds: expected.now)
        let layers: Layers
        do {
            layers = try await Layers(path, clock: clock, tokenTime: expected.tokenTime)
        } catch {
            return ["the data folder cannot be opened: \(error)"]
        }
        do {
            problems += try await self.compare(layers, expected)
            problems += try await self.verify(layers)
            problems += try await self.changeLog(layers)
            problems += try await self.transfers(layers, expected)
            problems += try await self.sweep(layers, clock)
            problems += try await self.push(layers, expected)
            problems += try await self.verify(layers).map { "after a sweep and a push: \($0)" }
        } catch {
            problems.append("\(type(of: error)): \(error)")
        }
        await layers.close()
        return problems
    }

    /// Holds an open store against what was promised.
    package static func compare(_ layers: Layers, _ expected: Expectation) async throws -> [String] {
        var problems: [String] = []
        for (fact, allowed) in expected.allowed.sorted(by: { $0.key.description < $1.key.description }) {
            do {
                let truth = try await Workload.truth(of: fact, layers)
                if !allowed.contains(truth) { problems.append("\(fact) is \(truth), promised was \(allowed)") }
            } catch {
                problems.append("\(fact) cannot be read: \(error)")
            }
        }
        return problems
    }

    private static func verify(_ layers: Layers) async throws -> [String] {
        try await ContentVerifier(store: layers.store).verify().damage.map {
            "\($0.problem.rawValue) \($0.subject) \($0.repository ?? ""): \($0.message)"
        }
    }

    private static func changeLog(_ layers: Layers) async throws -> [String] {
        let (count, last, head) = try await layers.database.read { session in
            let row = try session.row("SELECT count(*), coalesce(max(sequence), 0), (SELECT head FROM change_log) FROM change")
            return (row?.integer(0) ?? -1, row?.integer(1) ?? -1, row?.integer(2) ?? -1)
        }
        return count == last && last == head ? [] : ["the change log has \(count) rows up to \(last), its head is \(head)"]
    }

    /// Transfers under way go on, whatever is left of them.
    private static func transfers(_ layers: Layers, _ expected: Expectation) async throws -> [String] {
        var problems: [String] = []
        for (name, _) in try await layers.blobs.staged(in: .transfers) {
            guard let digest = try? Digest(name.text.replacing("-", with: ":")), let content = expected.contents[digest] else {
                problems.append("a transfer of unknown content: \(name.text)")
                continue
            }
            try await layers.transfer(content)
            guard let stored = try await layers.store.content(digest) else {
                problems.append("transferred content \(digest) is not there")
                continue
            }
            let reader = try await layers.store.open(stored)
            let bytes = Array(try await reader.read(at: 0, count: Int(stored.size)).readableBytesView)
            if bytes != content.bytes { problems.append("transferred content \(digest) differs") }
        }
        return problems
    }

    /// What nobody goes on with is swept away and takes nothing along that is promised.
    private static func sweep(_ layers: Layers, _ clock: TestClock) async throws -> [String] {
        clock.advance(seconds: 40 * 86_400)
        _ = try await GarbageCollector(store: layers.store, uploads: layers.uploads).collect(GarbagePolicy())
        var problems: [String] = []
        if try await !layers.blobs.staged(in: .uploads).isEmpty { problems.append("uploads are left after a sweep") }
        let stray = try await ContentVerifier(store: layers.store).verify().strayFiles
        if stray > 0 { problems.append("\(stray) files belong to nothing after a sweep") }
        return problems
    }

    /// A push works, of something new and of something that was sent before.
    private static func push(_ layers: Layers, _ expected: Expectation) async throws -> [String] {
        let name = repository("afterwards")
        let known = expected.contents.values.min { $0.digest < $1.digest }
        let image = TestImage("afterwards", layers: [Fixture.layer("afterwards")] + (known.map { [$0] } ?? []))
        for blob in image.blobs { try await layers.push(blob, to: name) }
        try await layers.put(image.manifest, tags: [tag("v1")], to: name)
        var problems: [String] = []
        for blob in image.blobs where try await layers.read(blob.digest, in: name) != blob.bytes {
            problems.append("blob \(blob.digest) differs after it was pushed")
        }
        let manifest = try await layers.store.manifest(.tag(tag("v1")), in: name, of: layers.registry)
        if manifest.bytes != image.manifest.bytes { problems.append("a manifest differs after it was pushed") }
        return problems
    }
}
