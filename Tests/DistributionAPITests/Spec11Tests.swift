// The distribution specification 1.1, clause by clause, against the handlers: what its tests share. Uploads have a file of their own.

import HTTPTypes
import OCI
import TestSupport
import Testing

struct TagList: Decodable {
    let name: String
    let tags: [String]
}

struct Catalog: Decodable {
    let repositories: [String]
}

struct ReferrersList: Decodable {
    let schemaVersion: Int
    let mediaType: String
    let manifests: [Descriptor]
}

extension HTTPField.Name {
    static let ociFiltersApplied = HTTPField.Name("OCI-Filters-Applied")!
}

@Suite struct Spec11Tests {
    let app = repository("app")

    func server(writeRefusal: String? = nil) async throws -> (server: DataPlane, admin: HTTPFields) {
        let server = try await DataPlane(Site(), writeRefusal: writeRefusal)
        return (server, try await server.credentials("admin"))
    }

    func with(_ headers: HTTPFields, _ more: HTTPFields) -> HTTPFields {
        var headers = headers
        for field in more { headers[field.name] = field.value }
        return headers
    }

    func put(
        _ server: DataPlane, _ admin: HTTPFields, _ bytes: [UInt8], as reference: String, type: String? = MediaType.ociManifest.description
    ) async throws -> Answer {
        try await server.send(
            .put, "/v2/app/manifests/\(reference)", headers: type.map { self.with(admin, [.contentType: $0]) } ?? admin, body: bytes)
    }
}
