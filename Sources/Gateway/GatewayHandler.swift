// The parent's side of the sync protocol: `/gateway/v1/{connected registry}/…`.

internal import GatewayProtocol
package import HTTPServing
package import Identity
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

/// What the gateway must know of the registry a request is for.
package struct GatewayRegistry: Sendable {
    package let id: RegistryID
    package let name: String
    /// What sync tokens of this registry are issued for.
    package let audience: String
    /// Hosts and ports under which children reach this gateway.
    package let endpoints: [String]
    /// Whether there is content to compare with: a connected registry has none before its first synchronisation.
    package let isReady: Bool
    /// `nil` when content may be changed; otherwise the sentence that refuses it.
    package let writeRefusal: String?
    /// Whether content is served: not where it is refused to clients.
    package let servesContent: Bool

    package init(
        id: RegistryID, name: String, audience: String, endpoints: [String], writeRefusal: String? = nil, isReady: Bool = true,
        servesContent: Bool = true
    ) {
        self.servesContent = servesContent
        self.isReady = isReady
        self.writeRefusal = writeRefusal
        self.id = id
        self.name = name
        self.audience = audience
        self.endpoints = endpoints
    }
}

/// Answers children.
package final class GatewayHandler: RequestHandler {
    let connectedRegistries: ConnectedRegistryStore
    let registries: RegistryStore
    let identities: IdentityStore
    let tokens: TokenAuthority
    private let trustRoot: String?
    private let lookup: @Sendable (HostAndPort?) async throws -> GatewayRegistry?
    private let isStopping = Atomic<Bool>(false)
    private let known: KnownChildren
    private let quiet: QuietHead

    /// - Parameters:
    ///   - trustRoot: the own CA in PEM; `nil` when the server has a given certificate.
    ///   - lookup: the registry a host name means.
    package init(
        connectedRegistries: ConnectedRegistryStore, registries: RegistryStore, identities: IdentityStore, tokens: TokenAuthority,
        trustRoot: String?,
        lookup: @escaping @Sendable (HostAndPort?) async throws -> GatewayRegistry?
    ) {
        self.connectedRegistries = connectedRegistries
        self.registries = registries
        self.identities = identities
        self.tokens = tokens
        self.trustRoot = trustRoot
        self.lookup = lookup
        self.known = KnownChildren { connectedRegistries.settings?.count }
        self.quiet = QuietHead(activity: registries.activity)
    }

    /// Ends long polls, so that the listener can finish.
    package func stop() {
        self.isStopping.store(true, ordering: .relaxed)
        self.registries.activity.signal()
    }

    package func respond(to request: ServerRequest) async throws -> ServerResponse? {
        guard request.path.hasPrefix("/gateway/v1/") else { return nil }
        do {
            return try await self.route(request)
        } catch let error as Refusal {
            return try error.response()
        } catch let error as LeaseRefusal {
            return try Refusal(error).response()
        } catch let error as IdentityError {
            return try Refusal(.unauthorized, 401, error.message).response()
        } catch let error as BodyTooLarge {
            return try Refusal(.invalid, 413, "the body is larger than \(error.limit) bytes").response()
        } catch is DecodingError {
            return try Refusal(.invalid, 400, "the body is not the JSON this call takes").response()
        }
    }

    /// A refusal on the wire.
    struct Refusal: Error {
        let body: GatewayErrorBody
        let status: Int

        init(_ code: GatewayErrorCode, _ status: Int, _ message: String) {
            self.body = GatewayErrorBody(code: code.rawValue, message: message)
            self.status = status
        }

        init(_ error: LeaseRefusal) {
            self.body = GatewayErrorBody(code: error.code.rawValue, message: error.message)
            self.status =
                switch error.code {
                case .alreadyActivated: 409
                case .deactivated: 403
                case .notFound: 404
                }
        }

        init(_ problem: CursorProblem) {
            self.init(.cursorGone, 410, "the cursor cannot be followed (\(problem.rawValue)); compare state")
        }

        func response() throws -> ServerResponse { try .json(.init(code: self.status), self.body) }
    }

    /// A call whose token has been checked.
    ///
    /// One object, and no value: a long poll holds it for a minute, and each copy would be part of what a child costs that has nothing to do.
    final class Call: Sendable {
        let registry: GatewayRegistry
        let connectedRegistry: ConnectedRegistry
        let map: ScopeMap
        let lease: SyncLease
        /// The count of changes of settings from before the connected registry was read; `nil` where nobody counts.
        let generation: UInt64?

        init(registry: GatewayRegistry, connectedRegistry: ConnectedRegistry, map: ScopeMap, lease: SyncLease, generation: UInt64?) {
            self.registry = registry
            self.connectedRegistry = connectedRegistry
            self.map = map
            self.lease = lease
            self.generation = generation
        }

        /// Whether a repository is selected for the child.
        var isSelected: @Sendable (RepositoryName) -> Bool {
            let selection = self.map.repositories(.contentRead)
            return { name in selection.contains { $0.matches(name) } }
        }

        /// The same as a name of what is remembered for it.
        var selection: QuietHead.Selection {
            .init(registry: self.registry.id, repositories: self.map.repositories(.contentRead).map(\.description).sorted())
        }
    }

    private func route(_ request: ServerRequest) async throws -> ServerResponse {
        let parts = request.path.split(separator: "/", omittingEmptySubsequences: true).dropFirst(2).map(String.init)
        guard let registry = try await self.lookup(request.host), let name = parts.first, parts.count >= 2 else {
            throw Refusal(
                .noGateway, 404,
                "there is no gateway at \(request.host?.description ?? "this address"): is the data endpoint of the registry on?")
        }
        let rest = parts[2...]
        switch (request.method, parts[1], rest.count) {
        case (.get, "trust", 0): return try self.trust()
        case (.post, "activate", 0):
            return try await self.activate(
                request, try await self.admit(request, name, registry, [.configWrite, .messageWrite], needsLease: false))
        case (.post, "deactivate", 0):
            let call = try await self.admit(request, name, registry, [.configWrite])
            try await self.connectedRegistries.deactivate(call.connectedRegistry.name, in: registry.id)
            return ServerResponse(.noContent)
        case (.get, "settings", 0): return try await self.settings(request, try await self.admit(request, name, registry, [.configRead]))
        case (.get, "changes", 0):
            // Taken before the token is looked at: a deactivation in between must wake the poll, too.
            let seen = self.registries.activity.count
            let generation = self.connectedRegistries.settings?.count
            return try await self.changes(request, try await self.admit(request, name, registry, [.messageRead]), seen, generation)
        case (.get, "state", 0): return try await self.state(request, try await self.admit(request, name, registry, [.messageRead]))
        case (.get, "state", _):
            let call = try await self.admit(request, name, registry, [.messageRead])
            return try await self.state(of: rest.joined(separator: "/"), request, call)
        case (.post, "status", 0):
            return try await self.status(
                request, try await self.admit(request, name, registry, [.configWrite, .messageWrite], takesPassword: true))
        case (.post, "state", 0): return try await self.statePages(request, try await self.admit(request, name, registry, [.messageRead]))
        case (.post, "parcel", 0): return try await self.parcel(request, try await self.admit(request, name, registry, [.messageRead]))
        case (.post, "contents", 0):
            return try await self.contents(request, try await self.admit(request, name, registry, [.messageRead]))
        case (.post, "events", 0):
            return try await self.events(request, try await self.admit(request, name, registry, [.configWrite, .messageWrite]))
        case (.post, "outbox", 0):
            return try await self.outbox(request, try await self.admit(request, name, registry, [.configWrite, .messageWrite]))
        default: throw Refusal(.noGateway, 404, "there is no call \(request.method) \(request.path)")
        }
    }

    /// Checks token, lease and scope map.
    @inline(never)
    private func admit(
        _ request: ServerRequest, _ name: String, _ registry: GatewayRegistry, _ permissions: [GatewayPermission], needsLease: Bool = true,
        takesPassword: Bool = false
    ) async throws -> Call {
        let (lease, tokenName) = try await self.identify(request, name, registry, takesPassword: takesPassword)
        guard let known = try await self.child(name, in: registry.id),
            known.connectedRegistry.syncToken.lowercased() == tokenName.lowercased()
        else {
            throw LeaseRefusal(.notFound, "connected registry '\(name)' has been deleted at the parent, or has another sync token now")
        }
        let found = known.connectedRegistry
        guard self.connectedRegistries.isChild(found) else {
            throw Refusal(
                .denied, 403,
                "connected registry '\(found.name)' has the parent '\(found.configuration.parent ?? registry.name)'; get its connection string anew"
            )
        }
        if needsLease, found.epoch != lease.epoch || found.instance != lease.instance {
            // Good for activating and nothing else; whoever is active asks for another one and goes on with that.
            guard lease.instance != nil else {
                throw Refusal(.unauthorized, 401, "this sync token was issued without an activation: ask for one with instance and epoch")
            }
            guard !found.isUnheardOf else {
                throw Refusal(
                    .unauthorized, 401, "this activation of connected registry '\(name)' is not known here any more; activate again")
            }
            throw found.instance == nil || found.instance == lease.instance
                ? LeaseRefusal(.deactivated, "this instance of connected registry '\(name)' was deactivated at the parent")
                : LeaseRefusal(.alreadyActivated, "connected registry '\(name)' is active in another instance")
        }
        guard let record = known.token, record.isEnabled, let map = known.map
        else { throw Refusal(.unauthorized, 401, "sync token '\(tokenName)' is disabled or deleted at the parent; enable it there") }
        for permission in permissions where !map.permits(permission, gateway: name) {
            throw Refusal(
                .denied, 403,
                "scope map '\(map.name)' of the sync token lacks gateway/\(name.lowercased())/\(permission.rawValue); add it at the parent")
        }
        if !registry.isReady, permissions == [.messageRead] {
            throw Refusal(.notReady, 503, "this connected registry has not finished its own first synchronisation")
        }
        return Call(registry: registry, connectedRegistry: found, map: map, lease: lease, generation: known.generation)
    }

    /// A connected registry with its sync token, as they are now.
    private func child(_ name: String, in registry: RegistryID) async throws -> KnownChildren.Child? {
        try await self.known.child(name, in: registry) { generation in
            guard let found = try await self.connectedRegistries.find(name, in: registry) else { return nil }
            let token = try await self.identities.token(found.syncToken, in: registry)
            var map: ScopeMap?
            if let token { map = try await self.identities.scopeMap(token.scopeMap, in: registry) }
            return KnownChildren.Child(connectedRegistry: found, token: token, map: map, generation: generation)
        }
    }

    /// The tag of the caller's settings.
    @inline(never)
    private func settingsTag(for call: Call) async throws -> String {
        try await self.known.settingsTag(
            of: call.connectedRegistry.name, in: call.registry.id, endpoints: call.registry.endpoints, generation: call.generation
        ) { try Self.etag(try await self.settings(for: call)) }
    }

    private func trust() throws -> ServerResponse {
        guard let trustRoot else {
            throw Refusal(.notFound, 404, "this gateway has a certificate of a public or given authority; there is none to fetch")
        }
        return ServerResponse(.ok, headers: [.contentType: "application/x-pem-file"], body: .bytes(ByteBuffer(string: trustRoot)))
    }

    @inline(never)
    private func activate(_ request: ServerRequest, _ call: Call) async throws -> ServerResponse {
        let body: ActivateRequest = try await self.decode(request)
        guard (8...128).contains(body.instanceId.utf8.count), body.instanceId.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            throw Refusal(.invalid, 400, "instanceId must have 8 to 128 printable characters")
        }
        let (connectedRegistry, nonce) = try await self.connectedRegistries.activate(
            call.connectedRegistry.name, instance: body.instanceId, nonce: body.nonce, version: body.version, loginServer: body.loginServer,
            caPin: Self.pin(body.caPin), cursor: body.cursor, in: call.registry.id)
        request.logger.notice(
            "connected registry activated",
            metadata: ["name": .string(connectedRegistry.name), "epoch": .stringConvertible(connectedRegistry.epoch)])
        return try .json(
            .ok,
            ActivateResponse(
                epoch: connectedRegistry.epoch, nonce: nonce, registry: call.registry.name, connectedRegistry: connectedRegistry.name))
    }

    @inline(never)
    private func settings(_ request: ServerRequest, _ call: Call) async throws -> ServerResponse {
        let settings = try await self.settings(for: call)
        let etag = try Self.etag(settings)
        self.connectedRegistries.touch(call.connectedRegistry.name, in: call.registry.id)
        if request.headers[.ifNoneMatch] == etag { return ServerResponse(.notModified, headers: [.eTag: etag]) }
        return try .json(.ok, settings, headers: [.eTag: etag])
    }

    private func settings(for call: Call) async throws -> GatewaySettings {
        let configuration = call.connectedRegistry.configuration
        let (clients, maps) = try await self.credentials(configuration.clientTokens, in: call.registry.id)
        let descendants = try await self.descendants(of: call)
        return GatewaySettings(
            mode: configuration.mode.rawValue, repositories: call.map.repositories(.contentRead).map(\.description),
            schedule: configuration.schedule.description, syncWindow: configuration.syncWindow?.description,
            messageTtl: configuration.messageTtl.description,
            garbageCollection: .init(
                enabled: configuration.garbageCollectionEnabled, schedule: configuration.garbageCollectionSchedule.description),
            logLevel: configuration.logLevel, notifications: configuration.notifications, clientTokens: clients,
            scopeMaps: maps, trustRoots: self.trustRoot.map { [$0] } ?? [],
            parentEndpoints: call.registry.endpoints, resync: call.connectedRegistry.resync,
            descendants: descendants.isEmpty ? nil : descendants, budget: configuration.budget, priorities: configuration.priorities,
            plan: call.connectedRegistry.plan, auditLogs: configuration.auditLogsEnabled ? true : nil,
            onDemand: configuration.onDemand == true ? true : nil, serveAfterRemoval: configuration.serveAfterRemoval?.description)
    }

    private static func etag(_ settings: GatewaySettings) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        return "\"\(Digest.of(try encoder.encode(settings)).hex.prefix(32))\""
    }

    // What a long poll calls and what it does not is kept out of its frame: a thousand children that have nothing to do hold a thousand of them, and
    // what is inlined is part of each. `@inline(never)` above and below is for that.

    /// Long poll: answers when there is something for this child, when its settings differ, or when the wait is over.
    ///
    /// - Parameters:
    ///   - count: of changes of any kind, from before the caller was looked at.
    ///   - settings: of changes of settings; `nil` where that is not known.
    private func changes(
        _ request: ServerRequest, _ first: Call, _ count: UInt64, _ settings: UInt64?
    ) async throws -> ServerResponse {
        guard let log = request.query("log"), let after = request.query("after").flatMap(Int64.init), after >= 0 else {
            throw Refusal(.invalid, 400, "changes needs log and after, the cursor to go on from")
        }
        let wait = min(request.query("wait").flatMap(Int.init) ?? 0, GatewayLimits.maximumWait)
        let limit = max(1, min(request.query("limit").flatMap(Int.init) ?? 500, GatewayLimits.maximumPage))
        let known = request.query("settings")
        let deadline = Elapsing.now + .seconds(wait)
        var cursor = ChangeCursor(log: log, sequence: after)
        self.connectedRegistries.touch(first.connectedRegistry.name, in: first.registry.id)
        var call = first
        var (seen, generation) = (count, settings)
        var etag = try await self.settingsTag(for: call)
        while true {
            let page = try await self.page(of: call, after: cursor, limit: limit)
            let remaining = deadline - Elapsing.now
            // Replicas hold what tags and referrers reach. A child of an index comes with it, or, where the index was there first, by itself.
            if page.changes.contains(where: \.travels) || (known != nil && known != etag) || remaining <= .zero
                || self.isStopping.load(ordering: .relaxed)
            {
                return try await self.answer(page, of: call, after: cursor, limit: limit, etag)
            }
            cursor = page.next
            if page.isAtHead { await self.registries.activity.wait(beyond: seen, atMost: remaining) }
            // For one that is cancelled no wait is a wait: it would go round and round until the poll is over.
            try Task.checkCancellation()
            // Token, lease and scope map may have changed while we waited.
            seen = self.registries.activity.count
            let now = self.connectedRegistries.settings?.count
            // A push wakes everybody: who has nothing of it is not looked at anew for that.
            guard now == nil || now != generation else { continue }
            generation = now
            call = try await self.admit(request, first.connectedRegistry.name, first.registry, [.messageRead])
            etag = try await self.settingsTag(for: call)
        }
    }

    /// What a long poll is answered with: the page, with the root where it reaches the head.
    @inline(never)
    private func answer(
        _ found: ChangePage, of call: Call, after cursor: ChangeCursor, limit: Int, _ etag: String
    ) async throws -> ServerResponse {
        var (page, root): (ChangePage, String?) = (found, nil)
        if page.isAtHead { (page, root) = try await self.pageAndRoot(of: call, after: cursor, limit: limit) }
        return try .json(
            .ok,
            ChangesPage(
                changes: page.changes.filter(\.travels).map {
                    .init(
                        sequence: $0.sequence, repository: $0.repository, kind: $0.kind.rawValue, tag: $0.tag, digest: $0.digest,
                        time: $0.time, locks: $0.locks.flatMap { $0.isEmpty ? nil : $0.rawValue })
                }, next: GatewayCursor(log: page.next.log, sequence: page.next.sequence), atHead: page.isAtHead, settings: etag,
                root: root))
    }

    /// The root of what is selected for the caller.
    private func root(for call: Call) async throws -> String {
        let selection = call.selection
        if let root = self.quiet.root(of: selection) { return root }
        let count = self.quiet.count
        let summary = try await self.registries.stateSummary(of: call.registry.id, isSelected: call.isSelected)
        self.quiet.remember(summary.root, at: summary.head, of: selection, count: count)
        return summary.root
    }

    @inline(never)
    private func page(of call: Call, after cursor: ChangeCursor, limit: Int) async throws -> ChangePage {
        if self.quiet.root(at: cursor, of: call.selection) != nil { return ChangePage(changes: [], next: cursor, isAtHead: true) }
        do {
            return try await self.registries.changes(of: call.registry.id, after: cursor, limit: limit, isSelected: call.isSelected)
        } catch let problem as CursorProblem {
            throw Refusal(problem)
        }
    }

    @inline(never)
    private func pageAndRoot(of call: Call, after cursor: ChangeCursor, limit: Int) async throws -> (ChangePage, String?) {
        let selection = call.selection
        if let root = self.quiet.root(at: cursor, of: selection) { return (ChangePage(changes: [], next: cursor, isAtHead: true), root) }
        let count = self.quiet.count
        do {
            let (page, root) = try await self.registries.changesAndRoot(
                of: call.registry.id, after: cursor, limit: limit, isSelected: call.isSelected)
            if let root { self.quiet.remember(root, at: page.next, of: selection, count: count) }
            return (page, root)
        } catch let problem as CursorProblem {
            throw Refusal(problem)
        }
    }

    @inline(never)
    private func status(_ request: ServerRequest, _ call: Call) async throws -> ServerResponse {
        // One that is a parent speaks for a whole tree.
        let isParent = try await self.connectedRegistries.isParent(call.connectedRegistry.name, in: call.registry.id)
        let report: StatusReport = try await self.decode(
            request, limit: isParent ? GatewayLimits.maximumStatus : GatewayLimits.maximumBody)
        // Nobody compares with a root that was not told.
        let root = report.root == nil ? nil : try await self.root(for: call)
        let nonce = try await self.connectedRegistries.report(
            report, isInStep: root != nil && report.root == root, lease: call.lease, in: call.registry.id)
        if let descendants = report.descendants {
            let map = call.map
            try await self.connectedRegistries.record(
                descendants, below: call.connectedRegistry.name, in: call.registry.id,
                isAllowed: { map.permits(.configWrite, gateway: $0) && map.permits(.messageWrite, gateway: $0) })
        }
        return try .json(
            .ok, StatusResponse(nonce: nonce, settings: try await self.settingsTag(for: call)), headers: Self.keptConnection)
    }

    func decode<Body: Decodable>(_ request: ServerRequest, limit: Int = GatewayLimits.maximumBody) async throws -> Body {
        let bytes = try await request.collectBody(limit: limit)
        guard JSONDepth.measure(bytes.readableBytesView, limit: 16) else { throw Refusal(.invalid, 400, "the JSON is nested too deeply") }
        return try JSONDecoder().decode(Body.self, from: Data(bytes.readableBytesView))
    }
}

extension Change {
    /// Whether children are told: of what a tag or a referrer reaches, and not of what each end keeps for itself.
    fileprivate var travels: Bool {
        if let tag, ConflictTag.isReserved(tag.description) { return false }
        // Locks of what is gone went with it.
        if self.kind == .locksChanged { return self.locks != nil }
        return self.kind != .manifestPut || self.isReached
    }
}
