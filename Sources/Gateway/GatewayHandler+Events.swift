// `POST events`: what has happened at a child and below it.

internal import GatewayProtocol
internal import HTTPServing
internal import OCI
internal import RegistryCore

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

extension GatewayHandler {
    @inline(never)
    func events(_ request: ServerRequest, _ call: Call) async throws -> ServerResponse {
        let body = (try await self.decode(request) as EventsRequest).bounded
        guard body.events.count <= EventsRequest.maximumEvents else {
            throw Refusal(.invalid, 400, "one request takes \(EventsRequest.maximumEvents) events at most")
        }
        // The caller speaks for itself and for those below it that its scope map names.
        let below = try await self.connectedRegistries.descendants(of: call.connectedRegistry.name, in: call.registry.id)
        let names = [call.connectedRegistry.name] + below.map(\.name)
        func canonical(_ name: String) -> String? {
            names.first { $0.lowercased() == name.lowercased() && call.map.permits(.messageWrite, gateway: $0) }
        }
        let events = body.events.compactMap { event -> SiteEvent? in
            guard let kind = SiteEvent.Kind(rawValue: event.kind), let site = canonical(event.connectedRegistry),
                (1...100).contains(event.id.utf8.count), event.body.utf8.count <= SiteEvents.maximumBody, Self.isObject(event.body)
            else { return nil }
            return SiteEvent(id: event.id, site: site, kind: kind, time: event.time, body: event.body)
        }
        let dropped = (body.dropped ?? []).prefix(EventsRequest.maximumEvents).compactMap { drop -> DroppedEvents? in
            guard let kind = SiteEvent.Kind(rawValue: drop.kind), let site = canonical(drop.connectedRegistry), drop.count > 0 else {
                return nil
            }
            return DroppedEvents(site: site, kind: kind, count: drop.count)
        }
        if !events.isEmpty || !dropped.isEmpty {
            try await SiteEvents(database: self.registries.database, registry: call.registry.id).add(events, dropped: dropped)
            // One that has a parent itself tells on.
            self.connectedRegistries.reports.signal()
        }
        return try .json(.ok, EventsResponse(accepted: events.count))
    }

    private static func isObject(_ text: String) -> Bool {
        guard text.hasPrefix("{"), JSONDepth.measure(text.utf8, limit: 8) else { return false }
        return (try? JSONDecoder().decode(AnyObject.self, from: Data(text.utf8))) != nil
    }

    /// Any JSON object.
    private struct AnyObject: Decodable {
        private enum Keys: CodingKey {}

        init(from decoder: any Decoder) throws { _ = try decoder.container(keyedBy: Keys.self) }
    }
}
