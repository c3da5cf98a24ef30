// Whom a connected registry believes when its clock is wrong by years: who is pinned, and nobody else.

import Foundation
import HTTPServing
import NIOSSL
import TestSupport
import Testing

@testable import RegistryClient

@Suite struct WrongClockTests {
    @Test(
        "C11 C5 at a site whose clock says 1970 or 2099 the pinned authority's certificate is good, another's is not",
        arguments: [0, 1_790_000_000, 4_070_908_800])
    func pinned(clock: Double) async throws {
        func served(by name: String) async throws -> (root: String, chain: [NIOSSLCertificate]) {
            let site = try await Site()
            let authority = try CertificateAuthority(folder: site.folder.tlsPath, commonName: name, now: Date())
            let leaf = try authority.leaf(folder: site.folder.tlsPath, names: ["127.0.0.1", "harbour.test"], now: Date())
            let root = try String(contentsOfFile: site.folder.tlsPath + "/ca.pem", encoding: .utf8)
            return (root, try NIOSSLCertificate.fromPEMBytes(Array(leaf.certificatePEM.utf8)))
        }
        let (ours, other) = (try await served(by: "ours"), try await served(by: "other"))
        let now = Date(timeIntervalSince1970: clock)
        let policy = TrustPolicy.authorities([ours.root])
        for host in ["127.0.0.1", "harbour.test"] {
            #expect(await policy.refusal(chain: ours.chain, host: host, now: now) == nil)
            #expect(await policy.refusal(chain: other.chain, host: host, now: now) != nil)
        }
        #expect(await policy.refusal(chain: ours.chain, host: "elsewhere.test", now: now) != nil)
        #expect(await policy.refusal(chain: [], host: "harbour.test", now: now) != nil)
    }
}
