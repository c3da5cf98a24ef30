// What a failure to get content means: that the parent cannot be reached, or that it cannot give this one thing. The first stops everything until
// it is over, the second keeps nothing else waiting.

internal import OCI
internal import RegistryClient

extension TransferEngine {
    /// Where a transfer broke off, and how often in a row it has come no further.
    struct Stall: Sendable {
        let offset: Int64
        let count: Int
    }

    /// Transfers of one blob that break off at the same byte before that is taken for damage of the blob at the parent. Between them the parent
    /// has been asked for its settings each time, and has answered.
    private static let stallsThatAreDamage = 3
    /// Blobs whose stalls are remembered.
    private static let largestStalls = 1000

    /// Asks the parent for content. What it says of that alone is no failure of the parent as a whole.
    static func asking<Value: Sendable>(
        for what: @autoclosure () -> String, in name: RepositoryName, _ body: () async throws -> Value
    ) async throws -> Value {
        do {
            return try await body()
        } catch let refusal as ServerRefusal {
            // Other codes from 500 on are of what stands before a parent that is down, or of one that is starting.
            let isOfContent = refusal.status == 500 || ["DIGEST_INVALID", "SIZE_INVALID"].contains(refusal.code)
            guard isOfContent else { throw refusal }
            throw SyncError(.content, "the parent cannot give \(what()) of repository \(name): \(refusal)")
        } catch let error as TransportError {
            guard error.code == .tooLarge else { throw error }
            throw SyncError(.content, "the parent gives \(what()) of repository \(name) with another size: \(error.message)")
        }
    }

    static func withoutRanges(_ digest: Digest) -> SyncError {
        SyncError(
            .content,
            "the answer to a request for the rest of blob \(digest) begins at its first byte: something between this registry and its parent does not pass on the header Range, without which nothing larger than one range of the budget can come; have it passed on, or take the budget away"
        )
    }

    /// What it means that the transfer of a blob failed after `offset` bytes.
    func meaning(of error: any Error, blob digest: Digest, size: Int64, in name: RepositoryName, at offset: Int64) -> any Error {
        guard let broken = error as? TransportError, broken.code == .interrupted, !Task.isCancelled else { return error }
        let count = self.stalls.withLock { stalls in
            let last = stalls[digest]
            if last == nil, stalls.count >= Self.largestStalls { stalls = [:] }
            let count = last?.offset == offset ? (last?.count ?? 0) + 1 : 1
            stalls[digest] = Stall(offset: offset, count: count)
            return count
        }
        guard count >= Self.stallsThatAreDamage else { return error }
        return SyncError(
            .content,
            "blob \(digest) of repository \(name) broke off \(count) times in a row after \(offset) of \(size) bytes, while the parent answered everything else: \(broken.message)"
        )
    }
}
