// The child's side of the sync protocol: one method for each call, and the token that goes with them.

internal import GatewayProtocol
internal import OCI
internal import Persistence
internal import RegistryClient

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Speaks to the parent's gateway.
actor GatewayClient {
    private let transport: any Transport
    private let connection: ConnectionString
    private var token: (text: String, usableUntil: ContinuousClock.Instant)?
    private var lease: (instance: String, epoch: Int64)?
    /// Moves with the lease: what was asked for under an earlier one is not kept under this one.
    private var generation = 0
    /// Whether the parent takes the password with a heartbeat, as far as is known under this lease.
    private var takesPasswords = true
    /// Whether the parent knows calls for many things at once, as far as is known under this lease.
    private var knowsParcels = true

    init(transport: any Transport, connection: ConnectionString) {
        self.transport = transport
        self.connection = connection
    }

    /// The lease that tokens are asked for from now on.
    func setLease(instance: String, epoch: Int64?) {
        self.lease = epoch.map { (instance, $0) }
        self.generation += 1
        self.token = nil
        self.takesPasswords = true
        self.knowsParcels = true
    }

    /// A sync token with at least a minute left. Time is measured since it was issued, so a wrong wall clock does no harm.
    func bearer() async throws -> String {
        if let token, token.usableUntil > Elapsing.now { return token.text }
        let generation = self.generation
        var form = [
            ("grant_type", "password"), ("username", self.connection.syncToken), ("password", self.connection.password),
            ("service", self.connection.parent.authority), ("scope", GatewayScope.text(self.connection.connectedRegistry)),
        ]
        if let lease { form += [("instance", lease.instance), ("epoch", String(lease.epoch))] }
        let body = form.map { "\($0.0)=\(PercentEncoding.encode($0.1))" }.joined(separator: "&")
        let response = try await self.transport.send(
            ClientRequest(
                "POST", self.connection.parent, "/oauth2/token", headers: [("Content-Type", "application/x-www-form-urlencoded")],
                body: Array(body.utf8)))
        guard response.status == 200 else { throw try await ServerRefusal(response) }
        struct Answer: Decodable {
            let accessToken: String
            let expiresIn: Int64

            enum CodingKeys: String, CodingKey {
                case accessToken = "access_token"
                case expiresIn = "expires_in"
            }
        }
        let answer = try JSONDecoder().decode(Answer.self, from: Data(try await response.collect(limit: 64 << 10)))
        // The lease may have changed while we waited: a token for another one would be refused as that of another instance.
        guard self.generation == generation else { return try await self.bearer() }
        self.token = (answer.accessToken, Elapsing.now + .seconds(answer.expiresIn.within(60...Self.longestToken) - 60))
        return answer.accessToken
    }

    /// The parent's authority, unverified: the caller compares it with the pin.
    nonisolated func trust(over transport: any Transport) async throws -> String {
        let response = try await transport.send(
            ClientRequest("GET", self.connection.parent, "/gateway/v1/\(self.connection.connectedRegistry)/trust"))
        guard response.status == 200 else { throw try await ServerRefusal(response) }
        return String(decoding: try await response.collect(limit: 64 << 10), as: UTF8.self)
    }

    func activate(_ request: ActivateRequest) async throws -> ActivateResponse { try await self.call("POST", "activate", body: request) }

    /// - Returns: `nil` when the settings are still those of `tag`.
    func settings(tag: String?) async throws -> (settings: GatewaySettings, tag: String)? {
        let response = try await self.send("GET", "settings", headers: tag.map { [("If-None-Match", $0)] } ?? [])
        switch response.status {
        case 304: return nil
        case 200:
            let body = try await response.collect(limit: 16 << 20)
            return (try JSONDecoder().decode(GatewaySettings.self, from: Data(body)).bounded, response.header("ETag") ?? "")
        default: throw try await ServerRefusal(response)
        }
    }

    func changes(after cursor: GatewayCursor, wait: Int, settings: String?) async throws -> ChangesPage {
        var target =
            "changes?log=\(PercentEncoding.encode(cursor.log))&after=\(cursor.sequence)&wait=\(wait)&limit=\(GatewayLimits.maximumPage)"
        if let settings { target += "&settings=\(PercentEncoding.encode(settings))" }
        return try await self.call("GET", target, timeout: .seconds(wait + 30))
    }

    /// - Parameter root: that of the child's state; when it is the parent's, nothing is listed.
    func state(root: String) async throws -> StateSummary { try await self.call("GET", "state?root=\(root)") }

    func bucketHashes(of name: RepositoryName) async throws -> RepositoryBuckets {
        try await self.call("GET", "state/\(name)?buckets=all")
    }

    func entries(of name: RepositoryName, in buckets: some Sequence<Int>) async throws -> BucketEntries {
        let list = buckets.map(String.init).joined(separator: ",")
        return try await self.call("GET", "state/\(name)?buckets=\(list)")
    }

    func state(of name: RepositoryName, after last: Tag?) async throws -> RepositoryStatePage {
        try await self.call("GET", "state/\(name)" + (last.map { "?last=\($0)" } ?? ""))
    }

    /// The first pages of several repositories, as many as the parent gives at once.
    ///
    /// - Returns: `nil` when the parent does not know this call.
    func states(of names: [RepositoryName]) async throws -> [RepositoryStatePage]? {
        guard self.knowsParcels, let response = try await self.optional("state", StatePagesRequest(repositories: names)) else { return nil }
        return try JSONDecoder().decode(StatePagesResponse.self, from: Data(try await response.collect(limit: 16 << 20))).pages
    }

    /// Many small things in one answer; see ``ParcelParser``.
    ///
    /// - Returns: `nil` when the parent does not know this call.
    func parcel(_ request: ParcelRequest) async throws -> ClientResponseBody? {
        guard self.knowsParcels else { return nil }
        return try await self.optional("parcel", request)?.body
    }

    /// Sends what an older parent does not know; it is then not asked again under this lease.
    private func optional(_ target: String, _ body: any Encodable & Sendable) async throws -> ClientResponse? {
        let response = try await self.send("POST", target, body: [UInt8](try JSONEncoder().encode(body)))
        guard response.status != 200 else { return response }
        let refusal = try await ServerRefusal(response)
        guard refusal.status == 404, refusal.code == GatewayErrorCode.noGateway.rawValue else { throw refusal }
        self.knowsParcels = false
        return nil
    }

    func tell(_ events: EventsRequest) async throws -> EventsResponse { try await self.call("POST", "events", body: events) }

    func contents(_ request: ContentsRequest) async throws -> ContentsResponse {
        (try await self.call("POST", "contents", body: request) as ContentsResponse).bounded
    }

    /// - Parameter isSparing: whether each byte counts: a token is worth its bytes only for what asks often.
    func report(_ status: StatusReport, isSparing: Bool = false) async throws -> StatusResponse {
        let isTokenKnown = self.token.map { $0.usableUntil > Elapsing.now } ?? false
        if isSparing || !isTokenKnown, self.takesPasswords, let lease, let answer = try await self.report(status, under: lease) {
            return answer
        }
        return try await self.call("POST", "status", body: status, timeout: Self.statusTimeout)
    }

    /// Seconds for which a token is used at most, whatever its issuer says.
    private static let longestToken: Int64 = 86_400
    private static let statusTimeout = Duration.seconds(15)

    /// Sends a heartbeat with the password itself in place of a token.
    ///
    /// - Returns: `nil` when the parent does not take it; with a token it says why, or takes that, being older.
    private func report(_ status: StatusReport, under lease: (instance: String, epoch: Int64)) async throws -> StatusResponse? {
        let credentials = Data("\(self.connection.syncToken):\(self.connection.password)".utf8).base64EncodedString()
        let target =
            "/gateway/v1/\(self.connection.connectedRegistry)/status?instance=\(PercentEncoding.encode(lease.instance))&epoch=\(lease.epoch)"
        let response = try await self.transport.send(
            ClientRequest(
                "POST", self.connection.parent, target,
                headers: [("Authorization", "Basic \(credentials)"), ("Content-Type", "application/json")],
                body: [UInt8](try JSONEncoder().encode(status)), responseTimeout: Self.statusTimeout))
        if response.status == 401 {
            _ = try await response.collect(limit: 64 << 10)
            self.takesPasswords = false
            return nil
        }
        guard response.status == 200 else { throw try await ServerRefusal(response) }
        return try JSONDecoder().decode(StatusResponse.self, from: Data(try await response.collect(limit: 1 << 20)))
    }

    /// What the parent says of a change.
    enum OutboxAnswer: Sendable {
        /// It has been made, or was so already.
        case agreed(GatewayCursor)
        /// Something else stands.
        case conflict(OutboxConflictBody)
    }

    func propose(_ request: OutboxRequest) async throws -> OutboxAnswer {
        let response = try await self.send("POST", "outbox", body: [UInt8](try JSONEncoder().encode(request)))
        switch response.status {
        case 200:
            return .agreed(
                try JSONDecoder().decode(OutboxResponse.self, from: Data(try await response.collect(limit: 1 << 20))).cursor)
        case 409:
            let body = Data(try await response.collect(limit: 1 << 20))
            if let conflict = try? JSONDecoder().decode(OutboxConflictBody.self, from: body) { return .conflict(conflict) }
            let refusal = try? JSONDecoder().decode(GatewayErrorBody.self, from: body).error
            throw ServerRefusal(
                status: 409, code: refusal?.code ?? "HTTP_409", message: refusal?.message ?? "the parent answered with status 409")
        default: throw try await ServerRefusal(response)
        }
    }

    private func call<Answer: Decodable>(
        _ method: String, _ target: String, body: (any Encodable & Sendable)? = nil, timeout: Duration = .seconds(30)
    ) async throws -> Answer {
        let response = try await self.send(
            method, target, body: try body.map { [UInt8](try JSONEncoder().encode($0)) } ?? [], timeout: timeout)
        guard response.status == 200 else { throw try await ServerRefusal(response) }
        return try JSONDecoder().decode(Answer.self, from: Data(try await response.collect(limit: 16 << 20)))
    }

    /// Sends with a token; a token that is refused is replaced once.
    private func send(
        _ method: String, _ target: String, headers: [(String, String)] = [], body: [UInt8] = [], timeout: Duration = .seconds(30)
    ) async throws -> ClientResponse {
        for attempt in 0... {
            let bearer = try await self.bearer()
            var headers = headers + [("Authorization", "Bearer \(bearer)")]
            if !body.isEmpty { headers.append(("Content-Type", "application/json")) }
            let response = try await self.transport.send(
                ClientRequest(
                    method, self.connection.parent, "/gateway/v1/\(self.connection.connectedRegistry)/\(target)", headers: headers,
                    body: body,
                    responseTimeout: timeout))
            guard response.status == 401, attempt == 0 else { return response }
            _ = try await response.collect(limit: 64 << 10)
            if self.token?.text == bearer { self.token = nil }
        }
        throw SyncError(.unauthorized, "the parent accepts no token")
    }
}
