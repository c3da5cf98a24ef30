// Whole requests and signed tokens: what stands behind the doors as well.

internal import DistributionAPI
internal import Foundation
internal import HTTPServing
internal import HTTPTypes
internal import Identity
internal import NIOCore
internal import OCI
internal import TestSupport

extension FuzzTarget {
    /// Signed tokens and what is made of them: none may speak for somebody else.
    static func tokens() async throws -> FuzzTarget {
        let scratch = ScratchFolder()
        let authority = try await TokenAuthority(folder: Self.keys(scratch), tenantID: "tenant", clock: TestClock().wall)
        let access = [AccessEntry(type: "repository", name: "app", actions: ["pull"])]
        let good = try await authority.issue(.registryAccess, subject: .token("reader"), audience: "registry/harbour", access: access).token
        let other = try await authority.issue(.management, subject: .servicePrincipal("admin"), audience: "arm").token
        var target = FuzzTarget("tokens") { bytes in
            _ = scratch
            let text = String(decoding: bytes, as: UTF8.self)
            guard let token = try? await authority.verify(text, as: [.registryAccess], audience: "registry/harbour") else { return nil }
            guard token.subject == .token("reader"), token.access == access else { return "a forged token was accepted" }
            // The last character of a signature has bits that mean nothing.
            return text.dropLast() == good.dropLast() ? nil : "a changed token was accepted"
        }
        target.seeds = [Array(good.utf8), Array(other.utf8)]
        return target
    }

    private static func keys(_ scratch: ScratchFolder) throws -> String {
        try FileManager.default.createDirectory(atPath: scratch.path, withIntermediateDirectories: true)
        return scratch.path
    }

    /// Requests to a registry: a line with method and target, headers, a blank line, a body.
    static func requests() async throws -> FuzzTarget {
        let plane = try await DataPlane(Site())
        let image = TestImage("one", layers: [Fixture.layer("0123456789")])
        try await plane.site.push(image, tags: [tag("v1")], to: repository("app"))
        let credentials = try await plane.credentials("fuzzer")
        let token = credentials[.authorization] ?? ""
        var target = FuzzTarget("requests") { bytes in
            let message = Message(bytes, credentials: token)
            do {
                let answer = try await plane.send(message.method, message.target, headers: message.headers, body: message.body)
                return await Self.problem(message, answer, plane)
            } catch {
                return "an error left the handlers: \(error)"
            }
        }
        // Digests of what is there cannot be known to a file.
        target.seeds = ["GET", "HEAD"].flatMap { method in
            [
                "/v2/app/blobs/\(image.layers[0].digest)\nRange: bytes=2-5", "/v2/app/manifests/\(image.manifest.digest)\nAccept: */*",
                "/v2/app/blobs/\(image.layers[0].digest)\nRange: bytes=-3\nIf-Range: \"x\"",
                "/v2/app/blobs/\(image.layers[0].digest)\nRange: bytes=0-1,4-\nIf-None-Match: W/\"a\", *",
            ].map { Array("\(method) \($0)\nAuthorization: \(token)\n\n".utf8) }
        }
        return target
    }

    private static func problem(_ message: Message, _ answer: Answer, _ plane: DataPlane) async -> String? {
        guard answer.status == -1 || (200..<500).contains(answer.status) else { return "\(message.target): status \(answer.status)" }
        if answer.status == 206, message.method == .get {
            guard let range = answer.headers[.contentRange] else { return nil }
            let numbers = range.dropFirst("bytes ".count).split { $0 == "-" || $0 == "/" }.compactMap { Int($0) }
            guard numbers.count == 3, numbers[0] <= numbers[1], numbers[1] < numbers[2], answer.body.count == numbers[1] - numbers[0] + 1
            else { return "Content-Range \(range) with \(answer.body.count) bytes" }
        }
        guard message.method == .get else { return nil }
        // Whatever GET says, HEAD says too, where it exists.
        guard let head = try? await plane.send(.head, message.target, headers: message.headers) else {
            return "HEAD fails where GET does not"
        }
        let isContent =
            message.target.contains("/manifests/") || (message.target.contains("/blobs/") && !message.target.contains("/uploads"))
        // Ranges are for GET alone.
        let isPart = head.status == 200 && (answer.status == 206 || answer.status == 416)
        return !isContent || head.status == answer.status || isPart
            ? nil : "\(message.target): GET says \(answer.status), HEAD \(head.status)"
    }

    /// A request made of any bytes.
    private struct Message {
        let method: HTTPRequest.Method
        let target: String
        let headers: HTTPFields
        let body: [UInt8]

        init(_ bytes: [UInt8], credentials: String) {
            let text = String(decoding: bytes, as: UTF8.self)
            let halves = text.split(separator: "\n\n", maxSplits: 1, omittingEmptySubsequences: false)
            var lines = (halves.first ?? "").split(separator: "\n")[...]
            let first = (lines.popFirst() ?? "").split(separator: " ", maxSplits: 1)
            let methods: [HTTPRequest.Method] = [.get, .head, .put, .post, .patch, .delete]
            self.method = methods.first { $0.rawValue == first.first.map(String.init) } ?? .get
            self.target = first.count == 2 ? String(first[1]) : "/v2/"
            var headers: HTTPFields = [.authorization: credentials]
            for line in lines.prefix(20) {
                let parts = line.split(separator: ":", maxSplits: 1)
                guard parts.count == 2, let name = HTTPField.Name(String(parts[0])) else { continue }
                headers[name] = String(parts[1].drop { $0 == " " })
            }
            self.headers = headers
            self.body = halves.count == 2 ? Array(halves[1].utf8) : []
        }
    }
}
