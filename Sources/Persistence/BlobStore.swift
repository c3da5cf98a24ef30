// Where blob content lives: behind one protocol, so that another store can stand in for the file system.

package import NIOCore
package import OCI

/// Where content under way is kept.
package enum StagingArea: String, Sendable, CaseIterable {
    /// From clients.
    case uploads
    /// From the parent registry.
    case transfers
}

/// The name of content under way: hexadecimal characters, dashes and a digest's algorithm only, so it can be a file name.
package struct StagingName: Hashable, Sendable {
    package let area: StagingArea
    package let text: String

    /// An upload's name binds it to its repository: another repository's URL for the same identifier names nothing.
    package static func upload(_ identifier: String, repository: RepositoryName, registry: Int64) -> StagingName? {
        guard identifier.utf8.count == 32, identifier.utf8.allSatisfy(ASCII.isLowerHex) else { return nil }
        let owner = Digest.of("\(registry)/\(repository)".utf8).hex.prefix(16)
        return StagingName(area: .uploads, text: "\(identifier)-\(owner)")
    }

    package static func transfer(_ digest: Digest) -> StagingName {
        StagingName(area: .transfers, text: "\(digest.algorithm.rawValue)-\(digest.hex)")
    }

    /// What the digest of the content is of: a transfer's name says it, with uploads it is the common one until somebody says otherwise.
    var algorithm: Digest.Algorithm {
        self.area == .transfers ? Digest.Algorithm.allCases.first { self.text.hasPrefix("\($0.rawValue)-") } ?? .sha256 : .sha256
    }
}

/// Content that is being received.
///
/// Calls come one after another; the store refuses nothing but what the disk refuses.
package protocol StagedBlob: Sendable {
    var name: StagingName { get }
    /// Bytes received so far, all of them written once ``settle()`` has returned.
    var size: Int64 { get }
    /// Appends and hashes `segment`; both are done when this returns.
    func append(_ segment: ByteBuffer) async throws
    /// The same, but a large segment may still be under way when this returns: the next one need not wait for the disk.
    func feed(_ segment: ByteBuffer) async throws
    /// An empty buffer for the next segment: one that was fed and is done with, or a new one.
    func emptySegment() -> ByteBuffer
    /// Waits until nothing is under way.
    ///
    /// - Throws: what the disk refused; ``size`` and the digest are then those of what it took.
    func settle() async throws
    /// Makes what was appended durable.
    func synchronize() async throws
}

extension StagedBlob {
    package func feed(_ segment: ByteBuffer) async throws { try await self.append(segment) }
    package func emptySegment() -> ByteBuffer { .forSegment() }
    package func settle() async throws {}
}

/// Committed content, as the database names it.
package struct StoredBlob: Hashable, Sendable {
    package let digest: Digest
    package let size: Int64
    /// Distinguishes this file from an earlier or later one of the same digest (DESIGN: garbage collection cannot meet an upload).
    package let generation: String

    package init(digest: Digest, size: Int64, generation: String) {
        self.digest = digest
        self.size = size
        self.generation = generation
    }
}

/// Committed content, open for reading.
package protocol BlobReader: Sendable {
    var size: Int64 { get }
    /// The open file where the content is a plain file, for `sendfile`.
    var file: File? { get }
    /// All of it where it is in memory already.
    var bytes: ByteBuffer? { get }
    /// Up to `count` bytes from `offset`.
    func read(at offset: Int64, count: Int) async throws -> ByteBuffer
    /// The same where fewer will do for now: at least one byte, as soon as there is one.
    func readSome(at offset: Int64, count: Int) async throws -> ByteBuffer
}

extension BlobReader {
    package var bytes: ByteBuffer? { nil }
    package func readSome(at offset: Int64, count: Int) async throws -> ByteBuffer { try await self.read(at: offset, count: count) }
}

/// A store of immutable content.
package protocol BlobStore: Sendable {
    /// Creates content under way.
    ///
    /// - Parameter algorithm: what its digest will be of, as far as that is known: content of another one is read again to be verified.
    func stage(_ name: StagingName, hashing algorithm: Digest.Algorithm) async throws -> any StagedBlob
    /// Finds content under way that an earlier request or process has begun; its prefix is hashed again.
    func resume(_ name: StagingName, hashing algorithm: Digest.Algorithm) async throws -> (any StagedBlob)?
    /// Bytes of content under way, without looking at them; `nil` when nothing of that name is.
    func size(of name: StagingName) async throws -> Int64?
    /// Asks whether content that is kept elsewhere on the same disk has room there.
    ///
    /// - Throws: ``PersistenceError`` with `noSpace`.
    func requireRoom(for count: Int64) throws
    /// Opens content under way for those who are sent it while it arrives; what has been opened stays readable when it is committed.
    ///
    /// - Parameter size: how many bytes it will have.
    /// - Returns: `nil` when nothing of that name is under way.
    func open(_ name: StagingName, size: Int64) async throws -> (any BlobReader)?
    /// Takes what lies beyond `size` away from content under way, if there is any.
    func shorten(_ name: StagingName, to size: Int64) async throws
    /// Gives content under way up.
    func discard(_ name: StagingName) async throws
    /// Content under way, with the time of its last byte in milliseconds since 1970.
    func staged(in area: StagingArea) async throws -> [(name: StagingName, modified: Int64)]

    /// Makes content under way permanent: durable first, then verified, then visible under its name.
    ///
    /// - Throws: ``PersistenceError`` with `digestMismatch` or `sizeMismatch`; the content under way is then gone.
    func commit(_ staged: any StagedBlob, as digest: Digest, size: Int64?) async throws -> StoredBlob

    func open(_ blob: StoredBlob) async throws -> any BlobReader
    func delete(_ blob: StoredBlob) async throws

    /// The parts into which committed content is divided, for looking through it piece by piece.
    func shelves() async throws -> [String]
    /// What is committed on one shelf, with the time of its commit in milliseconds since 1970, whether a database names it or not.
    func stored(on shelf: String) async throws -> [(blob: StoredBlob, modified: Int64)]
    /// The files committed under one digest, whether a database names them or not.
    func stored(as digest: Digest) async throws -> [StoredBlob]
    /// Makes the name of committed content durable, for who relies on what another process committed: that one may have ended between giving
    /// the name and flushing it.
    func confirm(_ blob: StoredBlob) async throws
}

extension BlobStore {
    package func size(of name: StagingName) async throws -> Int64? { try await self.resume(name)?.size }
    package func requireRoom(for count: Int64) throws {}

    package func stage(_ name: StagingName) async throws -> any StagedBlob { try await self.stage(name, hashing: name.algorithm) }
    package func resume(_ name: StagingName) async throws -> (any StagedBlob)? { try await self.resume(name, hashing: name.algorithm) }

    package func stored(as digest: Digest) async throws -> [StoredBlob] {
        var found: [StoredBlob] = []
        for shelf in try await self.shelves() {
            found += try await self.stored(on: shelf).map(\.blob).filter { $0.digest == digest }
        }
        return found
    }
}
