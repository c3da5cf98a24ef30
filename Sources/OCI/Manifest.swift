// Manifests: parsed far enough to know what hangs below them. The bytes themselves are kept as they came.

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// What a registry needs to know of a manifest. The exact bytes are stored beside it, never re-encoded.
package struct Manifest: Sendable, Hashable {
    /// The largest manifest accepted, in bytes (the least the distribution specification asks for).
    package static let maximumSize = 4 << 20
    /// The most descriptors one manifest may hold.
    package static let maximumDescriptors = 10_000
    /// The most bytes that all descriptors of one manifest may add up to.
    ///
    /// Every number up to here is exact in JSON's readers too, and a thousand manifests of this size still add up within 64 bits.
    package static let maximumTotalSize: Int64 = 1 << 53
    /// The deepest JSON accepted.
    package static let maximumDepth = 64

    package let mediaType: MediaType
    package let config: Descriptor?
    /// Layers of an image, blobs of an artifact manifest.
    package let layers: [Descriptor]
    /// Entries of an index that are manifests by their types.
    package let manifests: [Descriptor]
    package let subject: Descriptor?
    package let annotations: [String: String]
    /// `artifactType`, or the config's media type where an image has none (distribution specification, "Listing referrers").
    package let artifactType: String?

    package var isIndex: Bool { self.mediaType == .ociIndex || self.mediaType == .dockerList }

    /// Blobs that must be in the repository before the manifest is accepted, each once: everything but foreign layers.
    package let requiredBlobs: [Descriptor]
    /// Blobs that may be in the repository and need not, each once: foreign layers, and what an index lists that is no manifest (the
    /// layers of a build cache).
    package let optionalBlobs: [Descriptor]

    private struct Document: Decodable {
        var schemaVersion: Int?
        var mediaType: String?
        var artifactType: String?
        var config: Descriptor?
        var layers: [Descriptor]?
        var blobs: [Descriptor]?
        var manifests: [Descriptor]?
        var fsLayers: [Empty]?
        var subject: Descriptor?
        var annotations: [String: String]?
        struct Empty: Decodable {}
    }

    /// Parses `bytes` as the manifest type the client declared.
    ///
    /// - Parameters:
    ///   - bytes: the document as received.
    ///   - declared: the request's `Content-Type`; `nil` takes the document's own `mediaType`.
    ///   - isNew: whether to refuse, too, what has been taken earlier and clients read in different ways.
    /// - Throws: ``OCIParseError`` saying which rule the document breaks.
    package init(parsing bytes: [UInt8], declared: MediaType?, isNew: Bool = false) throws(OCIParseError) {
        func refuse(_ reason: String) -> OCIParseError { OCIParseError(.manifest, "", reason) }
        guard bytes.count <= Self.maximumSize else {
            throw refuse("it has \(bytes.count) bytes, \(Self.maximumSize) are allowed")
        }
        if isNew, let problem = ManifestScan.problem(in: bytes, maximumDepth: Self.maximumDepth) { throw refuse(problem) }
        guard isNew || JSONDepth.measure(bytes, limit: Self.maximumDepth) else {
            throw refuse("its JSON is nested deeper than \(Self.maximumDepth) levels")
        }
        let document: Document
        do {
            document = try JSONDecoder().decode(Document.self, from: Data(bytes))
        } catch let error as DecodingError {
            throw refuse(Self.explain(error))
        } catch let error as OCIParseError {
            throw refuse(error.description)
        } catch {
            throw refuse("it is not valid JSON")
        }
        guard document.fsLayers == nil, document.schemaVersion != 1 else {
            throw refuse("Docker schema 1 manifests are not supported; push it again with a current client")
        }
        guard document.schemaVersion == 2 || (document.schemaVersion == nil && document.blobs != nil) else {
            throw refuse("its schemaVersion must be 2")
        }
        let inside: MediaType? = if let text = document.mediaType { try MediaType(text) } else { nil }
        if let declared, let inside, declared != inside {
            throw refuse("its mediaType is \(inside) but the request's Content-Type is \(declared)")
        }
        guard let mediaType = declared ?? inside ?? (document.manifests == nil ? .ociManifest : .ociIndex) as MediaType? else {
            throw refuse("it has no media type")
        }
        let descriptors =
            (document.layers ?? []) + (document.blobs ?? []) + (document.manifests ?? [])
            + [document.config, document.subject].compactMap { $0 }
        guard descriptors.count <= Self.maximumDescriptors else {
            throw refuse("it has \(descriptors.count) descriptors, \(Self.maximumDescriptors) are allowed")
        }
        guard descriptors.allSatisfy({ $0.size >= 0 }) else { throw refuse("a descriptor's size is negative") }
        guard let total = descriptors.totalSize, total <= Self.maximumTotalSize else {
            throw refuse("the sizes of its descriptors add up to more than \(Self.maximumTotalSize) bytes")
        }

        var others: [Descriptor] = []
        // An empty one counts as none (distribution specification, "Listing Referrers": "missing or empty").
        let artifactType = document.artifactType.flatMap { $0.isEmpty ? nil : $0 }
        switch mediaType {
        case .ociManifest, .dockerManifest:
            guard let config = document.config, document.manifests == nil else {
                throw refuse("an image manifest has a config and no manifests")
            }
            guard let layers = document.layers else { throw refuse("an image manifest has layers") }
            self.config = config
            self.layers = layers
            self.manifests = []
            self.artifactType = artifactType ?? config.mediaType.description
        case .ociIndex, .dockerList:
            guard let entries = document.manifests, document.config == nil, document.layers == nil else {
                throw refuse("an index has manifests, and neither config nor layers")
            }
            self.config = nil
            self.layers = []
            self.manifests = entries.filter(\.mediaType.isManifest)
            others = entries.filter { !$0.mediaType.isManifest }
            self.artifactType = artifactType
        case .ociArtifact:
            // What it does not say it has would not be kept either.
            if isNew, document.config != nil || document.layers != nil || document.manifests != nil {
                throw refuse("an artifact manifest has blobs, and neither config nor layers nor manifests")
            }
            self.config = nil
            self.layers = document.blobs ?? []
            self.manifests = []
            self.artifactType = artifactType
        default:
            throw refuse("\(mediaType) is not a manifest type; known are \(MediaType.manifests.map(\.description).joined(separator: ", "))")
        }
        self.mediaType = mediaType
        self.subject = document.subject
        self.annotations = document.annotations ?? [:]
        var seen: Set<Digest> = []
        self.requiredBlobs = ([self.config].compactMap { $0 } + self.layers.filter { !$0.mediaType.isForeignLayer })
            .filter { seen.insert($0.digest).inserted }
        self.optionalBlobs = (self.layers + others).filter { seen.insert($0.digest).inserted }
    }

    private static func explain(_ error: DecodingError) -> String {
        func path(_ context: DecodingError.Context) -> String {
            let path = context.codingPath.map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }.joined(separator: ".")
            return path.isEmpty ? "the document" : path
        }
        switch error {
        case .keyNotFound(let key, let context): return "\(path(context)) has no \(key.stringValue)"
        case .typeMismatch(_, let context), .valueNotFound(_, let context): return "\(path(context)) has the wrong type"
        case .dataCorrupted(let context):
            return (context.underlyingError as? OCIParseError).map(\.description)
                ?? (context.codingPath.isEmpty ? "it is not valid JSON" : "\(path(context)) is not valid")
        @unknown default: return "it is not valid JSON"
        }
    }
}

/// Measures nesting before a recursive parser sees the document.
package enum JSONDepth {
    /// Whether `bytes` nest no deeper than `limit` arrays and objects.
    package static func measure(_ bytes: some Sequence<UInt8>, limit: Int) -> Bool {
        var depth = 0
        var inString = false
        var escaped = false
        for byte in bytes {
            if inString {
                if escaped {
                    escaped = false
                } else if byte == UInt8(ascii: "\\") {
                    escaped = true
                } else if byte == UInt8(ascii: "\"") {
                    inString = false
                }
                continue
            }
            switch byte {
            case UInt8(ascii: "\""): inString = true
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                if depth > limit { return false }
            case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
            default: break
            }
        }
        return true
    }
}
