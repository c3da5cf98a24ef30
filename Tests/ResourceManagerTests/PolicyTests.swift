// Policies and network rules: what is stored is acted on, and what a tier does not include is refused.

import HTTPServing
import HTTPTypes
import JSON
import Logging
import NIOCore
import ResourceManager
import Testing

@Suite struct PolicyTests {
    private func request(_ path: String, from address: String) -> ServerRequest {
        ServerRequest(
            method: .get, path: path, headers: [:], host: HostAndPort("harbour.registry.test:8443"), body: .init(buffer: ByteBuffer()),
            isSecure: true, remoteAddress: address, correlationID: "c0ffee", logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
    }

    @Test("A3 a registry that is closed lets in the addresses of its rules, on every path of its data plane and on no other")
    func networkRules() async throws {
        let world = try await World().withRegistry()
        let gate = NetworkGate { _ in world.lookup.registry(named: "harbour") }
        func isOpen(_ path: String, _ address: String) async throws -> Bool {
            try await gate.respond(to: self.request(path, from: address)) == nil
        }
        #expect(try await isOpen("/v2/", "203.0.113.7"))
        let closed = try await world.send(
            .patch, world.registry(),
            [
                "properties": [
                    "networkRuleSet": ["defaultAction": "Deny", "ipRules": [["value": "203.0.113.0/24"], ["value": "2001:db8::1"]]]
                ]
            ])
        #expect(closed.status == 200)
        #expect(closed.body[path: "properties", "networkRuleSet", "ipRules"]?[0] == ["action": "Allow", "value": "203.0.113.0/24"])
        for (address, isAllowed) in [
            ("203.0.113.7", true), ("::ffff:203.0.113.7", true), ("203.0.114.1", false), ("2001:db8::1", true), ("2001:db8::2", false),
            ("127.0.0.1", false), ("-", false),
        ] {
            for path in ["/v2/", "/v2/app/manifests/v1", "/acr/v1/_catalog", "/oauth2/token", "/gateway/v1/site1/settings", "/V2/"] {
                #expect(try await isOpen(path, address) == isAllowed, "\(path) from \(address)")
            }
            #expect(try await isOpen("/subscriptions", address))
        }
        let answer = try #require(try await gate.respond(to: self.request("/v2/", from: "198.51.100.1")))
        #expect(answer.status == .forbidden)

        // Removing the rules closes it to everybody; taking public access away leaves the networks inside.
        _ = try await world.send(.patch, world.registry(), ["properties": ["networkRuleSet": ["ipRules": []]]])
        #expect(try await !isOpen("/v2/", "203.0.113.7"))
        _ = try await world.send(.patch, world.registry(), ["properties": ["publicNetworkAccess": "Disabled"]])
        #expect(try await isOpen("/v2/", "10.1.2.3"))
        #expect(try await !isOpen("/v2/", "203.0.113.7"))
        _ = try await world.send(
            .patch, world.registry(), ["properties": ["publicNetworkAccess": "Enabled", "networkRuleSet": ["defaultAction": "Allow"]]])
        #expect(try await isOpen("/v2/", "203.0.113.7"))
    }

    @Test("A3 policies are stored and told; what cannot stand is refused with its field")
    func policies() async throws {
        let world = try await World().withRegistry()
        let kept = try await world.send(
            .patch, world.registry(), ["properties": ["policies": ["retentionPolicy": ["status": "enabled", "days": 0]]]])
        #expect(kept.body[path: "properties", "policies", "retentionPolicy"] == ["status": "enabled", "days": 0])
        let entry = try #require(world.lookup.registry(named: "harbour"))
        #expect(entry.retention == 0)
        #expect(world.lookup.garbagePolicy.retention == [entry.id: 0])
        let cases: [(JSONValue, String)] = [
            (["policies": ["retentionPolicy": ["days": 366]]], "properties.policies.retentionPolicy.days"),
            (["policies": ["softDeletePolicy": ["status": "enabled"]]], "properties.policies.softDeletePolicy.status"),
            (["policies": ["softDeletePolicy": ["retentionDays": 91]]], "properties.policies.softDeletePolicy.retentionDays"),
            (["policies": ["softDeletePolicy": ["retentionDays": 0]]], "properties.policies.softDeletePolicy.retentionDays"),
            (["policies": ["exportPolicy": ["status": "disabled"]]], "properties.policies.exportPolicy.status"),
            (["networkRuleSet": ["ipRules": [["value": "10.0.0.0/33"]]]], "properties.networkRuleSet.ipRules[0].value"),
            (["networkRuleSet": ["ipRules": [["value": "10.0.0.1", "action": "Deny"]]]], "properties.networkRuleSet.ipRules[0].action"),
            (["networkRuleSet": ["virtualNetworkRules": [["id": "x"]]]], "properties.networkRuleSet.virtualNetworkRules"),
        ]
        for (patch, field) in cases {
            let answer = try await world.send(.patch, world.registry(), ["properties": patch])
            #expect(answer.status == 400, "\(patch)")
            #expect(answer.target == field, "\(answer.body)")
        }
        let basic = try await world.send(
            .put, world.registry("second"),
            ["location": "eastus", "sku": ["name": "Basic"], "properties": ["networkRuleSet": ["defaultAction": "Deny"]]])
        #expect(basic.code == "SkuNotSupported")
    }

    @Test("A3 soft delete is a policy of any tier, acts with the next deletion, and goes with no retention policy")
    func softDelete() async throws {
        let world = try await World().withRegistry(sku: "Basic", dataEndpoint: false)
        func stored() async throws -> [Int64] {
            try await world.database.read { try $0.rows("SELECT soft_delete, soft_delete_age FROM registry") }.flatMap {
                [$0.integer(0), $0.integer(1) / 86_400_000]
            }
        }
        #expect(try await stored() == [0, 7])
        let on = try await world.send(
            .patch, world.registry(), ["properties": ["policies": ["softDeletePolicy": ["status": "enabled", "retentionDays": 30]]]])
        #expect(on.body[path: "properties", "policies", "softDeletePolicy"] == ["status": "enabled", "retentionDays": 30])
        #expect(try await stored() == [1, 30])
        let premium = try await world.send(.patch, world.registry(), ["sku": ["name": "Premium"]])
        #expect(premium.status == 200)
        let both = try await world.send(
            .patch, world.registry(), ["properties": ["policies": ["retentionPolicy": ["status": "enabled"]]]])
        #expect(both.status == 400)
        #expect(both.message?.contains("cannot both") == true)
        // Off: what was deleted is still kept for its days.
        _ = try await world.send(.patch, world.registry(), ["properties": ["policies": ["softDeletePolicy": ["status": "disabled"]]]])
        #expect(try await stored() == [0, 30])
        // One that is made with it has it from the beginning.
        _ = try await world.send(.delete, world.registry())
        _ = try await world.send(
            .put, world.registry(),
            ["location": "eastus", "sku": ["name": "Standard"], "properties": ["policies": ["softDeletePolicy": ["status": "enabled"]]]])
        #expect(try await stored() == [1, 7])
    }

    @Test("A3 a registry whose exports are off is no source of imports")
    func exports() async throws {
        let world = try await World().withRegistry()
        let answer = try await world.send(
            .patch, world.registry(),
            ["properties": ["publicNetworkAccess": "Disabled", "policies": ["exportPolicy": ["status": "disabled"]]]])
        #expect(answer.status == 200)
        #expect(answer.body[path: "properties", "policies", "exportPolicy", "status"] == "disabled")
        // Public access cannot come back while exports are off: images would leave by being pulled.
        #expect(try await world.send(.patch, world.registry(), ["properties": ["publicNetworkAccess": "Enabled"]]).status == 400)
    }
}
