// `POST parcel` and `POST state`: many small things in one answer, for a child that mirrors small images. See decision 0075.

internal import GatewayProtocol
internal import HTTPServing
internal import NIOCore
internal import OCI
internal import RegistryCore

extension GatewayHandler {
    /// Manifests and small blobs. Each is given where a request for it alone would be answered with it, and left out otherwise: who asks for it
    /// alone then is told why.
    @inline(never)
    func parcel(_ request: ServerRequest, _ call: Call) async throws -> ServerResponse {
        let body: ParcelRequest = try await self.decode(request)
        let items = body.items
        guard (1...ParcelRequest.maximumItems).contains(items.count) else {
            throw Refusal(.invalid, 400, "a parcel takes 1 to \(ParcelRequest.maximumItems) things")
        }
        try self.requireSelected(body.parts.map(\.repository), call)
        guard call.registry.servesContent else {
            return ServerResponse(
                .ok, headers: [.contentType: ParcelFormat.mediaType], body: .bytes(ByteBuffer(string: ParcelFormat.end(items.count))))
        }
        let (found, considered) = try await self.registries.small(
            items.map { SmallItem(repository: $0.repository, digest: $0.digest, isManifest: $0.isManifest) }, of: call.registry.id,
            limits: SmallItemLimits(
                largestManifest: ParcelRequest.largestManifest, largestBlob: ParcelRequest.largestBlob, total: ParcelRequest.maximumBytes))
        var answer = ByteBuffer()
        for item in found {
            answer.writeString(
                ParcelFormat.line(item.number, size: item.bytes.readableBytes, mediaType: item.mediaType.map { "\($0)" }))
            answer.writeImmutableBuffer(item.bytes)
        }
        answer.writeString(ParcelFormat.end(considered))
        return ServerResponse(.ok, headers: [.contentType: ParcelFormat.mediaType], body: .bytes(answer))
    }

    /// The first pages of several repositories.
    @inline(never)
    func statePages(_ request: ServerRequest, _ call: Call) async throws -> ServerResponse {
        let body: StatePagesRequest = try await self.decode(request)
        guard (1...StatePagesRequest.maximumRepositories).contains(body.repositories.count) else {
            throw Refusal(.invalid, 400, "state takes 1 to \(StatePagesRequest.maximumRepositories) repositories")
        }
        try self.requireSelected(body.repositories, call)
        var pages: [RepositoryStatePage] = []
        var entries = 0
        for name in body.repositories where entries < GatewayLimits.maximumPage {
            let page = try await self.statePage(of: name, after: nil, limit: GatewayLimits.maximumPage, call)
            entries += 1 + page.tags.count + page.referrers.count
            pages.append(page)
        }
        return try .json(.ok, StatePagesResponse(pages: pages))
    }

    private func requireSelected(_ repositories: [RepositoryName], _ call: Call) throws {
        for name in repositories where !call.map.permits(.contentRead, on: name) {
            throw Refusal(.denied, 403, "repository \(name) is not selected for connected registry '\(call.connectedRegistry.name)'")
        }
    }
}
