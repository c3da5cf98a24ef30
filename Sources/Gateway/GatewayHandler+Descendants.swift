// What a child is told of those below it, so that it can be their parent.

internal import GatewayProtocol
internal import Identity
internal import Persistence

extension GatewayHandler {
    /// Tokens with their scope maps, as they travel: verifiers, never passwords.
    func credentials(
        _ names: [String], in registry: RegistryID
    ) async throws -> (tokens: [GatewaySettings.ClientToken], maps: [GatewaySettings.ScopeMap]) {
        var tokens: [GatewaySettings.ClientToken] = []
        var maps: [String: GatewaySettings.ScopeMap] = [:]
        for name in names.sorted() {
            // A token that is gone simply no longer travels.
            guard let (token, map) = try await self.identities.tokenWithMap(name, in: registry) else { continue }
            tokens.append(
                .init(
                    name: token.name, enabled: token.isEnabled, created: token.created, scopeMap: map.name,
                    passwords: token.passwords.map {
                        .init(slot: $0.slot.rawValue, verifier: $0.verifier, created: $0.created, expiry: $0.expiry)
                    }))
            maps[map.name] = .init(
                name: map.name, system: map.isSystemDefined, actions: map.actions.map(\.description), created: map.created)
        }
        return (tokens, maps.values.sorted { $0.name < $1.name })
    }

    /// The connected registries below the caller whose settings its scope map lets through.
    func descendants(of call: Call) async throws -> [Descendant] {
        var result: [Descendant] = []
        for one in try await self.connectedRegistries.descendants(of: call.connectedRegistry.name, in: call.registry.id)
        where call.map.permits(.configRead, gateway: one.name) {
            let sync = try await self.credentials([one.syncToken], in: call.registry.id)
            let clients = try await self.credentials(one.configuration.clientTokens, in: call.registry.id)
            guard let token = sync.tokens.first, let parent = one.configuration.parent else { continue }
            let configuration = one.configuration
            result.append(
                Descendant(
                    name: one.name, parent: parent, created: one.created, mode: configuration.mode.rawValue,
                    schedule: configuration.schedule.description, syncWindow: configuration.syncWindow?.description,
                    messageTtl: configuration.messageTtl.description,
                    garbageCollection: .init(
                        enabled: configuration.garbageCollectionEnabled, schedule: configuration.garbageCollectionSchedule.description),
                    logLevel: configuration.logLevel, auditLogs: configuration.auditLogsEnabled, notifications: configuration.notifications,
                    resync: one.resync, deactivations: one.deactivations,
                    lease: one.instance.map { .init(instance: $0, epoch: one.epoch) }, syncToken: token, clientTokens: clients.tokens,
                    scopeMaps: sync.maps + clients.maps.filter { map in !sync.maps.contains { $0.name == map.name } },
                    budget: configuration.budget, priorities: configuration.priorities, plan: one.plan,
                    onDemand: configuration.onDemand == true ? true : nil,
                    serveAfterRemoval: configuration.serveAfterRemoval?.description))
        }
        return result
    }

    /// A pin as it may stand in a sync password; anything else would make passwords that nobody can use.
    static func pin(_ text: String?) -> String? {
        guard let text, text.utf8.count == 64, text.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }) else {
            return nil
        }
        return text
    }
}
