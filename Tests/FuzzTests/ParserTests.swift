// Every parser that eats bytes from outside, on the committed corpus and on what seeded mutation makes of it.

import Fuzz
import Testing

@Suite struct ParserTests {
    private static let seed: UInt64 = 77

    private static let names = [
        "names", "digests", "manifests", "upload-ranges", "scopes", "scope-map-actions", "connection-strings", "schedules", "durations",
        "percent-encoding", "json", "hosts", "extension-settings", "kubeconfigs", "parcels", "accept", "ranges", "challenges",
        "tokens", "requests",
    ]

    @Test("R1 I2 no bytes from outside crash or hang a parser, and what is accepted reads back", arguments: Self.names)
    func parser(name: String) async throws {
        let target = try #require(try await FuzzTarget.all().first { $0.name == name })
        let corpus = try target.corpus()
        #expect(corpus.count >= 5)
        for (number, input) in corpus.enumerated() {
            let problem = await target.check(input)
            #expect(problem == nil, "input \(number) of the corpus")
        }
        var mutator = Mutator(seed: Self.seed, corpus: corpus)
        for number in 0..<400 {
            let input = mutator.next()
            let problem = await target.check(input)
            #expect(problem == nil, "SEED=\(Self.seed), input \(number): \(String(decoding: input.prefix(200), as: UTF8.self))")
        }
    }

    @Test("R1 every target has its corpus and its test")
    func complete() async throws {
        #expect(try await FuzzTarget.all().map(\.name).sorted() == Self.names.sorted())
    }
}
