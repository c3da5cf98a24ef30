// Proves that what is remembered of tokens is bounded by bytes, whoever gets how many of them.

import Testing

@testable import Identity

@Suite struct VerifiedTokensTests {
    private func token(expires: Int64) -> VerifiedToken {
        VerifiedToken(
            kind: .registryAccess, subject: .token("reader"), audience: "registry/a", access: [], lease: nil, credential: nil,
            expires: expires)
    }

    @Test("I5 what is remembered of tokens has so many bytes, and the one that was verified last is among it")
    func bounded() {
        var memory = VerifiedTokens(limit: 1 << 20)
        let long = String(repeating: "x", count: 12 << 10)
        for number in 0..<500 {
            memory.add("\(number)\(long)", self.token(expires: 1000), now: 0)
            #expect(memory.tokens["\(number)\(long)"] != nil)
            #expect(memory.bytes <= 1 << 20)
            #expect(memory.tokens.keys.reduce(0) { $0 + $1.utf8.count } < memory.bytes)
        }
        // What is short has room for many.
        memory = VerifiedTokens(limit: 1 << 20)
        for number in 0..<1000 { memory.add("token\(number)", self.token(expires: 1000), now: 0) }
        #expect(memory.tokens.count == 1000)
        // The same once more costs nothing; one that is larger than all is not remembered.
        let before = memory.bytes
        memory.add("token1", self.token(expires: 1000), now: 0)
        memory.add(String(repeating: "x", count: 1 << 20), self.token(expires: 1000), now: 0)
        #expect(memory.bytes == before)
    }

    @Test("I5 what has expired makes room for what has not")
    func expired() {
        var memory = VerifiedTokens(limit: 100_000)
        memory.add("lasting", self.token(expires: 1000), now: 0)
        var number = 0
        while memory.bytes < 99_000 {
            memory.add("token\(number)", self.token(expires: 10), now: 0)
            number += 1
        }
        for more in 0..<3 { memory.add("later\(more)", self.token(expires: 1000), now: 20) }
        #expect(memory.tokens["lasting"] != nil && memory.tokens["token1"] == nil)
        #expect(memory.tokens.count == 4)
    }
}
