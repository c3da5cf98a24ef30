// The messages with which two ends compare one repository by the hashes of its buckets.

package import OCI

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// `GET state/{repository}?buckets=all`: the hash of each bucket.
package struct RepositoryBuckets: Codable, Sendable, Hashable {
    /// Bytes of one hash.
    package static let hashSize = 32

    /// 32 bytes each, in order, in Base64: as numbers in JSON they would be three times as long.
    package var hashes: String

    package init(hashes: [UInt8]) { self.hashes = Data(hashes).base64EncodedString() }

    /// Numbers of the buckets whose hashes differ; `nil` when the two are not of one shape.
    package func differing(from ours: [UInt8]) -> [Int]? {
        guard let data = Data(base64Encoded: self.hashes), data.count == ours.count, data.count % Self.hashSize == 0 else { return nil }
        let theirs = [UInt8](data)
        return (0..<ours.count / Self.hashSize).filter { bucket in
            let range = bucket * Self.hashSize..<(bucket + 1) * Self.hashSize
            return ours[range] != theirs[range]
        }
    }
}

/// Locks of a tag, of a manifest, or of the repository.
package struct LockEntry: Codable, Sendable, Hashable {
    package var tag: Tag?
    package var digest: Digest?
    /// 1 deletion, 2 writing, 4 listing, 8 reading.
    package var locks: Int64

    package init(tag: Tag?, digest: Digest?, locks: Int64) {
        self.tag = tag
        self.digest = digest
        self.locks = locks
    }
}

/// `GET state/{repository}?buckets=3,17`: the entries of those buckets.
package struct BucketEntries: Codable, Sendable, Hashable {
    /// Buckets that one request may ask for.
    package static let maximumBuckets = 64

    package struct Entry: Codable, Sendable, Hashable {
        /// Absent for a referrer.
        package var tag: Tag?
        package var digest: Digest
        /// Manifests listed below it that the parent does not hold.
        package var absent: [Digest]?

        package init(tag: Tag?, digest: Digest, absent: [Digest]?) {
            self.tag = tag
            self.digest = digest
            self.absent = absent
        }
    }

    package var entries: [Entry]
    /// Locks in those buckets.
    package var locks: [LockEntry]?

    package init(entries: [Entry], locks: [LockEntry]? = nil) {
        self.locks = locks
        self.entries = entries
    }
}
