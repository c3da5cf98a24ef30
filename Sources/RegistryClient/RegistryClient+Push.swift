// Writing to a registry: what a connected registry sends its parent. Blobs go up in chunks, so that one that was cut goes on where it stood.

package import OCI

extension RegistryClient {
    /// Where an upload stands.
    package enum Upload: Sendable, Hashable {
        /// The registry has the blob.
        case held
        /// It is open at this path.
        case open(String)
    }

    /// What became of a chunk.
    package enum Appended: Sendable, Hashable {
        case size(Int64)
        /// It did not begin where the upload ends: ask for its size.
        case outOfOrder
        /// The upload is over or forgotten.
        case gone
    }

    /// Whether the registry has the manifest.
    package func holdsManifest(_ digest: Digest, in name: RepositoryName) async throws -> Bool {
        let accept = MediaType.manifests.map(\.description).joined(separator: ", ")
        return try await self.holds("/v2/\(name)/manifests/\(digest)", [("Accept", accept)])
    }

    /// Whether the repository has the blob. The registry keeps it for a while for whoever asks.
    package func holdsBlob(_ digest: Digest, in name: RepositoryName) async throws -> Bool {
        try await self.holds("/v2/\(name)/blobs/\(digest)", [])
    }

    private func holds(_ target: String, _ headers: [(String, String)]) async throws -> Bool {
        let response = try await self.send("HEAD", target, headers)
        switch response.status {
        case 200:
            _ = try await response.collect(limit: 64 << 10)
            return true
        case 404:
            // Answers to HEAD say no code. A proxy's 404 costs a push of what is there, which changes nothing.
            _ = try await response.collect(limit: 64 << 10)
            return false
        default: throw try await ServerRefusal(response)
        }
    }

    /// Begins an upload, unless the registry can take the blob from another of its repositories.
    package func beginUpload(of digest: Digest, in name: RepositoryName) async throws -> Upload {
        let response = try await self.send("POST", "/v2/\(name)/blobs/uploads/?mount=\(PercentEncoding.encode(digest.description))", [])
        switch response.status {
        case 201:
            _ = try await response.collect(limit: 64 << 10)
            return .held
        case 202:
            let location = response.header("Location")
            _ = try await response.collect(limit: 64 << 10)
            return .open(try Self.path(location))
        default: throw try await ServerRefusal(response)
        }
    }

    /// No upload reaches beyond; a parent that says so is not believed.
    private static let lastByte: Int64 = 1 << 53

    /// Bytes that have arrived; `nil` when the upload is over or forgotten.
    package func size(ofUpload path: String) async throws -> Int64? {
        let response = try await self.send("GET", path, [])
        switch response.status {
        case 204, 200:
            let range = response.header("Range")
            _ = try await response.collect(limit: 64 << 10)
            // `0-0` is said of an empty upload and of one byte: the byte sent again is refused, and then it is one.
            guard let end = range?.split(separator: "-").last.flatMap({ Int64($0) }), end <= Self.lastByte else { return 0 }
            return end == 0 ? 0 : end + 1
        case 404:
            _ = try await response.collect(limit: 64 << 10)
            return nil
        default: throw try await ServerRefusal(response)
        }
    }

    /// Sends the bytes behind the first `offset`.
    package func append(_ bytes: [UInt8], at offset: Int64, toUpload path: String) async throws -> Appended {
        let headers = [
            ("Content-Type", "application/octet-stream"), ("Content-Range", "\(offset)-\(offset + Int64(bytes.count) - 1)"),
        ]
        let response = try await self.send("PATCH", path, headers, body: bytes, timeout: .seconds(300))
        switch response.status {
        case 202:
            _ = try await response.collect(limit: 64 << 10)
            return .size(offset + Int64(bytes.count))
        case 404, 416:
            _ = try await response.collect(limit: 64 << 10)
            return response.status == 404 ? .gone : .outOfOrder
        default:
            let refusal = try await ServerRefusal(response)
            // Another request of ours, given up here and not yet there, is still writing; or fewer bytes arrived than were announced.
            guard refusal.status == 409 || refusal.code == "SIZE_INVALID" else { throw refusal }
            return .outOfOrder
        }
    }

    /// Ends an upload.
    ///
    /// - Returns: whether the registry has the blob now; not so when the upload is over or forgotten.
    package func finish(upload path: String, as digest: Digest) async throws -> Bool {
        let separator = path.contains("?") ? "&" : "?"
        let response = try await self.send(
            "PUT", "\(path)\(separator)digest=\(PercentEncoding.encode(digest.description))", [], timeout: .seconds(300))
        switch response.status {
        case 201:
            _ = try await response.collect(limit: 64 << 10)
            return true
        case 404:
            _ = try await response.collect(limit: 64 << 10)
            return false
        default: throw try await ServerRefusal(response)
        }
    }

    /// Stores a manifest under its digest.
    package func put(_ bytes: [UInt8], _ mediaType: MediaType, as digest: Digest, in name: RepositoryName) async throws {
        let response = try await self.send(
            "PUT", "/v2/\(name)/manifests/\(digest)", [("Content-Type", mediaType.description)], body: bytes, timeout: .seconds(120))
        guard response.status == 201 else { throw try await ServerRefusal(response) }
        _ = try await response.collect(limit: 64 << 10)
    }

    /// The path of a `Location`, which may come with a host: requests go to our parent and nowhere else.
    private static func path(_ location: String?) throws -> String {
        var text = Substring(location ?? "")
        if let scheme = text.firstRange(of: "://") {
            text = text[scheme.upperBound...]
            text = text.firstIndex(of: "/").map { text[$0...] } ?? ""
        }
        guard text.hasPrefix("/v2/"), text.utf8.count <= 2000, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            throw ServerRefusal(
                status: 202, code: "BLOB_UPLOAD_INVALID", message: "the registry gave an upload no path below /v2 to go on with")
        }
        return String(text)
    }
}
