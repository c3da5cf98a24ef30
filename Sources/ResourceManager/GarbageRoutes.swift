// Garbage collection on demand, while serving. Outport's own: content is shared by all registries of a server, so it is a call
// of the server and not of one registry.

internal import HTTPServing
internal import HTTPTypes
internal import JSON
internal import RegistryCore

extension Route {
    static let garbageRoutes: [Route] = [
        // Not exclusive: it takes as long as there is content, and works by transactions of its own, as it does each night.
        Route(
            .post, "providers/microsoft.containerregistry:collectgarbage", "Microsoft.ContainerRegistry/collectGarbage/action",
            exclusive: false
        ) { try await $0.collectGarbage($1) }
    ]
}

extension ResourceOperations {
    /// Things of a survey that an answer lists.
    private static let longestList = 1000

    /// `{"dryRun": true, "untaggedDays": 30}`, both optional.
    func collectGarbage(_ call: Call) async throws -> ServerResponse {
        let body = BodyField(body: call.body ?? [:])
        let isDryRun = try body["dryRun"].bool() ?? false
        let days = try body["untaggedDays"].integer(in: 0...36_500)
        var policy = self.resources.lookup.garbagePolicy
        policy.untaggedAge = days.map { Int64($0) * GarbagePolicy.day }
        guard isDryRun else {
            let report = try await self.services.garbage.collect(policy)
            return .document([
                "dryRun": false, "uploads": .integer(Int64(report.uploads)), "manifests": .integer(Int64(report.manifests)),
                "purged": .integer(Int64(report.purged)), "links": .integer(Int64(report.links)), "blobs": .integer(Int64(report.blobs)),
                "files": .integer(Int64(report.files)),
                "bytes": .integer(report.bytes),
            ])
        }
        let items = try await self.services.garbage.survey(policy)
        func count(_ kind: GarbageItem.Kind) -> JSONValue { .integer(Int64(items.count { $0.kind == kind })) }
        return .document([
            "dryRun": true, "uploads": count(.upload), "manifests": count(.manifest), "purged": count(.deleted), "links": count(.link),
            "blobs": count(.blob),
            "files": count(.file),
            "bytes": .integer(items.filter { $0.kind == .blob || $0.kind == .file }.reduce(0) { $0 + $1.bytes }),
            "items": .array(
                items.prefix(Self.longestList).map {
                    [
                        "kind": .string($0.kind.rawValue), "subject": .string($0.subject),
                        "repository": $0.repository.map { .string($0) } ?? .null, "bytes": .integer($0.bytes), "reason": .string($0.reason),
                    ]
                }),
        ])
    }
}
