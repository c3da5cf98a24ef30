// What was promised, and at which place in the journal: the measure of every image.

package import OCI
internal import Synchronization

/// Something that can be promised.
package enum Fact: Hashable, Sendable, CustomStringConvertible {
    case blob(RepositoryName, Digest)
    case manifest(RepositoryName, Digest)
    case tag(RepositoryName, Tag)
    /// A password by which somebody can sign in.
    case password(token: String, password: String)
    /// A signed token that verifies.
    case signed(String)

    package var description: String {
        switch self {
        case .blob(let name, let digest): "blob \(name)@\(digest)"
        case .manifest(let name, let digest): "manifest \(name)@\(digest)"
        case .tag(let name, let tag): "tag \(name):\(tag)"
        case .password(let token, _): "password of \(token)"
        case .signed: "signed token"
        }
    }
}

/// What is true of a ``Fact``.
package enum Truth: Hashable, Sendable {
    case absent, present
    case names(Digest)
}

/// Keeps what was asked for and what was acknowledged.
package final class Oracle: Sendable {
    private struct Change {
        let begin: Int
        var acknowledged: Int?
        /// `nil` stands for "either way".
        let truth: Truth?
    }

    private let history = Mutex<[Fact: [Change]]>([:])
    private let position: @Sendable () -> Int

    /// - Parameter position: the journal's.
    package init(position: @escaping @Sendable () -> Int) { self.position = position }

    /// Performs an operation; what it promises holds from when it returns. An operation that throws promises nothing, and may have happened.
    package func attempt<Value>(_ changes: [(Fact, Truth?)], _ body: () async throws -> Value) async rethrows -> Value {
        let begin = self.position()
        let indices = self.history.withLock { history in
            changes.map { fact, truth in
                history[fact, default: []].append(Change(begin: begin, acknowledged: nil, truth: truth))
                return (fact, history[fact, default: []].count - 1)
            }
        }
        let value = try await body()
        let end = self.position()
        self.history.withLock { history in
            for (fact, index) in indices { history[fact]?[index].acknowledged = end }
        }
        return value
    }

    /// Promises what is true from now on and may have been true since `begin`.
    package func observe(_ fact: Fact, _ truth: Truth, since begin: Int) {
        let now = self.position()
        self.history.withLock { $0[fact, default: []].append(Change(begin: begin, acknowledged: now, truth: truth)) }
    }

    /// What may be true after the first `cut` calls; `nil` where anything may.
    package func allowed(at cut: Int) -> [Fact: Set<Truth>] {
        self.history.withLock { history in
            var result: [Fact: Set<Truth>] = [:]
            for (fact, changes) in history {
                var allowed: Set<Truth>? = [.absent]
                for change in changes where change.begin < cut {
                    if let end = change.acknowledged, end <= cut {
                        allowed = change.truth.map { [$0] }
                    } else if let truth = change.truth {
                        allowed?.insert(truth)
                    } else {
                        allowed = nil
                    }
                }
                if let allowed { result[fact] = allowed }
            }
            return result
        }
    }
}
