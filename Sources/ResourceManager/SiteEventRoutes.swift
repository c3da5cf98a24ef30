// What has happened at connected registries: notifications and audit records, as their parent was told.

internal import Gateway
internal import HTTPServing
internal import JSON
internal import Persistence
internal import RegistryCore

extension ResourceOperations {
    /// The newest first; `$top` of them, 1,000 at most.
    func listSiteEvents(_ call: Call, _ kind: SiteEvent.Kind) async throws -> ServerResponse {
        let registry = try await self.registry(call)
        let connected = try await self.connectedRegistry(call, in: registry)
        let top = call.request.query("$top") ?? "100"
        guard let limit = Int(top), (1...1000).contains(limit) else {
            throw ResourceError(
                .badRequest, .invalidParameter, "'$top' must be a number from 1 to 1000, not '\(top.prefix(20))'.", target: "$top")
        }
        let found = try await SiteEvents(database: self.services.registries.database, registry: registry.content).list(
            kind, of: connected.name, limit: limit)
        let values = found.events.map { event -> JSONValue in
            var value = (try? JSONValue(parsing: event.body)) ?? [:]
            value["id"] = .string(event.id)
            value["time"] = .string(Timestamp.text(milliseconds: event.time))
            return value
        }
        return .document(["value": .array(values), "dropped": .integer(found.dropped)])
    }
}
