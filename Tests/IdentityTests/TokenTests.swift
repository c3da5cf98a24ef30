// Proves tokens, their passwords and their limits over the database.

import Identity
import Persistence
import Synchronization
import TestSupport
import Testing

@Suite struct TokenTests {
    private func site() async throws -> Site {
        let site = try await Site()
        try await site.identities.createSystemScopeMaps(in: site.registry)
        return site
    }

    private func refusal(_ body: @Sendable () async throws -> Void) async -> IdentityError? {
        await #expect(throws: IdentityError.self) { try await body() }
    }

    private func map(_ name: String, _ actions: [String] = ["repositories/app/content/read"]) throws -> ScopeMap {
        ScopeMap(name: name, text: "text", actions: try actions.map { try ScopeMapAction($0) }, created: 1)
    }

    private func signsIn(_ site: Site, _ user: String, _ password: String) async throws -> Bool {
        try await site.identities.authenticate(token: user, password: password, in: site.registry) != nil
    }

    @Test("I1 two password slots, each with its own value; renewing one leaves the other")
    func slots() async throws {
        let site = try await self.site()
        try await site.identities.putToken("client", scopeMap: "_repositories_pull", isEnabled: true, in: site.registry)
        #expect(try await !self.signsIn(site, "client", ""))
        let both = try await site.identities.generatePasswords(PasswordSlot.allCases, expiry: nil, token: "client", in: site.registry)
        let (one, two) = (try #require(both.values[.password1]), try #require(both.values[.password2]))
        #expect(one != two)
        #expect(one.utf8.count >= 44)
        #expect(try await self.signsIn(site, "client", one))
        #expect(try await self.signsIn(site, "CLIENT", two))
        let renewed = try await site.identities.generatePasswords(
            [.password1], expiry: nil, suffix: ".pin", token: "client", in: site.registry)
        let three = try #require(renewed.values[.password1])
        #expect(three.hasSuffix(".pin"))
        #expect(try await !self.signsIn(site, "client", one))
        #expect(try await self.signsIn(site, "client", two))
        #expect(try await self.signsIn(site, "client", three))
        #expect(try await !self.signsIn(site, "client", String(three.dropLast(4))))
        try await site.identities.keepPasswords([.password2], token: "client", in: site.registry)
        #expect(try await !self.signsIn(site, "client", three))
        #expect(try await self.signsIn(site, "client", two))
        // What is stored is a verifier.
        let record = try #require(try await site.identities.token("client", in: site.registry))
        #expect(record.passwords.map(\.verifier) == [Secret.verifier(of: two)])
    }

    @Test("I1 a password ends with its expiry, the other slot does not")
    func expiry() async throws {
        let site = try await self.site()
        try await site.identities.putToken("client", scopeMap: "_repositories_pull", isEnabled: true, in: site.registry)
        let limited = try await site.identities.generatePasswords(
            [.password1], expiry: site.clock.milliseconds + 60_000, token: "client", in: site.registry)
        let lasting = try await site.identities.generatePasswords([.password2], expiry: nil, token: "client", in: site.registry)
        let (one, two) = (try #require(limited.values[.password1]), try #require(lasting.values[.password2]))
        site.clock.advance(seconds: 59)
        #expect(try await self.signsIn(site, "client", one))
        site.clock.advance(seconds: 1)
        #expect(try await !self.signsIn(site, "client", one))
        #expect(try await self.signsIn(site, "client", two))
    }

    @Test("I1 a disabled or deleted token signs nobody in; wrong names and passwords neither")
    func disabled() async throws {
        let site = try await self.site()
        try await site.identities.putToken("client", scopeMap: "_repositories_pull", isEnabled: true, in: site.registry)
        let value = try #require(
            try await site.identities.generatePasswords([.password1], expiry: nil, token: "client", in: site.registry).values[.password1])
        #expect(try await !self.signsIn(site, "client", value + "x"))
        #expect(try await !self.signsIn(site, "other", value))
        let other = try await site.store.registry(named: "other")
        #expect(try await site.identities.authenticate(token: "client", password: value, in: other) == nil)
        try await site.identities.putToken("client", scopeMap: "_repositories_pull", isEnabled: false, in: site.registry)
        #expect(try await !self.signsIn(site, "client", value))
        try await site.identities.putToken("client", scopeMap: "_repositories_push", isEnabled: true, in: site.registry)
        let signedIn = try #require(try await site.identities.authenticate(token: "client", password: value, in: site.registry))
        #expect(signedIn.map.name == "_repositories_push")
        #expect(try await site.identities.deleteToken("client", in: site.registry))
        #expect(try await !site.identities.deleteToken("client", in: site.registry))
        #expect(try await !self.signsIn(site, "client", value))
        // A new token of the name does not inherit the password.
        try await site.identities.putToken("client", scopeMap: "_repositories_pull", isEnabled: true, in: site.registry)
        #expect(try await !self.signsIn(site, "client", value))
    }

    @Test("I1 names and references are checked")
    func names() async throws {
        let site = try await self.site()
        for bad in ["", "abcd", String(repeating: "a", count: 51), "with space", "slash/name", "dot.name", "ümlaut"] {
            let token = await self.refusal {
                try await site.identities.putToken(bad, scopeMap: "_repositories_pull", isEnabled: true, in: site.registry)
            }
            #expect(token?.code == .invalidName)
            let map = await self.refusal { try await site.identities.put(self.map(bad), in: site.registry) }
            #expect(map?.code == .invalidName)
        }
        let unknown = await self.refusal {
            try await site.identities.putToken("client", scopeMap: "missing", isEnabled: true, in: site.registry)
        }
        #expect(unknown?.code == .notFound)
        let passwords = await self.refusal {
            _ = try await site.identities.generatePasswords([.password1], expiry: nil, token: "nobody", in: site.registry)
        }
        #expect(passwords?.code == .notFound)
    }

    @Test("I1 system maps cannot be changed or deleted, a map in use cannot be deleted")
    func scopeMaps() async throws {
        let site = try await self.site()
        let system = await self.refusal { try await site.identities.deleteScopeMap("_repositories_pull", in: site.registry) }
        #expect(system?.code == .readOnly)
        try await site.identities.put(self.map("custom"), in: site.registry)
        try await site.identities.putToken("client", scopeMap: "CUSTOM", isEnabled: true, in: site.registry)
        let used = await self.refusal { try await site.identities.deleteScopeMap("custom", in: site.registry) }
        #expect(used?.code == .inUse)
        #expect(used?.message.contains("client") == true)
        try await site.identities.put(self.map("Custom", ["repositories/x/content/write"]), in: site.registry)
        #expect(
            try await site.identities.scopeMap("custom", in: site.registry)?.actions.map(\.description) == ["repositories/x/content/write"])
        try await site.identities.deleteToken("client", in: site.registry)
        #expect(try await site.identities.deleteScopeMap("custom", in: site.registry))
        #expect(try await !site.identities.deleteScopeMap("custom", in: site.registry))
    }

