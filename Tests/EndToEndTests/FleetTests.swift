// Many sites at once: what one gets the others get too, each byte once.

import Foundation
import Testing

@Suite struct FleetTests {
    private static let sites = 50

    @Test(
        "C9 C14 fifty connected registries at once get what is pushed, each blob asked for once by each, also through a restart of the parent"
    )
    func fifty() async throws {
        try await withSandbox(alone: true) { box in
            let parent = try await Parent.start(box)
            let line = try await parent.token("line7", repository: "app", "content/read", "metadata/read")
            let builder = try parent.registry(by: try await parent.token("builder"))
            let before = try Artifact.image(layers: [.random(400_000), .random(100_000)])
            #expect(try await builder.push(before, "app", "before"))

            let strings = try await self.each(Array(0..<Self.sites)) { number in
                try await parent.connectedRegistry("site\(number)", tokens: ["line7"])
            }
            let begun = ContinuousClock.now
            let children = try await self.each(strings) { try await Child.start(box, $0) }
            let registries = try children.map { try $0.registry(line) }
            try await self.serve(registries, "before", before)
            print("\(Self.sites) connected registries activated and mirrored after \(ContinuousClock.now - begun)")

            // Everybody waits at the parent for what comes next.
            let after = try Artifact.image(layers: [.random(300_000)])
            let pushed = ContinuousClock.now
            #expect(try await builder.push(after, "app", "after"))
            try await self.serve(registries, "after", after)
            print("a push at all of them after \(ContinuousClock.now - pushed)")

            // All come back at once.
            #expect(try await parent.server.stop() == 0)
            try await parent.server.start()
            let late = try Artifact.image(layers: [.random(200_000)])
            #expect(try await builder.push(late, "app", "late"))
            try await self.serve(registries, "late", late)

            @Sendable func asked(_ blob: Data) -> Int {
                parent.server.output.split(separator: "\n").count {
                    $0.contains("method=GET") && $0.contains("/blobs/\(blob.digest) ")
                }
            }
            for (name, image) in [("before", before), ("after", after), ("late", late)] {
                for blob in image.blobs {
                    // The log of requests is written a moment behind them.
                    try await eventually("the log of \(name)", every: .milliseconds(200)) { asked(blob) >= Self.sites }
                    #expect(asked(blob) == Self.sites, "\(name): a blob was asked for \(asked(blob)) times")
                }
            }
        }
    }

    /// Waits until all serve a tag, and looks whether it is whole.
    private func serve(_ registries: [Registry], _ tag: String, _ image: Artifact) async throws {
        _ = try await self.each(registries) { registry in
            try await eventually("tag \(tag) at \(registry.address)") {
                try await registry.manifest("HEAD", "app", tag).status == 200
            }
            #expect(try await registry.flaw("app", tag, digest: image.digest) == nil)
        }
    }

    /// Does something for each of many, eight at a time.
    private func each<Element: Sendable, Value: Sendable>(
        _ elements: [Element], _ body: @escaping @Sendable (Element) async throws -> Value
    ) async throws -> [Value] {
        try await withThrowingTaskGroup(of: (Int, Value).self) { group in
            var waiting = elements.enumerated().makeIterator()
            var values: [(Int, Value)] = []
            func startNext() {
                guard let (index, element) = waiting.next() else { return }
                group.addTask { (index, try await body(element)) }
            }
            for _ in 0..<8 { startNext() }
            while let value = try await group.next() {
                values.append(value)
                startNext()
            }
            return values.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }
}
