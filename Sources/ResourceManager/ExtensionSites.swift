// What an extension's connected registry says of itself, beside what the agent says of its pods: one that was deactivated runs on.

internal import Gateway
internal import JSON
internal import Persistence

extension ResourceOperations {
    /// An extension as it is shown, with the state of the connected registry that its connection string names.
    func told(_ found: StoredExtension, of cluster: StoredRecord) async throws -> JSONValue {
        var value = self.value(found, of: cluster)
        guard found.removal == nil, let (registry, site) = try await self.site(of: found) else { return value }
        let now = self.services.clock.milliseconds()
        let state = site.connectionState(now: now)
        // Deactivated after it was active, and not activated since: pods are there and answer, and nothing arrives any more.
        let isDeactivated = !site.isActive && site.deactivations > 0
        let name = "'\(site.name)' of '\(registry)'"
        let message =
            isDeactivated
            ? "The connected registry \(name) was deactivated at its parent: it serves what it has and gets nothing more. Delete the extension "
                + "and create it again, or see whether another instance is to be the active one."
            : "The connected registry \(name) is \(state.rawValue)."
        let isWell = !isDeactivated && (state == .online || state == .syncing)
        let statuses = value[path: "properties", "statuses"]?.arrayValue ?? []
        value[path: "properties", "statuses"] = .array(
            statuses + [
                [
                    "code": "ConnectedRegistry", "displayStatus": .string(isDeactivated ? "Deactivated" : state.rawValue),
                    "level": isWell ? "Information" : "Warning", "message": .string(message),
                    "time": .string(Timestamp.text(milliseconds: now)),
                ]
            ])
        if isDeactivated, value[path: "properties", "errorInfo"]?.isNull != false {
            value[path: "properties", "errorInfo"] = [
                "code": "Deactivated", "message": .string(message), "target": nil, "details": nil,
            ]
        }
        return value
    }

    /// The connected registry of this server that an extension's connection string is for; `nil` where it is another server's.
    private func site(of found: StoredExtension) async throws -> (registry: String, site: ConnectedRegistry)? {
        guard let string = try await self.extensionStore().protectedSettings(of: found)?["connectionString"] else { return nil }
        var fields: [String: String] = [:]
        for part in string.split(separator: ";") {
            // Values may have further equals signs.
            let pair = part.split(separator: "=", maxSplits: 1).map { $0.filter { !$0.isWhitespace } }
            if pair.count == 2 { fields[pair[0].lowercased()] = pair[1] }
        }
        guard let name = fields["connectedregistryname"], let endpoint = fields["parentgatewayendpoint"]?.lowercased() else { return nil }
        for entry in self.resources.lookup.all {
            guard let site = try await self.connectedRegistries.find(name, in: entry.id) else { continue }
            var gateway = entry.dataEndpoint
            if let parent = site.configuration.parent {
                gateway = try await self.connectedRegistries.find(parent, in: entry.id)?.report?.loginServer ?? ""
            }
            // Several endpoints of one parent may stand behind each other.
            if endpoint.split(separator: ",").contains(where: { $0 == gateway.lowercased() }) { return (entry.name, site) }
        }
        return nil
    }
}
