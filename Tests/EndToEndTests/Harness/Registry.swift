// The tests' own client of a registry: for what is asked often, read slowly or sent wrongly on purpose. It shares no code with
// the product.

import AsyncHTTPClient
import Crypto
import Foundation
import NIOCore
import NIOSSL
import Synchronization

/// A name and its password.
struct Credentials: Sendable {
    let name: String
    let password: String
}

/// An answer whose body is in memory.
struct Reply: Sendable {
    let status: Int
    let headers: [String: String]
    let body: Data

    var text: String { String(decoding: self.body, as: UTF8.self) }
    subscript(_ name: String) -> String? { self.headers[name.lowercased()] }

    /// The first error code, in the distribution specification's form or ARM's.
    var errorCode: String? {
        let object = (try? JSONSerialization.jsonObject(with: self.body)) as? [String: Any]
        if let errors = object?["errors"] as? [[String: Any]] { return errors.first?["code"] as? String }
        return (object?["error"] as? [String: Any])?["code"] as? String
    }

    var json: [String: Any] { ((try? JSONSerialization.jsonObject(with: self.body)) as? [String: Any]) ?? [:] }
}

/// A server as clients see it: an address, the CA that vouches for it, and who is asking.
final class Registry: Sendable {
    let address: String
    /// The file with the CA.
    let ca: String
    let credentials: Credentials?
    private let box: Sandbox
    private let http: HTTPClient
    private let bearers = Mutex<[String: String]>([:])
    /// For what never comes: a machine may be slow, and a link have a small bandwidth.
    private static let patience = TimeAmount.seconds(600)