    @Test("I2 500 repository permissions in a map; the error names the limit and the count")
    func mapLimit() async throws {
        let site = try await self.site()
        @Sendable func actions(_ count: Int) -> [String] { (0..<count).map { "repositories/app\($0)/content/read" } }
        try await site.identities.put(self.map("largest", actions(500) + ["gateway/site-1/config/read"]), in: site.registry)
        let error = await self.refusal { try await site.identities.put(self.map("larger", actions(501)), in: site.registry) }
        #expect(error?.code == .limitReached)
        #expect(error?.message.contains("501") == true)
        #expect(error?.message.contains("500") == true)
        #expect(try await site.identities.scopeMap("larger", in: site.registry) == nil)
    }

    @Test("I2 tokens and scope maps are limited; the error names the limit and the count, and what exists can still be changed")
    func countLimits() async throws {
        #expect(IdentityStore.maximumTokens == 20_000)
        #expect(IdentityStore.maximumScopeMaps == 20_000)
        let site = try await self.site()
        let identities = IdentityStore(
            database: site.database, clock: site.clock.wall, limits: (tokens: 3, scopeMaps: ScopeMap.system.count + 1))
        for number in 0..<3 {
            try await identities.putToken("client\(number)", scopeMap: "_repositories_pull", isEnabled: true, in: site.registry)
        }
        let token = await self.refusal {
            try await identities.putToken("client3", scopeMap: "_repositories_pull", isEnabled: true, in: site.registry)
        }
        #expect(token?.code == .limitReached)
        #expect(token?.message.contains("has 3 tokens; the limit is 3") == true)
        try await identities.putToken("CLIENT2", scopeMap: "_repositories_push", isEnabled: false, in: site.registry)
        let other = try await site.store.registry(named: "other")
        try await identities.createSystemScopeMaps(in: other)
        try await identities.putToken("client3", scopeMap: "_repositories_pull", isEnabled: true, in: other)
        try await identities.put(self.map("custom"), in: site.registry)
        let map = await self.refusal { try await identities.put(self.map("another"), in: site.registry) }
        #expect(map?.code == .limitReached)
        try await identities.put(self.map("custom", ["repositories/y/content/read"]), in: site.registry)
        try await identities.deleteToken("client0", in: site.registry)
        try await identities.putToken("client3", scopeMap: "_repositories_pull", isEnabled: true, in: site.registry)
    }

