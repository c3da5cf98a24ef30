// The end-points of the distribution specification as values: a path is parsed once, into one of these.

internal import HTTPServing
internal import OCI

/// What a path below `/v2/` names (distribution specification 1.1, "Endpoints").
enum Route: Sendable, Hashable {
    case base
    case catalog
    case tags(RepositoryName)
    case manifest(RepositoryName, Reference)
    case blob(RepositoryName, Digest)
    case uploads(RepositoryName)
    case upload(RepositoryName, String)
    case referrers(RepositoryName, Digest)

    /// A path that names nothing, with the code that says why.
    struct Refusal: Error {
        let code: ErrorCode
        let message: String
        var detail: [String: String] = [:]
    }

    /// Parses a request path; `nil` when it is not below `/v2`.
    ///
    /// Repository names hold slashes, so a path is read from its end.
    init?(path: String) throws(Refusal) {
        guard path.hasPrefix("/v2") else { return nil }
        let rest = path.dropFirst(3)
        if rest.isEmpty || rest == "/" {
            self = .base
            return
        }
        guard rest.hasPrefix("/") else { return nil }
        guard let decoded = PercentEncoding.decode(rest.dropFirst()) else {
            throw Refusal(code: .nameInvalid, message: "the path has a broken percent-escape", detail: ["path": String(path.prefix(300))])
        }
        let parts = decoded.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map { Substring($0) }
        if parts == ["_catalog"] {
            self = .catalog
            return
        }
        func name(_ dropping: Int) throws(Refusal) -> RepositoryName {
            do {
                return try RepositoryName(decoded[..<parts[parts.count - dropping - 1].endIndex])
            } catch {
                throw Refusal(code: .nameInvalid, message: error.description, detail: ["name": error.text])
            }
        }
        func digest(_ text: Substring) throws(Refusal) -> Digest {
            do {
                return try Digest(text)
            } catch {
                throw Refusal(code: .digestInvalid, message: error.description, detail: ["digest": error.text])
            }
        }
        let count = parts.count
        if count >= 3, parts[count - 2] == "tags", parts[count - 1] == "list" {
            self = .tags(try name(2))
        } else if count >= 4, parts[count - 3] == "blobs", parts[count - 2] == "uploads" {
            self = parts[count - 1].isEmpty ? .uploads(try name(3)) : .upload(try name(3), String(parts[count - 1]))
        } else if count >= 3, parts[count - 2] == "blobs", parts[count - 1] == "uploads" {
            self = .uploads(try name(2))
        } else if count >= 3, parts[count - 2] == "blobs" {
            self = .blob(try name(2), try digest(parts[count - 1]))
        } else if count >= 3, parts[count - 2] == "referrers" {
            self = .referrers(try name(2), try digest(parts[count - 1]))
        } else if count >= 3, parts[count - 2] == "manifests" {
            let name = try name(2)
            do {
                self = .manifest(name, try Reference(parts[count - 1]))
            } catch {
                // A reference that is neither tag nor digest names no manifest.
                let isDigest = error.subject == .digest
                throw Refusal(
                    code: isDigest ? .digestInvalid : .tagInvalid, message: error.description,
                    detail: isDigest ? ["digest": error.text] : ["name": name.description, "reference": error.text])
            }
        } else {
            throw Refusal(
                code: .nameUnknown, message: "there is no end-point at /v2/\(decoded.prefix(300))",
                detail: ["path": String(path.prefix(300))])
        }
    }

    var repository: RepositoryName? {
        switch self {
        case .base, .catalog: nil
        case .tags(let name), .manifest(let name, _), .blob(let name, _), .uploads(let name), .upload(let name, _), .referrers(let name, _):
            name
        }
    }
}
