// The connected registries below this one, as the agent sees them: what it is told about them goes to their gateway here, and what the
// gateway hears of them goes up.

package import GatewayProtocol
internal import Identity
package import RegistryCore

/// The gateway of this connected registry, for the agent.
package struct DescendantPort: Sendable {
    let apply: @Sendable ([Descendant]) async throws -> Void
    let statuses: @Sendable () async throws -> [DescendantStatus]
    /// Moves when one of them has news.
    let reports: Activity

    package init(
        apply: @escaping @Sendable ([Descendant]) async throws -> Void, statuses: @escaping @Sendable () async throws -> [DescendantStatus],
        reports: Activity
    ) {
        self.apply = apply
        self.statuses = statuses
        self.reports = reports
    }
}

/// Who may sign in at a connected registry, and what it keeps for those below.
struct SettingsCredentials {
    let tokens: [TokenRecord]
    let scopeMaps: [ScopeMap]
    /// Tokens, in lower case, that are only passed on: clients of descendants, and sync tokens of those that speak to another.
    let carried: Set<String>

    /// - Parameter name: this connected registry.
    init(_ settings: GatewaySettings, of name: String) {
        var tokens: [String: GatewaySettings.ClientToken] = [:]
        var maps: [String: GatewaySettings.ScopeMap] = [:]
        var ours: Set<String> = []
        for descendant in settings.descendants ?? [] {
            for token in descendant.clientTokens + [descendant.syncToken] { tokens[token.name.lowercased()] = token }
            for map in descendant.scopeMaps { maps[map.name.lowercased()] = map }
            if descendant.parent.lowercased() == name.lowercased() { ours.insert(descendant.syncToken.name.lowercased()) }
        }
        for token in settings.clientTokens {
            tokens[token.name.lowercased()] = token
            ours.insert(token.name.lowercased())
        }
        for map in settings.scopeMaps { maps[map.name.lowercased()] = map }
        self.tokens = tokens.values.map(TokenRecord.init)
        self.scopeMaps = maps.values.map(ScopeMap.init)
        self.carried = Set(tokens.keys).subtracting(ours)
    }
}

extension TokenRecord {
    fileprivate init(_ token: GatewaySettings.ClientToken) {
        self.init(
            name: token.name, scopeMap: token.scopeMap, isEnabled: token.enabled, created: token.created,
            passwords: token.passwords.compactMap { password in
                PasswordSlot(rawValue: password.slot).map {
                    PasswordVerifier(slot: $0, verifier: password.verifier, created: password.created, expiry: password.expiry)
                }
            })
    }
}

extension ScopeMap {
    /// An action that this version does not know grants nothing here, and keeps nothing else from being applied.
    fileprivate init(_ map: GatewaySettings.ScopeMap) {
        self.init(
            name: map.name, text: nil, isSystemDefined: map.system, actions: map.actions.compactMap { try? ScopeMapAction($0) },
            created: map.created)
    }
}
