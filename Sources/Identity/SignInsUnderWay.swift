// Passwords that are being looked at: each of them may turn out to be wrong.

internal import Synchronization

/// How many sign-ins of a user are under way.
final class SignInsUnderWay: Sendable {
    private let counts = Mutex<[String: Int64]>([:])

    /// - Returns: how many others there are.
    func begin(_ user: String) -> Int64 {
        self.counts.withLock { counts in
            defer { counts[user, default: 0] += 1 }
            return counts[user, default: 0]
        }
    }

    func end(_ user: String) {
        self.counts.withLock { counts in
            guard let count = counts[user] else { return }
            counts[user] = count > 1 ? count - 1 : nil
        }
    }
}
