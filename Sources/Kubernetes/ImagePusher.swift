// Pushes an image without a container engine, piece by piece: a layer of this program is larger than what one wants in memory.

internal import Foundation
package import OCI
internal import RegistryClient

/// Something to be pushed: in memory, or a file.
package enum PushedBlob: Sendable {
    case bytes([UInt8])
    case file(String)
}

/// Pushes to one repository.
package struct ImagePusher: Sendable {
    /// Bytes of one request.
    private static let piece = 8 << 20
    private static let largestAnswer = 4 << 20

    private let session: RegistrySession
    private let repository: RepositoryName

    package init(session: RegistrySession, repository: RepositoryName) {
        self.session = session
        self.repository = repository
    }

    /// - Returns: whether bytes had to be sent.
    @discardableResult
    package func push(blob: PushedBlob, digest: String) async throws -> Bool {
        let authorization = try await self.authorization()
        let base = "/v2/\(self.repository)/blobs/"
        if try await self.send("HEAD", base + digest, authorization).status == 200 { return false }
        var answer = try await self.send("POST", base + "uploads/", authorization)
        guard answer.status == 202 else { throw try await ServerRefusal(answer) }
        var location = try self.location(of: answer)
        _ = try await answer.collect(limit: Self.largestAnswer)
        var offset: Int64 = 0
        let source = try Source(blob)
        while let piece = try source.next(Self.piece) {
            answer = try await self.send(
                "PATCH", location, authorization, piece,
                [("Content-Type", "application/octet-stream"), ("Content-Range", "\(offset)-\(offset + Int64(piece.count) - 1)")])
            guard answer.status == 202 else { throw try await ServerRefusal(answer) }
            location = try self.location(of: answer)
            _ = try await answer.collect(limit: Self.largestAnswer)
            offset += Int64(piece.count)
        }
        answer = try await self.send("PUT", location + (location.contains("?") ? "&" : "?") + "digest=\(digest)", authorization)
        guard answer.status == 201 else { throw try await ServerRefusal(answer) }
        _ = try await answer.collect(limit: Self.largestAnswer)
        return true
    }

    /// - Parameter reference: a tag or a digest.
    package func push(manifest bytes: [UInt8], type: String, as reference: String) async throws {
        let answer = try await self.send(
            "PUT", "/v2/\(self.repository)/manifests/\(reference)", try await self.authorization(), bytes, [("Content-Type", type)])
        guard answer.status == 201 else { throw try await ServerRefusal(answer) }
        _ = try await answer.collect(limit: Self.largestAnswer)
    }

    /// A manifest of the repository with its type and digest.
    package func manifest(_ reference: String) async throws -> (bytes: [UInt8], type: String, digest: String) {
        let accept = ("Accept", MediaType.manifests.map(\.description).joined(separator: ", "))
        let answer = try await self.send(
            "GET", "/v2/\(self.repository)/manifests/\(reference)", try await self.authorization(), [], [accept])
        guard answer.status == 200 else { throw try await ServerRefusal(answer) }
        let bytes = try await answer.collect(limit: Self.largestAnswer)
        return (bytes, answer.header("Content-Type") ?? "", "\(Digest.of(bytes))")
    }

    /// A small blob, checked.
    package func blob(_ digest: String) async throws -> [UInt8] {
        let answer = try await self.send("GET", "/v2/\(self.repository)/blobs/\(digest)", try await self.authorization())
        guard answer.status == 200 else { throw try await ServerRefusal(answer) }
        let bytes = try await answer.collect(limit: Self.largestAnswer)
        guard "\(Digest.of(bytes))" == digest else { throw RegistrySessionError("the blob \(digest) arrived damaged; try again") }
        return bytes
    }

    private func authorization() async throws -> String? {
        try await self.session.authorization(scope: "repository:\(self.repository):pull,push")
    }

    private func send(
        _ method: String, _ target: String, _ authorization: String?, _ body: [UInt8] = [], _ headers: [(name: String, value: String)] = []
    ) async throws -> ClientResponse {
        try await self.session.transport.send(
            ClientRequest(
                method, self.session.endpoint, target, headers: headers + (authorization.map { [("Authorization", $0)] } ?? []), body: body,
                responseTimeout: .seconds(120)))
    }

    /// Where an upload goes on; on this registry, whatever it says.
    private func location(of answer: ClientResponse) throws -> String {
        guard let text = answer.header("Location") else {
            throw RegistrySessionError("\(self.session.endpoint) names no place for the upload")
        }
        if text.hasPrefix("/") { return text }
        guard let (server, path) = RegistrySession.endpoint(of: text), server == self.session.endpoint else {
            throw RegistrySessionError("\(self.session.endpoint) sends the upload elsewhere, where the token must not go")
        }
        return path
    }

    /// Reads a blob from its beginning to its end.
    private final class Source {
        private let file: FileHandle?
        private var rest: ArraySlice<UInt8>

        init(_ blob: PushedBlob) throws {
            switch blob {
            case .bytes(let bytes): (self.file, self.rest) = (nil, bytes[...])
            case .file(let path):
                guard let file = FileHandle(forReadingAtPath: path) else { throw ImageBuildError(description: "cannot read \(path)") }
                (self.file, self.rest) = (file, [])
            }
        }

        func next(_ limit: Int) throws -> [UInt8]? {
            if let file {
                guard let piece = try file.read(upToCount: limit), !piece.isEmpty else { return nil }
                return Array(piece)
            }
            guard !self.rest.isEmpty else { return nil }
            defer { self.rest = self.rest.dropFirst(limit) }
            return Array(self.rest.prefix(limit))
        }
    }
}
