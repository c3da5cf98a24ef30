// Who has signed in, pushed, deleted, or been refused at a connected registry: written down where the parent's operator asks for it.

package import HTTPServing
internal import HTTPTypes
internal import NIOCore
internal import OCI
package import Persistence
package import RegistryCore
internal import Synchronization

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Keeps audit records, durably, until they have been told.
package final class AuditTrail: Sendable {
    private let events: SiteEvents
    private let site: String
    private let clock: WallClock
    private let isWanted: @Sendable () async -> Bool
    /// Records that could not be kept and are not counted in the database yet.
    private let lost = Mutex<Int64>(0)

    /// - Parameters:
    ///   - site: the connected registry.
    ///   - isWanted: whether the operator has asked for records.
    package init(events: SiteEvents, site: String, clock: WallClock = .system, isWanted: @escaping @Sendable () async -> Bool) {
        self.events = events
        self.site = site
        self.clock = clock
        self.isWanted = isWanted
    }

    /// One record.
    struct Entry: Encodable {
        let event: String
        /// As the token that was shown or issued says; absent where there was none.
        let user: String?
        let repository: String?
        let reference: String?
        let status: Int
        let address: String
        let agent: String?
        let correlationId: String
    }

    var isOn: Bool { get async { await self.isWanted() } }

    /// Writes a record. A disk that is full costs the oldest records, not the client's request.
    func record(_ entry: Entry) async {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let body = try? encoder.encode(entry), body.count <= SiteEvents.maximumBody else { return self.lose() }
        let event = SiteEvent(
            id: UUID().uuidString.lowercased(), site: self.site, kind: .audit, time: self.clock.milliseconds(),
            body: String(decoding: body, as: UTF8.self))
        do {
            try await self.events.add([event])
        } catch {
            do {
                try await self.events.makeRoom(of: self.site)
                try await self.events.add([event])
            } catch {
                return self.lose()
            }
        }
        let lost = self.lost.withLock { lost in
            defer { lost = 0 }
            return lost
        }
        guard lost > 0 else { return }
        do { try await self.events.drop(lost, .audit, of: self.site) } catch { self.lost.withLock { $0 += lost } }
    }

    private func lose() { self.lost.withLock { $0 += 1 } }
}

/// Answers by handlers, and writes down what came of it.
package struct AuditedHandler: RequestHandler {
    private let handlers: [any RequestHandler]
    private let trail: AuditTrail

    package init(_ handlers: [any RequestHandler], trail: AuditTrail) {
        self.handlers = handlers
        self.trail = trail
    }

    package func respond(to request: ServerRequest) async throws -> ServerResponse? {
        for handler in self.handlers {
            guard let response = try await handler.respond(to: request) else { continue }
            if let entry = Self.entry(request, response), await self.trail.isOn { await self.trail.record(entry) }
            return response
        }
        return nil
    }

    /// The record of an answer; `nil` for what nobody would look for: reads, parts of uploads, the challenge before a sign-in.
    private static func entry(_ request: ServerRequest, _ response: ServerResponse) -> AuditTrail.Entry? {
        let status = response.status.code
        let isSignIn = request.path == "/oauth2/token" || request.path == "/oauth2/exchange"
        let (repository, reference) = self.target(request.path)
        let event: String
        switch (request.method, status) {
        case (_, 200) where isSignIn: event = "SignIn"
        case (_, 400...403) where isSignIn: event = "SignInRefused"
        case (.put, 201) where reference != nil && request.path.contains("/manifests/"): event = "Push"
        case (.delete, 200...299) where repository != nil && !request.path.contains("/blobs/uploads/"): event = "Delete"
        case (_, 401), (_, 403), (_, 405):
            // Without credentials it is the question where to get some.
            guard request.authorization != nil else { return nil }
            event = "Refused"
        default: return nil
        }
        return AuditTrail.Entry(
            event: event, user: self.user(request, response, isSignIn: isSignIn).map { String($0.prefix(128)) },
            repository: repository.map { String($0.prefix(255)) }, reference: reference.map { String($0.prefix(255)) }, status: status,
            address: request.remoteAddress, agent: request.headers[.userAgent].map { String($0.prefix(200)) },
            correlationId: request.correlationID)
    }

    /// Repository and tag or digest of a path of `/v2` or `/acr/v1`.
    private static func target(_ path: String) -> (repository: String?, reference: String?) {
        for prefix in ["/v2/", "/acr/v1/"] where path.hasPrefix(prefix) {
            let rest = path.dropFirst(prefix.count)
            for kind in ["/manifests/", "/_manifests/", "/_tags/", "/blobs/"] {
                if let range = rest.firstRange(of: kind) {
                    return (String(rest[..<range.lowerBound]), String(rest[range.upperBound...]))
                }
            }
            return (rest.isEmpty || rest.hasPrefix("_") ? nil : String(rest), nil)
        }
        return (nil, nil)
    }

    /// Who it was: by the token that was issued or shown, else by the name that was given.
    private static func user(_ request: ServerRequest, _ response: ServerResponse, isSignIn: Bool) -> String? {
        if isSignIn, case .bytes(let body) = response.body {
            struct Issued: Decodable {
                let token: String?
                let refreshToken: String?

                enum CodingKeys: String, CodingKey {
                    case token
                    case refreshToken = "refresh_token"
                }
            }
            let issued = try? JSONDecoder().decode(Issued.self, from: Data(body.readableBytesView))
            if let token = issued?.token ?? issued?.refreshToken, let subject = self.subject(of: token) { return subject }
        }
        switch request.authorization {
        case .basic(let user, _): return user
        case .bearer(let token): return self.subject(of: token)
        case nil: return nil
        }
    }

    /// The subject of a token that has been verified, or that is only quoted where it was refused.
    private static func subject(of token: String) -> String? {
        let parts = token.split(separator: ".")
        guard parts.count == 3, parts[1].utf8.count <= 16_384 else { return nil }
        var text = String(parts[1].map { $0 == "-" ? "+" : $0 == "_" ? "/" : $0 })
        text += String(repeating: "=", count: (4 - text.utf8.count % 4) % 4)
        struct Claims: Decodable { let sub: String? }
        return Data(base64Encoded: text).flatMap { try? JSONDecoder().decode(Claims.self, from: $0).sub }
    }
}
