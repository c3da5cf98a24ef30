// The first start: a server makes itself a tenant, a subscription and somebody who may do everything.

package import Identity
package import Persistence

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Who a server is.
package struct Installation: Sendable, Hashable {
    package let tenantID: String
    package let subscriptionID: String
    /// The application id of the administrator, with which one signs in.
    package let clientID: String
}

/// Makes and finds the identity of a server.
package struct Bootstrap: Sendable {
    private let database: any Database
    private let directory: Directory
    private let clock: WallClock

    package init(database: any Database, directory: Directory, clock: WallClock = .system) {
        self.database = database
        self.directory = directory
        self.clock = clock
    }

    /// What the first start made; `nil` when there was none.
    package func load() async throws -> Installation? {
        try await self.database.read { session in
            try session.row("SELECT tenant, subscription, client FROM installation").map {
                Installation(tenantID: $0.text(0), subscriptionID: $0.text(1), clientID: $0.text(2))
            }
        }
    }

    /// Makes tenant, subscription and administrator. An interrupted first start is taken up where it was.
    ///
    /// - Parameter deliver: writes `bootstrap.json`. It comes before the change is durable: after a crash in between the
    ///   next start begins anew, and there is never an installation whose secret nobody has.
    /// - Throws: ``ResourceError`` with code `conflict` when there is an installation already.
    package func create(deliver: (Installation, _ secret: String) throws -> Void) async throws -> Installation {
        guard try await self.load() == nil else {
            throw ResourceError(
                .conflict, .conflict, "This data folder has been set up already. Use 'outport bootstrap reset' for a new secret.")
        }
        let secret = Secret.generate()
        let principal: ServicePrincipal
        if let existing = try await self.directory.administrator() {
            principal = existing
        } else {
            principal = ServicePrincipal(
                objectID: Self.identifier(), appID: Self.identifier(), displayName: "outport-bootstrap", isDirectoryAdministrator: true)
            try await self.directory.create(principal)
        }
        try await self.directory.replaceSecrets(of: principal, with: secret, keyID: Self.identifier(), expiry: nil)
        let installation = Installation(tenantID: Self.identifier(), subscriptionID: Self.identifier(), clientID: principal.appID)
        try deliver(installation, secret)
        let now = self.clock.milliseconds()
        let subscription = String(decoding: try JSONEncoder().encode(SubscriptionDocument(displayName: "Outport")), as: UTF8.self)
        try await self.database.write { session in
            try session.execute(
                "INSERT INTO installation (id, tenant, subscription, client, created) VALUES (1, ?, ?, ?, ?)",
                SQLValue(installation.tenantID),
                SQLValue(installation.subscriptionID), SQLValue(installation.clientID), .integer(now))
            try ResourceStore.write(
                subscription, as: ResourceID(subscription: installation.subscriptionID), registry: nil, now: now, session)
            try RoleStore.insert(
                name: Self.identifier(), scope: "/subscriptions/\(installation.subscriptionID)", principal: principal.objectID,
                type: principal.principal.kind.rawValue, role: .owner, by: principal.objectID, now: now, session)
        }
        return installation
    }

    /// Gives the administrator a new secret; all earlier ones are gone.
    ///
    /// - Throws: ``ResourceError`` with code `resourceNotFound` before the first start.
    package func resetSecret() async throws -> (installation: Installation, secret: String) {
        guard let installation = try await self.load(), let principal = try await self.directory.principal(appID: installation.clientID)
        else {
            throw ResourceError(.notFound, .resourceNotFound, "This data folder has not been set up yet. Run 'outport serve' on it once.")
        }
        let secret = Secret.generate()
        try await self.directory.replaceSecrets(of: principal, with: secret, keyID: Self.identifier(), expiry: nil)
        return (installation, secret)
    }

    private static func identifier() -> String { UUID().uuidString.lowercased() }
}
