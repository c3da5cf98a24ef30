// Cache rules, credential sets and replications as resources, and what a rule then fetches.

import HTTPTypes
import Import
import JSON
import Logging
import NIOCore
import NIOPosix
import OCI
import Persistence
import RegistryClient
import RegistryCore
import Synchronization
import TestSupport
import Testing

@testable import ResourceManager

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite struct CacheRuleTests {
    private static let vault = "https://myvault.vault.azure.net/secrets"

    private func rule(_ source: String, _ target: String, set: JSONValue = .null) -> JSONValue {
        [
            "properties": [
                "sourceRepository": .string(source), "targetRepository": .string(target), "credentialSetResourceId": set,
            ]
        ]
    }

    private func set(_ server: String = "docker.io", user: String = "user", password: String = "password") -> JSONValue {
        [
            "identity": ["type": "SystemAssigned"],
            "properties": [
                "loginServer": .string(server),
                "authCredentials": [
                    [
                        "name": "Credential1", "usernameSecretIdentifier": .string("\(Self.vault)/\(user)"),
                        "passwordSecretIdentifier": .string("\(Self.vault)/\(password)"),
                    ]
                ],
            ],
        ]
    }

    @Test("A3 cache rules are made, shown, listed, changed and deleted; a mistake is refused with its field and changes nothing")
    func rules() async throws {
        let world = try await World().withRegistry()
        let rules = world.registry() + "/cacheRules"
        let made = try await world.send(.put, rules + "/hubrule", self.rule("docker.io/library/ubuntu", "ubuntu"))
        #expect(made.status == 201)
        #expect(made.body[path: "properties", "sourceRepository"] == "docker.io/library/ubuntu")
        #expect(made.body[path: "properties", "credentialSetResourceId"] == .null)
        #expect(made.body["type"] == "Microsoft.ContainerRegistry/registries/cacheRules")
        #expect(try await world.send(.put, rules + "/HUBRULE", self.rule("docker.io/library/ubuntu", "ubuntu")).status == 200)
        #expect(try await world.send(.put, rules + "/everything", self.rule("mcr.microsoft.com/*", "*")).status == 201)
        #expect(try await world.send(.get, rules).names == ["everything", "hubrule"])
        let cases: [(name: String, body: JSONValue, status: Int, field: String?)] = [
            ("abcd", self.rule("docker.io/a", "a"), 400, "name"), ("under_score", self.rule("docker.io/a", "a"), 400, "name"),
            ("fresh", self.rule("ubuntu", "a"), 400, "properties.sourceRepository"),
            ("fresh", self.rule("library/ubuntu", "a"), 400, "properties.sourceRepository"),
            ("fresh", self.rule("docker.io/Library", "a"), 400, "properties.sourceRepository"),
            ("fresh", self.rule("docker.io/../x", "a"), 400, "properties.sourceRepository"),
            ("fresh", self.rule("docker.io@evil.example/x", "a"), 400, "properties.sourceRepository"),
            ("fresh", self.rule("docker.io/lib*", "a/*"), 400, "properties.sourceRepository"),
            ("fresh", self.rule("docker.io/lib/*", "a"), 400, "properties.targetRepository"),
            ("fresh", self.rule("docker.io/lib", "a/*"), 400, "properties.targetRepository"),
            ("fresh", self.rule("docker.io/lib", "UPPER"), 400, "properties.targetRepository"),
            ("fresh", self.rule("quay.io/other", "ubuntu"), 409, "properties.targetRepository"),
            ("fresh", self.rule("harbour.registry.test:8443/x", "a"), 400, "properties.sourceRepository"),
            (
                "fresh", self.rule("docker.io/a", "a", set: .string(world.registry() + "/credentialSets/nothing")), 400,
                "properties.credentialSetResourceId"
            ),
            ("fresh", self.rule("docker.io/a", "a", set: "nothing"), 400, "properties.credentialSetResourceId"),
            ("fresh", ["properties": [:]], 400, "properties.sourceRepository"),
        ]
        for row in cases {
            let answer = try await world.send(.put, "\(rules)/\(row.name)", row.body)
            #expect(answer.status == row.status, "\(row) \(answer.body)")
            #expect(answer.target == row.field, "\(row) \(answer.body)")
        }
        var identity = self.rule("docker.io/a", "a")
        identity["identity"] = ["type": "UserAssigned", "userAssignedIdentities": [:]]
        #expect(try await world.send(.put, rules + "/fresh", identity).code == "FeatureNotAvailable")
        #expect(try await world.send(.get, rules).names == ["everything", "hubrule"])
        #expect(try await world.send(.delete, rules + "/everything").status == 204)
        #expect(try await world.send(.get, rules + "/everything").code == "ResourceNotFound")
        #expect(try await world.send(.delete, rules + "/everything").status == 204)
        // They go with their registry.
        _ = try await world.send(.delete, world.registry())
        try await world.withRegistry()
        #expect(try await world.send(.get, rules).values == [])
    }

    @Test("A3 credential sets name secrets and hold none; one that is used stays; a rule takes a set for its own source alone")
    func sets() async throws {
        let world = try await World().withRegistry()
        let (sets, rules) = (world.registry() + "/credentialSets", world.registry() + "/cacheRules")
        let made = try await world.send(.put, sets + "/hubset", self.set())
        #expect(made.status == 201)
        let credential = try #require(made.body[path: "properties", "authCredentials"]?[0])
        #expect(credential["usernameSecretIdentifier"]?.stringValue == "\(Self.vault)/user")
        #expect(credential[path: "credentialHealth", "status"] == "Unhealthy")
        #expect(credential[path: "credentialHealth", "errorMessage"]?.stringValue?.contains("--secrets") == true)
        for (body, field) in [
            (self.set("docker.io/x"), "properties.loginServer"), (self.set(".."), "properties.loginServer"),
            (self.set(user: "a/../../b"), "properties.authCredentials[0].usernameSecretIdentifier"),
            (self.set(password: ".."), "properties.authCredentials[0].passwordSecretIdentifier"),
            (["properties": ["loginServer": "docker.io"]], "properties.authCredentials"),
            (["properties": ["loginServer": "docker.io", "authCredentials": []]], "properties.authCredentials"),
        ] as [(JSONValue, String)] {
            let answer = try await world.send(.put, sets + "/other", body)
            #expect(answer.status == 400, "\(body)")
            #expect(answer.target == field, "\(answer.body)")
        }
        let id: JSONValue = .string(sets + "/HubSet")
        #expect(try await world.send(.put, rules + "/quayrule", self.rule("quay.io/x", "x", set: id)).status == 400)
        let used = try await world.send(.put, rules + "/hubrule", self.rule("docker.io/x", "x", set: id))
        #expect(used.body[path: "properties", "credentialSetResourceId"]?.stringValue == "\(world.registry())/credentialSets/hubset")
        #expect(try await world.send(.delete, sets + "/hubset").status == 409)
        #expect(try await world.send(.put, sets + "/hubset", self.set("quay.io")).target == "properties.loginServer")
        let changed = try await world.send(
            .patch, sets + "/hubset", ["properties": ["authCredentials": self.set(password: "newer")["properties"]!["authCredentials"]!]])
        #expect(
            changed.body[path: "properties", "authCredentials"]?[0]?["passwordSecretIdentifier"]?.stringValue == "\(Self.vault)/newer")
        // Absent leaves it, null takes it away.
        let same = try await world.send(.patch, rules + "/hubrule", ["properties": [:]])
        #expect(same.body[path: "properties", "credentialSetResourceId"] != .null)
        let without = try await world.send(.patch, rules + "/hubrule", ["properties": ["credentialSetResourceId": nil]])
        #expect(without.body[path: "properties", "credentialSetResourceId"] == .null)
        #expect(try await world.send(.delete, sets + "/hubset").status == 204)
    }

    @Test("A3 a registry is in its home region; another one is refused with what to do instead")
    func replications() async throws {
        let world = try await World().withRegistry()
        let path = world.registry() + "/replications"
        #expect(try await world.send(.get, path).names == ["eastus"])
        #expect(try await world.send(.get, path + "/EastUS").body[path: "properties", "status", "displayStatus"] == "Ready")
        let refused = try await world.send(.put, path + "/westus", ["location": "West US"])
        #expect(refused.code == "FeatureNotAvailable")
        #expect(refused.message?.contains("connected registry") == true)
        #expect(try await world.send(.get, path + "/westus").code == "ResourceNotFound")
        #expect(try await world.send(.put, path + "/eastus", ["location": "eastus"]).status == 200)
        let closed = try await world.send(.patch, path + "/eastus", ["properties": ["regionEndpointEnabled": false]])
        #expect(closed.target == "properties.regionEndpointEnabled")
        #expect(try await world.send(.delete, path + "/eastus").status == 409)
        #expect(try await world.send(.delete, path + "/westus").status == 204)
        _ = try await world.send(.patch, world.registry(), ["sku": ["name": "Basic"], "properties": ["dataEndpointEnabled": false]])
        #expect(try await world.send(.get, path).values == [])
        #expect(try await world.send(.put, path + "/westus", ["location": "westus"]).code == "SkuNotSupported")
    }

    // MARK: Fetching

    /// A source that counts what it is asked, and may want a password.
    private final class Source: Transport {
        private let log = Mutex<[String]>([])
        private let content: Mutex<[String: (type: String, bytes: [UInt8])]>
        private let authorization: String?
        private let obstacle = Mutex<Gate?>(nil)

        init(_ content: [String: (type: String, bytes: [UInt8])], authorization: String? = nil) {
            self.content = Mutex(content)
            self.authorization = authorization
        }

        /// What is there from now on; nothing for a source that is in trouble.
        func become(_ content: [String: (type: String, bytes: [UInt8])]) { self.content.withLock { $0 = content } }

        var asked: [String] { self.log.withLock { $0 } }

        /// Answers nothing until the gate is open.
        func hold(_ gate: Gate) { self.obstacle.withLock { $0 = gate } }

        func send(_ request: ClientRequest) async throws -> ClientResponse {
            self.log.withLock { $0.append("\(request.endpoint.host)\(request.target)") }
            await self.obstacle.withLock { $0 }?.wait()
            var (status, headers, body) = (404, [(name: String, value: String)](), Array(#"{"errors":[{"code":"X","message":"no"}]}"#.utf8))
            if let authorization, !request.headers.contains(where: { $0.name == "Authorization" && $0.value == authorization }) {
                (status, headers) = (401, [("WWW-Authenticate", "Basic realm=\"source\"")])
            } else if let found = self.content.withLock({ $0[request.target] }) {
                (status, headers, body) = (200, [("Content-Type", found.type)], found.bytes)
            }
            let (stream, source) = AsyncStream.makeStream(of: ByteBuffer.self)
            source.yield(ByteBuffer(bytes: body))
            source.finish()
            return ClientResponse(status: status, headers: headers, body: ClientResponseBody(stream))
        }
    }

    private struct Image {
        var paths: [String: (type: String, bytes: [UInt8])] = [:]
        let index: Digest
        let manifest: Digest
        let layer: Digest

        /// An index of two images, of which the source really has one.
        init(_ repository: String, message: String = "") {
            let type = "application/vnd.oci.image.manifest.v1+json"
            let layer = Array("layer of \(repository)\(message)".utf8)
            let config = Array("{}".utf8)
            (self.layer, _) = (Digest.of(layer), 0)
            let manifest = Array(
                """
                {"schemaVersion":2,"mediaType":"\(type)","config":{"mediaType":"application/vnd.oci.image.config.v1+json",\
                "digest":"\(Digest.of(config))","size":\(config.count)},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar",\
                "digest":"\(self.layer)","size":\(layer.count)}]}
                """.utf8)
            self.manifest = Digest.of(manifest)
            let indexType = "application/vnd.oci.image.index.v1+json"
            let index = Array(
                """
                {"schemaVersion":2,"mediaType":"\(indexType)","manifests":[{"mediaType":"\(type)","digest":"\(self.manifest)",\
                "size":\(manifest.count)},{"mediaType":"\(type)","digest":"\(Digest.of(Array("other".utf8)))","size":5}]}
                """.utf8)
            self.index = Digest.of(index)
            let base = "/v2/\(repository)"
            self.paths["\(base)/manifests/latest"] = (indexType, index)
            self.paths["\(base)/manifests/single"] = (type, manifest)
            for (digest, bytes, kind) in [(self.index, index, indexType), (self.manifest, manifest, type)] {
                self.paths["\(base)/manifests/\(digest)"] = (kind, bytes)
            }
            for (digest, bytes) in [(self.layer, layer), (Digest.of(config), config)] {
                self.paths["\(base)/blobs/\(digest)"] = ("application/octet-stream", bytes)
            }
        }
    }

    private func name(_ text: String) throws -> RepositoryName { try RepositoryName(text) }

    private func pull(
        _ world: World, _ source: Source, _ name: String, _ reference: String, secrets: String? = nil
    ) async throws -> Bool {
        try await self.puller(world, source, secrets: secrets)(name, reference)
    }

    private func puller(
        _ world: World, _ source: Source, secrets: String? = nil
    ) throws -> @Sendable (String, String) async throws -> Bool {
        let pull = PullThrough(
            resources: world.services.resources, importer: ImageImporter(store: world.services.registries, transport: source),
            secrets: secrets.map { SecretFolder(folder: $0, pool: .singleton) }, clock: world.clock.wall)
        let entry = try #require(world.lookup.registry(named: "harbour"))
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        return { try await pull.fetch(Reference($1), in: RepositoryName($0), of: entry, logger: logger) }
    }

    @Test("A3 B6 what a rule promises is fetched once however many pull, stored whole, an index without what nobody pulls")
    func fetches() async throws {
        let world = try await World().withRegistry()
        _ = try await world.send(.put, world.registry() + "/cacheRules/hubrule", self.rule("docker.io/library/*", "hub/*"))
        _ = try await world.send(.put, world.registry() + "/cacheRules/exact", self.rule("quay.io/team/app", "hub/app"))
        let (ubuntu, app) = (Image("library/ubuntu"), Image("team/app"))
        let source = Source(ubuntu.paths.merging(app.paths) { first, _ in first })
        let pull = try self.puller(world, source)
        let (store, registry) = (world.services.registries, try #require(world.lookup.registry(named: "harbour")).id)
        let hub = try self.name("hub/ubuntu")

        try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0..<8 { group.addTask { try await pull("hub/ubuntu", "latest") } }
            for try await found in group { #expect(found) }
        }
        // Those that came after the first had ended asked for themselves; none asked for a layer.
        #expect(source.asked.allSatisfy { $0 == "registry-1.docker.io/v2/library/ubuntu/manifests/latest" })
        #expect(try await store.resolve(Tag("latest"), in: hub, of: registry) == ubuntu.index)
        #expect(try await !store.holds(ubuntu.manifest, in: hub, of: registry))
        #expect(try await pull("hub/ubuntu", ubuntu.manifest.description))
        #expect(try await store.holdsWhole(ubuntu.manifest, in: hub, of: registry))
        _ = try await store.blob(ubuntu.layer, in: hub, of: registry)
        // The rule that says more of the name is the one.
        #expect(try await pull("hub/app", "single"))
        #expect(source.asked.contains("quay.io/v2/team/app/manifests/single"))
        #expect(try await store.holdsWhole(app.manifest, in: self.name("hub/app"), of: registry))
        // Where there is no rule nobody is asked; what a source has not is asked for once in a while.
        let before = source.asked.count
        #expect(try await !pull("elsewhere/app", "v1"))
        #expect(source.asked.count == before)
        for _ in 0..<3 { #expect(try await !pull("hub/ubuntu", "missing")) }
        #expect(source.asked.count == before + 1)
        world.clock.advance(seconds: 31)
        #expect(try await !pull("hub/ubuntu", "missing"))
        #expect(source.asked.count == before + 2)
        let origins = try await world.database.read { try $0.rows("SELECT DISTINCT origin FROM change").map { $0.text(0) } }
        #expect(Set(origins) == ["cache:hubrule", "cache:exact"])
    }

    @Test(
        "A3 B6 a cached tag follows its source, asked at most every half minute; a source that is away and a tag pushed here change nothing"
    )
    func refreshes() async throws {
        let world = try await World().withRegistry()
        _ = try await world.send(.put, world.registry() + "/cacheRules/hubrule", self.rule("docker.io/library/*", "hub/*"))
        let (first, second) = (Image("library/app"), Image("library/app", message: "second"))
        let source = Source(first.paths)
        let pull = PullThrough(
            resources: world.services.resources, importer: ImageImporter(store: world.services.registries, transport: source),
            secrets: nil, clock: world.clock.wall)
        let entry = try #require(world.lookup.registry(named: "harbour"))
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let (store, hub, latest) = (world.services.registries, try self.name("hub/app"), try OCI.Tag("latest"))
        func look(_ name: String = "hub/app", asks: Bool = true) async throws -> Bool {
            await pull.refresh(latest, in: try self.name(name), of: entry, asks: asks, logger: logger)
        }
        func now() async throws -> Digest? { try await store.resolve(latest, in: hub, of: entry.id) }
        #expect(try await pull.fetch(.tag(latest), in: hub, of: entry, logger: logger))
        #expect(try await now() == first.index)
        source.become(second.paths)
        // Whoever may not set off a look is told that the tag may move, and nothing is asked.
        let before = source.asked.count
        #expect(try await look(asks: false))
        #expect(source.asked.count == before)
        #expect(try await look())
        #expect(try await now() == second.index)
        #expect(try await store.holds(first.index, in: hub, of: entry.id))
        // Asked again only after a while.
        source.become(first.paths)
        let asked = source.asked.count
        #expect(try await look())
        #expect(source.asked.count == asked)
        world.clock.advance(seconds: 31)
        source.become([:])
        #expect(try await look())
        #expect(try await now() == second.index)
        // What somebody pushes here is theirs.
        world.clock.advance(seconds: 31)
        source.become(first.paths)
        let own = Image("library/app", message: "own")
        let manifest = try #require(own.paths["/v2/library/app/manifests/latest"])
        try await store.put(
            try NewManifest(manifest.bytes, declared: MediaType(manifest.type), expected: nil), tags: [latest], into: hub, of: entry.id,
            origin: "test")
        #expect(try await look())
        #expect(try await now() == own.index)
        // Elsewhere there is nothing to follow.
        #expect(try await !look("other/app"))
    }

    @Test("A3 a source that does not answer keeps no pull waiting for long; the tag moves when the answer comes")
    func slowSource() async throws {
        let world = try await World().withRegistry()
        _ = try await world.send(.put, world.registry() + "/cacheRules/hubrule", self.rule("docker.io/library/*", "hub/*"))
        let (first, second) = (Image("library/app"), Image("library/app", message: "second"))
        let source = Source(first.paths)
        let pull = PullThrough(
            resources: world.services.resources, importer: ImageImporter(store: world.services.registries, transport: source),
            secrets: nil, clock: world.clock.wall, patience: .milliseconds(1))
        let entry = try #require(world.lookup.registry(named: "harbour"))
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let (store, hub, latest) = (world.services.registries, try self.name("hub/app"), try OCI.Tag("latest"))
        #expect(try await pull.fetch(.tag(latest), in: hub, of: entry, logger: logger))
        let gate = Gate()
        source.become(second.paths)
        source.hold(gate)
        // Returns although nothing has been answered: the gate is opened behind it.
        #expect(await pull.refresh(latest, in: hub, of: entry, asks: true, logger: logger))
        #expect(try await store.resolve(latest, in: hub, of: entry.id) == first.index)
        gate.open()
        #expect(try await eventually { try await store.resolve(latest, in: hub, of: entry.id) == second.index })
        await pull.stop()
    }

    @Test("A3 a rule signs in with the secrets of its own registry for its own source; without them the refusal says where they go")
    func signsIn() async throws {
        let world = try await World().withRegistry()
        _ = try await world.send(.put, world.registry() + "/credentialSets/hubset", self.set())
        _ = try await world.send(
            .put, world.registry() + "/cacheRules/hubrule",
            self.rule("docker.io/library/ubuntu", "ubuntu", set: .string(world.registry() + "/credentialSets/hubset")))
        let image = Image("library/ubuntu")
        let source = Source(image.paths, authorization: "Basic " + Data("me:s3cret=".utf8).base64EncodedString())
        func refusal(_ secrets: String?) async -> RegistryError? {
            do {
                _ = try await self.pull(world, source, "ubuntu", "latest", secrets: secrets)
                return nil
            } catch { return error as? RegistryError }
        }
        #expect(await refusal(nil)?.message.contains("--secrets FOLDER") == true)
        let folder = world.path + "/secrets"
        let place = folder + "/harbour/docker.io"
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
        try Data("me\n".utf8).write(to: URL(fileURLWithPath: place + "/user"))
        let missing = await refusal(folder)
        #expect(missing?.code == .denied)
        #expect(missing?.message.contains("harbour/docker.io/password") == true)
        #expect(source.asked.isEmpty)
        try Data("wrong\n".utf8).write(to: URL(fileURLWithPath: place + "/password"))
        let wrong = await refusal(folder)
        #expect(wrong?.code == .denied)
        #expect(wrong?.message.contains("wrong") == false)
        try Data("s3cret=\n".utf8).write(to: URL(fileURLWithPath: place + "/password"))
        #expect(try await self.pull(world, source, "ubuntu", "latest", secrets: folder))
    }

    @Test("A3 a quota, a locked repository and a source that fails refuse with their own words; a tag pushed meanwhile stands")
    func refusals() async throws {
        let world = try await World().withRegistry()
        _ = try await world.send(.put, world.registry() + "/cacheRules/hubrule", self.rule("docker.io/library/ubuntu", "ubuntu"))
        let image = Image("library/ubuntu")
        func refusal(_ source: Source) async -> RegistryError? {
            do {
                _ = try await self.pull(world, source, "ubuntu", "single")
                return nil
            } catch { return error as? RegistryError }
        }
        for text in ["cut off", "layer of library/ubuntX"] {
            var broken = image.paths
            broken["/v2/library/ubuntu/blobs/\(image.layer)"] = ("application/octet-stream", Array(text.utf8))
            #expect(await refusal(Source(broken))?.code == .unavailable, "\(text)")
        }
        let registry = try #require(world.lookup.registry(named: "harbour")).id
        #expect(try await world.services.registries.resolve(Tag("single"), in: self.name("ubuntu"), of: registry) == nil)
        _ = try await world.send(.patch, world.registry(), ["properties": ["storageQuota": 4]])
        #expect(await refusal(Source(image.paths))?.message.contains("quota") == true)
        _ = try await world.send(.patch, world.registry(), ["properties": ["storageQuota": nil]])
        #expect(await refusal(Source(image.paths)) == nil)
        #expect(try await world.services.registries.resolve(Tag("single"), in: self.name("ubuntu"), of: registry) == image.manifest)
        // It is there by now.
        #expect(try await self.pull(world, Source(image.paths), "ubuntu", "single"))
    }

    @Test("A3 patterns stand for whole parts of names, and say what the star is")
    func patterns() throws {
        let all = try CachePattern("*")
        #expect(all.rest(of: try self.name("a/b")) == "a/b")
        let team = try CachePattern("team/*")
        #expect(team.rest(of: try self.name("team/app/x")) == "app/x")
        #expect(team.rest(of: try self.name("teams/app")) == nil)
        #expect(try CachePattern("library/*").filled(with: "x/y") == "library/x/y")
        #expect(try CachePattern("team/app").rest(of: self.name("team/app")) == "")
        for bad in ["", "te*", "team/", "*/x", "team/*/x", "Team/*", "/*"] {
            #expect(throws: OCIParseError.self, "\(bad)") { _ = try CachePattern(bad) }
        }
    }
}
