// Proves what scope maps permit and what their grammar accepts.

import Identity
import OCI
import TestSupport
import Testing

@Suite struct PermissionTests {
    @Test("I1 a permission is given where a map gives it, and nowhere else", arguments: RepositoryPermission.allCases)
    func matrix(granted: RepositoryPermission) throws {
        let map = ScopeMap(
            name: "mapmap", text: nil, actions: [try ScopeMapAction("repositories/team/app/\(granted.rawValue)")], created: 0)
        for permission in RepositoryPermission.allCases {
            for name in ["team/app", "team/app2", "team", "team/app/x", "other"] {
                #expect(map.permits(permission, on: repository(name)) == (permission == granted && name == "team/app"))
            }
        }
    }

    @Test(
        "I1 the system scope maps",
        arguments: [
            ("_repositories_pull", "content/read"), ("_repositories_push", "content/read content/write"),
            ("_repositories_admin", "content/delete content/read content/write metadata/read metadata/write"),
            ("_repositories_pull_metadata_read", "content/read metadata/read"),
            ("_repositories_push_metadata_write", "content/read content/write metadata/read metadata/write"),
        ])
    func systemMaps(name: String, verbs: String) async throws {
        let site = try await Site()
        try await site.identities.createSystemScopeMaps(in: site.registry)
        try await site.identities.createSystemScopeMaps(in: site.registry)
        let map = try #require(try await site.identities.scopeMap(name, in: site.registry))
        #expect(map.isSystemDefined)
        for permission in RepositoryPermission.allCases {
            #expect(
                map.permits(permission, on: repository("any/thing")) == verbs.split(separator: " ").contains(Substring(permission.rawValue))
            )
        }
        #expect(try await site.identities.scopeMaps(in: site.registry).count == ScopeMap.system.count)
    }

    @Test(
        "I1 wildcards",
        arguments: [
            ("team/*", "team/a", true), ("team/*", "team/a/b", true), ("team/*", "team", false), ("te*", "team", true), ("*", "x", true),
            ("app", "app", true),
        ])
    func wildcards(pattern: String, name: String, permits: Bool) throws {
        let map = ScopeMap(name: "mapmap", text: nil, actions: [try ScopeMapAction("repositories/\(pattern)/content/read")], created: 0)
        #expect(map.permits(.contentRead, on: repository(name)) == permits)
        #expect(!map.permits(.contentWrite, on: repository(name)))
        #expect(map.repositories(.contentRead).map(\.description) == [pattern])
    }

    @Test("C10 gateway permissions go by the connected registry's name in any letter case")
    func gateway() throws {
        let map = ScopeMap(name: "mapmap", text: nil, actions: [try ScopeMapAction("gateway/Site-1/config/read")], created: 0)
        #expect(map.permits(.configRead, gateway: "site-1"))
        #expect(map.permits(.configRead, gateway: "SITE-1"))
        #expect(!map.permits(.configWrite, gateway: "site-1"))
        #expect(!map.permits(.configRead, gateway: "site-2"))
        #expect(map.actions[0].description == "gateway/site-1/config/read")
    }

    @Test(
        "I1 actions that are none are refused, naming what does not fit",
        arguments: [
            "", "repositories", "repositories/app", "repositories/app/read", "repositories/app/content/execute",
            "repositories//content/read",
            "repositories/App/content/read", "repositories/../content/read", "repositories/a*b/content/read", "registry/app/content/read",
            "gateway/x/config/read", "gateway/site-1/content/read", "gateway/site 1/config/read", "repositories/app/config/read",
        ])
    func badActions(text: String) {
        let error = #expect(throws: IdentityError.self) { try ScopeMapAction(text) }
        #expect(error?.code == .invalidAction)
    }

    @Test(
        "I5 scopes of a token request",
        arguments: [
            ("repository:app:pull,push", "repository", "app", ["pull", "push"]), ("repository:a/b:pull", "repository", "a/b", ["pull"]),
            ("repository(plugin):app:pull", "repository", "app", ["pull"]), ("registry:catalog:*", "registry", "catalog", ["*"]),
            ("repository:host:5000/app:pull", "repository", "host:5000/app", ["pull"]), ("repository:app:", "repository", "app", []),
        ])
    func scopes(text: String, type: String, name: String, actions: [String]) throws {
        #expect(try AccessEntry.parse([text]) == [AccessEntry(type: type, name: name, actions: actions)])
    }

    @Test("I5 several scopes, in one text or many; too many and malformed ones are refused")
    func manyScopes() throws {
        #expect(try AccessEntry.parse(["repository:a:pull repository:b:pull", "repository:c:push"]).map(\.name) == ["a", "b", "c"])
        #expect(try AccessEntry.parse([]).isEmpty)
        for bad in [
            "x", "repository:app", "::".dropLast().description, String(repeating: "repository:a:pull ", count: 65),
            "repository:a:" + String(repeating: "x,", count: 17),
        ] {
            #expect(throws: OCIParseError.self) { try AccessEntry.parse([bad]) }
        }
    }
}
