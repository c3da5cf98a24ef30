// Heartbeats with the password in place of a token, and what the gateway remembers of its children between two calls.

import GatewayProtocol
import HTTPServing
import HTTPTypes
import Identity
import RegistryCore
import Synchronization
import TestSupport
import Testing

@testable import Gateway

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite struct HeartbeatTests {
    static func encode(_ status: StatusReport) throws -> [UInt8] { [UInt8](try JSONEncoder().encode(status)) }

    @Test("C11 C6 a heartbeat may come with the password of the sync token: under its activation only, and only as long as that is good")
    func password() async throws {
        let server = try await DataPlane(Site())
        let site = server.site
        let secret = try await server.connectedRegistry("site1")
        let (active, offered) = try await server.connectedRegistries.activate(
            "site1", instance: "instance-1", nonce: nil, version: "test", loginServer: nil, in: site.registry)
        let nonce = Mutex(offered)
        @Sendable func beat(
            _ password: String? = nil, instance: String = "instance-1", epoch: Int64? = nil, call: String = "status"
        ) async throws -> Answer {
            let epoch = epoch ?? active.epoch
            let body = [UInt8](try JSONEncoder().encode(DataPlane.heartbeat(nonce.withLock { $0 })))
            let answer = try await server.send(
                .post, "/gateway/v1/site1/\(call)?instance=\(instance)&epoch=\(epoch)",
                headers: DataPlane.basic("site1-sync", password ?? secret), body: body)
            if answer.status == 200 { nonce.withLock { nonce in nonce = (try? answer.decode(StatusResponse.self).nonce) ?? nonce } }
            return answer
        }
        func code(_ answer: Answer) throws -> String { try answer.decode(GatewayErrorBody.self).error.code }
        for _ in 0..<3 {
            let answer = try await beat()
            #expect(answer.status == 200)
            // The next one is minutes away: the connection is kept for it.
            #expect(answer.header("outport-idle") == "660")
        }
        #expect(try await beat("wrong").status == 401)
        // Nothing else is given for it.
        for call in ["activate", "deactivate", "events", "outbox", "contents"] { #expect(try await beat(call: call).status == 401) }
        #expect(try code(await beat(instance: "instance-2")) == "ALREADY_ACTIVATED")
        #expect(try code(await beat(epoch: active.epoch - 1)) == "DEACTIVATED")
        #expect(
            try await server.send(.post, "/gateway/v1/site1/status", headers: DataPlane.basic("site1-sync", secret), body: []).status == 400
        )
        // Another connected registry's password is good for that one alone.
        let other = try await server.connectedRegistry("site2")
        let foreign = try await server.send(
            .post, "/gateway/v1/site1/status?instance=instance-1&epoch=\(active.epoch)", headers: DataPlane.basic("site2-sync", other),
            body: [])
        #expect(try code(foreign) == "CONNECTED_REGISTRY_NOT_FOUND")
        try await server.select(["*"], for: "site1", gatewayActions: ["config/read"])
        #expect(try code(await beat()) == "DENIED")
        try await server.select(["*"], for: "site1")
        #expect(try await beat().status == 200)
        try await site.identities.putToken("site1-sync", scopeMap: "map-site1", isEnabled: false, in: site.registry)
        #expect(try await beat().status == 401)
        try await site.identities.putToken("site1-sync", scopeMap: "map-site1", isEnabled: true, in: site.registry)
        // A new password ends the old one with the next heartbeat.
        let fresh = try await site.identities.generatePasswords([.password1], expiry: nil, token: "site1-sync", in: site.registry)
        #expect(try await beat().status == 401)
        #expect(try await beat(fresh.values[.password1]).status == 200)
        try await server.connectedRegistries.deactivate("site1", in: site.registry)
        #expect(try code(await beat(fresh.values[.password1])) == "DEACTIVATED")
    }
}
