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
    }

    private struct State {
        var entries: [Key: Entry] = [:]
        var manifests: [Key] = []
        var files: [Key] = []
        var bytes = 0
    }

    private let tokens: TokenAuthority
    private let versions: ContentVersions
    private let state = Mutex(State())

    package init(tokens: TokenAuthority, store: RegistryStore) {
        self.tokens = tokens
        self.versions = store.versions
    }

    package func answer(_ request: HotRequest) -> HotAnswer? {
        let now = HTTPDate.now()
        guard let entry = self.entry(Key(host: request.host, path: request.path), now) else { return nil }
        guard entry.version == (entry.isTag ? self.versions.tags : self.versions.removals) else { return nil }
        guard let token = self.tokens.remembered(String(request.token)), token.kind == .registryAccess, token.audience == entry.audience,
            token.access.contains(where: { $0.type == "repository" && $0.name == entry.repository && $0.actions.contains("pull") })
        else { return nil }
        switch entry.content {
        case .manifest(let get, let head, let length, let type, _):
            guard request.range == nil, Accept.allows(request.accept, type) else { return nil }
            return HotAnswer(bytes: request.isHead ? head : get, body: .none, status: 200, length: length)
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
            guard let entry = state.entries[key], case .manifest(var get, var head, let length, let type, let second) = entry.content,
                second != now.second
            else { return state.entries[key] }
            // Once a second for each manifest: the buffers are copied, their old bytes may be on the way to a socket.
            get.setString(now.text, at: Self.dateOffset)
            head.setString(now.text, at: Self.dateOffset)
            state.entries[key]?.content = .manifest(get: get, head: head, length: length, type: type, second: now.second)
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
        self.state.withLock { state in
            switch state.entries.updateValue(entry, forKey: key)?.content {
            case .manifest(let old, _, _, _, _): state.bytes -= old.readableBytes
            case .blob, nil: state.manifests.append(key)
            }
            state.bytes += get.readableBytes
            while state.bytes > Self.byteLimit, !state.manifests.isEmpty {
                // The oldest half goes at once: one at a time would move the list with every new entry.
                let gone = state.manifests.prefix(max(1, state.manifests.count / 2))
                for key in gone { state.entries[key] = nil }
                state.manifests.removeFirst(gone.count)
                state.bytes = state.manifests.reduce(0) { sum, key in
                    if case .manifest(let get, _, _, _, _) = state.entries[key]?.content { sum + get.readableBytes } else { sum }
                }
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
            guard state.files.count > Self.fileLimit else { return gone }
            gone += state.files.prefix(Self.fileLimit / 2).compactMap { state.entries.removeValue(forKey: $0) }
            state.files.removeFirst(Self.fileLimit / 2)
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
