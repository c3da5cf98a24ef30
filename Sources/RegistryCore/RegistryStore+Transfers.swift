// Content on its way from a parent: it comes blob by blob, over days where a window or a budget is small, and none of it comes twice. What has
// arrived is therefore kept for long, and what a process stored and was killed before it could write down is taken over. See decision 0072.

package import OCI
package import Persistence

extension RegistryStore {
    /// Milliseconds for which content from the parent waits for the rest of its image: longer than a month, the rarest of usual schedules.
    package static let transferLease: Int64 = 35 * 86_400_000

    /// Gives content that has arrived from the parent its row. It stays until its image is whole, or nobody has gone on with it for long.
    package func admitArrived(_ stored: StoredBlob, of registry: RegistryID) async throws {
        try await self.admit(stored, into: nil, of: registry, lease: Self.transferLease)
    }

    /// Its image is whole: from here on what needs it keeps it.
    static func endTransfer(of digest: Digest, now: Int64, _ session: any SQLWriter) throws {
        let usual = now + Self.leaseDuration
        try session.execute("UPDATE blob SET lease = ? WHERE digest = ? AND lease > ?", .integer(usual), SQLValue(digest), .integer(usual))
    }

    /// Takes over content that was committed by a process that ended before it could write the row.
    ///
    /// - Returns: whether the content is here, every byte of it read again.
    package func takeOver(_ digest: Digest, size: Int64, of registry: RegistryID) async throws -> Bool {
        guard try await !self.blobs.stored(as: digest).isEmpty else { return false }
        // The collector removes such files: not while one of them is looked at.
        return try await self.strays.withLock {
            if try await self.content(digest) != nil { return true }
            for stored in try await self.blobs.stored(as: digest) where stored.size == size {
                guard try await self.isIntact(stored) else { continue }
                try await self.blobs.confirm(stored)
                try await self.admitArrived(stored, of: registry)
                return true
            }
            return false
        }
    }

    private func isIntact(_ stored: StoredBlob) async throws -> Bool {
        let reader = try await self.blobs.open(stored)
        var hasher = Digest.Hasher(stored.digest.algorithm)
        var offset: Int64 = 0
        while offset < stored.size {
            let part = try await reader.read(at: offset, count: Int(min(1 << 20, stored.size - offset)))
            guard part.readableBytes > 0 else { return false }
            part.withUnsafeReadableBytes { hasher.update($0) }
            offset += Int64(part.readableBytes)
        }
        return hasher.finish() == stored.digest
    }
}
