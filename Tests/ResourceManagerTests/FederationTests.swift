// Proves that an identity believes the one service account of the one cluster that it was told to, by recorded keys, and nobody else.

import ClusterProtocol
import Crypto
import Foundation
import HTTPTypes
import JSON
import Testing

@testable import ResourceManager

@Suite struct FederationTests {
    private static let issuer = "https://kubernetes.default.svc"
    private static let audience = "api://AzureADTokenExchange"

    private static func base64URL(_ bytes: some Sequence<UInt8>) -> String {
        Data(bytes).base64EncodedString().replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }

    /// A cluster's signing key.
    private struct Issuer {
        let key = P256.Signing.PrivateKey()
        let id = UUID().uuidString

        /// The key set that an API server gives out.
        var keys: String {
            let point = self.key.publicKey.x963Representation.dropFirst()
            return
                #"{"keys":[{"use":"sig","kty":"EC","crv":"P-256","alg":"ES256","kid":"\#(self.id)","x":"\#(base64URL(point.prefix(32)))","y":"\#(base64URL(point.suffix(32)))"}]}"#
        }

        func token(
            _ world: World, subject: String = "system:serviceaccount:web:default", audience: String = FederationTests.audience,
            lives: Int64 = 600
        ) throws -> String {
            let now = world.clock.wall.seconds
            let header: JSONValue = ["alg": "ES256", "kid": .string(self.id), "typ": "JWT"]
            let claims: JSONValue = [
                "iss": .string(FederationTests.issuer), "sub": .string(subject), "aud": [.string(audience)], "exp": .integer(now + lives),
                "iat": .integer(now), "nbf": .integer(now),
            ]
            let text = "\(base64URL(header.serialized().utf8)).\(base64URL(claims.serialized().utf8))"
            return "\(text).\(base64URL(try self.key.signature(for: Data(text.utf8)).rawRepresentation))"
        }
    }

    private struct Setting {
        let world: World
        let identity: String
        let client: String

        func signIn(_ token: String) async throws -> Answer {
            try await self.world.token([
                ("client_id", self.client), ("grant_type", "client_credentials"),
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"), ("client_assertion", token),
                ("scope", World.arm + "/.default"),
            ])
        }

        func believe(_ name: String = "web", cluster: String? = nil, subject: String = "system:serviceaccount:web:default") async throws
            -> Answer
        {
            var body: JSONValue = [
                "properties": [
                    "issuer": .string(FederationTests.issuer), "subject": .string(subject),
                    "audiences": [.string(FederationTests.audience)],
                ]
            ]
            if let cluster { body[path: "properties", "clusterId"] = .string(cluster) }
            return try await self.world.send(.put, "\(self.identity)/federatedIdentityCredentials/\(name)", body)
        }

        /// Connects a cluster whose agent reports keys.
        func connect(_ name: String, keys: String) async throws -> String {
            let path = "\(self.world.group)/providers/Microsoft.Kubernetes/connectedClusters/\(name)"
            #expect(try await self.world.send(.put, path, ["location": "eastus"]).status == 201)
            let made = try await self.world.send(.post, path + "/createAgentCredential")
            let token = try await self.world.accessToken(
                try #require(made.body["clientId"]?.stringValue), try #require(made.body["clientSecret"]?.stringValue), World.arm)
            let report = AgentReport(
                agentVersion: "1",
                cluster: ClusterFacts(kubernetesVersion: "v1.33.0", totalNodeCount: 1, issuer: FederationTests.issuer, keys: keys),
                extensions: [])
            let answer = try await self.world.send(
                .post, path + "/agent/report", text: try JSONValue(encoding: report).serialized(),
                headers: [.authorization: "Bearer \(token)"])
            #expect(answer.status == 204)
            return path
        }
    }

