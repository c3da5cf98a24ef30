// What was being answered while a network restriction was set must not be answered from memory afterwards.

import DistributionAPI
import HummingbirdCore
import Identity
import Logging
import NIOCore
import OCI
import RegistryCore
import Synchronization
import TestSupport
import Testing

@testable import HTTPServing

/// One registry whose restriction is set the moment after it has been read.
private final class ChangingDirectory: RegistryDirectory {
    private let site: Site
    private let isRestricted = Mutex(false)

    init(_ site: Site) { self.site = site }

    func registry(for host: HostAndPort?) async throws -> (registry: DataPlaneRegistry, host: HostAndPort)? {
        let was = self.isRestricted.withLock { isRestricted in
            defer { isRestricted = true }
            return isRestricted
        }
        let registry = DataPlaneRegistry(
            id: self.site.registry, name: "harbour", audience: "registry/harbour", writeRefusal: nil, isRestricted: was)
        // As `updateRegistry` does: what is remembered is void from here on.
        if !was { self.site.store.forgetAnswers() }
        return (registry, HostAndPort(host: "harbour.test", port: nil))
    }
}

@Suite struct RestrictionTests {
    @Test(
        "A4 what was being answered while a restriction was set is not answered from memory", arguments: ["tag", "digest", "small", "file"])
    func interleaved(kind: String) async throws {
        let site = try await Site(smallContentLimit: kind == "file" ? 0 : RegistryStore.defaultSmallContentLimit)
        let plane = try await DataPlane(site)
        let image = TestImage("one")
        try await site.push(image, tags: [tag("v1")], to: repository("app"))
        let hot = HotContent(tokens: plane.authority, store: site.store)
        let access = AccessController(
            identities: site.identities, directory: plane.directory, tokens: plane.authority, leases: plane.connectedRegistries,
            admins: plane.admins)
        let handler = DistributionHandler(
            store: site.store, uploads: site.uploads, access: access, directory: ChangingDirectory(site), hot: hot)
        let token = try await plane.authority.issue(
            .registryAccess, subject: .token("reader"), audience: plane.audience,
            access: [AccessEntry(type: "repository", name: "app", actions: ["pull"])]
        ).token
        let path =
            switch kind {
            case "tag": "/v2/app/manifests/v1"
            case "digest": "/v2/app/manifests/\(image.manifest.digest)"
            default: "/v2/app/blobs/\(image.layers[0].digest)"
            }
        let answer = try await handler.respond(
            to: ServerRequest(
                method: .get, path: path, headers: DataPlane.bearer(token), host: HostAndPort("harbour.test"), hostHeader: "harbour.test",
                body: RequestBody(buffer: ByteBuffer()), isSecure: true, remoteAddress: "127.0.0.1", correlationID: "c0ffee",
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }))
        #expect(answer?.status == .ok)
        let request = HotRequest(
            isHead: false, path: path, host: "harbour.test", authorization: "Bearer \(token)", range: nil, accept: nil)
        let grant = try #require(hot.grant(for: request.token))
        #expect(hot.answer(request, grant) == nil)
    }
}
