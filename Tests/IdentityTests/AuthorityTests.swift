// Proves that a token is good for its kind, its audience and its time, and for nothing else.

import Identity
import Persistence
import TestSupport
import Testing

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

@Suite struct AuthorityTests {
    private let scratch = ScratchFolder()
    private let clock = TestClock()

    init() throws { try FileSystem.createFolder(self.scratch.path) }

    private func authority(_ folder: String? = nil) async throws -> TokenAuthority {
        try await TokenAuthority(folder: folder ?? self.scratch.path, tenantID: "tenant", clock: self.clock.wall)
    }

    private func refusal(_ authority: TokenAuthority, _ token: String, as kinds: [TokenKind], audience: String? = "registry/a") async
        -> IdentityError?
    {
        let error = await #expect(throws: IdentityError.self) { try await authority.verify(token, as: kinds, audience: audience) }
        #expect(error?.code == .invalidToken)
        return error
    }

    @Test("I5 a token says what it was issued with", arguments: TokenKind.allCases)
    func roundTrip(kind: TokenKind) async throws {
        let authority = try await self.authority()
        let access = [AccessEntry(type: "repository", name: "app", actions: ["pull"])]
        let lease = SyncLease(connectedRegistry: "site1", instance: "i", epoch: 3)
        let issued = try await authority.issue(kind, subject: .token("client"), audience: "registry/a", access: access, lease: lease)
        let token = try await authority.verify(issued.token, as: [kind], audience: "registry/a")
        #expect(token.kind == kind)
        #expect(token.subject == .token("client"))
        #expect(token.access == access)
        #expect(token.lease == lease)
        #expect(token.expires == issued.issued + kind.lifetime)
        #expect(issued.lifetime == kind.lifetime)
    }

    @Test("I5 a token of one kind is refused as any other, also when it is already known", arguments: TokenKind.allCases)
    func kinds(kind: TokenKind) async throws {
        let authority = try await self.authority()
        let token = try await authority.issue(kind, subject: .servicePrincipal("sp"), audience: "registry/a").token
        for other in TokenKind.allCases where other != kind { _ = await self.refusal(authority, token, as: [other]) }
        _ = try await authority.verify(token, as: [kind], audience: nil)
        for other in TokenKind.allCases where other != kind { _ = await self.refusal(authority, token, as: [other]) }
    }

    @Test("I5 a token of another registry is refused, naming both")
    func audience() async throws {
        let authority = try await self.authority()
        let token = try await authority.issue(.registryAccess, subject: .token("client"), audience: "registry/a").token
        let error = await self.refusal(authority, token, as: [.registryAccess], audience: "registry/b")
        #expect(error?.message.contains("registry/a") == true)
        #expect(error?.message.contains("registry/b") == true)
    }

    @Test("I5 a token ends with its time, remembered or not", arguments: [true, false])
    func expiry(remembered: Bool) async throws {
        let authority = try await self.authority()
        let token = try await authority.issue(.registryAccess, subject: .token("client"), audience: "registry/a").token
        if remembered { _ = try await authority.verify(token, as: [.registryAccess], audience: "registry/a") }
        self.clock.advance(seconds: 299)
        _ = try await (remembered ? authority : self.authority()).verify(token, as: [.registryAccess], audience: "registry/a")
        self.clock.advance(seconds: 1)
        let error = await self.refusal(remembered ? authority : try self.authority(), token, as: [.registryAccess])
        #expect(error?.message.contains("expired") == true)
    }

    @Test("I5 tokens of another server, garbled tokens and tokens without a signature are refused")
    func garbled() async throws {
        let authority = try await self.authority()
        let token = try await authority.issue(.registryAccess, subject: .token("client"), audience: "registry/a").token
        let elsewhere = ScratchFolder()
        try FileSystem.createFolder(elsewhere.path)
        let foreign = try await self.authority(elsewhere.path).issue(
            .registryAccess, subject: .token("client"), audience: "registry/a"
        ).token
        let parts = token.split(separator: ".").map(String.init)
        let none = Data("{\"alg\":\"none\",\"typ\":\"JWT\"}".utf8).base64EncodedString().filter { $0 != "=" }
        let flipped = String(parts[1].dropLast()) + (parts[1].last == "A" ? "B" : "A")
        for bad in [
            foreign, "", ".", "..", "a.b.c", parts[0] + "." + parts[1], "\(parts[0]).\(parts[1]).", "\(none).\(parts[1]).",
            "\(none).\(parts[1]).\(parts[2])",
            "\(parts[0]).\(flipped).\(parts[2])", token + "\n", token + " x", "é" + token, String(repeating: "a", count: 9000),
        ] {
            _ = await self.refusal(authority, bad, as: TokenKind.allCases)
        }
    }

    @Test("I5 keys last over a restart and are readable by the owner alone; a key that is too short is refused")
    func keys() async throws {
        let token = try await self.authority().issue(.sync, subject: .token("client"), audience: "registry/a").token
        _ = try await self.authority().verify(token, as: [.sync], audience: "registry/a")
        let path = self.scratch.path + "/sync.key"
        #expect(try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int == 0o600)
        try FileSystem.replace(path, with: [1, 2, 3])
        await #expect(throws: PersistenceError.self) { try await self.authority() }
    }

    @Test("I1 secrets are long, differ, and match their verifier alone")
    func secrets() {
        let secrets = (0..<200).map { _ in Secret.generate() }
        #expect(Set(secrets).count == 200)
        for secret in secrets {
            #expect(secret.utf8.count == 48)
            #expect(secret.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber) })
            #expect(Secret.matches(secret, verifier: Secret.verifier(of: secret)))
            #expect(!Secret.matches(secret + " ", verifier: Secret.verifier(of: secret)))
        }
        #expect(!Secret.matches("", verifier: ""))
        #expect(!Secret.matches("x", verifier: "x"))
    }
}
