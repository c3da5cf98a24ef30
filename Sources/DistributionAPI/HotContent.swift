// Content that has been read lately, ready to be sent: whole answers for manifests, open files for blobs.

package import HTTPServing
internal import HTTPTypes
package import Identity
internal import NIOCore
internal import OCI
internal import Persistence
package import RegistryCore
internal import Synchronization

/// The hot path's memory of the data plane.
///
/// Filled by the cold path with what it has just answered, under the very host and path it was asked for, so nothing is
/// parsed here and nothing is answered that was not answered before. An entry is good while the store's version is that of the
/// moment before it was read: tags have to be looked up again after any tag has moved, content after anything was removed. The
/// caller's token must have been verified before; its audience, its scope and its expiry are checked every time.
package final class HotContent: HotResponder {
    /// Bytes of manifests kept.
    private static let byteLimit = 32 << 20
    /// Open files kept.
    private static let fileLimit = 256

    private struct Key: Hashable {
        let host: String
        let path: String
    }

    private struct Entry {
        let audience: String
        let repository: String
        /// For a manifest by tag the version of tags, otherwise that of removals.
        let version: UInt64
        let isTag: Bool
        var content: Content
    }

    private enum Content {
        /// `second` is that of the date which both answers carry.
        case manifest(get: ByteBuffer, head: ByteBuffer, length: Int64, type: String, second: Int64)
        case blob(File, size: Int64, digest: String)
        /// A blob in memory, whole.
        case small(ByteBuffer, length: Int64, second: Int64)

        /// Bytes that count against the limit.
        var bytes: Int {
            switch self {
            case .manifest(let get, _, _, _, _), .small(let get, _, _): get.readableBytes
            case .blob: 0
            }
        }
    }

    private struct State {
        var entries: [Key: Entry] = [:]
        /// Keys of whole answers, the oldest first.
        var answers: [Key] = []
        var files: [Key] = []
        var bytes = 0
    }

    private let tokens: TokenAuthority
    private let versions: ContentVersions
    private let state = Mutex(State())

    package init(tokens: TokenAuthority, store: RegistryStore) {
        self.tokens = tokens
        self.versions = store.versions
        store.versions.whenFilesGo { [weak self] in self?.forgetStale() }
    }

    /// Gives up what is not answered any more: a file that is open takes its space although it has been removed.
    private func forgetStale() {
        let (tags, removals) = (self.versions.tags, self.versions.removals)
        let gone = self.state.withLock { state -> [Key: Entry] in
            let gone = state.entries.filter { $0.value.version != ($0.value.isTag ? tags : removals) }
            for key in gone.keys { state.entries[key] = nil }
            state.answers.removeAll { gone[$0] != nil }
            state.files.removeAll { gone[$0] != nil }
            state.bytes -= gone.values.reduce(0) { $0 + $1.content.bytes }
            return gone
        }
        // Closed after the lock is given back: event loops wait for it.
        withExtendedLifetime(gone) {}
    }

    package func grant(for token: Substring) -> HotGrant? {
        guard let token = self.tokens.remembered(String(token)), token.kind == .registryAccess else { return nil }
        return HotGrant(
            audience: token.audience,
            repositories: token.access.filter { $0.type == "repository" && $0.actions.contains("pull") }.map(\.name),
            pushes: token.access.filter { $0.type == "repository" && $0.actions.contains("push") }.map(\.name),
            expires: token.expires)
    }

    package func answer(_ request: HotRequest, _ grant: HotGrant) -> HotAnswer? {
        let now = HTTPDate.now()
        guard let entry = self.entry(Key(host: request.host, path: request.path), now) else { return nil }
        guard entry.version == (entry.isTag ? self.versions.tags : self.versions.removals) else { return nil }
        guard self.tokens.isCurrent(grant.expires), grant.audience == entry.audience, grant.repositories.contains(entry.repository) else {
            return nil
        }
        switch entry.content {
        case .manifest(let get, let head, let length, let type, _):
            guard request.range == nil, Accept.allows(request.accept, type) else { return nil }
            // As for blobs below, and for who may push only: others do not rely on what they are told of staying.
            if request.isHead, !entry.isTag, grant.pushes.contains(entry.repository) { return nil }
            return HotAnswer(bytes: request.isHead ? head : get, body: .none, status: 200, length: length)
        case .small(let get, let length, _):
            if request.isHead || request.range != nil { return nil }
            return HotAnswer(bytes: get, body: .none, status: 200, length: length)
        case .blob(let file, let size, let digest):
            // Whoever asks whether a blob is here may be about to rely on it: its lease is renewed on the cold path.
            if request.isHead { return nil }
            switch ByteRange.parse(request.range, size: size) {
            case .unsatisfiable, .parts: return nil
            case .whole:
                return HotAnswer(
                    bytes: Self.blobHead("200 OK", now.text, digest, length: size, range: nil),
                    body: size == 0 ? .none : .file(file, 0..<size),
                    status: 200,
                    length: size)
            case .part(let part):
                let length = part.upperBound - part.lowerBound
                return HotAnswer(
                    bytes: Self.blobHead(
                        "206 Partial Content", now.text, digest, length: length,
                        range: "bytes \(part.lowerBound)-\(part.upperBound - 1)/\(size)"),
                    body: .file(file, part), status: 206, length: length)
            }
        }
    }

    /// What is remembered under a key, with the date of now.
    private func entry(_ key: Key, _ now: (second: Int64, text: String)) -> Entry? {
        self.state.withLock { state in
            guard let entry = state.entries[key] else { return nil }
            // Once a second for each answer: the buffers are copied, their old bytes may be on the way to a socket.
            switch entry.content {
            case .manifest(var get, var head, let length, let type, let second) where second != now.second:
                get.setString(now.text, at: Self.dateOffset)
                head.setString(now.text, at: Self.dateOffset)
                state.entries[key]?.content = .manifest(get: get, head: head, length: length, type: type, second: now.second)
            case .small(var get, let length, let second) where second != now.second:
                get.setString(now.text, at: Self.dateOffset)
                state.entries[key]?.content = .small(get, length: length, second: now.second)
            default: return entry
            }
            return state.entries[key]
        }
    }

    /// The status line and the date that stand before everything else in a remembered answer.
    private static let opening = "HTTP/1.1 200 OK\r\nDate: "
    private static let dateOffset = HotContent.opening.utf8.count

    private static func blobHead(_ status: String, _ date: String, _ digest: String, length: Int64, range: String?) -> ByteBuffer {
        var text =
            "HTTP/1.1 \(status)\r\nDate: \(date)\r\nContent-Type: application/octet-stream\r\nDocker-Content-Digest: \(digest)\r\n"
            + "ETag: \"\(digest)\"\r\n"
        text += "Accept-Ranges: bytes\r\nCache-Control: \(DistributionHandler.immutable)\r\n"
        if let range { text += "Content-Range: \(range)\r\n" }
        text += "Docker-Distribution-Api-Version: registry/2.0\r\nContent-Length: \(length)\r\nServer: outport\r\n\r\n"
        return ByteBuffer(string: text)
    }

    /// Remembers a manifest that has just been answered.
    ///
    /// - Parameters:
    ///   - isTag: whether the path names a tag.
    ///   - version: of tags or of removals, taken before the manifest was read.
    func remember(_ manifest: StoredManifest, isTag: Bool, version: UInt64, repository: RepositoryName, _ call: DistributionHandler.Call) {
        guard !call.registry.isRestricted, let key = Self.key(call) else { return }
        let now = HTTPDate.now()
        let head = ByteBuffer(
            string:
                "\(Self.opening)\(now.text)\r\nContent-Type: \(manifest.mediaType)\r\nDocker-Content-Digest: \(manifest.digest)\r\n"
                + "ETag: \"\(manifest.digest)\"\r\nVary: Accept\r\nDocker-Distribution-Api-Version: registry/2.0\r\nContent-Length: \(manifest.bytes.count)\r\nServer: outport\r\n\r\n"
        )
        var get = head
        get.writeBytes(manifest.bytes)
        let entry = Entry(
            audience: call.registry.audience, repository: repository.description, version: version, isTag: isTag,
            content: .manifest(
                get: get, head: head, length: Int64(manifest.bytes.count), type: manifest.mediaType.description, second: now.second))
        self.remember(entry, for: key)
    }

    /// Remembers a small blob that has just been read.
    ///
    /// - Parameter version: of removals, taken before the blob was looked up.
    func remember(_ bytes: ByteBuffer, _ stored: StoredBlob, version: UInt64, repository: RepositoryName, _ call: DistributionHandler.Call)
    {
        guard !call.registry.isRestricted, let key = Self.key(call), Int64(bytes.readableBytes) == stored.size else { return }
        let now = HTTPDate.now()
        var get = Self.blobHead("200 OK", now.text, stored.digest.description, length: stored.size, range: nil)
        get.writeImmutableBuffer(bytes)
        let entry = Entry(
            audience: call.registry.audience, repository: repository.description, version: version, isTag: false,
            content: .small(get, length: stored.size, second: now.second))
        self.remember(entry, for: key)
    }

    /// Keeps a whole answer, at the cost of the oldest ones.
    private func remember(_ entry: Entry, for key: Key) {
        self.state.withLock { state in
            let old = state.entries.updateValue(entry, forKey: key)
            // A blob that was a file is in the list of files already, and goes with it.
            if old == nil { state.answers.append(key) }
            state.bytes += entry.content.bytes - (old?.content.bytes ?? 0)
            while state.bytes > Self.byteLimit, !state.answers.isEmpty {
                // The oldest half goes at once: one at a time would move the list with every new entry.
                let gone = state.answers.prefix(max(1, state.answers.count / 2))
                for key in gone { state.entries[key] = nil }
                state.answers.removeFirst(gone.count)
                state.bytes = state.answers.reduce(0) { $0 + (state.entries[$1]?.content.bytes ?? 0) }
            }
        }
    }

    /// Remembers a blob that has just been opened.
    ///
    /// - Parameter version: of removals, taken before the blob was looked up.
    func remember(_ file: File, _ stored: StoredBlob, version: UInt64, repository: RepositoryName, _ call: DistributionHandler.Call) {
        guard !call.registry.isRestricted, let key = Self.key(call) else { return }
        let entry = Entry(
            audience: call.registry.audience, repository: repository.description, version: version, isTag: false,
            content: .blob(file, size: stored.size, digest: stored.digest.description))
        // What is given up is closed after the lock is: event loops wait for it.
        let closed = self.state.withLock { state -> [Entry] in
            var gone: [Entry] = []
            if let old = state.entries.updateValue(entry, forKey: key) { gone.append(old) } else { state.files.append(key) }
            if state.files.count > Self.fileLimit {
                gone += state.files.prefix(Self.fileLimit / 2).compactMap { state.entries.removeValue(forKey: $0) }
                state.files.removeFirst(Self.fileLimit / 2)
            }
            state.bytes -= gone.reduce(0) { $0 + $1.content.bytes }
            return gone
        }
        withExtendedLifetime(closed) {}
    }

    /// Only what the hot path would ask for: a path without a query.
    private static func key(_ call: DistributionHandler.Call) -> Key? {
        guard call.request.query.isEmpty, let host = call.request.hostHeader, !call.request.path.utf8.contains(UInt8(ascii: "%")) else {
            return nil
        }
        return Key(host: host, path: call.request.path)
    }
}