    @Test("C15 a child's tokens and maps are replaced as a whole by those of its parent")
    func replaced() async throws {
        let parent = try await self.site()
        try await parent.identities.putToken("client", scopeMap: "_repositories_pull", isEnabled: true, in: parent.registry)
        let value = try #require(
            try await parent.identities.generatePasswords([.password1], expiry: nil, token: "client", in: parent.registry).values[
                .password1])
        let child = try await Site()
        let tokens = try await parent.identities.tokens(in: parent.registry)
        let maps = try await parent.identities.scopeMaps(in: parent.registry)
        try await child.identities.replace(tokens: tokens, scopeMaps: maps, in: child.registry)
        try await child.identities.replace(tokens: tokens, scopeMaps: maps, in: child.registry)
        #expect(try await self.signsIn(child, "client", value))
        #expect(try await child.identities.tokens(in: child.registry) == tokens)
        try await child.identities.replace(tokens: [], scopeMaps: maps, in: child.registry)
        #expect(try await !self.signsIn(child, "client", value))
    }

    @Test("C15 every change is told to those who wait")
    func told() async throws {
        let site = try await self.site()
        let count = Mutex(0)
        let identities = IdentityStore(database: site.database, clock: site.clock.wall) { count.withLock { $0 += 1 } }
        try await identities.put(self.map("custom"), in: site.registry)
        try await identities.putToken("client", scopeMap: "custom", isEnabled: true, in: site.registry)
        _ = try await identities.generatePasswords([.password1], expiry: nil, token: "client", in: site.registry)
        try await identities.deleteToken("client", in: site.registry)
        #expect(count.withLock { $0 } == 4)
    }

    @Test("I3 a service principal's secret ends with its expiry and with the next one")
    func directory() async throws {
        let site = try await self.site()
        let directory = Directory(database: site.database, clock: site.clock.wall)
        let principal = ServicePrincipal(objectID: "object-1", appID: "app-1", displayName: "builder", isDirectoryAdministrator: true)
        try await directory.create(principal)
        try await directory.replaceSecrets(of: principal, with: "first", keyID: "key-1", expiry: site.clock.milliseconds + 1000)
        #expect(try await directory.authenticate(appID: "APP-1", secret: "first")?.principal == principal)
        #expect(try await directory.authenticate(appID: "app-1", secret: "second") == nil)
        #expect(try await directory.authenticate(appID: "app-2", secret: "first") == nil)
        site.clock.advance(seconds: 1)
        #expect(try await directory.authenticate(appID: "app-1", secret: "first") == nil)
        try await directory.replaceSecrets(of: principal, with: "second", keyID: "key-2", expiry: nil)
        #expect(try await directory.authenticate(appID: "app-1", secret: "second")?.principal == principal)
        #expect(try await directory.administrator() == principal)
    }
}
