// Limits at their real size, and how long a sign-in takes there.

import Identity
import Persistence
import TestSupport
import Testing

@Suite struct LimitTests {
    @Test("I2 the 20,001st token and scope map are refused naming limit and count; a sign-in takes no longer at 20,000")
    func limits() async throws {
        let site = try await Site()
        try await site.identities.createSystemScopeMaps(in: site.registry)
        try await site.identities.putToken("reader", scopeMap: "_repositories_pull", isEnabled: true, in: site.registry)
        let passwords = try await site.identities.generatePasswords([.password1], expiry: nil, token: "reader", in: site.registry)
        let password = try #require(passwords.values[.password1])
        func signIn() async throws {
            #expect(try await site.identities.authenticate(token: "reader", password: password, in: site.registry) != nil)
        }
        let few = try await quickest([signIn]) { _ in true }[0]
        let registry = site.registry
        _ = try await site.database.write { session in
            try session.execute(
                """
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 19999)
                INSERT INTO token (registry, name, scope_map, enabled, created) SELECT ?, printf('token%05d', i), '_repositories_pull', 1, 0 FROM n
                """, .integer(registry.value))
            try session.execute(
                """
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 19995)
                INSERT INTO scope_map (registry, name, text, system, actions, created)
                SELECT ?, printf('map%05d', i), NULL, 0, 'repositories/app/content/read', 0 FROM n
                """, .integer(registry.value))
        }
        let error = await #expect(throws: IdentityError.self) {
            try await site.identities.putToken("onemore", scopeMap: "_repositories_pull", isEnabled: true, in: registry)
        }
        #expect(error?.code == .limitReached)
        #expect(error?.message.contains("20000 tokens; the limit is 20000") == true)
        let mapError = await #expect(throws: IdentityError.self) {
            try await site.identities.put(ScopeMap(name: "onemore", text: nil, actions: [], created: 0), in: registry)
        }
        #expect(mapError?.code == .limitReached)
        #expect(mapError?.message.contains("20000 scope maps; the limit is 20000") == true)
        let many = try await quickest([signIn]) { $0[0] < few * 10 }[0]
        print("I2: a sign-in takes \(few) among few tokens, \(many) among 20,000")
        #expect(many < few * 10)
    }
}