    init(_ address: String, ca: String, credentials: Credentials? = nil, box: Sandbox) throws {
        self.address = address
        self.ca = ca
        self.credentials = credentials
        self.box = box
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(ca))
        var configuration = HTTPClient.Configuration(tlsConfiguration: tls)
        configuration.timeout.connect = .seconds(60)
        let http = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
        self.http = http
        box.atEnd { try? await http.shutdown() }
    }

    /// The same server, asked by someone else.
    func by(_ credentials: Credentials?) throws -> Registry {
        try Registry(self.address, ca: self.ca, credentials: credentials, box: self.box)
    }

    /// A folder that makes skopeo, podman and buildah trust the server.
    func trustFolder() throws -> String {
        let folder = try self.box.newFolder("trust")
        try FileManager.default.copyItem(atPath: self.ca, toPath: folder + "/ca.crt")
        return folder
    }

    func send(_ method: String, _ path: String, headers: [String: String] = [:], body: Data? = nil) async throws -> Reply {
        var request = HTTPClientRequest(url: path.hasPrefix("https://") ? path : "https://\(self.address)\(path)")
        request.method = .init(rawValue: method)
        for (name, value) in headers { request.headers.replaceOrAdd(name: name, value: value) }
        if let body { request.body = .bytes(ByteBuffer(bytes: body)) }
        let response = try await self.http.execute(request, timeout: Self.patience)
        let content = try await response.body.collect(upTo: 256 << 20)
        var fields: [String: String] = [:]
        for (name, value) in response.headers { fields[name.lowercased()] = value }
        return Reply(status: Int(response.status.code), headers: fields, body: Data(content.readableBytesView))
    }

    /// Sends in the name of the credentials, with a token of this scope, as clients do.
    func ask(_ method: String, _ path: String, scope: String, headers: [String: String] = [:], body: Data? = nil) async throws -> Reply {
        var headers = headers
        let known = self.bearers.withLock { $0[scope] }
        if let known { headers["Authorization"] = "Bearer \(known)" }
        if known != nil {
            let reply = try await self.send(method, path, headers: headers, body: body)
            guard reply.status == 401 else { return reply }
        }
        let reply = try await self.token(scope)
        guard let text = (reply.json["access_token"] ?? reply.json["token"]) as? String else { return reply }
        self.bearers.withLock { $0[scope] = text }
        headers["Authorization"] = "Bearer \(text)"
        return try await self.send(method, path, headers: headers, body: body)
    }

    /// What the token endpoint that the challenge names answers.
    func token(_ scope: String) async throws -> Reply {
        let challenge = try await self.send("GET", "/v2/")
        guard challenge.status == 401, let text = challenge["WWW-Authenticate"], let realm = Self.value("realm", in: text) else {
            throw HarnessError("\(self.address) sent no challenge: \(challenge.status) \(challenge.text)")
        }
        var components = URLComponents(string: realm)!
        components.queryItems = [.init(name: "service", value: Self.value("service", in: text) ?? ""), .init(name: "scope", value: scope)]
        var headers: [String: String] = [:]
        if let credentials {
            headers["Authorization"] = "Basic " + Data("\(credentials.name):\(credentials.password)".utf8).base64EncodedString()
        }
        return try await self.send("GET", components.string!, headers: headers)
    }

    private static func value(_ name: String, in challenge: String) -> String? {
        challenge.range(of: "\(name)=\"").map { String(challenge[$0.upperBound...].prefix { $0 != "\"" }) }
    }

    static let manifestTypes = [
        "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ].joined(separator: ", ")

    func manifest(_ method: String = "GET", _ repository: String, _ reference: String) async throws -> Reply {
        try await self.ask(
            method, "/v2/\(repository)/manifests/\(reference)", scope: "repository:\(repository):pull",
            headers: ["Accept": Self.manifestTypes])
    }

    func blob(_ method: String = "GET", _ repository: String, _ digest: String, range: String? = nil) async throws -> Reply {
        try await self.ask(
            method, "/v2/\(repository)/blobs/\(digest)", scope: "repository:\(repository):pull", headers: range.map { ["Range": $0] } ?? [:]
        )
    }

    /// Pushes a blob in one request after the POST.
    ///
    /// - Returns: whether the server says that it has it.
    func push(blob content: Data, _ repository: String) async throws -> Bool {
        let scope = "repository:\(repository):pull,push"
        let begun = try await self.ask("POST", "/v2/\(repository)/blobs/uploads/", scope: scope)
        guard begun.status == 202, let location = begun["Location"] else {
            throw HarnessError("upload not begun: \(begun.status) \(begun.text)")
        }
        let separator = location.contains("?") ? "&" : "?"
        let done = try await self.ask(
            "PUT", "\(location)\(separator)digest=\(content.digest)", scope: scope, headers: ["Content-Type": "application/octet-stream"],
            body: content)
        return done.status == 201
    }

    /// Pushes an artifact under a tag.
    ///
    /// - Returns: whether the server says that it has all of it.
    func push(_ artifact: Artifact, _ repository: String, _ reference: String) async throws -> Bool {
        for blob in artifact.blobs {
            guard try await self.push(blob: blob, repository) else { return false }
        }
        return try await self.put(artifact.manifest, type: artifact.mediaType, repository, reference).status == 201
    }

    func put(_ manifest: Data, type: String, _ repository: String, _ reference: String) async throws -> Reply {
        try await self.ask(
            "PUT", "/v2/\(repository)/manifests/\(reference)", scope: "repository:\(repository):pull,push", headers: ["Content-Type": type],
            body: manifest)
    }

    /// Why an image is not served whole, byte for byte; `nil` when it is.
    func flaw(_ repository: String, _ reference: String, digest: String? = nil) async throws -> String? {
        let reply = try await self.manifest("GET", repository, reference)
        guard reply.status == 200 else { return "manifest \(reference): \(reply.status)" }
        if let digest, reply.body.digest != digest { return "manifest \(reference) is \(reply.body.digest), not \(digest)" }
        guard reply["Docker-Content-Digest"] == reply.body.digest else {
            return "manifest \(reference) does not match the digest it is announced with"
        }
        for child in reply.json["manifests"] as? [[String: Any]] ?? [] {
            if let flaw = try await self.flaw(repository, child["digest"] as? String ?? "") { return flaw }
        }
        let config = reply.json["config"] as? [String: Any]
        for blob in [config].compactMap(\.self) + (reply.json["layers"] as? [[String: Any]] ?? []) {
            guard let digest = blob["digest"] as? String else { return "manifest \(reference) has a blob without a digest" }
            let content = try await self.blob("GET", repository, digest)
            guard content.status == 200 else { return "blob \(digest) of \(reference): \(content.status)" }
            guard content.body.digest == digest else { return "blob \(digest) of \(reference) has other content" }
        }
        return nil
    }

    /// A blob, read no faster than its reader wants it.
    func stream(_ repository: String, _ digest: String) async throws -> HTTPClientResponse {
        let reply = try await self.blob("HEAD", repository, digest)
        guard reply.status == 200 else { throw HarnessError("blob \(digest): \(reply.status)") }
        let bearer = self.bearers.withLock { $0["repository:\(repository):pull"] } ?? ""
        var request = HTTPClientRequest(url: "https://\(self.address)/v2/\(repository)/blobs/\(digest)")
        request.headers.add(name: "Authorization", value: "Bearer \(bearer)")
        return try await self.http.execute(request, timeout: Self.patience)
    }

    /// Sends a body in parts, in the name of a scope that has been used before.
    func upload(
        _ method: String = "PUT", _ url: String, scope: String, size: Int, _ parts: some AsyncSequence<ByteBuffer, any Error> & Sendable
    ) async throws -> Int {
        var request = HTTPClientRequest(url: url.hasPrefix("https://") ? url : "https://\(self.address)\(url)")
        request.method = .init(rawValue: method)
        request.headers.add(name: "Authorization", value: "Bearer \(self.bearers.withLock { $0[scope] } ?? "")")
        request.headers.add(name: "Content-Type", value: "application/octet-stream")
        request.body = .stream(parts, length: .known(Int64(size)))
        return Int(try await self.http.execute(request, timeout: Self.patience).status.code)
    }
}

extension Data {
    var digest: String { "sha256:" + SHA256.hash(data: self).map { String(format: "%02x", $0) }.joined() }

    /// Content that no one has seen before and no one can compress.
    static func random(_ count: Int) -> Data {
        guard count > 0, let source = FileHandle(forReadingAtPath: "/dev/urandom"), let content = try? source.read(upToCount: count) else {
            return Data()
        }
        return content
    }

    static func random(_ count: Int, using generator: inout some RandomNumberGenerator) -> Data {
        var words: [UInt64] = []
        words.reserveCapacity(count / 8 + 1)
        for _ in 0..<(count / 8 + 1) { words.append(generator.next()) }
        return words.withUnsafeBytes { Data($0.prefix(count)) }
    }
}
