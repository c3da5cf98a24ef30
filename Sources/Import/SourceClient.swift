// Reads from any registry, as docker would: challenge, token, redirects.

internal import NIOCore
internal import OCI
internal import RegistryClient

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// What a source is signed in to with.
package struct SourceCredentials: Sendable {
    /// `nil` where the password is a refresh token.
    package let username: String?
    package let password: String

    package init(username: String?, password: String) {
        self.username = username
        self.password = password
    }
}

/// One repository of a registry somewhere.
///
/// Credentials go to the registry itself and to the token server that it names, nowhere else: a redirect to another host loses
/// them, and nothing leads from https to http.
actor SourceClient {
    /// Redirects followed for one request.
    private static let maximumHops = 5

    private let transport: any Transport
    private let endpoint: ServerEndpoint
    private let repository: String
    private let credentials: SourceCredentials?
    /// What to do where the source wants credentials and there are none.
    private let advice: String
    private var authorization: String?

    init(
        transport: any Transport, endpoint: ServerEndpoint, repository: String, credentials: SourceCredentials?,
        advice: String = "give --username and --password"
    ) {
        self.advice = advice
        self.transport = transport
        self.endpoint = endpoint
        self.repository = repository
        self.credentials = credentials
    }

    /// The manifest of a tag or digest.
    ///
    /// - Throws: ``ImportError``.
    func manifest(_ reference: Reference) async throws -> NewManifestBytes {
        let accept = MediaType.manifests.map(\.description).joined(separator: ", ")
        let response = try await self.send("/v2/\(self.repository)/manifests/\(reference)", [("Accept", accept)])
        guard response.status == 200 else {
            throw await self.refusal(response, "manifest \(reference) of \(self.place)")
        }
        let type = response.header("Content-Type")?.split(separator: ";").first.map { $0.filter { $0 != " " } }
        return NewManifestBytes(
            bytes: try await response.collect(limit: Manifest.maximumSize), type: try type.map { try MediaType($0) })
    }

    struct NewManifestBytes: Sendable {
        let bytes: [UInt8]
        let type: MediaType?
    }

    /// A blob from byte `offset` on; the returned body begins at the returned offset.
    func blob(_ digest: Digest, from offset: Int64) async throws -> (body: ClientResponseBody, offset: Int64) {
        let range = offset > 0 ? [("Range", "bytes=\(offset)-")] : []
        let response = try await self.send("/v2/\(self.repository)/blobs/\(digest)", range)
        switch response.status {
        case 200: return (response.body, 0)
        case 206: return (response.body, offset)
        default: throw await self.refusal(response, "blob \(digest) of \(self.place)")
        }
    }

    /// How long a blob is, without fetching it; `nil` where the source does not have it.
    func size(ofBlob digest: Digest) async throws -> Int64? {
        let response = try await self.send("/v2/\(self.repository)/blobs/\(digest)", [], method: "HEAD")
        guard response.status != 404 else {
            _ = try? await response.collect(limit: 64 << 10)
            return nil
        }
        guard response.status == 200 else { throw await self.refusal(response, "blob \(digest) of \(self.place)") }
        _ = try await response.collect(limit: 64 << 10)
        guard let size = response.header("Content-Length").flatMap({ Int64($0) }), size >= 0 else {
            throw ImportError(.failed, "the source does not say how long blob \(digest) of \(self.place) is")
        }
        return size
    }

    private var place: String { "\(self.endpoint.authority)/\(self.repository)" }

    private func refusal(_ response: ClientResponse, _ what: String) async -> ImportError {
        let said = try? await ServerRefusal(response)
        let message = said.map { "\($0.code): \($0.message)" } ?? "status \(response.status)"
        switch response.status {
        case 401, 403:
            return ImportError(
                .denied,
                "the source refused \(what) (\(message)); "
                    + (self.credentials == nil ? self.advice : "check the user name and password given for it"))
        case 404: return ImportError(.notFound, "the source does not have \(what) (\(message))")
        default: return ImportError(.failed, "the source answered \(response.status) for \(what) (\(message)); try again later")
        }
    }

    // MARK: Requests

    private func send(_ target: String, _ headers: [(String, String)], method: String = "GET") async throws -> ClientResponse {
        var hasSignedIn = false
        while true {
            let used = self.authorization
            let (response, isOwn) = try await self.follow(method, target, headers)
            // What another host asks for is not answered with what was given for this one.
            guard response.status == 401, isOwn, !hasSignedIn, let challenge = response.header("WWW-Authenticate") else { return response }
            hasSignedIn = true
            _ = try? await response.collect(limit: 64 << 10)
            // Somebody else may have got a token meanwhile.
            if self.authorization == used || self.authorization == nil { try await self.signIn(challenge) }
        }
    }

    /// - Returns: also whether the registry itself has answered, and no other host on the way there.
    private func follow(
        _ method: String, _ target: String, _ headers: [(String, String)]
    ) async throws -> (response: ClientResponse, isOwn: Bool) {
        var (endpoint, target) = (self.endpoint, target)
        var isOwn = true
        for _ in 0...Self.maximumHops {
            // What left the registry once does not come back with credentials.
            isOwn = isOwn && endpoint == self.endpoint
            let authorization = isOwn ? self.authorization.map { [("Authorization", $0)] } ?? [] : []
            let response = try await self.transport.send(ClientRequest(method, endpoint, target, headers: headers + authorization))
            guard [301, 302, 303, 307, 308].contains(response.status), let location = response.header("Location") else {
                return (response, isOwn)
            }
            _ = try? await response.collect(limit: 64 << 10)
            guard let next = SourceURL(location, from: endpoint) else {
                throw ImportError(.failed, "\(endpoint) redirects to an address that cannot be read")
            }
            guard next.endpoint.isSecure || !endpoint.isSecure else {
                throw ImportError(.failed, "\(endpoint) redirects to \(next.endpoint), which is not encrypted")
            }
            (endpoint, target) = (next.endpoint, next.target)
        }
        throw ImportError(.failed, "\(self.endpoint) redirects more than \(Self.maximumHops) times")
    }

    private struct TokenAnswer: Decodable {
        let token: String?
        let accessToken: String?

        enum CodingKeys: String, CodingKey {
            case token
            case accessToken = "access_token"
        }
    }

    /// Answers a challenge (RFC 9110, section 11.6.1; distribution token specification).
    private func signIn(_ text: String) async throws {
        let challenge = Challenge(text)
        switch challenge.scheme {
        case "basic":
            guard let credentials, let user = credentials.username else {
                throw ImportError(.denied, "\(self.endpoint) wants a user name and a password; \(self.advice)")
            }
            self.authorization = Self.basic(user, credentials.password)
        case "bearer":
            guard let realm = challenge.items["realm"], let url = SourceURL(realm, from: self.endpoint) else {
                throw ImportError(.failed, "\(self.endpoint) names no token server that can be used")
            }
            guard url.endpoint.isSecure || !self.endpoint.isSecure else {
                throw ImportError(.failed, "\(self.endpoint) names the token server \(url.endpoint), which is not encrypted")
            }
            var items = [("scope", "repository:\(self.repository):pull")]
            if let service = challenge.items["service"] { items.append(("service", service)) }
            let request: ClientRequest
            if let credentials, credentials.username == nil {
                items += [("grant_type", "refresh_token"), ("refresh_token", credentials.password), ("client_id", "outport")]
                request = ClientRequest(
                    "POST", url.endpoint, url.target, headers: [("Content-Type", "application/x-www-form-urlencoded")],
                    body: Array(Self.form(items).utf8))
            } else {
                var headers: [(String, String)] = []
                if let credentials, let user = credentials.username {
                    headers.append(("Authorization", Self.basic(user, credentials.password)))
                }
                let joint = url.target.contains("?") ? "&" : "?"
                request = ClientRequest("GET", url.endpoint, url.target + joint + Self.form(items), headers: headers)
            }
            let response = try await self.transport.send(request)
            guard response.status == 200 else { throw await self.refusal(response, "a token for \(self.place)") }
            let answer = try? JSONDecoder().decode(TokenAnswer.self, from: Data(try await response.collect(limit: 1 << 20)))
            guard let token = answer?.token ?? answer?.accessToken else {
                throw ImportError(.failed, "the token server \(url.endpoint) gave no token")
            }
            self.authorization = "Bearer \(token)"
        default: throw ImportError(.denied, "\(self.endpoint) wants the sign-in '\(challenge.scheme)', which is not known here")
        }
    }

    private static func basic(_ user: String, _ password: String) -> String {
        "Basic " + Data("\(user):\(password)".utf8).base64EncodedString()
    }

    private static func form(_ items: [(String, String)]) -> String {
        items.map { "\($0.0)=\(PercentEncoding.encode($0.1))" }.joined(separator: "&")
    }
}

/// A challenge: its scheme in lower case, and its items.
struct Challenge {
    let scheme: String
    private(set) var items: [String: String] = [:]

    init(_ text: String) {
        let text = text.prefix(4096)
        self.scheme = text.prefix { $0 != " " }.lowercased()
        var rest = text.dropFirst(self.scheme.count)
        while true {
            rest = rest.drop { $0 == " " || $0 == "," }
            guard let equals = rest.firstIndex(of: "=") else { return }
            let name = rest[..<equals].lowercased()
            rest = rest[rest.index(after: equals)...]
            if rest.first == "\"" {
                self.items[name] = Self.quoted(&rest)
            } else {
                let value = rest.prefix { $0 != "," && $0 != " " }
                rest = rest.dropFirst(value.count)
                self.items[name] = String(value)
            }
        }
    }

    /// A quoted string at the beginning of `rest`, with its quoted pairs undone (RFC 9110, section 5.6.4).
    private static func quoted(_ rest: inout Substring) -> String {
        var value = ""
        rest = rest.dropFirst()
        while let character = rest.popFirst(), character != "\"" {
            guard character == "\\" else {
                value.append(character)
                continue
            }
            if let next = rest.popFirst() { value.append(next) }
        }
        return value
    }
}
