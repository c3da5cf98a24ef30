// What clients of a simulated family were told, and whether that is still so in the end.

internal import OCI
internal import Synchronization

/// Writes that have been acknowledged.
final class Ledger: Sendable {
    struct Write: Sendable, Hashable {
        let machine: String
        let repository: RepositoryName
        let tag: Tag
        let digest: Digest
    }

    /// A value of a tag that a client saw and replaced, wherever: it need not be found any more.
    private struct Value: Hashable {
        let repository: RepositoryName
        let tag: Tag
        let digest: Digest
    }

    private struct State {
        var writes: [Write] = []
        var replaced: Set<Value> = []
        var deleted: Set<Digest> = []
        var sizes: [String: Int64] = [:]
        var images = 0
    }

    private let state = Mutex(State())

    var imageNumber: Int {
        self.state.withLock { state in
            state.images += 1
            return state.images
        }
    }

    func acknowledge(_ write: Write, replacing old: Digest?) {
        self.replace(old.flatMap { $0 == write.digest ? nil : $0 }, write.tag, write.repository)
        self.state.withLock { $0.writes.append(write) }
    }

    func replace(_ old: Digest?, _ tag: Tag, _ name: RepositoryName) {
        guard let old else { return }
        self.state.withLock { _ = $0.replaced.insert(Value(repository: name, tag: tag, digest: old)) }
    }

    func delete(_ digest: Digest) { self.state.withLock { _ = $0.deleted.insert(digest) } }
    func note(_ digest: Digest, size: Int) { self.state.withLock { $0.sizes[digest.description] = Int64(size) } }
    func size(of blob: String) -> Int64? { self.state.withLock { $0.sizes[blob] } }

    /// Writes that nobody has taken back.
    var standing: [Write] {
        self.state.withLock { state in
            state.writes.filter { write in
                !state.deleted.contains(write.digest)
                    && !state.replaced.contains(Value(repository: write.repository, tag: write.tag, digest: write.digest))
            }
        }
    }

    var count: Int { self.state.withLock { $0.writes.count } }
}
