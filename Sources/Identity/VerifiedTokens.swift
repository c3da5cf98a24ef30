// What is remembered of tokens that have been verified: so many bytes, for anybody may get tokens where anonymous pull is on.

/// Tokens by their text.
struct VerifiedTokens: Sendable {
    /// What one costs beside its text and what was parsed of it.
    private static let overhead = 512

    private(set) var tokens: [String: VerifiedToken] = [:]
    private(set) var bytes = 0
    private let limit: Int

    /// - Parameter limit: bytes.
    init(limit: Int) { self.limit = limit }

    /// The text is kept, and what is parsed of it takes about as much again.
    private static func cost(_ token: String) -> Int { 2 * token.utf8.count + Self.overhead }

    /// Those that have expired go where there is no room, and where that is not enough all others: they are verified once more.
    mutating func add(_ token: String, _ verified: VerifiedToken, now: Int64) {
        let cost = Self.cost(token)
        guard cost <= self.limit, self.tokens[token] == nil else { return }
        if self.bytes + cost > self.limit {
            self.tokens = self.tokens.filter { $0.value.expires > now }
            self.bytes = self.tokens.keys.reduce(0) { $0 + Self.cost($1) }
            // Room for many, or the next one would look through all of them again.
            if self.bytes + cost > self.limit / 2 { (self.tokens, self.bytes) = ([:], 0) }
        }
        self.tokens[token] = verified
        self.bytes += cost
    }
}
