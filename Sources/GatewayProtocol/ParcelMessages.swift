// Many small things in one answer: a mirror of small images would otherwise be nothing but waiting for one request after the other.
// See decision 0075.

package import OCI

/// `POST parcel`: manifests and small blobs, by digest, each of a repository that is selected.
package struct ParcelRequest: Codable, Sendable, Hashable {
    /// Things that one request may name.
    package static let maximumItems = 500
    /// Bytes of content in one answer.
    package static let maximumBytes = 256 << 10
    /// Bytes of the largest blob, and of the largest manifest, that travels this way.
    package static let largestBlob = 32 << 10
    package static let largestManifest = 64 << 10

    /// What is wanted of one repository; manifests first.
    package struct Part: Codable, Sendable, Hashable {
        package var repository: RepositoryName
        package var manifests: [Digest]?
        package var blobs: [Digest]?

        package init(repository: RepositoryName, manifests: [Digest]? = nil, blobs: [Digest]? = nil) {
            self.repository = repository
            self.manifests = manifests
            self.blobs = blobs
        }
    }

    package var parts: [Part]

    package init(parts: [Part]) { self.parts = parts }

    /// One thing that is wanted; its number in the answer is its place in ``items``.
    package struct Item: Sendable, Hashable {
        package let repository: RepositoryName
        package let digest: Digest
        package let isManifest: Bool

        package init(repository: RepositoryName, digest: Digest, isManifest: Bool) {
            self.repository = repository
            self.digest = digest
            self.isManifest = isManifest
        }
    }

    /// Everything that is wanted, in order.
    package var items: [Item] {
        self.parts.flatMap { part in
            (part.manifests ?? []).map { Item(repository: part.repository, digest: $0, isManifest: true) }
                + (part.blobs ?? []).map { Item(repository: part.repository, digest: $0, isManifest: false) }
        }
    }

    /// The request for things that are ordered by repository.
    package init(items: [Item]) {
        self.parts = []
        for item in items {
            let isSame = self.parts.last.map { $0.repository == item.repository && (!item.isManifest || $0.blobs == nil) } ?? false
            if !isSame { self.parts.append(Part(repository: item.repository)) }
            let last = self.parts.count - 1
            if item.isManifest {
                self.parts[last].manifests = (self.parts[last].manifests ?? []) + [item.digest]
            } else {
                self.parts[last].blobs = (self.parts[last].blobs ?? []) + [item.digest]
            }
        }
    }
}

/// The answer is no JSON: before each thing there is a line `<number> <bytes> <media type of a manifest>`, and behind the last one a line
/// `end <how many were looked at>`. What is not there, not small, or not given is left out.
package enum ParcelFormat {
    package static let mediaType = "application/vnd.outport.parcel"
    /// Bytes of the longest line.
    package static let longestLine = 300

    /// The line before a thing.
    package static func line(_ number: Int, size: Int, mediaType: String?) -> String {
        mediaType.map { "\(number) \(size) \($0)\n" } ?? "\(number) \(size)\n"
    }

    /// The last line.
    package static func end(_ considered: Int) -> String { "end \(considered)\n" }
}

/// Why an answer cannot be understood.
package struct ParcelError: Error, Sendable, Hashable, CustomStringConvertible {
    package let description: String
}

/// Takes a parcel apart as it arrives, however it is cut into parts.
package struct ParcelParser: Sendable {
    /// One thing, or its beginning.
    package struct Item: Sendable, Hashable {
        package let number: Int
        package let size: Int
        package let mediaType: String?
        package fileprivate(set) var bytes: [UInt8] = []
    }

    package enum Event: Sendable, Hashable {
        case item(Item)
        /// So many of what was asked for have been looked at; nothing comes behind this.
        case end(Int)
    }

    private var line: [UInt8] = []
    private var isOver = false
    /// Things that were asked for.
    private let count: Int
    private var last = -1
    /// What has begun to arrive and is not here whole.
    package private(set) var partial: Item?

    /// - Parameter count: how many things were asked for.
    package init(count: Int) { self.count = count }

    /// Takes the next bytes.
    ///
    /// - Returns: what they complete.
    package mutating func feed(_ bytes: some Collection<UInt8>) throws(ParcelError) -> [Event] {
        var events: [Event] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            guard !self.isOver else { throw ParcelError(description: "something follows the end of the parcel") }
            if var item = self.partial {
                let some = rest.prefix(item.size - item.bytes.count)
                // Not two owners of what has come: it would be copied for each part.
                self.partial = nil
                item.bytes.append(contentsOf: some)
                rest = rest.dropFirst(some.count)
                if item.bytes.count == item.size { events.append(.item(item)) } else { self.partial = item }
                continue
            }
            guard let end = rest.firstIndex(of: UInt8(ascii: "\n")) else {
                self.line += rest
                guard self.line.count <= ParcelFormat.longestLine else {
                    throw ParcelError(description: "a line of the parcel is too long")
                }
                return events
            }
            self.line += rest[..<end]
            rest = rest[rest.index(after: end)...]
            if let event = try self.begin() { events.append(event) }
        }
        return events
    }

    /// Reads a whole line.
    private mutating func begin() throws(ParcelError) -> Event? {
        defer { self.line = [] }
        guard self.line.count <= ParcelFormat.longestLine else { throw ParcelError(description: "a line of the parcel is too long") }
        let words = String(decoding: self.line, as: UTF8.self).split(separator: " ", omittingEmptySubsequences: false)
        if words.count == 2, words[0] == "end" {
            guard let considered = Int(words[1]), (self.last + 1...max(self.count, self.last + 1)).contains(considered) else {
                throw ParcelError(description: "the parcel ends with a number that cannot be")
            }
            self.isOver = true
            return .end(considered)
        }
        guard words.count == 2 || words.count == 3, let number = Int(words[0]), let size = Int(words[1]) else {
            throw ParcelError(description: "a line of the parcel is none")
        }
        guard number > self.last, number < self.count else { throw ParcelError(description: "the parcel has something nobody asked for") }
        guard (0...ParcelRequest.largestManifest).contains(size) else {
            throw ParcelError(description: "something in the parcel is too large")
        }
        self.last = number
        let item = Item(number: number, size: size, mediaType: words.count == 3 ? String(words[2]) : nil)
        guard size > 0 else { return .item(item) }
        self.partial = item
        return nil
    }
}

/// `POST state`: the first pages of several repositories, as ``RepositoryStatePage`` has them.
package struct StatePagesRequest: Codable, Sendable, Hashable {
    /// Repositories that one request may name.
    package static let maximumRepositories = 100

    package var repositories: [RepositoryName]

    package init(repositories: [RepositoryName]) { self.repositories = repositories }
}

/// As many of them, in order, as are worth one answer; at least one.
package struct StatePagesResponse: Codable, Sendable, Hashable {
    package var pages: [RepositoryStatePage]

    package init(pages: [RepositoryStatePage]) { self.pages = pages }
}
