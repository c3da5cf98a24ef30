// Why an image is not at a site: the one thing in the way, found from what the parent knows.

package import Identity
package import OCI
package import Persistence
package import RegistryCore
internal import Schedule

/// Where an image stands on its way to a connected registry.
package struct PullDiagnosis: Sendable, Hashable {
    package enum Code: String, Sendable {
        /// It is there.
        case present = "Present"
        case notAtParent = "NotAtParent"
        case notSelected = "NotSelected"
        case notActivated = "NotActivated"
        case syncTokenDisabled = "SyncTokenDisabled"
        case permission = "PermissionMissing"
        case locked = "ContentLocked"
        case offline = "Offline"
        case disk = "DiskError"
        case content = "ContentError"
        case windowClosed = "WindowClosed"
        case budget = "BudgetExhausted"
        /// It is on its way, or is about to be.
        case behind = "Behind"
    }

    package let code: Code
    /// The connected registry at which it stops: the one that was asked about, or one above it.
    package let connectedRegistry: String
    /// A sentence: what is in the way, and what to do.
    package let reason: String
}

/// Finds the one thing in the way.
package struct PullDiagnostician: Sendable {
    private let connectedRegistries: ConnectedRegistryStore
    private let registries: RegistryStore
    private let identities: IdentityStore
    private let clock: WallClock

    package init(
        connectedRegistries: ConnectedRegistryStore, registries: RegistryStore, identities: IdentityStore, clock: WallClock = .system
    ) {
        self.connectedRegistries = connectedRegistries
        self.registries = registries
        self.identities = identities
        self.clock = clock
    }

    /// - Parameter tag: `nil` for the repository as a whole.
    /// - Returns: `nil` when there is no such connected registry.
    package func why(_ name: String, _ repository: RepositoryName, tag: Tag?, in registry: RegistryID) async throws -> PullDiagnosis? {
        let all = try await self.connectedRegistries.list(in: registry)
        func named(_ name: String) -> ConnectedRegistry? { all.first { $0.name.lowercased() == name.lowercased() } }
        guard let target = named(name) else { return nil }
        // From the top: what has not reached an ancestor cannot have reached it.
        var path = [target]
        while let parent = path.first?.configuration.parent.flatMap(named), !path.contains(where: { $0.name == parent.name }) {
            path.insert(parent, at: 0)
        }
        let image = tag.map { "\(repository):\($0)" } ?? repository.description
        var wanted = Wanted(repository: repository, tag: tag, image: image, digest: nil)
        let exists: Bool
        if let tag {
            wanted.digest = try await self.registries.resolve(tag, in: repository, of: registry)
            exists = wanted.digest != nil
        } else {
            exists = try await self.registries.stateSummary(of: registry) { $0 == repository }.repositories.isEmpty == false
        }
        guard exists else {
            return PullDiagnosis(
                code: .notAtParent, connectedRegistry: target.name, reason: "\(image) is not at the registry itself: push it there first")
        }
        for one in path {
            if let found = try await self.obstacle(to: wanted, at: one, in: registry) { return found }
        }
        return PullDiagnosis(code: .present, connectedRegistry: target.name, reason: "\(image) is at '\(target.name)'")
    }

    /// What is asked about.
    private struct Wanted {
        let repository: RepositoryName
        let tag: Tag?
        /// As it was written.
        let image: String
        /// What the tag names at the registry.
        var digest: Digest?

        /// Whether a sentence of a connected registry is about this.
        func isMeant(by detail: String) -> Bool {
            if let digest = self.digest { return detail.contains("\(self.repository)@\(digest)") }
            return detail.contains("\(self.repository)@")
        }
    }

    private func obstacle(
        to wanted: Wanted, at one: ConnectedRegistry, in registry: RegistryID
    ) async throws -> PullDiagnosis? {
        let repository = wanted.repository
        let now = self.clock.milliseconds()
        func found(_ code: PullDiagnosis.Code, _ reason: String) -> PullDiagnosis {
            PullDiagnosis(code: code, connectedRegistry: one.name, reason: reason)
        }
        if one.configuration.identity != nil {
            return found(
                .syncTokenDisabled,
                "'\(one.name)' is to sign in with a managed identity, which instances of this version cannot: make it anew with a sync token"
            )
        }
        guard let (token, map) = try await self.identities.tokenWithMap(one.syncToken, in: registry)
        else { return found(.syncTokenDisabled, "the sync token '\(one.syncToken)' of '\(one.name)' is deleted: create it anew") }
        guard map.permits(.contentRead, on: repository) else {
            return found(
                .notSelected,
                "repository \(repository) is not selected for '\(one.name)': "
                    + "'outport acr connected-registry permissions update --name \(one.name) --add \(repository)' adds it")
        }
        for permission in GatewayPermission.allCases where !map.permits(permission, gateway: one.name) {
            return found(
                .permission, "scope map '\(map.name)' of the sync token lacks gateway/\(one.name.lowercased())/\(permission.rawValue)")
        }
        // What is there already is served whatever else is wrong.
        if try await self.holds(wanted, one, map, in: registry) { return nil }
        guard token.isEnabled else {
            return found(.syncTokenDisabled, "the sync token '\(token.name)' of '\(one.name)' is disabled: enable it")
        }
        guard one.isActive else {
            return found(.notActivated, "'\(one.name)' has no active instance: start one with its connection string")
        }
        let status = one.report?.status
        let details = status?.details ?? []
        let obstacles: [String] = [PullDiagnosis.Code.locked.rawValue, PullDiagnosis.Code.content.rawValue]
        if let detail = details.first(where: { obstacles.contains($0.code) && wanted.isMeant(by: $0.description) }) {
            return found(detail.code == PullDiagnosis.Code.locked.rawValue ? .locked : .content, detail.description)
        }
        if one.connectionState(now: now) == .offline {
            let since = one.lastActivity.map { "since \(Timestamp.text(milliseconds: $0))" } ?? "and has never been heard of"
            return found(.offline, "'\(one.name)' is offline \(since): see whether it runs and reaches its parent; it goes on by itself")
        }
        if let detail = details.first(where: { $0.code == PullDiagnosis.Code.disk.rawValue }) { return found(.disk, detail.description) }
        let window = try SyncWindow(schedule: one.configuration.schedule, duration: one.configuration.syncWindow)
        if !window.isOpen(at: Int(now / 1000)) {
            let opens =
                window.opens(after: Int(now / 1000)).map { "opens at \(Timestamp.text(seconds: Int64($0)))" } ?? "never opens"
            return found(.windowClosed, "the synchronisation window of '\(one.name)' is closed and \(opens)")
        }
        if let detail = details.first(where: { $0.code == PullDiagnosis.Code.budget.rawValue }),
            wanted.isMeant(by: detail.description) || !detail.description.contains("@") || detail.description.hasSuffix("and others")
        {
            let renews = status?.budget?.filter { $0.used >= $0.limit }.map(\.renews).max()
            let until = renews.map { "until \(Timestamp.text(seconds: $0))" } ?? "for now"
            return found(
                .budget,
                "the byte budget of '\(one.name)' is spent \(until): "
                    + "'outport acr connected-registry update --name \(one.name) --budget' gives it more")
        }
        if let detail = details.first(where: { $0.type == "Error" }) { return found(.behind, detail.description) }
        let left = status?.bytesLeft.map { ", \($0) bytes of the image under way are left" } ?? ""
        return found(.behind, "'\(one.name)' is \(status?.phase == .syncing ? "synchronising" : "about to synchronise")\(left)")
    }

    /// Whether the connected registry has the image, as far as it has told.
    private func holds(
        _ wanted: Wanted, _ one: ConnectedRegistry, _ map: ScopeMap, in registry: RegistryID
    ) async throws -> Bool {
        guard let status = one.report?.status else { return false }
        // Its whole content is what it should be now.
        if let root = status.root {
            let selection = map.repositories(.contentRead)
            let ours = try await self.registries.stateSummary(of: registry) { name in selection.contains { $0.matches(name) } }.root
            if root == ours { return true }
        }
        // Or it has passed the last change of this image; the cursor of one further down is in its own parent's log.
        let isSkipped = status.details.contains {
            wanted.isMeant(by: $0.description) || $0.code == PullDiagnosis.Code.budget.rawValue && $0.description.hasSuffix("and others")
        }
        guard !isSkipped, one.configuration.parent == nil, let cursor = status.cursor else { return false }
        let head = try await self.registries.head()
        guard cursor.log == head.log else { return false }
        return try await self.registries.lastChange(of: wanted.repository, tag: wanted.tag, in: registry) ?? 0 <= cursor.sequence
    }
}
