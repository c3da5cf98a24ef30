// What Azure has and this version has not: said so, with the honest empty list where there is nothing to list.

internal import HTTPServing
internal import HTTPTypes

extension Route {
    private static let collections: [(segment: String, kind: ResourceID.ChildKind, name: String)] = [
        ("replications", .replications, "Replication to other regions"), ("cacheRules", .cacheRules, "A cache rule"),
        ("credentialSets", .credentialSets, "A credential set"),
    ]

    static let laterRoutes: [Route] = collections.flatMap(routes)

    private static func routes(_ later: (segment: String, kind: ResourceID.ChildKind, name: String)) -> [Route] {
        let path = "\(registryPath)/\(later.segment.lowercased())"
        let action = "\(ResourceKind.registry.rawValue)/\(later.segment)"
        let kind = later.kind
        let refusal = ResourceError.notAvailable(later.name)
        return [
            Route(.get, path, action + "/read") { operations, call in
                _ = try await operations.registry(call)
                return .list([])
            },
            Route(.get, path + "/{name}", action + "/read") { operations, call in
                throw operations.notFound(kind, call["name"], in: try await operations.registry(call))
            },
            Route(.put, path + "/{name}", action + "/write") { _, _ in throw refusal },
            Route(.patch, path + "/{name}", action + "/write") { operations, call in
                throw operations.notFound(kind, call["name"], in: try await operations.registry(call))
            },
            Route(.delete, path + "/{name}", action + "/delete") { operations, call in
                _ = try await operations.registry(call)
                return ServerResponse(.noContent)
            },
        ]
    }
}
