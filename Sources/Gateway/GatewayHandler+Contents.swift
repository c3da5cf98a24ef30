// `POST contents`: what is below manifests, so that a child can tell what it would fetch before it does.

internal import GatewayProtocol
internal import HTTPServing
internal import OCI
internal import RegistryCore

extension GatewayHandler {
    /// Manifests that one answer lists.
    private static let listedManifests = 2000

    @inline(never)
    func contents(_ request: ServerRequest, _ call: Call) async throws -> ServerResponse {
        let body: ContentsRequest = try await self.decode(request)
        guard (1...ContentsRequest.maximumDigests).contains(body.digests.count) else {
            throw Refusal(.invalid, 400, "contents takes 1 to \(ContentsRequest.maximumDigests) digests")
        }
        guard call.map.permits(.contentRead, on: body.repository) else {
            throw Refusal(
                .denied, 403, "repository \(body.repository) is not selected for connected registry '\(call.connectedRegistry.name)'")
        }
        var manifests: [ContentsResponse.Manifest] = []
        var seen: Set<Digest> = []
        var covered = 0
        for digest in body.digests where covered == 0 || manifests.count < Self.listedManifests {
            for found in try await self.registries.contents(below: digest, in: body.repository, of: call.registry.id)
            where seen.insert(found.digest).inserted {
                manifests.append(
                    .init(
                        digest: found.digest, size: found.size, manifests: found.manifests,
                        blobs: found.blobs.map { .init(digest: $0.digest, size: $0.size) }))
            }
            covered += 1
        }
        return try .json(.ok, ContentsResponse(manifests: manifests, covered: covered))
    }
}