    private func setting() async throws -> Setting {
        let world = try await World()
        #expect([200, 201].contains(try await world.send(.put, world.group, ["location": "eastus"]).status))
        let identity = "\(world.group)/providers/Microsoft.ManagedIdentity/userAssignedIdentities/puller"
        let made = try await world.send(.put, identity, ["location": "eastus"])
        return Setting(
            world: world, identity: identity, client: try #require(made.body[path: "properties", "clientId"]?.stringValue))
    }

    @Test("K6 a pod signs in as the identity that believes its service account, by the keys its cluster has reported") func believed()
        async throws
    {
        let setting = try await self.setting()
        let issuer = Issuer()
        // No cluster is known for the issuer yet.
        #expect(try await setting.believe().target == "properties.issuer")
        _ = try await setting.connect("plant", keys: issuer.keys)
        let made = try await setting.believe()
        #expect(made.status == 201)
        let answer = try await setting.signIn(try issuer.token(setting.world))
        #expect(answer.status == 200, "\(answer.body)")
        let token = try #require(answer.body["access_token"]?.stringValue)
        let headers: HTTPFields = [.authorization: "Bearer \(token)"]
        #expect(try await setting.world.send(.get, setting.world.group, text: "", headers: headers).status == 403)
        let listed = try await setting.world.send(.get, setting.identity + "/federatedIdentityCredentials")
        #expect(listed.names == ["web"])
        #expect(listed.values.first?[path: "properties", "subject"] == "system:serviceaccount:web:default")
        // What is believed no longer ends what was given for it.
        #expect(try await setting.world.send(.delete, setting.identity + "/federatedIdentityCredentials/WEB").status == 200)
        #expect(try await setting.world.send(.get, setting.world.group, text: "", headers: headers).status == 401)
        #expect(try await setting.signIn(try issuer.token(setting.world)).status == 401)
        #expect(try await setting.world.send(.delete, setting.identity + "/federatedIdentityCredentials/web").status == 204)
    }

    @Test("K6 another account, audience, signer, or time is refused with the reason") func refused() async throws {
        let setting = try await self.setting()
        let issuer = Issuer()
        _ = try await setting.connect("plant", keys: issuer.keys)
        #expect(try await setting.believe().status == 201)
        let world = setting.world
        let other = try await setting.signIn(try issuer.token(world, subject: "system:serviceaccount:web:other"))
        #expect(other.status == 401)
        #expect(other.body["error_description"]?.stringValue?.contains("system:serviceaccount:web:other") == true)
        #expect(try await setting.signIn(try issuer.token(world, audience: "https://elsewhere")).status == 401)
        #expect(try await setting.signIn(try issuer.token(world, lives: -1)).status == 401)
        #expect(try await setting.signIn(try issuer.token(world, lives: 90 * 86_400)).status == 401)
        let forged = try await setting.signIn(try Issuer().token(world))
        #expect(forged.status == 401)
        #expect(forged.body["error_description"]?.stringValue?.contains("no recorded key") == true)
        #expect(try await setting.signIn("a.b.c").status == 401)
    }

    @Test("K6 a cluster that takes another's issuer is not believed in its place") func impostor() async throws {
        let setting = try await self.setting()
        let (issuer, impostor) = (Issuer(), Issuer())
        let plant = try await setting.connect("plant", keys: issuer.keys)
        #expect(try await setting.believe().status == 201)
        let thief = try await setting.connect("thief", keys: impostor.keys)
        #expect(try await setting.signIn(try impostor.token(setting.world)).status == 401)
        #expect(try await setting.signIn(try issuer.token(setting.world)).status == 200)
        // From here on one must say which is meant.
        let unclear = try await setting.believe("second", subject: "system:serviceaccount:web:second")
        #expect(unclear.target == "properties.issuer")
        #expect(unclear.message?.contains("clusterId") == true)
        #expect(try await setting.believe("second", cluster: plant, subject: "system:serviceaccount:web:second").status == 201)
        // And with the cluster gone nobody stands in for it.
        #expect(try await setting.world.send(.delete, plant).status == 200)
        for signer in [issuer, impostor] { #expect(try await setting.signIn(try signer.token(setting.world)).status == 401) }
        #expect(try await setting.world.send(.delete, thief).status == 200)
    }
}
