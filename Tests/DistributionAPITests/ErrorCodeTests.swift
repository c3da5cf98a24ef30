// The error codes of the distribution specification, each by a request that is answered with it.

import HTTPTypes
import OCI
import RegistryCore
import TestSupport
import Testing

@Suite struct ErrorCodeTests {
    private let app = repository("app")

    private struct Sample {
        let code: String
        let status: Int
        let method: HTTPRequest.Method
        let path: String
        var headers: HTTPFields = [:]
        var body: [UInt8]? = nil
        /// Members of `detail` by which the cause can be found.
        let detail: Set<String>
    }

    @Test("R1 all 14 codes of the specification, each with its status, a message and the details that tell the cause")
    func codes() async throws {
        let server = try await DataPlane(Site())
        let admin = try await server.credentials("admin")
        let reader = try await server.credentials("reader", actions: ["repositories/app/content/read"])
        let image = TestImage("one")
        try await server.site.push(image, tags: [tag("v1")], to: self.app)
        let (zeros, absent) = (String(repeating: "0", count: 32), Digest.of("absent".utf8))
        let upload = try await server.send(.post, "/v2/app/blobs/uploads/", headers: admin, body: []).location
        var typed = admin
        typed[.contentType] = MediaType.ociManifest.description
        var ranged = admin
        ranged[.contentRange] = "nonsense"
        var chunk = admin
        chunk[.contentRange] = "0-8"
        let lacking = TestImage("lacking").manifest.bytes
        let samples = [
            Sample(
                code: "BLOB_UNKNOWN", status: 404, method: .get, path: "/v2/app/blobs/\(absent)", headers: admin,
                detail: ["name", "digest"]),
            Sample(
                code: "BLOB_UPLOAD_INVALID", status: 400, method: .patch, path: upload, headers: ranged, body: [1], detail: ["range"]),
            Sample(
                code: "BLOB_UPLOAD_UNKNOWN", status: 404, method: .get, path: "/v2/app/blobs/uploads/\(zeros)", headers: admin,
                detail: ["name", "upload"]),
            Sample(code: "DIGEST_INVALID", status: 400, method: .get, path: "/v2/app/blobs/sha256:x", headers: admin, detail: ["digest"]),
            Sample(
                code: "DIGEST_INVALID", status: 400, method: .post, path: "/v2/app/blobs/uploads/?digest=\(absent)", headers: admin,
                body: [1], detail: ["digest"]),
            Sample(code: "DIGEST_INVALID", status: 400, method: .put, path: upload, headers: admin, body: [], detail: ["upload"]),
            Sample(
                code: "MANIFEST_BLOB_UNKNOWN", status: 400, method: .put, path: "/v2/app/manifests/v2", headers: typed, body: lacking,
                detail: ["digest"]),
            Sample(
                code: "MANIFEST_INVALID", status: 400, method: .put, path: "/v2/app/manifests/v2", headers: typed, body: [1],
                detail: ["name", "reference", "mediaType", "size"]),
            Sample(
                code: "MANIFEST_UNKNOWN", status: 404, method: .get, path: "/v2/app/manifests/v9", headers: admin,
                detail: ["name", "reference"]),
            Sample(code: "NAME_INVALID", status: 400, method: .get, path: "/v2/UPPER/tags/list", headers: admin, detail: ["name"]),
            Sample(code: "NAME_UNKNOWN", status: 404, method: .get, path: "/v2/none/tags/list", headers: admin, detail: ["name"]),
            Sample(
                code: "SIZE_INVALID", status: 400, method: .patch, path: upload, headers: chunk, body: [1], detail: ["range", "length"]),
            Sample(code: "UNAUTHORIZED", status: 401, method: .get, path: "/v2/", detail: ["service"]),
            Sample(
                code: "UNAUTHORIZED", status: 401, method: .get, path: "/v2/app/manifests/v1", detail: ["service", "name", "action"]),
            Sample(
                code: "DENIED", status: 401, method: .delete, path: "/v2/app/manifests/v1", headers: reader,
                detail: ["service", "name", "action"]),
            Sample(
                code: "DENIED", status: 405, method: .delete, path: "/v2/app/blobs/\(image.config.digest)", headers: admin,
                detail: ["digest", "manifest"]),
            Sample(code: "UNSUPPORTED", status: 405, method: .put, path: "/v2/_catalog", headers: admin, body: [], detail: ["method"]),
            Sample(
                code: "TOOMANYREQUESTS", status: 429, method: .post, path: "/v2/app/blobs/uploads/", headers: admin, body: [],
                detail: ["name", "limit"]),
        ]
        var seen: Set<String> = []
        for sample in samples {
            if sample.code == "TOOMANYREQUESTS" {
                // One is open already.
                for _ in 1..<Uploads.limit { _ = try await server.site.uploads.begin(in: self.app, of: server.site.registry) }
            }
            let answer = try await server.send(sample.method, sample.path, headers: sample.headers, body: sample.body)
            #expect(answer.code == sample.code)
            #expect(answer.status == sample.status, "\(sample.code)")
            #expect(answer.message?.isEmpty == false, "\(sample.code)")
            #expect(Set(answer.detail.map(\.keys).map(Array.init) ?? []) == sample.detail, "\(sample.code)")
            #expect(answer.detail?.values.allSatisfy { !$0.isEmpty } == true, "\(sample.code)")
            #expect((answer.header("Retry-After") != nil) == (sample.status == 429))
            seen.insert(sample.code)
        }
        #expect(
            seen == [
                "BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID",
                "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED", "DENIED", "UNSUPPORTED",
                "TOOMANYREQUESTS",
            ])
        // A monolithic push needs none of its own kind either; those that were there go on.
        #expect(try await server.send(.patch, upload, headers: admin, body: [1]).status == 202)
    }
}
